"""The journal on disks that are full or fail, and in files that it must not trust or touch."""

from __future__ import annotations

import datetime
import errno
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import JournalError, JournalFull
from reconciler.model.move import Status
from reconciler.moves import machine
from reconciler.moves.journal import EventKind, Journal
from reconciler.moves.reserve import Reserve
from reconciler.moves.transaction import is_full
from tests.moves.journeys import at, move
from tests.planning.site import NOW

KIB = 1024
ORDER = move()
DETAIL = {"commands": ["x" * 2000]}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; to mount it needs root, or sudo without a password."""
    folder = tmp_path / "disk"
    folder.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size=1m,mode=0700,uid={os.geteuid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run([*sudo, "umount", str(folder)], check=True)


def reserve_on(folder: Path) -> Reserve:
    return Reserve(folder / "journal.reserve", 512 * KIB, 128 * KIB)


def fill(folder: Path) -> Path:
    """Somebody else's file takes all that is left."""
    path = folder / "somebody"
    with pytest.raises(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return path


def record_some(journal: Journal, count: int) -> None:
    for _ in range(count):
        journal.record(ORDER, at("connect"), NOW, EventKind.INTENT, detail=DETAIL)


def test_a_move_under_way_goes_on_from_the_reserve_when_the_disk_is_full(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite", reserve=reserve_on(small_disk))
    journal.begin(ORDER, machine.begin(ORDER, NOW), NOW)
    somebody = fill(small_disk)
    record_some(journal, 10)
    assert len(journal.events(ORDER)) == 10
    assert (small_disk / "journal.reserve").stat().st_size < 512 * KIB
    other = replace(ORDER, domain="web2")
    with pytest.raises(JournalFull, match="no room is kept"):
        journal.begin(other, machine.begin(other, NOW), NOW)
    assert [record.order for record in journal.active()] == [ORDER]
    os.truncate(somebody, somebody.stat().st_size - 32 * KIB)
    assert journal.room() is not None
    assert os.statvfs(small_disk).f_bavail > 0, "a reserve that does not fit takes nothing from others"
    somebody.unlink()
    assert journal.room() is None
    assert (small_disk / "journal.reserve").stat().st_size == 512 * KIB
    journal.begin(other, machine.begin(other, NOW), NOW)
    journal.close()


def test_a_killed_daemon_opens_its_journal_on_a_full_disk(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite", reserve=reserve_on(small_disk))
    journal.begin(ORDER, machine.begin(ORDER, NOW), NOW)
    journal.close()
    fill(small_disk)
    with pytest.raises(JournalFull):
        Journal(small_disk / "journal.sqlite")
    again = Journal(small_disk / "journal.sqlite", reserve=reserve_on(small_disk))
    record_some(again, 3)
    assert len(again.events(ORDER)) == 3
    again.close()


def test_a_full_disk_without_a_reserve_is_told_as_such_and_writes_nothing_by_halves(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite")
    journal.begin(ORDER, machine.begin(ORDER, NOW), NOW)
    somebody = fill(small_disk)
    with pytest.raises(JournalFull, match="full"):
        record_some(journal, 100)
    kept = len(journal.events(ORDER))
    somebody.unlink()
    record_some(journal, 1)
    assert len(journal.events(ORDER)) == kept + 1
    journal.close()


def test_a_reserve_with_holes_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.reserve"
    with path.open("wb") as file:
        file.truncate(512 * KIB)
    reserve = reserve_on(tmp_path)
    assert not reserve.give()
    assert reserve.fill() is None
    assert path.stat().st_blocks * 512 >= 512 * KIB
    assert [reserve.give() for _ in range(5)] == [True] * 4 + [False]
    assert not path.exists()


class Failing:
    """A connection whose COMMIT meets a disk that fails to sync."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return self._db.execute(sql, values)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction


def test_a_disk_that_fails_to_sync_ends_it_and_keeps_the_reserve(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite", reserve=reserve_on(tmp_path))
    journal.begin(ORDER, machine.begin(ORDER, NOW), NOW)
    whole, journal._db = journal._db, Failing(journal._db)  # type: ignore[assignment]
    with pytest.raises(JournalError) as caught:
        record_some(journal, 1)
    assert not isinstance(caught.value, JournalFull)
    assert (tmp_path / "journal.reserve").stat().st_size == 512 * KIB
    assert not whole.in_transaction
    assert journal.events(ORDER) == []


def written(path: Path, *statements: str) -> None:
    """A journal with one journey, changed by hand."""
    journal = Journal(path)
    journal.begin(ORDER, at("connect"), NOW)
    journal.close()
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_a_journal_of_another_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    written(
        path,
        "UPDATE meta SET value='2' WHERE key='schema'",
        "ALTER TABLE events RENAME TO happenings",
        "DROP INDEX events_by_move",
    )
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(JournalError, match=r"another version .schema 2, this one reads 1"):
            Journal(path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_step_of_a_newer_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    written(path, "UPDATE moves SET progress_json=replace(progress_json, '\"connect\"', '\"teleport\"')")
    journal = Journal(path)
    with pytest.raises(JournalError, match=r"web1-1 is at step 'teleport' .forward., which this version"):
        journal.active()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a database, " * 512)


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, overwrite, scribble])
def test_a_file_that_is_torn_or_no_database_is_never_taken_for_an_empty_journal(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "journal.sqlite"
    written(path)
    damage(path)
    with pytest.raises(JournalError, match=r"nothing is changed on any host|cannot be read"):
        Journal(path).active()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE moves SET progress_json='{'",
        "UPDATE moves SET order_json='{}'",
        "UPDATE moves SET began='yesterday'",
        "UPDATE moves SET progress_json=replace(progress_json, '\"active\"', '\"asleep\"')",
    ],
)
def test_a_damaged_row_is_no_journey_that_ended(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "journal.sqlite"
    written(path, statement)
    with pytest.raises(JournalError, match="a row that cannot be read"):
        Journal(path).active()


def test_a_reserve_that_cannot_be_used_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reserve = reserve_on(tmp_path / "file")
    assert not reserve.give()
    trouble = reserve.fill()
    assert trouble is not None and "Not a directory" in trouble


def test_what_counts_as_a_full_disk() -> None:
    assert is_full(OSError(errno.ENOSPC, "no space"))
    assert not is_full(OSError(errno.EIO, "a bad disk"))
    assert not is_full(sqlite3.OperationalError("database is locked"))


def test_a_journey_that_ended_in_the_future_ended_now(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    year = datetime.timedelta(days=365)
    journal = Journal(path)
    journal.begin(ORDER, at("connect"), NOW)
    ended = replace(at("connect"), status=Status.BACK)
    journal.record(ORDER, ended, NOW + year)
    Journal(path, read_only=True).not_after(NOW)
    assert journal.finished(1)[0].ended == NOW + year
    for now in (NOW, NOW + year):
        journal.not_after(now)
        assert journal.finished(1)[0].ended == NOW
