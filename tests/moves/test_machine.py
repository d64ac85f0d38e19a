"""Every branch of the decision: (order, progress, verdict, now) -> what comes next."""

from __future__ import annotations

import datetime

import pytest

from reconciler.model.command import Answer, Command, NoAnswer, Skip, Skipped
from reconciler.model.move import Direction, Reason, Status
from reconciler.moves import machine, recipe
from reconciler.moves.step import DONE, READY, Mark, Verdict, wait, wrong
from tests.moves.journeys import at, back, move, provision
from tests.planning.site import NOW

ORDER = move()


def later(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


def test_begin() -> None:
    progress = machine.begin(ORDER, NOW)
    assert (progress.step, progress.direction, progress.status) == (
        "take-epoch",
        Direction.FORWARD,
        Status.ACTIVE,
    )
    assert machine.begin(provision(), NOW).step == "take-epoch"


def test_done_goes_on_to_the_next_step() -> None:
    decision = machine.decide(ORDER, at("connect", reason=Reason.DEADLINE, detail="x"), DONE, NOW)
    assert isinstance(decision, machine.GoOn)
    assert (decision.progress.step, decision.progress.reason, decision.progress.detail) == ("sync", None, "")


def test_done_with_the_last_step_ends() -> None:
    decision = machine.decide(ORDER, at("target-leftovers"), DONE, NOW)
    assert isinstance(decision, machine.End)
    assert (decision.progress.status, decision.progress.sync_percent) == (Status.MOVED, 100.0)
    decision = machine.decide(ORDER, back("back-source-still", reason=Reason.DEADLINE), DONE, NOW)
    assert isinstance(decision, machine.End)
    assert (decision.progress.status, decision.progress.reason) == (Status.BACK, Reason.DEADLINE)


def test_going_back_keeps_its_reason_from_step_to_step() -> None:
    progress = back("back-source-flip", reason=Reason.DEADLINE, detail="slow")
    decision = machine.decide(ORDER, progress, DONE, NOW)
    assert isinstance(decision, machine.GoOn)
    assert (decision.progress.reason, decision.progress.detail) == (Reason.DEADLINE, "slow")


def test_ready_acts_up_to_the_bound_then_goes_back() -> None:
    decision = machine.decide(ORDER, at("connect", attempts=2), READY, NOW)
    assert isinstance(decision, machine.Act) and decision.progress.attempts == 3
    decision = machine.decide(ORDER, at("connect", attempts=3, detail="exited 1"), READY, NOW)
    assert isinstance(decision, machine.GoOn)
    assert decision.progress.direction is Direction.BACK
    assert decision.progress.step == "back-target-fence"
    assert decision.progress.reason is Reason.STEP_FAILED
    assert decision.progress.detail == "at step connect: exited 1"
    assert decision.progress.serial == 1, "what was sent before the turn must be refused from now on"


def test_ready_beyond_the_bound_on_the_way_back_is_held_and_tried_again() -> None:
    decision = machine.decide(ORDER, back("back-source-flip", attempts=2, detail="x"), READY, NOW)
    assert isinstance(decision, machine.Pause)
    held = decision.progress
    assert (held.status, held.reason, held.retry_at) == (Status.HELD, Reason.STEP_FAILED, later(60))
    assert isinstance(machine.decide(ORDER, held, READY, later(59)), machine.Pause)
    again = machine.decide(ORDER, held, READY, later(60))
    assert isinstance(again, machine.Act)
    assert (again.progress.status, again.progress.attempts) == (Status.ACTIVE, 1)


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.OUTCOME_UNKNOWN, Reason.BUSY])
def test_what_heals_goes_on_at_once(reason: Reason) -> None:
    held = at("go", status=Status.HELD, reason=reason)
    assert isinstance(machine.decide(ORDER, held, READY, NOW), machine.Act)


def test_a_wait_within_its_deadline() -> None:
    decision = machine.decide(ORDER, at("sync"), wait("oos", 40.0), later(100))
    assert isinstance(decision, machine.Pause)
    assert (decision.seconds, decision.progress.sync_percent) == (machine.POLL_S, 40.0)
    kept = machine.decide(ORDER, decision.progress, wait("oos"), later(101))
    assert kept.progress.sync_percent == 40.0


