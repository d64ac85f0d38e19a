"""The time of day jumps; what the daemon waits by does not."""

from __future__ import annotations

import datetime
import time

import pytest

from reconciler import clock
from reconciler.model.move import Direction, Status
from reconciler.moves import machine
from reconciler.moves.step import wait
from tests.moves.journeys import at, move

YEAR = datetime.timedelta(days=365)


class Wall:
    def __init__(self) -> None:
        self.off = datetime.timedelta(0)

    def __call__(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + self.off


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    made = Wall()
    monkeypatch.setattr(clock, "wall", made)
    return made


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_a_jump_is_not_seen_before_somebody_looks(wall: Wall, jump: datetime.timedelta) -> None:
    steady = clock.SystemClock()
    before = steady.now()
    wall.off = jump
    time.sleep(0.01)
    assert datetime.timedelta(0) < steady.now() - before < datetime.timedelta(minutes=1)
    assert steady.set_by_wall() == pytest.approx(jump.total_seconds(), abs=60)
    assert abs(steady.now() - wall()) < datetime.timedelta(minutes=1)


def test_the_wait_in_the_freeze_ends_though_the_clock_was_set_back(
    wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate: the target is not in step, the guest stands still, and somebody sets the clock back."""
    passed = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: passed[0])
    steady = clock.SystemClock()
    order, progress = move(), at("source-demote", step_began=steady.now())
    wall.off = -YEAR
    for _ in range(10_000):
        decision = machine.decide(order, progress, wait("not in step"), steady.now())
        if not isinstance(decision, machine.Pause) or decision.progress.status is Status.HELD:
            break
        progress = decision.progress
        passed[0] += decision.seconds
    assert isinstance(decision, machine.GoOn) and decision.progress.direction is Direction.BACK


def test_two_days_forward_do_not_throw_a_sync_away(wall: Wall) -> None:
    steady = clock.SystemClock()
    progress = at("sync", step_began=steady.now())
    wall.off = datetime.timedelta(days=2)
    decision = machine.decide(move(), progress, wait("42 %"), steady.now())
    assert isinstance(decision, machine.Pause) and decision.progress.direction is Direction.FORWARD
