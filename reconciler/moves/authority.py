"""The table of authority: who holds the truth about a domain at each step of its journey. Pure."""

from __future__ import annotations

import enum

from reconciler.model.move import Direction, Kind, Order, Phase, Progress, Reason, Status
from reconciler.moves import recipe
from reconciler.moves.attach import ATTACH_SUSPEND
from reconciler.moves.back_source import SourceAutostart
from reconciler.moves.back_target import TargetDestroyed
from reconciler.moves.cutover import GO, stops
from reconciler.moves.settle import SourceDown

ATTACH_DROP_IMAGE = "attach-drop-image"
UNTOUCHABLE = frozenset({Reason.TWO_RUNNERS, Reason.STALE_EPOCH, Reason.DISKS, Reason.REWOUND})
"""Held for these, nothing is done to the domain until a person has decided: not even going back."""


class Holder(enum.Enum):
    """Who holds the truth."""

    SOURCE = "source"
    TARGET = "target"
    NOBODY = "nobody"
    NO_COPY = "no copy"


def untouchable(progress: Progress) -> bool:
    return progress.status is Status.HELD and progress.reason in UNTOUCHABLE


def holder(order: Order, progress: Progress) -> Holder:
    """What the journal alone allows to say. Once the start was tried, the hosts have to be asked."""
    if untouchable(progress):
        return Holder.NOBODY
    started = bool(progress.tried & recipe.START_STEPS)
    if order.kind is Kind.PROVISION:
        if progress.status is Status.MOVED or (started and progress.step != "start"):
            return Holder.TARGET if progress.direction is Direction.FORWARD else Holder.NO_COPY
        return Holder.NOBODY if started else Holder.NO_COPY
    if progress.status is Status.MOVED:
        return Holder.TARGET
    if progress.status is Status.BACK:
        return Holder.SOURCE
    if progress.direction is Direction.BACK:
        proven = _index(order, progress) > _place(order, Direction.BACK, TargetDestroyed.name)
        return Holder.SOURCE if proven or GO not in progress.tried else Holder.NOBODY
    if recipe.find(order, progress.direction, progress.step).phase is Phase.SETTLE:
        return Holder.TARGET
    return Holder.NOBODY if started else Holder.SOURCE


def may_rest(order: Order, progress: Progress) -> bool:
    """Whether a journey may stop before this step for as long as a person likes.

    Not while the domain is, or may be, suspended, and not before it also starts with its host again: a
    hold that comes then takes effect once the domain runs, at the source or at the target. On the way
    back only clearing up may wait.
    """
    if order.kind is Kind.PROVISION:
        return True
    index, way = _index(order, progress), progress.direction
    if way is Direction.BACK:
        return index > _place(order, way, SourceAutostart.name)
    attach = () if order.pivots else ((ATTACH_SUSPEND, ATTACH_DROP_IMAGE),)
    for first, after in (*attach, (stops(order), SourceDown.name)):
        if _place(order, way, first) <= index < _place(order, way, after):
            return index == _place(order, way, first) and first not in progress.tried
    return True


def _index(order: Order, progress: Progress) -> int:
    return _place(order, progress.direction, progress.step)


def _place(order: Order, way: Direction, name: str) -> int:
    """Where a step stands in its recipe; raises KeyError for one this version does not know."""
    return recipe.steps(order, way).index(recipe.find(order, way, name))
