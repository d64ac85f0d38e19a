"""Archives written without a tool: the guest's initramfs (cpio, newc) and tarballs owned by root."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

Entry = tuple[str, int, bytes]
"""(path, mode, content); a directory has the directory bit in its mode and no content."""


def directory(path: str) -> Entry:
    """An entry for a directory."""
    return path, stat.S_IFDIR | 0o755, b""


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    """An entry for a regular file."""
    return path, stat.S_IFREG | mode, content


def cpio(entries: Iterable[Entry]) -> bytes:
    """A gzipped cpio archive as the kernel unpacks it."""
    out = io.BytesIO()
    for inode, (path, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        out.write(b"\0" * (-out.tell() % 4))
        out.write(content)
        out.write(b"\0" * (-out.tell() % 4))
    return gzip.compress(out.getvalue(), compresslevel=6, mtime=0)


def tar(entries: Iterable[Entry]) -> bytes:
    """An uncompressed tarball, everything owned by root, with a fixed time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, mode, content in entries:
            info = tarfile.TarInfo(path)
            info.mode = stat.S_IMODE(mode)
            info.mtime = 1114646400
            info.type = tarfile.DIRTYPE if stat.S_ISDIR(mode) else tarfile.REGTYPE
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tree(base: Path) -> list[Entry]:
    """Every file below a directory, as entries with paths relative to it."""
    entries: list[Entry] = []
    for path in sorted(base.rglob("*")):
        name = str(path.relative_to(base))
        if path.is_dir():
            entries.append(directory(name))
        else:
            entries.append(file(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644))
    return entries