def test_a_wait_beyond_its_deadline_goes_back() -> None:
    decision = machine.decide(ORDER, at("sync"), wait("oos"), later(90000))
    assert decision.progress.direction is Direction.BACK
    assert decision.progress.reason is Reason.DEADLINE
    held = back("back-source-unpause", status=Status.HELD, reason=Reason.DEADLINE)
    assert machine.decide(ORDER, held, wait("dying"), later(90000)).progress.status is Status.HELD


def test_wrong_goes_back_while_that_is_safe() -> None:
    decision = machine.decide(ORDER, at("ship"), wrong("gone"), NOW)
    assert (decision.progress.direction, decision.progress.reason) == (Direction.BACK, Reason.PRECONDITION)


def test_wrong_after_go_is_held() -> None:
    decision = machine.decide(ORDER, at("go", "go", "target-restore"), wrong("gone"), NOW)
    assert (decision.progress.status, decision.progress.reason) == (Status.HELD, Reason.OUTCOME_UNKNOWN)
    assert decision.progress.direction is Direction.FORWARD


def test_wrong_after_go_goes_back_when_the_copy_never_ran() -> None:
    verdict = Verdict(Mark.WRONG, "other devices", never_ran=True)
    decision = machine.decide(ORDER, at("go", "go", "target-restore"), verdict, NOW)
    assert decision.progress.direction is Direction.BACK


def test_settle_only_goes_forward() -> None:
    verdict = Verdict(Mark.WRONG, "not running", never_ran=True)
    decision = machine.decide(ORDER, at("source-drbd-down"), verdict, NOW)
    assert (decision.progress.status, decision.progress.reason) == (Status.HELD, Reason.PRECONDITION)
    assert decision.progress.direction is Direction.FORWARD


def test_two_runners_are_an_alarm_that_nothing_retries() -> None:
    verdict = Verdict(Mark.WRONG, "both", two_runners=True)
    held = machine.decide(ORDER, at("go", "go"), verdict, NOW).progress
    assert (held.status, held.reason, held.retry_at) == (Status.HELD, Reason.TWO_RUNNERS, None)
    assert isinstance(machine.decide(ORDER, held, READY, later(9999)), machine.Pause)


def test_a_target_that_ran_turns_the_journey_forward_again() -> None:
    verdict = Verdict(Mark.WRONG, "runs there", ran_there=True)
    progress = back("back-target-destroyed", "target-restore", "go")
    decision = machine.decide(ORDER, progress, verdict, NOW)
    assert isinstance(decision, machine.GoOn)
    assert (decision.progress.direction, decision.progress.step) == (Direction.FORWARD, "go")
    assert decision.progress.serial == progress.serial + 1
    there = machine.decide(provision(), back("back-provision-removed", "start"), verdict, NOW)
    assert there.progress.step == "start"


def test_the_way_back_can_start_over() -> None:
    verdict = Verdict(Mark.WRONG, "gone", start_over=True)
    decision = machine.decide(ORDER, back("back-source-still", reason=Reason.DEADLINE), verdict, NOW)
    assert isinstance(decision, machine.GoOn)
    assert (decision.progress.step, decision.progress.reason) == ("back-target-fence", Reason.DEADLINE)


# -- silence --------------------------------------------------------------------------------------


def test_silence_is_waited_for_first() -> None:
    decision = machine.decide(ORDER, at("ship"), "no answer", NOW)
    assert isinstance(decision, machine.Pause)
    assert (decision.progress.unknown_since, decision.progress.status) == (NOW, Status.ACTIVE)
    heard = machine.decide(ORDER, decision.progress, wait("x"), later(1))
    assert heard.progress.unknown_since is None


def test_long_silence_before_any_restore_goes_back_without_the_target() -> None:
    decision = machine.decide(ORDER, at("ship", unknown_since=NOW), "no answer", later(61))
    assert (decision.progress.direction, decision.progress.reason) == (Direction.BACK, Reason.UNREACHABLE)


def test_a_sync_has_more_patience() -> None:
    silent = at("sync", unknown_since=NOW)
    assert isinstance(machine.decide(ORDER, silent, "no answer", later(500)), machine.Pause)
    assert machine.decide(ORDER, silent, "no answer", later(601)).progress.direction is Direction.BACK


