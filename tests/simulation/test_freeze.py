"""What is asked of hosts while a domain stands still, and right after it was set going again."""

from __future__ import annotations

from collections import Counter

import pytest

from reconciler.execution.executor import Executor
from reconciler.model.move import Progress
from reconciler.moves.machine import RESUME_S
from tests.simulation.campaign.cases import replay
from tests.simulation.campaign.run import Run

Asked = list[tuple[float, str, str]]


def asked(scenario: str, fault: str = "") -> Asked:
    """When which host was told what, undisturbed but for one fault at GO."""
    found: Asked = []
    run: Run

    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        if place != "before":
            return None
        found.append((run.world.now_s, host, " ".join(argv)))
        return fault if argv[:2] == ("xl", "unpause") and host == "xen2" and fault else None

    run = Run(scenario, choose)
    assert run.go().status == "moved"
    return found


def index(found: Asked, words: str, host: str = "xen2") -> int:
    return next(n for n, (_, name, said) in enumerate(found) if name == host and words in said)


def test_a_host_is_looked_at_once_behind_what_it_was_told_in_the_freeze() -> None:
    """Its processors have the copy's disks and network to open meanwhile."""
    found = asked("live")
    behind = found[index(found, "drbdsetup down") + 1 : index(found, "xl unpause")]
    told = Counter(said for _, name, said in behind if name == "xen2")
    changes = {said for said in told if "dmsetup load" in said or "dmsetup resume" in said}
    asked_for = told - Counter(changes)
    assert changes == {"dmsetup resume --noudevsync --nolockfs vg-web1--root vg-web1--data"}
    assert asked_for.pop("dmsetup table") == 2, "once, and once for GO"
    assert set(asked_for.values()) == {1}


@pytest.mark.parametrize("scenario", ["move", "stream", "live"])
def test_nothing_is_asked_while_a_guest_connects_its_devices(scenario: str) -> None:
    found = asked(scenario)
    go = index(found, "xl unpause")
    assert found[go + 1][0] - found[go][0] >= RESUME_S


class Impatient(Run):
    """A daemon that takes a journey up again before it asked to be: a pass came in between."""

    taken_up = 0

    def _advance(self, executor: Executor, progress: Progress) -> tuple[Progress, float]:
        progress, pause_s = super()._advance(executor, progress)
        if pause_s and progress.step == "go":
            before = self.stand.sim.count
            again, left_s = executor.advance(self.order, progress, self._stop)
            assert (again, left_s, self.stand.sim.count) == (progress, RESUME_S, before)
            self.taken_up += 1
        return progress, pause_s


def test_a_pass_in_between_does_not_end_that() -> None:
    run = Impatient("live", lambda number, place, host, argv: None)
    assert run.go().status == "moved"
    assert run.taken_up == 1


def test_whether_it_runs_is_asked_at_once_where_that_is_not_known() -> None:
    found = asked("live", "done-but-failed")
    go = index(found, "xl unpause")
    assert found[go + 1][0] - found[go][0] < RESUME_S


def test_what_a_fresh_step_acts_on_is_read_right_before() -> None:
    """Not behind its last commands: somebody extends the volumes in between, and the guest uses the room."""
    outcome = replay("stream-back-sync:126:extend@back-source-plain")
    assert (outcome.status, outcome.trouble) == ("back", "")
    assert outcome.faults
