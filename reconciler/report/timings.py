"""How long each step, phase and freeze of a journey took, read from its journal. Pure.

A freeze runs from the intent to suspend the domain to the answer of the command that set it running
again. A domain that is moved live runs on for most of the first one: its freeze begins as long before the end
of that as it says. Where an answer was never recorded (the daemon was killed, the reply was lost)
a freeze begins with the intent, or ends at the moment the domain was next seen running, and is not `exact`:
it may have been shorter.
Moments are wall time; a clock set back in between makes a duration 0, never negative.
"""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.commands import drbd, xl
from reconciler.model.move import Direction, Kind, Order, Phase, Prediction, Status
from reconciler.moves import recipe
from reconciler.moves.journal import Event, EventKind, Record
from reconciler.moves.mirror import Connect, Sync
from reconciler.moves.step import Step
from reconciler.planning.predict import Sample

_STEP_ENDS = (EventKind.DONE, EventKind.TURNED_BACK, EventKind.ENDED)


@dataclass(frozen=True)
class Span:
    """From when to when. `ended` is None while it lasts."""

    began: datetime.datetime
    ended: datetime.datetime | None

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else self.seconds_at(self.ended)

    def seconds_at(self, now: datetime.datetime) -> float:
        """How long it lasted, or has lasted until now."""
        return max(0.0, ((self.ended or now) - self.began).total_seconds())


@dataclass(frozen=True)
class StepTime(Span):
    """One step. `phase` is None for a step this version does not know."""

    step: str
    phase: Phase | None


@dataclass(frozen=True)
class PhaseTime(Span):
    """Consecutive steps of one phase."""

    phase: Phase


class FreezeKind(enum.Enum):
    """What the domain was suspended for; BACK is one that ended by going back."""

    ATTACH = "attach"
    CUTOVER = "cutover"
    BACK = "back"


@dataclass(frozen=True)
class Freeze(Span):
    """A time the domain did not run, measured and predicted. Nobody predicts a going back."""

    kind: FreezeKind
    predicted_s: float | None
    exact: bool

    def parts(self, steps: Sequence[StepTime], now: datetime.datetime) -> list[tuple[str, float]]:
        """The steps it was in, in order, each with as many seconds as it took of it."""
        found = []
        for step in steps:
            began, ended = max(self.began, step.began), min(self.ended or now, step.ended or now)
            if ended > began:
                found.append((step.step, (ended - began).total_seconds()))
        return found


@dataclass(frozen=True)
class Timings:
    """All spans of one journey, oldest first."""

    steps: tuple[StepTime, ...]
    phases: tuple[PhaseTime, ...]
    freezes: tuple[Freeze, ...]

    @property
    def frozen(self) -> bool:
        """Whether the domain is suspended now, as far as the journal knows."""
        return any(freeze.ended is None for freeze in self.freezes)


def timings(record: Record, events: Sequence[Event]) -> Timings:
    """Read one journey's spans."""
    steps = _steps(record, events)
    return Timings(steps, _phases(steps), _freezes(record, events))


def _known(order: Order) -> dict[str, Step]:
    return _by_name(*(recipe.steps(order, way) for way in Direction))


@functools.cache
def _by_name(*recipes: tuple[Step, ...]) -> dict[str, Step]:
    return {step.name: step for steps in recipes for step in steps}


def phase_of(order: Order, step: str) -> Phase | None:
    """The phase a step belongs to; creating a domain borrows one step from attach but has no such phase."""
    found = _known(order).get(step)
    if found is None:
        return None
    if order.kind is Kind.PROVISION and found.phase is Phase.ATTACH:
        return Phase.PROVISION
    return found.phase


def _steps(record: Record, events: Sequence[Event]) -> tuple[StepTime, ...]:
    found = []
    began = record.began
    for event in events:
        if event.kind in _STEP_ENDS:
            found.append(StepTime(began, event.at, event.step, phase_of(record.order, event.step)))
            began = event.at
    if not any(event.kind is EventKind.ENDED for event in events):
        name = record.progress.step
        found.append(StepTime(began, record.ended, name, phase_of(record.order, name)))
    return tuple(found)


def _phases(steps: Sequence[StepTime]) -> tuple[PhaseTime, ...]:
    found: list[PhaseTime] = []
    for step in steps:
        if found and step.phase in (None, found[-1].phase):
            found[-1] = PhaseTime(found[-1].began, step.ended, found[-1].phase)
        elif step.phase is not None:
            found.append(PhaseTime(step.began, step.ended, step.phase))
    return tuple(found)


