"""Runs the git command line on a repository that may hold anything and belong to anybody.

No shell; a fresh environment, so no GIT_* variable of the caller has a say; no configuration but the
repository's own, and of that nothing that runs a program: no network (a partial clone would fetch what
it lacks), no prompts, no replaced or grafted objects. Output and time are bounded.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from reconciler.errors import SourceError

TIMEOUT_S = 30.0
SMALL_OUTPUT_BYTES = 64 * 1024
# -c safe.directory counts from git 2.38 on (and is not asked for with an explicit --git-dir).
_OPTIONS = (
    "--no-pager",
    "-c",
    "safe.directory=*",
    "-c",
    "core.commitGraph=false",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "advice.graftFileDeprecated=false",
)
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_NO_MORE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Result:
    """What git said. `cut` means that it wanted to say more than was allowed and was ended."""

    exit: int
    output: bytes
    complaint: str
    cut: bool = False


def git_dir(repository: Path) -> Path:
    """The `.git` of an ordinary repository or linked worktree, or a bare repository itself.

    Folders above are not searched: a typing error must not select another repository.
    """
    try:
        top = repository.resolve()
        if (top / ".git").exists():
            return top / ".git"
        if (top / "HEAD").is_file() and (top / "objects").is_dir():
            return top
    except OSError as error:
        raise SourceError(f"cannot look at {repository}: {error}; let the daemon's user read it") from None
    raise SourceError(
        f"{repository} is not the top of a git repository; "
        "give the path of a bare repository or of a working tree"
    )


def run(
    repository: Path,
    *argv: str,
    stdin: bytes = b"",
    limit_bytes: int = SMALL_OUTPUT_BYTES,
    timeout_s: float = TIMEOUT_S,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = _NO_MORE,
) -> Result:
    """Run one git command. SourceError if git cannot be started or does not end in time."""
    variables = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT, **environment}
    line = ["git", *_OPTIONS, *options, f"--git-dir={git_dir(repository)}", *argv]
    # Files for input and complaints: nothing can then block while the output is read.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as complaint:
        given.write(stdin)
        given.seek(0)
        try:
            process = subprocess.Popen(
                line, stdin=given, stdout=subprocess.PIPE, stderr=complaint, env=variables, cwd="/"
            )
        except FileNotFoundError:
            raise SourceError("git is not there; install git 2.38 or newer") from None
        except OSError as error:
            raise SourceError(f"cannot start git: {error}") from None
        with process:
            assert process.stdout is not None
            try:
                output, cut = _read(process.stdout, limit_bytes, time.monotonic() + timeout_s)
                code = 0 if cut else process.wait(timeout_s)
            except (TimeoutError, subprocess.TimeoutExpired):
                text = f"git {argv[0]} in {repository} did not end within {timeout_s:g} s"
                raise SourceError(f"{text}; look at the disk or file server it is on") from None
            finally:
                process.kill()
        complaint.seek(0)
        said = complaint.read(2000).decode("utf-8", "backslashreplace").strip()
    return Result(code, output, said, cut)


def _read(stream: IO[bytes], limit_bytes: int, deadline: float) -> tuple[bytes, bool]:
    """All of the stream up to the limit, and whether there was more. TimeoutError at the deadline."""
    parts: list[bytes] = []
    room = limit_bytes
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            part = os.read(stream.fileno(), min(room + 1, 1 << 20))
            if not part:
                return b"".join(parts), False
            parts.append(part[:room])
            if len(part) > room:
                return b"".join(parts), True
            room -= len(part)


def expect(repository: Path, *argv: str, stdin: bytes = b"", limit_bytes: int = SMALL_OUTPUT_BYTES) -> Result:
    """Like `run`, but an exit status other than 0 is a SourceError too."""
    result = run(repository, *argv, stdin=stdin, limit_bytes=limit_bytes)
    if result.exit != 0:
        said = result.complaint.splitlines()[-1] if result.complaint else "no message"
        raise SourceError(
            f"git {argv[0]} in {repository} ended with {result.exit}: {said}; "
            "run `git fsck` there as its owner"
        )
    return result