def test_long_silence_after_the_restore_is_held() -> None:
    silent = at("go", "target-restore", unknown_since=NOW)
    held = machine.decide(ORDER, silent, "no answer", later(61)).progress
    assert (held.status, held.reason) == (Status.HELD, Reason.UNREACHABLE)
    silent = at("go", "target-restore", "go", unknown_since=NOW)
    held = machine.decide(ORDER, silent, "no answer", later(61)).progress
    assert (held.status, held.reason) == (Status.HELD, Reason.OUTCOME_UNKNOWN)
    again = machine.decide(ORDER, held, "still no answer", later(90)).progress
    assert (again.retry_at, again.detail) == (held.retry_at, "still no answer")


def test_long_silence_in_settle_and_on_the_way_back_is_held() -> None:
    for progress in (
        at("source-drbd-down", "target-restore", "go", unknown_since=NOW),
        back("back-source-flip", unknown_since=NOW),
    ):
        held = machine.decide(ORDER, progress, "no answer", later(61)).progress
        assert (held.status, held.reason) == (Status.HELD, Reason.UNREACHABLE)


# -- commands that did not come back ----------------------------------------------------------------

COMMAND = Command(("xl", "save", "web1"))


def test_the_first_trouble_becomes_the_detail() -> None:
    ran = [("xen1", COMMAND, Answer(0, "", "")), ("xen1", COMMAND, Answer(1, "", "no space"))]
    assert "no space" in machine.after(at("ship", pending=True), ran).detail
    assert machine.after(at("ship", detail="x"), ran[:1]).detail == "x"


def test_an_answer_that_did_not_come_makes_hosts_refuse_it_later() -> None:
    lost = machine.after(at("ship", pending=True), [("xen1", COMMAND, NoAnswer("cut"))])
    assert (lost.serial, lost.pending) == (1, False)
    fine = machine.after(at("ship", pending=True), [("xen1", COMMAND, Answer(1, "", ""))])
    assert (fine.serial, fine.pending) == (0, False)


def test_a_restart_inside_a_step_is_no_attempt() -> None:
    progress = machine.recovered(at("ship", attempts=1, pending=True))
    assert (progress.attempts, progress.serial, progress.pending) == (0, 1, False)
    untouched = at("ship", attempts=1)
    assert machine.recovered(untouched) is untouched


def test_a_refusal_is_recognised() -> None:
    stale = [("xen1", COMMAND, Skipped(Skip.STALE_EPOCH, "epoch 1 is older than 2"))]
    busy = [("xen1", COMMAND, Skipped(Skip.BUSY))]
    assert machine.stale(stale) and not machine.stale(busy)
    assert machine.still_busy(busy) and not machine.still_busy(stale)
    held = machine.hold_stale(at("ship"), "epoch 1 is older than 2", NOW)
    assert (held.progress.status, held.progress.reason) == (Status.HELD, Reason.STALE_EPOCH)
    assert isinstance(machine.decide(ORDER, held.progress, READY, later(9999)), machine.Pause)


def test_a_busy_host_is_waited_for_within_a_bound() -> None:
    first = machine.busy(ORDER, at("ship", attempts=1), "busy", NOW)
    assert (first.progress.attempts, first.progress.busy_since) == (0, NOW)
    turned = machine.busy(ORDER, at("ship", busy_since=NOW), "busy", later(61)).progress
    assert (turned.direction, turned.reason) == (Direction.BACK, Reason.BUSY)
    held = machine.busy(ORDER, at("go", "target-restore", busy_since=NOW), "busy", later(61)).progress
    assert (held.status, held.reason, held.direction) == (Status.HELD, Reason.BUSY, Direction.FORWARD)


# -- going back on request --------------------------------------------------------------------------


def test_turning_back_on_request() -> None:
    turned = machine.turn_back(ORDER, at("sync"), Reason.PLACEMENT_CHANGED, "elsewhere", NOW)
    assert turned is not None and turned.direction is Direction.BACK
    for progress in (
        back("back-source-flip"),
        at("target-leftovers", status=Status.MOVED),
        at("go", "go"),
        at("source-drbd-down"),
    ):
        assert machine.turn_back(ORDER, progress, Reason.PLACEMENT_CHANGED, "elsewhere", NOW) is None


def test_names_of_steps_are_unique() -> None:
    for order in (ORDER, provision()):
        for direction in Direction:
            names = [step.name for step in recipe.steps(order.kind, direction)]
            assert len(names) == len(set(names))
    with pytest.raises(KeyError):
        recipe.find(ORDER, Direction.FORWARD, "of another version")
