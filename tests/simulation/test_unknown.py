"""A fact that only a step's commands need is not known: nothing is begun, the journey goes on later."""

from __future__ import annotations

from reconciler.execution.executor import Executor
from reconciler.model.command import NoAnswer, Outcome, Script
from reconciler.model.move import Status
from reconciler.moves import machine
from reconciler.moves.journal import Journal
from reconciler.simulator.runner import SimRunner
from reconciler.simulator.simclock import SimClock
from tests.simulation.campaign.run import Run

STEP = "source-volumes-removed"
REASON = "still running at its deadline"


class Silent:
    """`dmsetup table` on the source does not answer while it is to be silent."""

    def __init__(self, runner: SimRunner) -> None:
        self.runner, self.silent = runner, False

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        outcomes = self.runner.run(host, script)
        return tuple(
            NoAnswer(REASON)
            if self.silent and host == "xen1" and command.argv[:2] == ("dmsetup", "table")
            else outcome
            for command, outcome in zip(script.commands, outcomes, strict=True)
        )


def test_a_step_is_not_begun_without_what_its_commands_need() -> None:
    run = Run("live")
    clock, journal = SimClock(run.world), Journal(None)
    runner = Silent(SimRunner(run.world))
    executor = Executor(runner, journal, clock)
    progress = machine.begin(run.order, clock.now())
    journal.begin(run.order, progress, clock.now())
    while progress.step != STEP:
        progress, _ = executor.advance(run.order, progress, lambda: journal.active()[0].progress.step == STEP)
        run.world.advance(1.0)
    runner.silent = True
    progress, pause_s = executor.advance(run.order, progress)
    assert (progress.step, progress.attempts, STEP in progress.tried) == (STEP, 0, False)
    assert pause_s > 0
    assert progress.unknown_since is not None
    assert REASON in progress.detail
    assert {"web1-root", "web1-data"} <= set(run.world.hosts["xen1"].groups["vg"].volumes)
    runner.silent = False
    while not progress.ended:
        progress, pause_s = executor.advance(run.order, progress)
        run.world.advance(pause_s)
    assert progress.status is Status.MOVED
    assert not run.world.hosts["xen1"].groups["vg"].volumes