def _freezes(record: Record, events: Sequence[Event]) -> tuple[Freeze, ...]:
    known = _known(record.order)
    prediction = record.order.prediction
    found: list[Freeze] = []
    suspended: Suspended | None = None
    for event in events:
        step = known.get(event.step)
        if step is None:
            continue
        if step.freeze_begins:
            suspended = _began(event, step.phase, suspended, live=record.order.live)
        elif suspended is not None and (step.freeze_ends or step.phase is Phase.SETTLE):
            # Settle begins only once the target was seen running, whatever way led there.
            answered = step.freeze_ends and event.kind is EventKind.OUTCOME and _all_succeeded(event)
            if answered or event.kind in (EventKind.DONE, EventKind.ENDED) or step.phase is Phase.SETTLE:
                kind = _kind(suspended.phase, Direction(event.direction))
                predicted_s = _predicted_s(prediction, kind)
                exact = answered and suspended.exact
                found.append(Freeze(suspended.at, event.at, kind, predicted_s, exact))
                suspended = None
    if suspended is not None and suspended.sure:
        kind = _kind(suspended.phase, record.progress.direction)
        found.append(Freeze(suspended.at, None, kind, _predicted_s(prediction, kind), exact=False))
    return tuple(found)


@dataclass(frozen=True)
class Suspended:
    """A freeze that has begun, or may have: `sure` or not. A domain that is moved live runs on at first."""

    at: datetime.datetime
    phase: Phase
    exact: bool
    sure: bool


def _began(event: Event, phase: Phase, before: Suspended | None, *, live: bool) -> Suspended | None:
    """What an event of a step that suspends the domain makes of a freeze."""
    match event.kind:
        case EventKind.INTENT:
            return Suspended(event.at, phase, exact=not live, sure=not live)
        case EventKind.OUTCOME if (told_s := _suspended_s(event)) is not None:
            return Suspended(event.at - datetime.timedelta(seconds=told_s), phase, exact=True, sure=True)
        case EventKind.OUTCOME if _never_started(event) or (live and _failed(event)):
            return None
        case EventKind.DONE | EventKind.TURNED_BACK if before is not None:
            return replace(before, sure=True)
    return before


def _never_started(event: Event) -> bool:
    """Whether the last command, which suspends, was not run: the host refused or one before it failed."""
    rows = event.detail.get("commands") or [{}]
    return "skipped" in rows[-1]


def _suspended_s(event: Event) -> float | None:
    """How long a domain that was moved live had been suspended when the command was answered for."""
    rows = event.detail.get("commands") or [{}]
    return xl.suspended_s(rows[-1].get("stdout", ""))


def _failed(event: Event) -> bool:
    """Whether a command has said that it failed: then a domain that was not suspended has run on."""
    return any(row.get("exit", 0) != 0 for row in event.detail.get("commands", []))


def _pauses(event: Event) -> bool:
    """Whether a sync is to be paused by what is about to be sent."""
    paused = drbd.pause_sync(0).argv[:2]
    rows = event.detail.get("commands", [])
    return event.kind is EventKind.INTENT and any(tuple(row["argv"][:2]) == paused for row in rows)


def _all_succeeded(event: Event) -> bool:
    rows = event.detail.get("commands", [])
    return bool(rows) and all(row.get("exit") == 0 for row in rows)


def _kind(phase: Phase, direction: Direction) -> FreezeKind:
    if direction is Direction.BACK:
        return FreezeKind.BACK
    return FreezeKind.ATTACH if phase is Phase.ATTACH else FreezeKind.CUTOVER


def _predicted_s(prediction: Prediction, kind: FreezeKind) -> float | None:
    match kind:
        case FreezeKind.ATTACH:
            return prediction.freeze_attach_s
        case FreezeKind.CUTOVER:
            return prediction.freeze_cutover_s
        case FreezeKind.BACK:
            return None


def sample(record: Record, events: Sequence[Event]) -> Sample | None:
    """What a finished move teaches the next prediction.

    None for one that was held or paused while it synced, for a mirror, and for one that only had to compare.
    """
    order = record.order
    if order.standby or order.seeded:
        return None
    if order.kind is not Kind.MOVE or record.progress.status is not Status.MOVED:
        return None
    syncing = (Connect.name, Sync.name)
    if any(event.kind is EventKind.HELD and event.step in syncing for event in events):
        return None
    if any(event.step == Sync.name and _pauses(event) for event in events):
        return None
    times = timings(record, events)
    spans = [step for step in times.steps if step.step in syncing]
    if not any(step.step == Sync.name for step in spans):
        return None
    measured = {freeze.kind: freeze.seconds for freeze in times.freezes if freeze.exact}
    return Sample(
        sync_bytes=sum(disk.size_bytes for disk in order.disks),
        sync_s=sum(step.seconds or 0.0 for step in spans),
        memory_mb=order.memory_mb,
        attach_s=measured.get(FreezeKind.ATTACH),
        cutover_s=measured.get(FreezeKind.CUTOVER),
        cutover=order.cutover,
    )
