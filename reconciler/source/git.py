"""Commits and refs of a git repository, and what to watch to learn of new ones.

Everything is read from commits; the working files, the index, hooks and filters are never looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.source.command import expect, git_dir, run

_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# git-check-ref-format(1), narrowed: no blanks, no control characters, no revision syntax.
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[./]$|^[-./]")


def check_ref(ref: str) -> str:
    """The ref if its name is well-formed (`HEAD` or `refs/…`), else SourceError."""
    full = ref == "HEAD" or (ref.startswith("refs/") and ref.count("/") >= 2)
    if not full or len(ref) > 255 or not ref.isprintable() or _BAD_IN_REF.search(ref):
        raise SourceError(f"{ref!a} is not the name of a ref; write it in full, such as refs/heads/main")
    return ref


def resolve(repository: Path, commit_or_ref: str) -> str:
    """The full id of the commit meant by a full id, a ref, or the short name of a branch or tag."""
    if _FULL_ID.fullmatch(commit_or_ref):
        found = _commit(repository, commit_or_ref)
        if found is None:
            raise SourceError(f"{repository} has no commit {commit_or_ref}; fetch it, or name another")
        return found
    short = commit_or_ref != "HEAD" and not commit_or_ref.startswith("refs/")
    names = [f"refs/heads/{commit_or_ref}", f"refs/tags/{commit_or_ref}"] if short else [commit_or_ref]
    for name in names:
        found = _commit(repository, check_ref(name))
        if found is not None:
            return found
    raise SourceError(f"{repository} has no ref {commit_or_ref} that names a commit; {_branches(repository)}")


def is_ancestor(repository: Path, old: str, new: str) -> bool:
    """Whether commit `new` builds upon commit `old`. False too if `old` is no longer there."""
    for commit in (old, new):
        if not _FULL_ID.fullmatch(commit):
            raise SourceError(f"{commit!a} is not the full id of a commit")
    if _commit(repository, old) is None:
        return False
    result = run(repository, "merge-base", "--is-ancestor", old, new)
    if result.exit not in (0, 1):
        raise SourceError(f"git cannot compare {old} and {new} in {repository}: {result.complaint}")
    return result.exit == 0


@dataclass(frozen=True)
class Watch:
    """A folder in which a change of a file may mean that a ref has moved.

    `names` are the files that matter; none given means all of them.
    """

    folder: Path
    recursive: bool
    names: tuple[str, ...] = ()

    def matters(self, path: Path) -> bool:
        """Whether a change at `path` is a reason to look. Lock files never are."""
        return path.suffix != ".lock" and (not self.names or path.name in self.names)


def watches(repository: Path) -> tuple[Watch, ...]:
    """What to watch to learn that a ref has moved, for a bare, ordinary or linked working tree.

    Refs are loose files below `refs`, or lines of `packed-refs` (replaced by renaming, so the folder is
    watched), or in `reftable`. A linked working tree keeps its HEAD apart from the shared refs.
    Spurious wake-ups are harmless: the reader compares commits.
    """
    result = expect(repository, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    own, common = (Path(line) for line in result.output.decode("utf-8", "surrogateescape").splitlines())
    found = [Watch(common, False, ("packed-refs", "HEAD")), Watch(common / "refs", True)]
    if (common / "reftable").is_dir():
        found.append(Watch(common / "reftable", True))
    if own != common:
        found.append(Watch(own, False, ("HEAD",)))
    return tuple(found)


def _commit(repository: Path, name: str) -> str | None:
    """The commit that a validated ref or full id stands for, tags followed; None if there is none."""
    result = run(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    commit = result.output.decode("ascii", "replace").strip()
    if result.exit == 0 and _FULL_ID.fullmatch(commit):
        return commit
    if result.exit not in (0, 1, 128) or "not a git repository" in result.complaint:
        raise SourceError(f"git cannot read {repository}: {result.complaint or result.exit}")
    return None


def _branches(repository: Path) -> str:
    result = run(repository, "for-each-ref", "--count=10", "--format=%(refname)", "refs/heads")
    names = [
        name for name in result.output.decode("utf-8", "replace").split("\n") if name.isprintable() and name
    ]
    return f"it has {', '.join(names)}" if names else f"nothing is committed in {git_dir(repository)} yet"
