"""What a step is: what it looks at, what it makes of it, and what it does.

A step never assumes that the one before it worked, nor that it runs for the first time. It looks,
judges (`DONE`, `READY`, `WAIT`, `WRONG`) and only then acts; after acting it looks and judges again.
A restart therefore needs nothing but the name of the step: any interrupted state is a legal input.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.errors import UnknownFact
from reconciler.model.command import Command, Script
from reconciler.model.facts import Query, View
from reconciler.model.move import Order, Phase, Progress, Side

Looks = Mapping[Side, tuple[Query[Any], ...]]


class Mark(enum.Enum):
    """What a judgement comes to."""

    DONE = "done"
    READY = "ready"
    WAIT = "wait"
    WRONG = "wrong"


@dataclass(frozen=True)
class Verdict:
    """A judgement and, for a person, why.

    `never_ran` allows going back after the start was attempted; `ran_there` ends going back: the target
    holds the truth; `start_over` begins the way back anew, because a host has rebooted meanwhile.
    `stale` says that a host knows a claim newer than this journey's plan: somebody else moves the domain.
    `in_doubt` says that going on or back may destroy the better copy of a disk: only a person can tell.
    `at_rest` says that the wait is wanted, so no deadline counts it.
    """

    mark: Mark
    why: str = ""
    sync_percent: float | None = None
    two_runners: bool = False
    never_ran: bool = False
    ran_there: bool = False
    start_over: bool = False
    in_doubt: bool = False
    stale: bool = False
    at_rest: bool = False


DONE = Verdict(Mark.DONE)
READY = Verdict(Mark.READY)


def wait(why: str, sync_percent: float | None = None) -> Verdict:
    return Verdict(Mark.WAIT, why, sync_percent)


def wrong(why: str) -> Verdict:
    return Verdict(Mark.WRONG, why)


def in_doubt(why: str) -> Verdict:
    return Verdict(Mark.WRONG, why, in_doubt=True)


def outdated(order: Order, progress: Progress, side: Side, stored: int) -> Verdict | None:
    """Whether a host has stored a number of another journey; the guard there would refuse this one."""
    claim, host = order.claim(progress.serial, side), order.host(side).name
    if stored > claim.epoch:
        why = f"{host} already knows epoch {stored} of {order.domain}"
    elif claim.after is not None and claim.after < stored < claim.first:
        why = f"{host} has given {stored} of {order.domain} to another move since this one was planned"
    else:
        return None
    return Verdict(Mark.WRONG, why, stale=True)


@dataclass(frozen=True)
class Views:
    """What both sides showed."""

    by_side: Mapping[Side, View] = field(default_factory=dict)

    def __getitem__(self, side: Side) -> View:
        if side not in self.by_side:
            raise UnknownFact(f"nothing was read from the {side.value}")
        return self.by_side[side]

    @property
    def source(self) -> View:
        return self[Side.SOURCE]

    @property
    def target(self) -> View:
        return self[Side.TARGET]


@dataclass(frozen=True)
class Action:
    """Commands for one side, run in one round trip, stopping at the first failure."""

    side: Side
    commands: tuple[Command, ...]

    def script(self, order: Order, progress: Progress) -> Script:
        return Script(self.commands, order.claim(progress.serial, self.side))


class Step:
    """Base of all steps. Subclasses are stateless; their docstring states what holds once they are done."""

    name: str
    phase: Phase
    max_attempts: int = 2
    freeze_begins: bool = False
    freeze_ends: bool = False
    fresh: bool = False
    """Whether facts must be read anew even when the step before has just read them."""
    patient: bool = False
    """Whether its commands may fail again and again: the journey waits on, and tries them now and then."""
    gated: bool = False
    """Whether a journey waits behind it, once it is done, for the domain's window."""
    lasting: bool = False
    """Whether the step is done only once all its commands have ended well, as nobody sees what a power loss
    would still take away. Acting again on DONE must be harmless."""

    def looks(self, order: Order, progress: Progress) -> Looks:
        raise NotImplementedError

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        """Pure; raises UnknownFact when a fact it needs could not be read."""
        raise NotImplementedError

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        """Only called after READY on the same views, after DONE as well if the step is lasting. A step that
        only waits never gets here."""
        raise NotImplementedError

    def deadline_s(self, order: Order) -> float:
        """How long the step may WAIT before it counts as failed."""
        return 120.0
