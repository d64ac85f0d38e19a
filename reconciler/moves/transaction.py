"""A transaction of the journal that uses up the reserve on a full disk."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from reconciler.moves.reserve import Reserve

T = TypeVar("T")
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""No room in a file, and none for the memory that SQLite shares with readers."""


def is_full(error: Exception) -> bool:
    """Whether it was for want of room that SQLite, or the system, refused."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) in _FULL


def with_room(reserve: Reserve | None, work: Callable[[], T]) -> T:
    """Do the work, again after each slice of the reserve that had to be given up for it."""
    while True:
        try:
            return work()
        except sqlite3.Error as error:
            if not is_full(error) or reserve is None or not reserve.give():
                raise


class Transaction:
    """Statements that have their effect together. When room runs out, all of them are said again."""

    def __init__(self, db: sqlite3.Connection, reserve: Reserve | None) -> None:
        self._db = db
        self._reserve = reserve
        self._said: list[tuple[str, tuple[Any, ...]]] = []

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        self._said.append((sql, values))
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            if not is_full(error) or self._reserve is None or not self._reserve.give():
                raise
        return with_room(self._reserve, self._again)

    def _again(self) -> sqlite3.Cursor:
        self.undo()
        return [self._db.execute(*row) for row in self._said][-1]

    def undo(self) -> None:
        """SQLite may have rolled it back already."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
