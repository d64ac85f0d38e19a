"""The production journal in memory, and what it was told last."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from reconciler.model.command import Claim
from reconciler.model.move import Direction, Order, Progress
from reconciler.moves.journal import EventKind, Journal


class WatchedJournal(Journal):
    """In memory; remembers what it was told last, and writes it down when somebody is about to read."""

    def __init__(self) -> None:
        super().__init__(None)
        self.latest: Progress | None = None
        self.ran_there = False
        self.unwritten: list[tuple[Any, ...]] = []
        self.known: dict[tuple[str, str], int] = {}
        self.kind: EventKind | None = None
        self.planned: list[tuple[str, tuple[str, ...]]] = []

    def begin(self, order: Order, progress: Progress, now: datetime.datetime) -> None:
        super().begin(order, progress, now)
        self.latest = progress

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
        self.unwritten.append((order, progress, now, kind, step, detail, accepted))
        for host, claim in (accepted or {}).items():
            self.known[host, claim.domain] = max(claim.epoch, self.accepted_on(host, claim.domain))
        before = self.latest and self.latest.direction
        if before is Direction.BACK and progress.direction is Direction.FORWARD:
            self.ran_there = True  # turned forward again, as the target was found to have run
        self.latest, self.kind = progress, kind
        self.planned = [(row["host"], tuple(row["argv"])) for row in (detail or {}).get("commands", ())]

    def accepted_on(self, host: str, domain: str) -> int:
        return self.known.get((host, domain), 0)

    def write(self) -> None:
        """Write down what it was told; before a fork, so that not every child has to."""
        for row in self.unwritten:
            super().record(*row)
        self.unwritten.clear()

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        self.write()
        return super()._rows(sql, *values)
