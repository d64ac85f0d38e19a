"""Orders and journals made by hand: a `Story` writes what the executor would, with times of its own."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from reconciler.model.move import Direction, Kind, MoveDisk, Order, Prediction, Reason, Status
from reconciler.model.placement import Desired, Domain, Host, NewDisk, Policy, Provision, Where
from reconciler.model.plan import Item, ItemKind, Plan
from reconciler.moves import machine, recipe
from reconciler.moves.journal import Event, EventKind, Journal, Record
from reconciler.report.build import Source, Standing

ROOT = Path(__file__).parents[2]
START = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
COMMIT = "c0ffee" + 34 * "0"
XEN1 = Host("xen1", "10.0.0.1", "10.99.0.1")
XEN2 = Host("xen2", "10.0.0.2", "10.99.0.2", port=2222)
SECRET = "never-to-be-shown"
PREDICTION = Prediction(sync_s=10.0, freeze_attach_s=3.0, freeze_cutover_s=4.0, learned=2)


def order(name: str = "web1", epoch: int = 3, commit: str = COMMIT) -> Order:
    disks = tuple(
        MoveDisk(f"xvd{letter}", f"/etc/xen/disks/{name}-{n}", f"{name}-{n}", 2**30, 100 + n, "vg", "vg")
        for n, letter in enumerate("ab")
    )
    return Order(
        kind=Kind.MOVE,
        domain=name,
        uuid="7f8d4a3e-9a0b-4d52-8d0e-5f2f7d8c1b2a",
        epoch=epoch,
        commit=commit,
        source=XEN1,
        target=XEN2,
        source_node="xen1",
        target_node="xen2",
        disks=disks,
        memory_mb=256,
        policy=Policy(),
        port=7800,
        secret=SECRET,
        config_text=None,
        autostart=True,
        prediction=PREDICTION,
    )


def provision(name: str = "new1") -> Order:
    wanted = Provision(memory_mb=128, disks=(NewDisk("root", "xvda", 64),))
    return replace(order(name, 1), kind=Kind.PROVISION, source=None, source_node="", provision=wanted)


class Story:
    """One journey in a real journal. Each step takes a second to look and the seconds given to act."""

    def __init__(self, journal: Journal, order: Order, began: datetime.datetime = START) -> None:
        self.journal, self.order, self.now = journal, order, began
        self.progress = machine.begin(order, began)
        journal.begin(order, self.progress, began)

    def wait(self, seconds: float) -> Story:
        self.now += datetime.timedelta(seconds=seconds)
        return self

    def _event(self, kind: EventKind, detail: dict[str, Any] | None = None, step: str = "") -> None:
        self.journal.record(self.order, self.progress, self.now, kind, step, detail)

    def intent(self, *argv: str) -> Story:
        self.progress = replace(
            self.progress,
            attempts=self.progress.attempts + 1,
            tried=self.progress.tried | {self.progress.step},
        )
        self._event(EventKind.INTENT, {"commands": [{"host": "xen1", "argv": [*argv]}] if argv else []})
        return self

    def outcome(self, **row: Any) -> Story:
        first = {"host": "xen1", "argv": ["true"], "exit": 0, "stderr": ""}
        self._event(EventKind.OUTCOME, {"commands": [first, first | {"argv": ["xl", "it"]} | row]})
        return self

    def done(self) -> Story:
        """The step is found done: the next one begins, or the journey ends."""
        before = self.progress
        following = recipe.following(self.order, before.direction, before.step)
        if following is not None:
            self.progress = before.at(following.name, self.now)
            self._event(EventKind.DONE, step=before.step)
            return self
        status = Status.BACK if before.direction is Direction.BACK else Status.MOVED
        self.progress = replace(before.at(before.step, self.now), status=status)
        self._event(EventKind.ENDED, step=before.step)
        return self

    def act(self, seconds: float = 0.5) -> Story:
        return self.intent().wait(seconds).outcome().wait(0.25).done()

    def until(self, step: str) -> Story:
        """All steps before this one, without trouble, half a second each."""
        while self.progress.step != step:
            self.act(0.25)
        return self

    def finish(self) -> Story:
        while not self.progress.ended:
            self.act(0.25)
        return self

    def waits(self, percent: float | None = None, why: str = "syncing") -> Story:
        self.progress = replace(self.progress, sync_percent=percent, detail=why)
        self.journal.record(self.order, self.progress, self.now)
        return self

    def held(self, reason: Reason, why: str) -> Story:
        retry_at = self.now + datetime.timedelta(seconds=60)
        self.progress = replace(
            self.progress, status=Status.HELD, reason=reason, detail=why, retry_at=retry_at
        )
        self._event(EventKind.HELD, {"reason": reason.value, "detail": why})
        return self

    def turned_back(self, reason: Reason, why: str) -> Story:
        before = self.progress
        first = recipe.first(self.order, Direction.BACK)
        self.progress = replace(
            before.at(first.name, self.now), direction=Direction.BACK, reason=reason, detail=why
        )
        self._event(EventKind.TURNED_BACK, {"reason": reason.value, "detail": why}, step=before.step)
        return self

    @property
    def record(self) -> Record:
        found = [*self.journal.active(), *self.journal.finished(100)]
        return next(record for record in found if record.order.move_id == self.order.move_id)

    @property
    def events(self) -> list[Event]:
        return self.journal.events(self.order)


def desired(*names: str, host: str = "xen2", commit: str = COMMIT) -> Desired:
    found = {name: Domain(name, host, where=Where("desired/domains.yaml", 3)) for name in names}
    return Desired(commit, {"xen1": XEN1, "xen2": XEN2}, found)


def plan(*items: Item, commit: str = COMMIT) -> Plan:
    return Plan(commit, items, {"xen1": "answers", "xen2": "answers"})


def in_place(name: str) -> Item:
    return Item(name, ItemKind.IN_PLACE, "xen2", "xen2")


def standing(
    journal: Journal, desired: Desired | None, plan: Plan | None, source: Source | None = None
) -> Standing:
    at_head = Source("/srv/git/placement.git", "refs/heads/main", head=COMMIT)
    return Standing(source or at_head, desired, plan, journal.active(), journal.finished(100), journal.events)


def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "schemas" / "report.schema.json").read_text())
    return found


def assert_valid(report: dict[str, Any]) -> None:
    """The report has the form its schema states, also after a way through JSON, and no secret in it."""
    text = json.dumps(report)
    problems: Sequence[Any] = list(Draft202012Validator(schema()).iter_errors(json.loads(text)))
    assert not problems, "\n".join(f"{list(p.absolute_path)}: {p.message}" for p in problems)
    assert SECRET not in text
