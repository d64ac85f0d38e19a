"""A host's files. Device nodes, /proc and the like are answered by the host, not kept here."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from reconciler.simulator.storage import Value

ENOENT = "No such file or directory"


class FileError(Exception):
    """What errno would say; `str()` is strerror's text."""


@dataclass(eq=False)
class File:
    """A regular file: text, or something modelled (a saved domain, a disk image) with its size."""

    text: str = ""
    thing: object = None
    bulk: int = 0
    mode: int = 0o644

    @property
    def size(self) -> int:
        return self.bulk if self.thing is not None else len(self.text.encode())


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclass(eq=False)
class Directory:
    """A directory; which entries it has follows from the paths."""

    mode: int = 0o755


@dataclass(eq=False)
class DiskImage:
    """A file that can be written onto a device: what it leaves there."""

    items: dict[int, Value] = field(default_factory=dict)


Node = File | Link | Directory
STANDARD = """/ /boot /dev /etc /etc/drbd.d /etc/xen /etc/xen/auto /etc/xen/scripts /mnt /proc /root /run /srv
/tmp /usr /usr/local /usr/local/lib /var /var/lib /var/lib/xen /var/lib/xen/save /var/log"""


class Files:
    """Paths to nodes. `special` answers for paths below /dev and /proc."""

    def __init__(self, capacity: int, special: Callable[[str], Node | None]) -> None:
        self.nodes: dict[str, Node] = {path: Directory() for path in STANDARD.split()}
        self.capacity = capacity
        self.special = special

    @property
    def used(self) -> int:
        return sum(node.size for node in self.nodes.values() if isinstance(node, File))

    @property
    def available(self) -> int:
        return max(0, self.capacity - self.used)

    def lookup(self, path: str) -> Node | None:
        """The node at a canonical path, not following it."""
        return self.nodes.get(path) or self.special(path)

    def real(self, path: str, follow: bool = True) -> str:
        """The canonical path; the last part may be missing, anything before it may not."""
        done, rest, hops = "/", [p for p in path.split("/") if p], 0
        while rest:
            part = rest.pop(0)
            here = done if part == "." else f"{done}/{part}" if done != "/" else f"/{part}"
            if part == "..":
                here = posixpath.dirname(done)
            node = self.lookup(here)
            if isinstance(node, Link) and (rest or follow):
                hops += 1
                if hops > 40:
                    raise FileError("Too many levels of symbolic links")
                rest = [p for p in node.target.split("/") if p] + rest
                done = "/" if node.target.startswith("/") else done
                continue
            if node is None and rest:
                raise FileError(ENOENT)
            if isinstance(node, File) and rest:
                raise FileError("Not a directory")
            done = here
        return done

    def get(self, path: str, follow: bool = True) -> Node:
        node = self.lookup(self.real(path, follow))
        if node is None:
            raise FileError(ENOENT)
        return node

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except FileError:
            return False
        return True

    def read(self, path: str) -> str:
        node = self.get(path)
        if isinstance(node, Directory):
            raise FileError("Is a directory")
        assert isinstance(node, File)
        if node.thing is not None:
            raise FileError("Invalid or incomplete multibyte or wide character")
        return node.text

    def parent_exists(self, path: str) -> bool:
        return isinstance(self.lookup(self.real(posixpath.dirname(path) or "/")), Directory)

    def put(self, path: str, node: Node) -> str:
        """Create or replace; a file keeps the mode it had. Raises when there is no room or no directory."""
        where = self.real(path)
        if not isinstance(self.lookup(posixpath.dirname(where)), Directory):
            raise FileError(ENOENT)
        before = self.nodes.get(where)
        if isinstance(before, Directory):
            raise FileError("Is a directory")
        if isinstance(node, File):
            old = before.size if isinstance(before, File) else 0
            if node.size > old and node.size - old > self.available:
                raise FileError("No space left on device")
            if isinstance(before, File):
                node.mode = before.mode
        self.nodes[where] = node
        return where

    def remove(self, path: str) -> None:
        """Take one entry away, with everything below it."""
        below = path.rstrip("/") + "/"
        for each in [each for each in self.nodes if each == path or each.startswith(below)]:
            del self.nodes[each]

    def rename(self, source: str, target: str) -> None:
        below = source.rstrip("/") + "/"
        for each in [each for each in self.nodes if each == source or each.startswith(below)]:
            self.nodes[target + each[len(source) :]] = self.nodes.pop(each)

    def children(self, path: str) -> Iterator[str]:
        """Full paths of the entries of a directory, in name order."""
        below = path.rstrip("/") + "/"
        length = len(below)
        yield from sorted(
            each
            for each in self.nodes
            if each.startswith(below) and len(each) > length and "/" not in each[length:]
        )
