"""An order and a progress to start from, changed as a test needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.model.move import Direction, Order, Progress, Status
from reconciler.model.placement import Attach, Cutover, Domain
from reconciler.planning.planner import plan
from tests.planning.site import NOW, running, situation
from tests.planning.test_planner import PROVISION


def move(**changes: Any) -> Order:
    """One that suspends the domain to attach, and moves its memory through a file."""
    order = plan(situation(running())).items[0].order
    assert order is not None
    slowest = {"attach": Attach.SUSPEND, "cutover": Cutover.STORE}
    return replace(order, config_text="name = 'web1'\n", **{**slowest, **changes})


def pivot_move(**changes: Any) -> Order:
    """One that attaches by pivot, and moves its memory through a file."""
    return move(attach=Attach.PIVOT, **changes)


def stream_move(**changes: Any) -> Order:
    """One that suspends it while its memory is sent."""
    return pivot_move(cutover=Cutover.STREAM, **changes)


def live_move(**changes: Any) -> Order:
    """What a plan makes of it unless told otherwise."""
    return pivot_move(cutover=Cutover.LIVE, **changes)


def provision() -> Order:
    order = plan(situation(wanted=(Domain("web1", "xen2", provision=PROVISION),))).items[0].order
    assert order is not None
    return order


def at(step: str, *tried: str, **changes: Any) -> Progress:
    whole = Progress(Direction.FORWARD, step, Status.ACTIVE, 0, NOW, frozenset(tried))
    return replace(whole, **changes)


def back(step: str, *tried: str, **changes: Any) -> Progress:
    return at(step, *tried, **{"direction": Direction.BACK, "serial": 1, **changes})
