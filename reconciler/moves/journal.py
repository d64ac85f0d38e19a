"""The journal: what was about to be done and what came of it, in SQLite with synchronous=FULL.

A hint, never the truth: after a restart the hosts are looked at first. What it alone knows is what was
ever *tried*; that is why the intent of a step is durable before its first command is sent.
"""

from __future__ import annotations

import datetime
import enum
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cattrs.preconf.json import make_converter

from reconciler.errors import JournalError, JournalFull
from reconciler.model.command import Claim
from reconciler.model.move import Order, Progress, Status
from reconciler.model.stamp import stamp, unstamp
from reconciler.moves import recipe
from reconciler.moves.reserve import Reserve
from reconciler.moves.transaction import Transaction, is_full, with_room

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS moves (
  move_id TEXT PRIMARY KEY, domain TEXT NOT NULL, epoch INTEGER NOT NULL,
  began TEXT NOT NULL, ended TEXT, order_json TEXT NOT NULL, progress_json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, move_id TEXT NOT NULL REFERENCES moves(move_id),
  at TEXT NOT NULL, kind TEXT NOT NULL, direction TEXT NOT NULL, step TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accepted (
  host TEXT NOT NULL, domain TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (host, domain));
CREATE INDEX IF NOT EXISTS events_by_move ON events(move_id);
"""

_converter = make_converter()


class EventKind(enum.Enum):
    """What a journal line says about a step."""

    BEGIN = "begin"
    INTENT = "intent"
    OUTCOME = "outcome"
    DONE = "done"
    HELD = "held"
    TURNED_BACK = "turned-back"
    ENDED = "ended"
    RELEASED = "released"


@dataclass(frozen=True)
class Event:
    """One line of the journal."""

    at: datetime.datetime
    kind: EventKind
    direction: str
    step: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A journey as the journal holds it."""

    order: Order
    progress: Progress
    began: datetime.datetime
    ended: datetime.datetime | None


class Journal:
    """One file, one writer. Every method either has its effect on disk or raises JournalError.

    For a read-only pass: `read_only` opens the file of a running daemon, and no path at all stands for
    an empty journal that forgets.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False, reserve: Reserve | None = None) -> None:
        self._lock = threading.Lock()
        self._forgets = read_only
        self._reserve = reserve
        self.read_only = read_only or path is None
        try:
            self._db = _open(path, read_only=read_only)
            try:
                with_room(self._reserve, lambda: self._check_schema(path))
                if not read_only:
                    with_room(self._reserve, lambda: self._make_ready(path))
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            text = f"{path}: {error}; nothing is changed on any host until it can be read"
            raise (JournalFull if is_full(error) else JournalError)(text) from error

    def _check_schema(self, path: Path | None) -> None:
        """Before anything is written. A file without tables is a new one."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name='meta'").fetchone():
            return
        row = self._db.execute("SELECT value FROM meta WHERE key='schema'").fetchone()
        if row is not None and row[0] != str(SCHEMA):
            raise JournalError(
                f"{path} was written by another version (schema {row[0]}, this one reads {SCHEMA}); "
                "install the version that wrote it"
            )

    def _make_ready(self, path: Path | None) -> None:
        if path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
        self._db.executescript(_TABLES)
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))

    def close(self) -> None:
        self._db.close()

    def room(self) -> str | None:
        """Make the reserve whole again; None, or why no new journey may begin."""
        if self._reserve is None:
            return None
        with self._lock:
            return self._reserve.fill()

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        with self._lock:
            try:
                transaction = Transaction(self._db, self._reserve)
                transaction.execute("BEGIN IMMEDIATE")
                try:
                    yield transaction
                    transaction.execute("COMMIT")
                except BaseException:
                    transaction.undo()
                    raise
            except sqlite3.Error as error:
                text = f"the journal cannot be written: {error}"
                raise (JournalFull if is_full(error) else JournalError)(text) from error

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise JournalError(f"the journal cannot be read: {error}") from error

    def remember(self, key: str, value: str) -> None:
        """Keep a small fact, such as the last good commit; a read-only journal forgets it."""
        if self._forgets:
            return
        with self._write() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
                (key, value),
            )

    def recall(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key=?", key)
        return rows[0][0] if rows else None

    def begin(self, order: Order, progress: Progress, now: datetime.datetime) -> None:
        """A new journey. Raises JournalFull unless the reserve is whole: what begins must be seen through."""
        if (trouble := self.room()) is not None:
            raise JournalFull(trouble)
        with self._write() as db:
            db.execute(
                "INSERT INTO moves VALUES (?, ?, ?, ?, NULL, ?, ?)",
                (
                    order.move_id,
                    order.domain,
                    order.epoch,
                    stamp(now),
                    _converter.dumps(order),
                    _converter.dumps(progress),
                ),
            )

    def record(
        self,
        order: Order,
        progress: Progress,
        now: datetime.datetime,
        kind: EventKind | None = None,
        step: str = "",
        detail: dict[str, Any] | None = None,
        accepted: Mapping[str, Claim] | None = None,
    ) -> None:
        """The progress, an event if one is named, and the claims hosts accepted, in one transaction."""
        with self._write() as db:
            for host, claim in (accepted or {}).items():
                db.execute(
                    "INSERT INTO accepted VALUES (?, ?, ?) ON CONFLICT(host, domain) "
                    "DO UPDATE SET number=MAX(number, excluded.number)",
                    (host, claim.domain, claim.epoch),
                )
            db.execute(
                "UPDATE moves SET progress_json=?, ended=? WHERE move_id=?",
                (_converter.dumps(progress), stamp(now) if progress.ended else None, order.move_id),
            )
            if kind is not None:
                db.execute(
                    "INSERT INTO events(move_id, at, kind, direction, step, detail) VALUES (?,?,?,?,?,?)",
                    (
                        order.move_id,
                        stamp(now),
                        kind.value,
                        progress.direction.value,
                        step or progress.step,
                        json.dumps(detail or {}),
                    ),
                )

    def release(self, order: Order, progress: Progress, now: datetime.datetime, why: str) -> None:
        """A person closes a journey that cannot end by itself. It keeps the status it had."""
        event = (order.move_id, stamp(now), EventKind.RELEASED.value, progress.direction.value, progress.step)
        with self._write() as db:
            db.execute(
                "UPDATE moves SET ended=? WHERE move_id=? AND ended IS NULL", (stamp(now), order.move_id)
            )
            db.execute(
                "INSERT INTO events(move_id, at, kind, direction, step, detail) VALUES (?,?,?,?,?,?)",
                (*event, json.dumps({"detail": why})),
            )

    def not_after(self, now: datetime.datetime) -> None:
        """Journeys that ended after `now` did so by another clock: from now on they ended now."""
        if not self._forgets and self._rows("SELECT 1 FROM moves WHERE ended > ? LIMIT 1", stamp(now)):
            with self._write() as db:
                db.execute("UPDATE moves SET ended=? WHERE ended > ?", (stamp(now), stamp(now)))

    def active(self) -> list[Record]:
        """Journeys that have not ended. Raises JournalError for one that this version cannot drive."""
        records = self._records("WHERE ended IS NULL ORDER BY began")
        for record in records:
            order, progress = record.order, record.progress
            try:
                recipe.find(order, progress.direction, progress.step)
            except KeyError:
                raise JournalError(
                    f"{order.move_id} is at step {progress.step!r} ({progress.direction.value}), which this "
                    "version does not know; install the version that wrote it"
                ) from None
        return records

    def finished(self, limit: int) -> list[Record]:
        """The latest ended journeys, newest first."""
        return self._records("WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT ?", limit)

    def moved(self, domain: str) -> tuple[str | None, str] | None:
        """From which host to which the latest journey of a domain went that came to its end on the target.

        From none if it was created. None when there was no such journey.
        """
        hosts = "json_extract(order_json, '$.source.name'), json_extract(order_json, '$.target.name')"
        where = "domain=? AND ended IS NOT NULL AND json_extract(progress_json, '$.status')=?"
        latest = f"SELECT {hosts} FROM moves WHERE {where} ORDER BY epoch DESC LIMIT 1"
        rows = self._rows(latest, domain, Status.MOVED.value)
        return (rows[0][0], rows[0][1]) if rows else None

    def _records(self, where: str, *values: Any) -> list[Record]:
        rows = self._rows(f"SELECT order_json, progress_json, began, ended FROM moves {where}", *values)
        try:
            return [
                Record(
                    _converter.loads(order, Order),
                    _converter.loads(progress, Progress),
                    unstamp(began),
                    unstamp(ended) if ended else None,
                )
                for order, progress, began, ended in rows
            ]
        except Exception as error:  # whatever a damaged row makes the decoder raise
            raise JournalError(f"the journal holds a row that cannot be read: {error!r}") from error

    def events(self, order: Order) -> list[Event]:
        """All events of a journey, oldest first."""
        rows = self._rows(
            "SELECT at, kind, direction, step, detail FROM events WHERE move_id=? ORDER BY seq", order.move_id
        )
        return [
            Event(unstamp(at), EventKind(kind), way, step, json.loads(text))
            for at, kind, way, step, text in rows
        ]

    def accepted(self) -> dict[str, dict[str, int]]:
        """Host -> domain -> the newest claim number that host is known to have accepted."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE type='table' AND name='accepted'"):
            return {}  # read-only, and written by a version before there was this table
        found: dict[str, dict[str, int]] = {}
        for host, domain, number in self._rows("SELECT host, domain, number FROM accepted"):
            found.setdefault(host, {})[domain] = number
        return found

    def accepted_on(self, host: str, domain: str) -> int:
        """The newest claim number of the domain that the host is known to have accepted, 0 if none."""
        rows = self._rows("SELECT number FROM accepted WHERE host=? AND domain=?", host, domain)
        return int(rows[0][0]) if rows else 0

    def forget_accepted(self, host: str, domain: str, known: int, shown: int) -> bool:
        """A person accepts that the host knows an older number; whether there was anything to forget."""
        if self._forgets:
            return False
        with self._write() as db:
            changed = db.execute(
                "UPDATE accepted SET number=? WHERE host=? AND domain=? AND number=?",
                (shown, host, domain, known),
            )
            return changed.rowcount > 0

    def newest_epoch(self, domain: str) -> int:
        """The newest epoch this journal ever used for the domain, 0 if none."""
        return int(self._rows("SELECT COALESCE(MAX(epoch), 0) FROM moves WHERE domain=?", domain)[0][0])


def _open(path: Path | None, *, read_only: bool) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    if read_only:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None)
