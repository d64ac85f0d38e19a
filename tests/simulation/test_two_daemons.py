"""Two daemons with journals of their own begin the same move at the same moment: one makes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.execution.executor import Executor
from reconciler.model.move import LOTS, Order, Progress, Reason, Status
from reconciler.moves import machine
from reconciler.moves.journal import Journal
from reconciler.simulator import checkers
from reconciler.simulator.runner import SimRunner
from reconciler.simulator.simclock import SimClock
from tests.simulation.campaign.run import Run

ROUNDS = 2000


class Daemon:
    """One journey of one daemon, taken one step further at a time."""

    def __init__(self, run: Run, order: Order) -> None:
        self.run, self.order = run, order
        self.journal = Journal(None)
        clock = SimClock(run.world)
        self.progress = machine.begin(order, clock.now())
        self.journal.begin(order, self.progress, clock.now())
        self.executor = Executor(SimRunner(run.world, watch=lambda point: self.check()), self.journal, clock)

    def check(self) -> None:
        assert checkers.violations(self.run.world) == []

    def step(self) -> None:
        """To the next record in the journal."""
        if self.progress.ended:
            return
        asked = 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            return asked > 1

        self.progress, _ = self.executor.advance(self.order, self.progress, stop)


def standing(daemon: Daemon) -> tuple[Status, Reason | None]:
    progress: Progress = daemon.progress
    return progress.status, progress.reason


@pytest.mark.parametrize("lead", [0, 1, 2], ids=["same-moment", "one-ahead", "two-ahead"])
@pytest.mark.parametrize("lots", [(1, 2), (2, 1), (0, LOTS - 1)])
def test_one_makes_the_move_and_the_other_is_held(lots: tuple[int, int], lead: int) -> None:
    run = Run("move")
    first, second = (Daemon(run, replace(run.order, lot=lot)) for lot in lots)
    assert first.order.claim(0).epoch != second.order.claim(0).epoch
    for _ in range(lead):
        first.step()
    for _ in range(ROUNDS):
        first.step()
        second.step()
        run.world.advance(1.0)
        if first.progress.ended and second.progress.status is Status.HELD:
            break
    assert standing(first) == (Status.MOVED, None)
    assert standing(second) == (Status.HELD, Reason.STALE_EPOCH)
    assert "web1" in second.progress.detail
    assert [host.name for host in run.world.hosts.values() if host.domain("web1")] == ["xen2"]
    first.check()
