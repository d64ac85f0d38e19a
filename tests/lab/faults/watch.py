"""Reads a running daemon's journal: how far its move is, and what it has announced."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from reconciler.errors import JournalError
from reconciler.model.move import Direction, Status
from reconciler.moves.journal import EventKind, Journal, Record
from tests.site import Site

T = TypeVar("T")
POLL_S = 0.05
STEP_S = 900.0


class NotSeen(Exception):
    """What was waited for did not come; the text ends with the daemon's log."""


@dataclass(frozen=True)
class Intent:
    """A step's commands as the journal announced them: the host of each, and its argv."""

    step: str
    commands: tuple[tuple[str, tuple[str, ...]], ...]


class Watch:
    """The journal of a site's daemon."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.known: dict[str, Intent] = {}
        """What was seen announced, in this run of the steps or an earlier one."""

    def read(self, question: Callable[[Journal], T]) -> T:
        """Ask the daemon's journal; it may be written at the same time."""
        deadline = time.monotonic() + 10
        while True:
            try:
                journal = Journal(self.site.folder / "state" / "journal.sqlite", read_only=True)
                try:
                    return question(journal)
                finally:
                    journal.close()
            except (JournalError, sqlite3.Error):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def record(self) -> Record | None:
        """The journey as it stands: the move that the row is about is the only one."""
        return self.read(lambda journal: next(iter([*journal.active(), *journal.finished(1)]), None))

    def intents(self) -> list[Intent]:
        """All intents so far, forward and back."""

        def ask(journal: Journal) -> list[Intent]:
            records = [*journal.active(), *journal.finished(1)]
            events = journal.events(records[0].order) if records else []
            return [
                Intent(
                    event.step, tuple((row["host"], tuple(row["argv"])) for row in event.detail["commands"])
                )
                for event in events
                if event.kind is EventKind.INTENT
            ]

        found = self.read(ask)
        self.known.update((intent.step, intent) for intent in found)
        return found

    def wait(self, what: str, condition: Callable[[], Any], timeout_s: float = STEP_S) -> Any:
        """Poll for something in the journal."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline or not self.site.running:
                tail = self.site.log_file.read_text(errors="replace")[-4000:]
                raise NotSeen(f"{what} in {timeout_s:.0f} s; the log ends:\n{tail}")
            time.sleep(POLL_S)
        return found

    def at(self, step: str) -> bool:
        """Whether the step has begun: its intent is recorded, or it is a step that only waits."""
        record = self.record()
        if record is None:
            return False
        if record.progress.step == step and (record.progress.pending or step == "sync"):
            return True
        return any(found.step == step for found in self.intents())

    def turned(self) -> bool:
        """Whether the move did not come to the step: it goes back, has ended or is held."""
        record = self.record()
        if record is None:
            return False
        now = record.progress
        return now.ended or now.direction is Direction.BACK or now.status is Status.HELD

    def intent(self, step: str) -> Intent:
        """What the journal, now or earlier, announced for a step; nothing for one that only waits."""
        self.intents()
        return self.known.get(step, Intent(step, ()))
