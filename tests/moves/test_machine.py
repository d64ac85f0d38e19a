"""Every branch of the decision: (order, progress, verdict, now) -> what comes next."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from reconciler.model.command import Answer, Command, NoAnswer, Skip, Skipped
from reconciler.model.move import Direction, Order, Phase, Progress, Reason, Status
from reconciler.moves import guards, machine, recipe
from reconciler.moves.cutover import stops
from reconciler.moves.step import DONE, READY, Mark, Verdict, in_doubt, wait, wrong
from tests.moves.journeys import at, back, live_move, move, pivot_move, provision, stream_move
from tests.planning.site import NOW

ORDER = move()


def later(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


def test_a_wait_that_is_wanted_has_no_deadline() -> None:
    since = at("sync", step_began=NOW - datetime.timedelta(days=9), sync_percent=10.0)
    paused = Verdict(Mark.WAIT, "paused", 20.0, at_rest=True)
    decision = machine.decide(ORDER, since, paused, NOW)
    assert decision == machine.Pause(
        replace(since, step_began=NOW, sync_percent=20.0, detail="paused"), machine.POLL_S
    )
    assert isinstance(machine.decide(ORDER, since, replace(paused, at_rest=False), NOW), machine.GoOn)
    assert isinstance(machine.decide(ORDER, decision.progress, wait("syncs"), later(1)), machine.Pause)


def test_begin() -> None:
    progress = machine.begin(ORDER, NOW)
    assert (progress.step, progress.direction, progress.status) == (
        "take-epoch",
        Direction.FORWARD,
        Status.ACTIVE,
    )
    assert progress == Progress(Direction.FORWARD, "take-epoch", Status.ACTIVE, 0, NOW)
    assert machine.begin(provision(), NOW).step == "take-epoch"


def test_done_goes_on_to_the_next_step() -> None:
    decision = machine.decide(ORDER, at("connect", reason=Reason.DEADLINE, detail="x"), DONE, NOW)
    assert isinstance(decision, machine.GoOn)
    assert (decision.progress.step, decision.progress.reason, decision.progress.detail) == ("sync", None, "")


WINDOWED = replace(ORDER, policy=replace(ORDER.policy, cutover_window="22:00-04:00"))
OPENS = NOW.replace(hour=22, minute=0, second=0, microsecond=0)


@pytest.mark.parametrize(
    ("before_s", "pause_s"), [(3600.0, machine.WINDOW_POLL_S), (60.5, 60.0), (59.0, 59.0), (0.25, 0.25)]
)
def test_all_is_ready_and_the_window_is_not_open(before_s: float, pause_s: float) -> None:
    now = OPENS - datetime.timedelta(seconds=before_s)
    ready = at("cutover-ready", attempts=1, status=Status.HELD, reason=Reason.UNREACHABLE, detail="silence")
    decision = machine.decide(WINDOWED, replace(ready, sync_percent=100.0), DONE, now)
    why = f"in step; changes hosts between 22:00 and 04:00 UTC, next at {OPENS:%d %b} 22:00"
    waiting = replace(at("cutover-ready"), step_began=now, detail=why, sync_percent=100.0)
    assert decision == machine.Pause(waiting, pause_s)


def test_what_waits_for_its_window_is_not_late() -> None:
    """Its deadline counts from when it was last ready."""
    now = OPENS - datetime.timedelta(seconds=1)
    since = at("cutover-ready", step_began=now - datetime.timedelta(days=9))
    decision = machine.decide(WINDOWED, since, DONE, now)
    assert isinstance(decision, machine.Pause)
    assert isinstance(machine.decide(WINDOWED, decision.progress, wait("not in step"), OPENS), machine.Pause)


@pytest.mark.parametrize("order", [ORDER, WINDOWED])
def test_an_open_window_or_none_holds_nothing_up(order: Order) -> None:
    decision = machine.decide(order, at("cutover-ready"), DONE, OPENS)
    assert isinstance(decision, machine.GoOn)
    assert decision.progress.step == "source-autostart-off"


def test_only_the_change_of_hosts_waits_for_a_window() -> None:
    shut = OPENS - datetime.timedelta(hours=1)
    for direction in Direction:
        for step in recipe.steps(WINDOWED, direction):
            progress = replace(at(step.name), direction=direction)
            decision = machine.decide(WINDOWED, progress, DONE, shut)
            waits = step.name == "cutover-ready" and direction is Direction.FORWARD
            assert isinstance(decision, machine.Pause) is waits, step.name
    trouble = machine.decide(WINDOWED, at("cutover-ready"), wrong("swollen"), shut)
    assert isinstance(trouble, machine.GoOn)
    assert trouble.progress.direction is Direction.BACK


@pytest.mark.parametrize("order", [ORDER, pivot_move(), stream_move(), live_move()])
def test_a_domain_is_not_suspended_outside_its_window_either(order: Order) -> None:
    """The daemon may have been away since the window was found open."""
    order = replace(order, policy=WINDOWED.policy)
    stop = stops(order)
    shut = OPENS - datetime.timedelta(hours=1)
    to_the_gate = machine.GoOn(at("cutover-ready", step_began=shut))
    assert machine.decide(order, at(stop), READY, shut) == to_the_gate, "what has to hold is looked at there"
    assert machine.waits_at_gate(order, at(stop), shut)
    assert isinstance(machine.decide(order, at(stop), READY, OPENS), machine.Act)
    begun = at(stop, stop, attempts=0)
    assert isinstance(machine.decide(order, begun, READY, shut), machine.Act), "once begun it is seen through"
    assert not machine.waits_at_gate(order, begun, shut)
    assert not machine.waits_at_gate(order, at("sync"), shut)
    assert not machine.waits_at_gate(order, at("attach-suspend"), shut)
    assert not machine.waits_at_gate(order, at("of another version"), shut)
    assert not machine.waits_at_gate(replace(order, policy=ORDER.policy), at("cutover-ready"), shut)


def test_a_window_goes_by_the_time_of_day_as_it_is_set_now() -> None:
    shut = OPENS - datetime.timedelta(hours=1)
    assert isinstance(machine.decide(WINDOWED, at("cutover-ready"), DONE, shut, OPENS), machine.GoOn)
    decision = machine.decide(WINDOWED, at("cutover-ready"), DONE, OPENS, shut)
    assert isinstance(decision, machine.Pause)
    assert decision.progress.step_began == OPENS


def test_who_waits_for_a_window_has_the_patience_of_a_sync() -> None:
    waiting = at("cutover-ready", unknown_since=NOW)
    for seconds in (61, machine.MIRROR_PATIENCE_S - 1):
        assert isinstance(machine.decide(ORDER, waiting, "no answer", later(seconds)), machine.Pause)
    gone = machine.decide(ORDER, waiting, "no answer", later(machine.MIRROR_PATIENCE_S + 1))
    assert isinstance(gone, machine.GoOn)
    assert gone.progress.direction is Direction.BACK


def test_a_patient_step_tries_again_now_and_then_and_never_fails_by_it() -> None:
    """Another rate that cannot be set must not cost the sync."""
    told = Verdict(Mark.READY, "its rate is to be 7 MB a second", sync_percent=40.0)
    first = machine.decide(ORDER, at("sync"), told, NOW)
    assert isinstance(first, machine.Act)
    failed = replace(first.progress, unsure=True, attempts=99)
    waiting = machine.decide(ORDER, failed, told, NOW)
    assert isinstance(waiting, machine.Pause)
    assert waiting.seconds == machine.POLL_S
    assert (waiting.progress.detail, waiting.progress.sync_percent) == (told.why, 40.0)
    again = machine.decide(ORDER, waiting.progress, told, later(machine.HOLD_RETRY_S - 1))
    assert isinstance(again, machine.Pause)
    due = machine.decide(ORDER, again.progress, told, later(machine.HOLD_RETRY_S))
    assert isinstance(due, machine.Act)
    assert due.progress.retry_at is None
    late = ORDER.policy.sync_deadline_s + 1
    over = machine.decide(ORDER, replace(failed, retry_at=later(2 * late)), told, later(late))
    assert isinstance(over, machine.GoOn)
    assert over.progress.reason is Reason.DEADLINE
    assert isinstance(machine.decide(ORDER, again.progress, DONE, NOW), machine.GoOn)


def test_what_a_patient_step_does_in_vain_is_tried_now_and_then() -> None:
    """Commands that end well and change nothing; one that was of use makes the next count anew."""
    progress, now_s = at("sync"), 0
    for _ in range(recipe.find(ORDER, Direction.FORWARD, "sync").max_attempts):
        decision = machine.decide(ORDER, progress, READY, later(now_s))
        assert isinstance(decision, machine.Act)
        progress = decision.progress
    useful = machine.decide(ORDER, progress, wait("syncs"), NOW)
    assert isinstance(machine.decide(ORDER, useful.progress, READY, NOW), machine.Act)
    for _ in range(3):
        for after_s in range(0, 60, 10):
            decision = machine.decide(ORDER, progress, READY, later(now_s + after_s))
            assert isinstance(decision, machine.Pause)
            progress = decision.progress
        now_s += 60
        decision = machine.decide(ORDER, progress, READY, later(now_s))
        assert isinstance(decision, machine.Act)
        progress = decision.progress


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


def test_what_must_last_is_done_only_once_all_commands_have_ended_well() -> None:
    ran = [("xen2", Command(("mv",)), Answer(0, "", "")), ("xen2", Command(("sync",)), NoAnswer("lost"))]
    for name, unsure in (("target-autostart", machine.Act), ("source-drbd-down", machine.GoOn)):
        tried = machine.after(replace(at(name, attempts=1), unsure=True), ran)
        assert isinstance(machine.decide(ORDER, tried, DONE, NOW), unsure)
        well = machine.after(tried, ran[:1])
        assert not isinstance(machine.decide(ORDER, well, DONE, NOW), machine.Act)
    assert not well.at("sync", NOW).unsure


def test_a_copy_that_its_host_started_by_itself_is_not_taken_back() -> None:
    verdict = Verdict(Mark.WRONG, "runs there", ran_there=True)
    for order, step in ((provision(), "back-provision-removed"), (ORDER, "back-target-destroyed")):
        there = machine.decide(order, back(step), verdict, NOW).progress
        assert machine.turn_back(order, there, Reason.ABORTED, "asked", NOW) is None


def test_the_way_back_can_start_over() -> None:
    verdict = Verdict(Mark.WRONG, "gone", start_over=True)
    decision = machine.decide(ORDER, back("back-source-still", reason=Reason.DEADLINE), verdict, later(5))
    assert isinstance(decision, machine.GoOn)
    assert (decision.progress.step, decision.progress.reason) == ("back-target-fence", Reason.DEADLINE)
    assert decision.progress.step_began == later(5), "its deadlines begin anew"
    onwards = machine.decide(ORDER, at("sync"), verdict, NOW)
    assert onwards.progress.step == "back-target-fence" and onwards.progress.direction is Direction.BACK


# -- silence --------------------------------------------------------------------------------------


def test_silence_is_waited_for_first() -> None:
    decision = machine.decide(ORDER, at("ship"), "no answer", NOW)
    assert isinstance(decision, machine.Pause)
    assert decision == machine.Pause(at("ship", unknown_since=NOW, detail="no answer"), machine.POLL_S)
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
    gone = [("xen2", COMMAND, Answer(0, "", "")), ("xen1", COMMAND, Skipped(Skip.REWOUND, "no number"))]
    assert machine.rewound(gone) == "xen1: the host was put back to an earlier state: no number"
    assert machine.rewound(stale) is machine.stale(gone) is None
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
    for order in (ORDER, pivot_move(), provision()):
        for direction in Direction:
            names = [step.name for step in recipe.steps(order, direction)]
            assert len(names) == len(set(names))
    with pytest.raises(KeyError):
        recipe.find(ORDER, Direction.FORWARD, "of another version")


# -- the whole decision -----------------------------------------------------------------------------

T1 = later(1000)
FULL = {
    "attempts": 1,
    "detail": "before",
    "retry_at": later(30),
    "sync_percent": 40.0,
    "unknown_since": NOW,
    "busy_since": later(7),
    "serial": 3,
}
"""Progress with something in every place."""
HEARD = FULL | {"unknown_since": None}
FRESH = {"attempts": 0, "retry_at": None, "unknown_since": None, "busy_since": None, "step_began": T1}
"""What a new step begins with."""
TURNED = dict(FULL, **FRESH, direction=Direction.BACK, serial=4)
HELD = {"status": Status.HELD, "retry_at": later(1060)}
AFTER_GO = ("target-restore", "go")


@pytest.mark.parametrize(
    ("progress", "verdict", "expected"),
    [
        (
            at("connect", "x", **FULL, reason=Reason.BUSY),
            DONE,
            machine.GoOn(at("sync", "x", **FULL | FRESH | {"detail": ""})),
        ),
        (
            back("back-source-flip", "x", **FULL | {"serial": 1}, reason=Reason.BUSY),
            DONE,
            machine.GoOn(
                back("back-source-restore", "x", **FULL | FRESH | {"serial": 1}, reason=Reason.BUSY)
            ),
        ),
        (
            at("target-leftovers", **FULL),
            DONE,
            machine.End(
                at("target-leftovers", **FULL | FRESH | {"status": Status.MOVED, "sync_percent": 100.0})
            ),
        ),
        (
            back("back-source-still", **FULL | {"serial": 1}, reason=Reason.BUSY),
            DONE,
            machine.End(
                back(
                    "back-source-still",
                    **FULL | FRESH | {"serial": 1, "status": Status.BACK, "sync_percent": None},
                    reason=Reason.BUSY,
                )
            ),
        ),
        (at("ship", **FULL), READY, machine.Act(at("ship", **HEARD | {"attempts": 2, "retry_at": None}))),
        (
            at("ship", **FULL | {"status": Status.HELD, "retry_at": T1}, reason=Reason.DEADLINE),
            READY,
            machine.Act(at("ship", **HEARD | {"retry_at": None}, reason=Reason.DEADLINE)),
        ),
        (
            at("ship", **FULL | HELD, reason=Reason.DEADLINE),
            READY,
            machine.Pause(at("ship", **HEARD | HELD, reason=Reason.DEADLINE), 60.0),
        ),
        (
            at("connect", **FULL | {"attempts": 3}),
            READY,
            machine.GoOn(
                back(
                    "back-target-fence",
                    **TURNED | {"reason": Reason.STEP_FAILED, "detail": "at step connect: before"},
                )
            ),
        ),
        (
            at("sync", **FULL),
            wait("oos", 50.0),
            machine.Pause(at("sync", **HEARD | {"attempts": 0, "detail": "oos", "sync_percent": 50.0}), 2.0),
        ),
        (
            at("ship", **FULL, step_began=later(879)),
            wait("slow"),
            machine.GoOn(
                back(
                    "back-target-fence",
                    **TURNED | {"reason": Reason.DEADLINE, "detail": "at step ship: after 121 s: slow"},
                )
            ),
        ),
        (
            at("ship", **FULL, step_began=later(880)),
            wait("slow"),
            machine.Pause(at("ship", **HEARD | {"detail": "slow"}, step_began=later(880)), 2.0),
        ),
        (
            at("ship", **FULL | HELD, reason=Reason.DEADLINE),
            wait("slow"),
            machine.Pause(at("ship", **HEARD | HELD | {"detail": "slow"}, reason=Reason.DEADLINE), 2.0),
        ),
        (
            at("go", *AFTER_GO, **FULL),
            wrong("odd"),
            machine.Pause(
                at("go", *AFTER_GO, **HEARD | HELD | {"detail": "odd"}, reason=Reason.OUTCOME_UNKNOWN), 60.0
            ),
        ),
        (
            at("source-drbd-down", *AFTER_GO, **FULL),
            wrong("odd"),
            machine.Pause(
                at(
                    "source-drbd-down",
                    *AFTER_GO,
                    **HEARD | HELD | {"detail": "odd"},
                    reason=Reason.PRECONDITION,
                ),
                60.0,
            ),
        ),
        (
            at("go", *AFTER_GO, **FULL),
            Verdict(Mark.WRONG, "both", two_runners=True),
            machine.Pause(
                at(
                    "go",
                    *AFTER_GO,
                    **HEARD | {"detail": "both", "status": Status.HELD, "retry_at": None},
                    reason=Reason.TWO_RUNNERS,
                ),
                60.0,
            ),
        ),
        (
            back("back-target-destroyed", *AFTER_GO, **FULL | {"serial": 3}, reason=Reason.BUSY),
            Verdict(Mark.WRONG, "it ran", ran_there=True),
            machine.GoOn(at("go", *AFTER_GO, **FULL | FRESH | {"detail": "it ran", "serial": 4})),
        ),
        (
            back("back-source-still", *AFTER_GO, **FULL | {"serial": 3}, reason=Reason.BUSY),
            Verdict(Mark.WRONG, "gone", start_over=True),
            machine.GoOn(
                back("back-target-fence", *AFTER_GO, **FULL | FRESH | {"serial": 3}, reason=Reason.BUSY)
            ),
        ),
        (
            at("ship", **FULL | {"unknown_since": later(941)}),
            "silent",
            machine.Pause(at("ship", **FULL | {"unknown_since": later(941), "detail": "silent"}), 2.0),
        ),
        (
            at("ship", **FULL | {"unknown_since": later(940)}),
            "silent",
            machine.GoOn(
                back(
                    "back-target-fence",
                    **TURNED | {"reason": Reason.UNREACHABLE, "detail": "at step ship: silent"},
                )
            ),
        ),
        (
            at("go", *AFTER_GO, **FULL),
            "silent",
            machine.Pause(
                at("go", *AFTER_GO, **FULL | HELD | {"detail": "silent"}, reason=Reason.OUTCOME_UNKNOWN),
                60.0,
            ),
        ),
    ],
)
def test_whole(progress: Progress, verdict: Verdict | str, expected: machine.Decision) -> None:
    assert machine.decide(ORDER, progress, verdict, T1) == expected


def test_the_whole_of_a_busy_host() -> None:
    waits = machine.busy(ORDER, at("ship", **FULL | {"busy_since": later(941)}), "busy", T1)
    kept = at("ship", **FULL | {"busy_since": later(941), "attempts": 0, "detail": "busy"})
    assert waits == machine.Pause(kept, 2.0)
    turned = machine.busy(ORDER, at("ship", **FULL | {"busy_since": later(940)}), "busy", T1)
    expected = back("back-target-fence", **TURNED | {"reason": Reason.BUSY, "detail": "at step ship: busy"})
    assert turned == machine.Pause(expected, 2.0)
    held = machine.busy(ORDER, at("go", *AFTER_GO, **FULL), "busy", T1)
    kept = at("go", *AFTER_GO, **FULL | HELD | {"attempts": 0, "detail": "busy"}, reason=Reason.BUSY)
    assert held == machine.Pause(kept, 60.0)


@pytest.mark.parametrize("progress", [at("sync", **HEARD), back("back-source-flip", **HEARD | {"serial": 4})])
def test_disks_in_doubt_are_for_a_person(progress: Progress) -> None:
    held = machine.decide(ORDER, progress, in_doubt("the target may be newer"), T1)
    kept = {"status": Status.HELD, "retry_at": None, "reason": Reason.DISKS}
    assert held == machine.Pause(replace(progress, **kept, detail="the target may be newer"), 60.0)
    again = machine.decide(ORDER, held.progress, wrong("something else as well"), later(99999))
    assert again == held, "neither going back nor another reason takes it from that person"
    assert isinstance(machine.decide(ORDER, held.progress, READY, later(99999)), machine.Pause)


def test_a_hold_keeps_its_time_until_it_is_due() -> None:
    held = at("go", *AFTER_GO, **HEARD | HELD, reason=Reason.OUTCOME_UNKNOWN)
    for now, retry_at in ((later(1059), later(1060)), (later(1060), later(1120))):
        decision = machine.decide(ORDER, held, wrong("odd"), now)
        assert decision == machine.Pause(replace(held, detail="odd", retry_at=retry_at), 60.0)
    alarm = machine.decide(ORDER, held, Verdict(Mark.WRONG, "both", two_runners=True), later(1060)).progress
    assert alarm.retry_at is None


def test_the_whole_after_commands() -> None:
    busy = at("ship", **FULL, pending=True)
    calm = replace(busy, pending=False, busy_since=None)
    assert machine.after(busy, []) == calm
    assert machine.after(busy, [("xen1", COMMAND, Answer(0, "", ""))]) == calm
    told = machine.after(busy, [("xen1", COMMAND, Answer(3, "", "no space"))])
    assert told == replace(calm, unsure=True, detail="xen1: «xl save web1» exited 3: no space")
    lost = machine.after(busy, [("xen1", COMMAND, Answer(3, "", "x")), ("xen2", COMMAND, NoAnswer("cut"))])
    assert (lost.serial, lost.detail) == (4, "xen1: «xl save web1» exited 3: x")
    skipped = machine.after(busy, [("xen2", COMMAND, Skipped(Skip.BUSY))])
    assert skipped.serial == 3 and skipped.detail.startswith("xen2: ")


def test_what_is_uncertain_counts_once() -> None:
    lost = [("xen1", COMMAND, NoAnswer("cut"))]
    with guards.without("late"):
        assert machine.after(at("ship", serial=3), lost).serial == 3
    for attempts, left in ((0, 0), (1, 0), (2, 1)):
        found = machine.recovered(at("ship", serial=3, attempts=attempts, pending=True))
        assert found == at("ship", serial=4, attempts=left)


def test_every_step_has_a_claim_of_its_own() -> None:
    sent = machine.acting(at("ship", "sync", **FULL), recipe.find(ORDER, Direction.FORWARD, "ship"))
    assert sent == at("ship", "sync", "ship", **FULL | {"serial": 4}, pending=True, unsure=True)


def test_a_host_that_knows_a_newer_claim_ends_all_trying() -> None:
    verdict = Verdict(Mark.WRONG, "epoch 9 is known", stale=True)
    for progress in (at("ship", **HEARD), back("back-target-fence", **HEARD)):
        decision = machine.decide(ORDER, progress, verdict, T1)
        kept = {"status": Status.HELD, "retry_at": None, "reason": Reason.STALE_EPOCH}
        assert decision == machine.Pause(replace(progress, **kept, detail="epoch 9 is known"), 60.0)
    held = at("ship", **HEARD | HELD, reason=Reason.DEADLINE)
    kept = {"status": Status.HELD, "retry_at": later(1060), "reason": Reason.STALE_EPOCH, "detail": "newer"}
    assert machine.hold_stale(held, "newer", T1).progress == replace(held, **kept)


def test_a_deadline_after_go_goes_back_only_from_a_copy_that_never_ran() -> None:
    late = at("go", *AFTER_GO, step_began=later(-5))
    for verdict, way in (
        (wait("slow"), Direction.FORWARD),
        (Verdict(Mark.WAIT, "slow", never_ran=True), Direction.BACK),
    ):
        decision = machine.decide(ORDER, late, verdict, later(116))
        assert decision.progress.direction is way
        assert decision.progress.reason is (
            Reason.DEADLINE if way is Direction.BACK else Reason.OUTCOME_UNKNOWN
        )


def test_the_words_of_the_guard() -> None:
    fine = ("xen1", COMMAND, Answer(0, "", ""))
    stale = [fine, ("xen2", COMMAND, Skipped(Skip.STALE_EPOCH, "epoch 1 is older than 2"))]
    assert machine.stale(stale) == "xen2: the host knows a newer epoch of the domain: epoch 1 is older than 2"
    busy = machine.still_busy([fine, ("xen2", COMMAND, Skipped(Skip.BUSY, "pid 7"))])
    assert busy is not None and busy.startswith("xen2: ") and "pid 7" in busy
    held = machine.hold_stale(at("ship", **HEARD), "newer", T1)
    kept = at(
        "ship",
        **HEARD | {"status": Status.HELD, "detail": "newer", "retry_at": None},
        reason=Reason.STALE_EPOCH,
    )
    assert held == machine.Pause(kept, 60.0)


def test_what_another_process_left_waits_anew_by_this_ones_clock() -> None:
    year = 365 * 86400.0
    left = at("sync", step_began=later(-year), unknown_since=later(year), busy_since=later(year))
    progress = machine.taken_over(left, NOW)
    assert progress == at("sync", step_began=NOW)
    decision = machine.decide(ORDER, progress, wait("42 %"), NOW)
    assert isinstance(decision, machine.Pause) and decision.progress.direction is Direction.FORWARD
    held = machine.taken_over(at("sync", status=Status.HELD, retry_at=later(year)), NOW)
    assert isinstance(machine.decide(ORDER, held, READY, NOW), machine.Act)
    for_people = machine.taken_over(at("go", status=Status.HELD, reason=Reason.TWO_RUNNERS), NOW)
    assert isinstance(machine.decide(ORDER, for_people, READY, NOW), machine.Pause)


@pytest.mark.parametrize("reason", [Reason.DISKS, Reason.STALE_EPOCH])
@pytest.mark.parametrize("verdict", ["no answer", wrong("xen1 has rebooted")])
def test_what_only_a_person_can_decide_is_not_decided_by_silence_or_a_reboot(
    reason: Reason, verdict: Verdict | str
) -> None:
    held = replace(at("sync"), status=Status.HELD, reason=reason, detail="why", unknown_since=NOW)
    later = NOW + datetime.timedelta(days=1)
    assert machine.decide(ORDER, held, verdict, later) == machine.Pause(held_since(held, verdict), 60.0)


def held_since(held: Progress, verdict: Verdict | str) -> Progress:
    """A verdict that could be given says that the hosts have answered."""
    return held if isinstance(verdict, str) else replace(held, unknown_since=None)


@pytest.mark.parametrize("order", [pivot_move(), stream_move(), live_move()])
def test_a_mirror_is_in_step_and_goes_no_further(order: Order) -> None:
    """Until a commit wants the domain there: then it is a move like any other."""
    mirror, stop = replace(order, standby=True), stops(order)
    decision = machine.decide(mirror, at("cutover-ready"), DONE, OPENS)
    why = "in step; web1 changes to xen2 when a commit wants it there"
    assert decision == machine.Pause(
        replace(at("cutover-ready"), step_began=OPENS, detail=why), machine.WINDOW_POLL_S
    )
    assert isinstance(machine.decide(order, at("cutover-ready"), DONE, OPENS), machine.GoOn)
    again = machine.decide(mirror, at(stop), READY, OPENS)
    assert again == machine.GoOn(at("cutover-ready", step_began=OPENS)), "a commit wants it no more"
    behind = machine.decide(mirror, at("cutover-ready"), wait("not in step"), OPENS)
    assert behind == machine.GoOn(at("sync", step_began=OPENS))
    assert isinstance(machine.decide(order, at("cutover-ready"), wait("not in step"), OPENS), machine.Pause)
    assert isinstance(machine.decide(mirror, at("sync"), DONE, OPENS), machine.GoOn)
    for name in ("cutover-ready", stop):
        assert machine.waits_at_gate(mirror, at(name), OPENS)
    lost = machine.decide(mirror, at("cutover-ready"), wrong("xen2 has rebooted"), OPENS)
    assert isinstance(lost, machine.GoOn) and lost.progress.direction is Direction.BACK


@pytest.mark.parametrize("order", [ORDER, pivot_move(), stream_move(), live_move()])
def test_until_when_giving_a_move_up_costs_only_its_sync(order: Order) -> None:
    stop, cheap = stops(order), []
    for step in recipe.steps(order, Direction.FORWARD):
        if machine.before_stop(order, at(step.name)):
            cheap.append(step.name)
        before = step.phase in (Phase.ATTACH, Phase.MIRROR)
        assert machine.before_stop(order, at(step.name, stop)) is before
    assert cheap[0] == "take-epoch" and {"sync", "cutover-ready", stop} <= {*cheap}
    assert "target-runs" not in cheap
    assert not machine.before_stop(order, back("back-source-fence"))
