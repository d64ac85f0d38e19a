"""From a git repository to the placement a commit asks for."""

from __future__ import annotations

from pathlib import Path

from reconciler.source import documents, git, tree
from reconciler.source.documents import Loaded

__all__ = ["Loaded", "load"]


def load(repository: Path, commit_or_ref: str, folder: str) -> Loaded:
    """What the commit asks for, read from its committed tree only.

    SourceError when the repository, the ref or an object cannot be read; anything wrong with what is
    committed is a problem in the result instead.
    """
    commit = git.resolve(repository, commit_or_ref)
    found = tree.read_tree(repository, commit, folder)
    if found.problems:
        return Loaded(None, found.problems, commit)
    return documents.read(found.files, commit, tree.check_folder(folder) or ".")
