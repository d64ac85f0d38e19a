"""Real git repositories in a temporary folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HOSTS = "hosts:\n  xen1: {address: 192.0.2.1}\n  xen2: {address: 192.0.2.2}\n"


class Repository:
    """A repository and the git commands an operator would use on it."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", *(["--bare"] if bare else []))

    def git(self, *argv: str, stdin: bytes = b"") -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        done = subprocess.run(
            ["git", *argv], cwd=self.path, env=environment, input=stdin, capture_output=True, check=True
        )
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def write(self, name: str, content: str | bytes) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def commit(self, files: dict[str, str | bytes] | None = None) -> str:
        """Write the files, commit all there is; the commit's id."""
        for name, content in (files or {}).items():
            self.write(name, content)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def tree(self, records: list[tuple[str, str, bytes]]) -> str:
        """A tree of (mode, object, name) as given, sound or not."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(of) for mode, of, name in records)
        return self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)

    def commit_tree(self, tree: str, ref: str = "refs/heads/main") -> str:
        commit = self.git("commit-tree", tree, "-m", "x")
        self.git("update-ref", ref, commit)
        return commit


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An ordinary repository without a commit."""
    return Repository(tmp_path / "ordinary")


@pytest.fixture
def bare(tmp_path: Path) -> Repository:
    """A bare repository without a commit."""
    return Repository(tmp_path / "bare.git", bare=True)
