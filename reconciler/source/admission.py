"""Whether a new commit of the ref may come into force at all, before anything of it is read.

A commit that does not build on the one in force is a rewind or a force-push: somebody's mistake, a
stolen push right, or a repository restored from a backup. It is held until a person accepts just that
step, from the commit in force to that new one. Where signatures are required, the commit must carry one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import InputError
from reconciler.model.placement import Problem
from reconciler.source import git, signatures
from reconciler.source.signatures import Signatures

NOTE = "accepted-commit"
_NOTE = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64})\n")


@dataclass(frozen=True)
class Accepted:
    """One step a person has accepted. Good for these two commits only, so an old note does no harm."""

    old: str
    new: str


def refusal(
    repository: Path,
    ref: str,
    commit: str,
    in_force: str | None,
    accepted: Accepted | None,
    required: Signatures | None,
) -> Problem | None:
    """Why the commit may not come into force, None when it may. Raises SourceError."""
    if required is not None:
        verdict = signatures.verify(repository, commit, required)
        if not verdict.signer:
            allowed = "a commit signed with a key that `signatures` in the configuration lists"
            return Problem(commit, ref, 1, f"this commit cannot come into force: {verdict.why}", "", allowed)
    if in_force is None or _follows(repository, commit, in_force, accepted):
        return None
    text = f"rewound or force-pushed: this commit does not build on {in_force[:12]}, which stays in force"
    allowed = f"a commit on top of {in_force[:12]}, or `reconciler accept {commit}` if this is meant"
    return Problem(commit, ref, 1, text, "", allowed)


def _follows(repository: Path, commit: str, in_force: str, accepted: Accepted | None) -> bool:
    if commit == in_force or git.is_ancestor(repository, in_force, commit):
        return True
    if accepted is None or accepted.old != in_force:
        return False
    return commit == accepted.new or git.is_ancestor(repository, accepted.new, commit)


def note(state_dir: Path, accepted: Accepted) -> None:
    """Leave word for the daemon, which alone writes its journal. Raises InputError."""
    file = state_dir / NOTE
    new = file.with_suffix(".new")
    try:
        with new.open("w", encoding="ascii") as stream:
            stream.write(f"{accepted.old} {accepted.new}\n")
            stream.flush()
            os.fsync(stream.fileno())
        new.chmod(0o644)  # root may write it for a daemon that runs as somebody else
        new.replace(file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; run this as the daemon's user or as root") from None


def noted(state_dir: Path) -> Accepted | None:
    """The step accepted last; None when there is none or the note cannot be understood."""
    try:
        with (state_dir / NOTE).open("rb") as stream:
            match = _NOTE.fullmatch(stream.read(200))
    except OSError:
        return None
    return Accepted(match[1].decode(), match[2].decode()) if match else None
