"""Which steps a journey has, in which order, forward and back."""

from __future__ import annotations

from reconciler.model.move import Direction, Kind, Order, Phase
from reconciler.moves import attach, back, cutover, guards, mirror, provision, settle
from reconciler.moves.step import Step

MOVE: tuple[Step, ...] = (*attach.STEPS, *mirror.STEPS, *cutover.STEPS, *settle.STEPS)
PIVOT_MOVE: tuple[Step, ...] = (*attach.PIVOT_STEPS, *mirror.STEPS, *cutover.STEPS, *settle.STEPS)
STREAM_MOVE: tuple[Step, ...] = (
    *attach.PIVOT_STEPS,
    *mirror.STREAM_STEPS,
    *cutover.STREAM_STEPS,
    *settle.STREAM_STEPS,
)
LIVE_MOVE: tuple[Step, ...] = (
    *attach.PIVOT_STEPS,
    *mirror.STREAM_STEPS,
    *cutover.LIVE_STEPS,
    *settle.STREAM_STEPS,
)
PROVISION: tuple[Step, ...] = (attach.TakeEpoch(), *provision.STEPS)
START_STEPS = frozenset({cutover.GO, provision.START})
"""Steps that start the domain on the target: once tried, only the target's own word decides."""


def steps(order: Order, direction: Direction) -> tuple[Step, ...]:
    """The steps of a journey; names are unique within it."""
    match order.kind, direction:
        case Kind.MOVE, Direction.FORWARD:
            if order.streams:
                return LIVE_MOVE if order.live else STREAM_MOVE
            return PIVOT_MOVE if order.pivots else MOVE
        case Kind.MOVE, Direction.BACK:
            return back.PIVOT_STEPS if order.pivots else back.STEPS
        case Kind.PROVISION, Direction.FORWARD:
            return PROVISION
        case _:
            return provision.BACK_STEPS


def first(order: Order, direction: Direction = Direction.FORWARD) -> Step:
    return steps(order, direction)[0]


def start_step(order: Order) -> str:
    """The step that starts the domain on the target."""
    return cutover.GO if order.kind is Kind.MOVE else provision.START


def find(order: Order, direction: Direction, name: str) -> Step:
    """The step of that name; raises KeyError for a name this version does not know."""
    for step in steps(order, direction):
        if step.name == name:
            return step
    raise KeyError(name)


def following(order: Order, direction: Direction, name: str) -> Step | None:
    """The next step, None after the last."""
    all_steps = steps(order, direction)
    index = [step.name for step in all_steps].index(name)
    return all_steps[index + 1] if index + 1 < len(all_steps) else None


def can_turn_back(phase: Phase, tried: frozenset[str]) -> bool:
    """Whether the table of authority allows going back without a word from the target."""
    return phase is not Phase.SETTLE and guards.passed("authority", not tried & START_STEPS)
