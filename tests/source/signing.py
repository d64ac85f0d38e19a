"""Keys made on the spot, and commits signed with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .conftest import Repository


def new_key(path: Path) -> str:
    """A fresh ssh key; its public half."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path.with_suffix(".pub").read_text().strip()


def sign(repository: Repository, key: Path, content: str = "1") -> str:
    """A new commit signed with an ssh key; its id."""
    repository.write("desired/a.yaml", content)
    repository.git("add", "-A")
    ssh = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    repository.git(*ssh, "commit", "-q", "--allow-empty", "-S", "-m", "x")
    return repository.git("rev-parse", "HEAD")


def gpg(home: Path, *argv: str, stdin: str = "") -> str:
    """One gpg command on a keyring of its own."""
    home.mkdir(mode=0o700, exist_ok=True)
    line = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *argv]
    environment = {"PATH": os.environ["PATH"], "GNUPGHOME": str(home), "LC_ALL": "C"}
    return subprocess.run(
        line, env=environment, input=stdin, check=True, capture_output=True, text=True
    ).stdout


def new_gpg_key(home: Path, name: str) -> str:
    """A fresh gpg key; its fingerprint."""
    gpg(home, "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")
    told = gpg(home, "--with-colons", "--list-keys", name)
    return next(line.split(":")[9] for line in told.splitlines() if line.startswith("fpr:"))


def gpg_sign(repository: Repository, home: Path, fingerprint: str) -> str:
    """A new commit signed with gpg; its id."""
    program = repository.path.parent / "gpg-there"
    program.write_text(f'#!/bin/sh\nexec gpg --homedir "{home}" --batch --no-tty "$@"\n')
    program.chmod(0o755)
    options = ("-c", f"gpg.program={program}", "-c", f"user.signingKey={fingerprint}")
    repository.git(*options, "commit", "-q", "--allow-empty", "-S", "-m", "x")
    return repository.git("rev-parse", "HEAD")
