"""The YAML files of one commit, as they were committed: blobs only, nothing is checked out.

Sizes and counts are known and judged before any content is read, so that a huge blob, or a tree that
refers to itself a million times, costs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.model.placement import Problem
from reconciler.source import wording
from reconciler.source.command import expect

MAX_FILES = 10_000
MAX_FILE_BYTES = 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024 * 1024
MAX_PATH_BYTES = 1024
MAX_LISTING_BYTES = 4 * 1024 * 1024
SUFFIXES = (".yaml", ".yml")

_KINDS = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}
_REGULAR = {"100644", "100664", "100755"}


@dataclass(frozen=True)
class Tree:
    """The YAML files below a folder of a commit, and what there may not be used."""

    commit: str
    files: dict[str, bytes]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Entry:
    mode: str
    object: str
    size: int
    path: str


def check_folder(folder: str) -> str:
    """The folder without slashes at its ends; "" is the whole tree. SourceError for a path that leads out."""
    parts = [part for part in folder.split("/") if part and part != "."]
    if folder.startswith("/") or not folder.isprintable() or any(part in {"..", ".git"} for part in parts):
        raise SourceError(f"{folder!a} is not a folder of the repository; write a path such as desired")
    return "/".join(parts)


def read_tree(repository: Path, commit: str, folder: str) -> Tree:
    """Read the YAML files below `folder` of a commit given by its full id. Raises SourceError."""
    folder = check_folder(folder)
    problems: list[Problem] = []

    def refuse(path: str, message: str, value: str = "", allowed: str = "") -> None:
        problems.append(Problem(commit, wording.path(path), 1, message, value, allowed))

    listing = ["ls-tree", "-r", "-l", "-z", "--full-tree", commit]
    result = expect(
        repository, *listing, *(["--", f"{folder}/"] if folder else []), limit_bytes=MAX_LISTING_BYTES
    )
    records = result.output.split(b"\0")[:-1]
    if result.cut or len(records) > MAX_FILES:
        refuse(folder, "too many files", "", f"at most {MAX_FILES}")
        return Tree(commit, {}, tuple(problems))
    if not records and folder:
        refuse(folder, _why_empty(repository, commit, folder), "", "a folder with .yaml files")
    wanted: dict[str, _Entry] = {}
    for entry in map(_entry, records):
        trouble = _trouble(entry)
        if trouble:
            refuse(entry.path, *trouble)
        elif entry.path in wanted:
            refuse(entry.path, "the tree holds this path twice", "", "once")
        elif entry.path.endswith(SUFFIXES):
            wanted[entry.path] = entry
    total = sum(entry.size for entry in wanted.values())
    if total > MAX_TOTAL_BYTES:
        refuse(
            folder, "the files are too large together", f"{total} bytes", f"at most {MAX_TOTAL_BYTES} bytes"
        )
    if problems:
        return Tree(commit, {}, tuple(problems))
    return Tree(commit, _contents(repository, list(wanted.values())), ())


def _entry(record: bytes) -> _Entry:
    """One record of `ls-tree -l -z`: mode, type, object, size, tab, path."""
    head, _, path = record.partition(b"\t")
    words = head.decode("ascii", "replace").split()
    if len(words) != 4:
        raise SourceError(f"git ls-tree: cannot read {record[:100]!a}; run `git fsck`")
    mode, kind, name, size = words
    if kind == "blob" and not size.isdecimal():
        raise SourceError(
            f"object {name} of {path!a} is not in the repository; a partial clone cannot be used"
        )
    return _Entry(mode, name, int(size) if size.isdecimal() else 0, path.decode("utf-8", "surrogateescape"))


def _trouble(entry: _Entry) -> tuple[str, str, str] | None:
    """Why the entry may not be there: message, value, what is allowed."""
    if entry.mode not in _REGULAR:
        return "not a regular file", _KINDS.get(entry.mode, f"mode {entry.mode}"), "regular files"
    if not entry.path.endswith(SUFFIXES):
        return None
    parts = entry.path.split("/")
    if not entry.path.isprintable() or any(part in {"", ".", "..", ".git"} for part in parts):
        return "the file's name cannot be used", wording.path(entry.path), "printable names"
    if len(entry.path.encode()) > MAX_PATH_BYTES:
        return "the file's name is too long", "", f"at most {MAX_PATH_BYTES} bytes"
    if entry.size > MAX_FILE_BYTES:
        return "the file is too large", f"{entry.size} bytes", f"at most {MAX_FILE_BYTES} bytes"
    return None


def _why_empty(repository: Path, commit: str, folder: str) -> str:
    result = expect(repository, "ls-tree", "-z", "--full-tree", commit, "--", folder)
    mode = result.output.decode("ascii", "replace").split(" ")[0]
    return f"not a folder but {_KINDS.get(mode, 'a file')}" if mode else "the commit has no such folder"


def _contents(repository: Path, entries: list[_Entry]) -> dict[str, bytes]:
    """The blobs by path: `<object> blob <size>\\n<bytes>\\n` for each name asked for."""
    names = "".join(f"{entry.object}\n" for entry in entries).encode()
    room = sum(entry.size + 200 for entry in entries)
    output = expect(repository, "cat-file", "--batch", stdin=names, limit_bytes=room).output
    files: dict[str, bytes] = {}
    at = 0
    for entry in entries:
        head = f"{entry.object} blob {entry.size}\n".encode()
        end = at + len(head) + entry.size
        if output[at : at + len(head)] != head or output[end : end + 1] != b"\n":
            raise SourceError(
                f"object {entry.object} of {entry.path} cannot be read; run `git fsck` in {repository}"
            )
        files[entry.path] = output[at + len(head) : end]
        at = end + 1
    return files
