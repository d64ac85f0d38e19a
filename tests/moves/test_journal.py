"""What the journal keeps, over a restart too; and that it says so when it can not."""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import JournalError
from reconciler.model.move import Direction, Reason, Status
from reconciler.model.placement import Attach, Cutover
from reconciler.moves.journal import Event, EventKind, Journal, Record
from tests.moves.journeys import at, back, move, pivot_move, provision, stream_move
from tests.planning.site import NOW

ORDER = move()
LATER = NOW + datetime.timedelta(seconds=1.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def reread(path: Path) -> Journal:
    """What a restart finds."""
    return Journal(path, read_only=True)


def test_a_journey_is_found_again_whole(journal: Journal, path: Path) -> None:
    journal.begin(ORDER, at("take-epoch"), NOW)
    held = at(
        "ship",
        "cutover-suspend",
        status=Status.HELD,
        reason=Reason.DEADLINE,
        detail="too slow",
        retry_at=LATER,
        unknown_since=NOW,
        busy_since=NOW,
        sync_percent=100.0,
        serial=3,
        pending=True,
        attempts=1,
    )
    journal.record(ORDER, held, LATER)
    made = replace(provision(), domain="web2", epoch=4)
    journal.begin(made, at("populate"), LATER)
    pivot = replace(pivot_move(), domain="web3", epoch=5)
    journal.begin(pivot, at("source-pivot"), LATER)
    stream = replace(stream_move(), domain="web4", epoch=6)
    journal.begin(stream, at("cutover-stream", "cutover-stream"), LATER)
    assert reread(path).active() == [
        Record(ORDER, held, NOW, None),
        Record(made, at("populate"), LATER, None),
        Record(pivot, at("source-pivot"), LATER, None),
        Record(stream, at("cutover-stream", "cutover-stream"), LATER, None),
    ]
    assert reread(path).finished(9) == []
    assert reread(path).events(ORDER) == []


def test_ended_journeys_newest_first(journal: Journal) -> None:
    for epoch in (1, 2, 3):
        order = replace(ORDER, epoch=epoch)
        ended = back("back-source-still", status=Status.BACK if epoch < 3 else Status.MOVED)
        journal.begin(order, at("sync"), NOW)
        journal.record(order, ended, NOW + datetime.timedelta(hours=epoch))
    assert journal.active() == []
    assert [record.order.epoch for record in journal.finished(2)] == [3, 2]
    assert [record.ended for record in journal.finished(1)] == [NOW + datetime.timedelta(hours=3)]
    assert (journal.newest_epoch("web1"), journal.newest_epoch("web2")) == (3, 0)


def test_what_a_domain_did_last_that_came_to_its_end(journal: Journal) -> None:
    """A journey that went back, or is under way, leaves it where it was."""
    assert journal.moved("web1") is None
    ends = (Status.BACK, Status.MOVED, Status.MOVED, Status.BACK, Status.ACTIVE)
    for epoch, status in enumerate(ends, 1):
        there = ORDER.target if epoch == 3 else replace(ORDER.target, name="xen9")
        order, later = replace(ORDER, epoch=epoch, target=there), NOW + datetime.timedelta(seconds=epoch)
        journal.begin(order, at("go"), later)
        if status is not Status.ACTIVE:
            journal.record(order, at("go", status=status), later, EventKind.ENDED, step="go")
    assert journal.moved("web1") == ("xen1", "xen2")
    assert journal.moved("web2") is None
    made = replace(provision(), domain="web3")
    journal.begin(made, at("start"), NOW)
    journal.record(made, at("start", status=Status.MOVED), NOW, EventKind.ENDED, step="start")
    assert journal.moved("web3") == (None, "xen2")


def test_events_oldest_first_of_one_journey(journal: Journal, path: Path) -> None:
    other = replace(ORDER, domain="web2")
    for order in (ORDER, other):
        journal.begin(order, at("sync"), NOW)
    journal.record(ORDER, at("ship"), NOW, EventKind.DONE, "sync")
    journal.record(other, at("ship"), NOW, EventKind.INTENT)
    journal.record(ORDER, back("back-source-flip"), LATER, EventKind.INTENT, detail={"commands": [["ln"]]})
    assert reread(path).events(ORDER) == [
        Event(NOW, EventKind.DONE, "forward", "sync", {}),
        Event(LATER, EventKind.INTENT, "back", "back-source-flip", {"commands": [["ln"]]}),
    ]


def test_a_release_ends_a_journey_once_and_keeps_its_status(journal: Journal) -> None:
    held = at("go", "go", status=Status.HELD, reason=Reason.OUTCOME_UNKNOWN)
    journal.begin(ORDER, held, NOW)
    journal.release(ORDER, held, LATER, "checked by hand")
    journal.release(ORDER, held, LATER + datetime.timedelta(days=1), "again")
    assert journal.finished(9) == [Record(ORDER, held, NOW, LATER)]
    first, _ = journal.events(ORDER)
    assert first == Event(
        LATER, EventKind.RELEASED, Direction.FORWARD.value, "go", {"detail": "checked by hand"}
    )


def test_small_facts(journal: Journal, path: Path) -> None:
    assert journal.recall("commit") is None
    journal.remember("commit", "a")
    journal.remember("commit", "b")
    assert reread(path).recall("commit") == "b"
    reader = reread(path)
    reader.remember("commit", "c")
    assert journal.recall("commit") == reader.recall("commit") == "b"


def test_the_file_is_the_owners_alone_and_written_through(journal: Journal, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    found = {name: journal._rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")}
    assert found == {"journal_mode": "wal", "synchronous": 2}
    assert journal._rows("PRAGMA foreign_keys") == [(1,)]


def test_one_without_a_file_forgets() -> None:
    empty = Journal(None)
    empty.begin(ORDER, at("sync"), NOW)
    assert [record.order for record in empty.active()] == [ORDER]
    assert Journal(None).active() == []


def test_nothing_is_half_written(journal: Journal, path: Path) -> None:
    journal.begin(ORDER, at("sync"), NOW)
    with pytest.raises(JournalError, match="cannot be written"):
        journal.begin(ORDER, at("ship"), NOW)
    with pytest.raises(TypeError):
        journal.record(ORDER, at("ship"), NOW, EventKind.DONE, detail={"no": object()})
    assert reread(path).active() == [Record(ORDER, at("sync"), NOW, None)]
    journal.record(ORDER, at("connect"), NOW)
    assert journal.active()[0].progress.step == "connect"


def test_one_of_another_version_is_refused(journal: Journal, path: Path) -> None:
    journal.remember("schema", "2")
    for read_only in (False, True):
        with pytest.raises(JournalError) as caught:
            Journal(path, read_only=read_only)
        assert str(caught.value) == (
            f"{path} was written by another version (schema 2, this one reads 1); "
            "install the version that wrote it"
        )


def test_one_that_is_no_database_is_refused(tmp_path: Path) -> None:
    for name, content in (("text", b"no database, but long enough for one" * 40), ("torn", b"SQLite")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JournalError, match="nothing is changed on any host until it can be read"):
            Journal(tmp_path / name)
    with pytest.raises(JournalError, match=f"{tmp_path}/none"):
        Journal(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists(), "a reader makes no journal"


def test_a_damaged_row_is_an_error_and_no_empty_journal(journal: Journal, path: Path) -> None:
    journal.begin(ORDER, at("sync"), NOW)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE moves SET progress_json='{'")
    with pytest.raises(JournalError, match="a row that cannot be read: JSONDecodeError"):
        journal.active()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE moves")
    with pytest.raises(JournalError, match="cannot be read: no such table"):
        journal.active()


def test_the_newest_claim_each_host_has_accepted(journal: Journal, path: Path) -> None:
    journal.begin(ORDER, at("take-epoch"), NOW)
    assert (journal.accepted(), journal.accepted_on("xen1", "web1")) == ({}, 0)
    first, second = ORDER.claim(0), ORDER.claim(1)
    journal.record(ORDER, at("take-epoch"), NOW, accepted={"xen1": second, "xen2": first})
    journal.record(ORDER, at("take-epoch"), NOW, accepted={"xen1": first})
    newest = {"xen1": {"web1": second.epoch}, "xen2": {"web1": first.epoch}}
    assert journal.accepted() == reread(path).accepted() == newest
    assert journal.accepted_on("xen2", "web1") == first.epoch
    assert not journal.forget_accepted("xen2", "web1", second.epoch, 7), "it was never that number"
    assert not reread(path).forget_accepted("xen2", "web1", first.epoch, 7), "a look keeps nothing"
    assert journal.forget_accepted("xen2", "web1", first.epoch, 7)
    assert journal.accepted() == {**newest, "xen2": {"web1": 7}}


def test_a_journal_from_before_claims_were_kept_is_read(journal: Journal, path: Path) -> None:
    with sqlite3.connect(path) as older:
        older.execute("DROP TABLE accepted")
    assert reread(path).accepted() == {}
    assert Journal(path).accepted() == {}


@pytest.mark.parametrize(
    ("field", "kept_as", "taken_as"),
    [("attach", "pivot", Attach.SUSPEND), ("cutover", "stream", Cutover.STORE)],
)
def test_an_order_from_before_there_was_a_choice_is_one_of_the_only_way(
    journal: Journal, path: Path, field: str, kept_as: str, taken_as: Attach | Cutover
) -> None:
    order = stream_move()
    journal.begin(order, at("sync"), NOW)
    assert reread(path).active()[0].order == order
    with sqlite3.connect(path) as older:
        ((text,),) = older.execute("SELECT order_json FROM moves")
        kept = json.loads(text)
        assert kept.pop(field) == kept_as
        older.execute("UPDATE moves SET order_json = ?", (json.dumps(kept),))
    assert reread(path).active()[0].order == replace(order, **{field: taken_as})
