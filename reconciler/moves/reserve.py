"""Room on the disk that is kept for the moves under way: a file of blocks that nothing else can take.

On a full disk it is given up slice by slice, so that whatever fills the disk can't take all of it at once.
A new journey needs the whole of it.
"""

from __future__ import annotations

import os
from pathlib import Path

SLICE_BYTES = 1 << 20
SIZE_BYTES = 12 * SLICE_BYTES
"""A move writes some hundred kB of orders and events, through a log (WAL) of about 4 MB."""


class Reserve:
    """One file; only the journal's writer may have it."""

    def __init__(self, path: Path, size_bytes: int = SIZE_BYTES, slice_bytes: int = SLICE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._slice_bytes = slice_bytes

    def _held_bytes(self) -> int:
        """What surely is on the disk: a file with holes would keep nothing."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0
        return min(found.st_size, found.st_blocks * 512)

    def give(self) -> bool:
        """Give up one slice; False when nothing is left."""
        try:
            left_bytes = self._held_bytes() - self._slice_bytes
            if left_bytes + self._slice_bytes <= 0:
                return False
            if left_bytes <= 0:
                self._path.unlink()
            else:
                os.truncate(self._path, left_bytes)
        except OSError:
            return False
        return True

    def fill(self) -> str | None:
        """Make it whole again; None, or why there is no room for it. The last room is left to others."""
        try:
            held_bytes = self._held_bytes()
            if held_bytes >= self._size_bytes:
                return None
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(handle, held_bytes)
                _write(handle, held_bytes, self._size_bytes)
            except OSError:
                os.ftruncate(handle, held_bytes)
                raise
            finally:
                os.close(handle)
        except OSError as error:
            return f"{self._path}: {error.strerror or error}: no room is kept there for the journal"
        return None


def _write(handle: int, start: int, end: int) -> None:
    """Bytes without a pattern: a file system that compresses would keep no room for zeros."""
    os.lseek(handle, start, os.SEEK_SET)
    while start < end:
        start += os.write(handle, os.urandom(min(end - start, 1 << 16)))
    os.fsync(handle)
