"""Spans and freezes read from a journal, interrupted ones included."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace

import pytest

from reconciler.commands import drbd
from reconciler.model.move import Direction, Order, Phase, Reason, Status
from reconciler.model.placement import Attach, Cutover
from reconciler.moves.journal import Journal
from reconciler.report.timings import Freeze, FreezeKind, Timings, sample, timings
from tests.report import factory
from tests.report.factory import Story


def read(story: Story) -> Timings:
    return timings(story.record, story.events)


def freezes(story: Story) -> list[tuple[FreezeKind, float | None, float | None, bool]]:
    return [(f.kind, f.seconds, f.predicted_s, f.exact) for f in read(story).freezes]


@pytest.fixture
def story(journal: Journal) -> Story:
    return Story(journal, factory.order())


def test_a_whole_move_has_all_phases_in_order_and_without_gaps(story: Story) -> None:
    story.finish()
    times = read(story)
    assert [phase.phase for phase in times.phases] == [
        Phase.ATTACH,
        Phase.MIRROR,
        Phase.CUTOVER,
        Phase.SETTLE,
    ]
    for spans in (times.phases, times.steps):
        assert spans[0].began == story.record.began
        assert spans[-1].ended == story.record.ended
        assert all(one.ended == other.began for one, other in itertools.pairwise(spans))
    total_s = (story.now - factory.START).total_seconds()
    assert sum(step.seconds or 0 for step in times.steps) == pytest.approx(total_s)


def test_a_freeze_runs_from_the_intent_to_suspend_to_the_answer_of_the_unpause(story: Story) -> None:
    story.until("attach-suspend").wait(7).act(2).act(1).act(1).wait(3).intent().wait(0.5).outcome()
    # suspend 2 + .25, flip 1 + .25, restore 1 + .25, 3 of looking, unpause .5
    assert freezes(story) == [(FreezeKind.ATTACH, 8.25, 3.0, True)]
    assert not read(story).frozen


def test_both_freezes_of_a_move(story: Story) -> None:
    story.finish()
    assert [(kind, predicted, exact) for kind, _, predicted, exact in freezes(story)] == [
        (FreezeKind.ATTACH, 3.0, True),
        (FreezeKind.CUTOVER, 4.0, True),
    ]


def test_a_move_by_pivot_has_one_freeze_and_the_same_phases(journal: Journal) -> None:
    story = Story(journal, replace(factory.order(), attach=Attach.PIVOT)).finish()
    times = read(story)
    assert [phase.phase for phase in times.phases] == [
        Phase.ATTACH,
        Phase.MIRROR,
        Phase.CUTOVER,
        Phase.SETTLE,
    ]
    assert [(kind, predicted, exact) for kind, _, predicted, exact in freezes(story)] == [
        (FreezeKind.CUTOVER, 4.0, True)
    ]
    phases = {step.step: step.phase for step in times.steps}
    assert (phases["source-lower"], phases["source-pivot"]) == (Phase.ATTACH, Phase.ATTACH)
    assert phases["source-flip"] is Phase.ATTACH
    found = sample(story.record, story.events)
    assert found is not None and (found.attach_s, found.cutover_s) == (None, freezes(story)[0][1])


def test_a_stream_freezes_from_its_intent_to_the_answer_of_go(journal: Journal) -> None:
    order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.STREAM)
    story = Story(journal, order).until("cutover-stream").wait(7).intent().wait(2).outcome().done()
    assert read(story).frozen
    story.act(1).act(1).act(1).wait(3).intent().wait(0.5).outcome()
    # stream 2, demote, down and open 1 + .25 each, 3 of looking, unpause .5
    assert freezes(story) == [(FreezeKind.CUTOVER, 9.25, 4.0, True)]
    assert not read(story).frozen
    story.done().finish()
    phases = {step.step: step.phase for step in read(story).steps}
    told = ("target-lower", "cutover-stream", "target-open", "source-destroyed")
    assert [phases[name] for name in told] == [Phase.MIRROR, Phase.CUTOVER, Phase.CUTOVER, Phase.SETTLE]
    found = sample(story.record, story.events)
    assert found is not None
    assert (found.attach_s, found.cutover_s, found.cutover) == (None, 9.25, Cutover.STREAM)


def test_a_live_freeze_begins_when_the_command_says_so(journal: Journal) -> None:
    order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.LIVE)
    story = Story(journal, order).until("cutover-live").wait(7).intent().wait(60)
    assert not read(story).frozen, "for all but the last of it the domain runs"
    story.outcome(stdout="suspended for 2.500 s\n").done().act(1).act(1).act(1)
    story.wait(3).done().intent().wait(0.5).outcome()
    # 2.5 before the answer; demote, down and open 1 + .25 each, 3 until it is received, unpause .5
    assert freezes(story) == [(FreezeKind.CUTOVER, 9.75, 4.0, True)]
    (freeze,) = read(story).freezes
    assert freeze.ended is not None
    parts = freeze.parts(read(story).steps, freeze.ended)
    assert [name for name, _ in parts] == [
        "cutover-live",
        "source-demote",
        "target-drbd-down",
        "target-open",
        "target-received",
        "go",
    ]
    assert [seconds for _, seconds in parts] == [2.5, 1.25, 1.25, 1.25, 3.0, 0.5]
    story.done().finish()
    found = sample(story.record, story.events)
    assert found is not None
    assert (found.cutover_s, found.cutover) == (9.75, Cutover.LIVE)


@pytest.mark.parametrize("stdout", [None, "", "suspended for a while\n"])
def test_a_live_freeze_of_which_nothing_was_said_may_have_been_shorter(
    journal: Journal, stdout: str | None
) -> None:
    order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.LIVE)
    story = Story(journal, order).until("cutover-live").intent().wait(60)
    story.outcome(**({} if stdout is None else {"stdout": stdout})).done()
    story.until("go").intent().wait(0.5).outcome()
    ((kind, seconds, _, exact),) = freezes(story)
    assert kind is FreezeKind.CUTOVER and seconds is not None
    assert (seconds > 60, exact) == (True, False)
    story.done().finish()
    found = sample(story.record, story.events)
    assert found is not None and found.cutover_s is None


def test_one_that_failed_after_all_was_sent_was_suspended(journal: Journal) -> None:
    order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.LIVE)
    story = Story(journal, order).until("cutover-live").intent().wait(60)
    story.outcome(exit=1, stdout="suspended for 4.000 s\n").turned_back(Reason.STEP_FAILED, "why")
    story.until("back-source-unpause").intent().outcome().done().finish()
    ((kind, seconds, predicted_s, exact),) = freezes(story)
    assert (kind, predicted_s, exact) == (FreezeKind.BACK, None, True)
    assert seconds is not None and seconds > 4


def test_a_domain_that_could_not_be_moved_live_has_run_on(journal: Journal) -> None:
    order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.LIVE)
    story = Story(journal, order).until("cutover-live").intent().wait(60).outcome(exit=1)
    story.turned_back(Reason.STEP_FAILED, "why").until("back-source-unpause").done().finish()
    assert freezes(story) == []


def test_a_live_freeze_of_a_command_without_an_answer(journal: Journal) -> None:
    """Both copies may be paused then: it counts from its intent until the source's is seen running."""
    order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.LIVE)
    story = Story(journal, order).until("cutover-live").intent().wait(60)
    assert not read(story).frozen
    story.turned_back(Reason.PRECONDITION, "why")
    assert read(story).frozen
    story.until("back-source-unpause").done().finish()
    ((kind, seconds, predicted_s, exact),) = freezes(story)
    assert seconds is not None
    assert (kind, seconds > 60, predicted_s, exact) == (FreezeKind.BACK, True, None, False)


def test_a_freeze_that_lasts_has_no_end(story: Story) -> None:
    story.until("attach-suspend").intent().wait(1).outcome().done().wait(5)
    times = read(story)
    assert times.frozen
    (freeze,) = times.freezes
    assert (freeze.ended, freeze.seconds, freeze.kind) == (None, None, FreezeKind.ATTACH)
    assert freeze.seconds_at(story.now) == 6.0


def test_a_step_with_nothing_to_do_is_no_freeze(story: Story) -> None:
    """Attached by an earlier move: suspend, flip, restore and unpause are found done."""
    story.until("attach-suspend").done().done().done().done()
    assert freezes(story) == []


def test_the_daemon_killed_while_it_suspends(story: Story) -> None:
    """No outcome of the suspension: the freeze still begins at its intent."""
    story.until("attach-suspend").intent().wait(30).done().act(1).act(1).intent().wait(1).outcome()
    assert freezes(story) == [(FreezeKind.ATTACH, 33.5, 3.0, True)]


def test_the_daemon_killed_before_the_answer_of_go(story: Story) -> None:
    """The end is only seen at the restart: the freeze counts up to there and is marked as inexact."""
    story.until("cutover-suspend")
    at = story.now
    story.until("go").intent().wait(600).done()
    freeze = read(story).freezes[-1]
    assert (freeze.kind, freeze.began, freeze.ended, freeze.exact) == (
        FreezeKind.CUTOVER,
        at,
        story.now,
        False,
    )


@pytest.mark.parametrize("row", [{"exit": 1}, {"exit": None, "no_answer": "connection lost"}])
def test_an_unpause_that_did_not_answer_well_ends_no_freeze(story: Story, row: dict[str, object]) -> None:
    story.until("go").intent().wait(1).outcome(**row)
    assert read(story).frozen
    story.wait(9).intent().wait(1).outcome()
    assert not read(story).frozen
    assert read(story).freezes[-1].exact


def test_a_suspension_the_host_refused_to_start_is_no_freeze(story: Story) -> None:
    story.until("attach-suspend").intent().wait(1).outcome(skipped="busy: another command runs", exit=None)
    assert freezes(story) == []
    story.wait(5)
    at = story.now
    story.intent().wait(1).outcome()
    assert [freeze.began for freeze in read(story).freezes] == [at]


def test_a_freeze_that_ends_by_going_back(story: Story) -> None:
    story.until("cutover-suspend").act(1).wait(2).turned_back(Reason.STEP_FAILED, "ship failed")
    assert read(story).freezes[-1].kind is FreezeKind.BACK
    story.until("back-source-unpause").intent().wait(1).outcome().finish()
    kinds = [(kind, predicted, exact) for kind, _, predicted, exact in freezes(story)]
    assert kinds == [(FreezeKind.ATTACH, 3.0, True), (FreezeKind.BACK, None, True)]
    assert [phase.phase for phase in read(story).phases][-2:] == [Phase.CUTOVER, Phase.BACK]


def test_a_failed_save_counts_until_the_domain_is_seen_running(story: Story) -> None:
    """xl resumes the guest itself; nobody wrote down when, so the freeze is at most this long."""
    story.until("attach-suspend").intent().wait(3).outcome(exit=1, stderr="no space left")
    story.turned_back(Reason.STEP_FAILED, "no space left").wait(1)
    for _ in range(8):
        story.done()
    assert freezes(story) == [(FreezeKind.BACK, 4.0, None, False)]


def test_going_back_without_a_suspension_is_no_freeze(story: Story) -> None:
    story.until("sync").turned_back(Reason.DEADLINE, "too slow").finish()
    assert [freeze.kind for freeze in read(story).freezes] == [FreezeKind.ATTACH]


def test_a_journey_found_in_settle_on_its_way_back(story: Story) -> None:
    """The target was seen running while the move went back: the freeze ended unseen before that."""
    story.until("go").intent().wait(5).turned_back(Reason.STEP_FAILED, "no answer").wait(5)
    settle = story.progress.at("source-drbd-down", story.now)
    story.progress = replace(settle, direction=Direction.FORWARD)
    story.act(1)
    freeze = read(story).freezes[-1]
    assert (freeze.kind, freeze.ended is not None, freeze.exact) == (FreezeKind.CUTOVER, True, False)


def test_a_clock_set_back_gives_no_negative_time() -> None:
    before = factory.START - datetime.timedelta(hours=1)
    assert Freeze(factory.START, before, FreezeKind.ATTACH, 1.0, True).seconds == 0.0


def test_a_step_of_another_version_is_kept_without_a_phase(story: Story) -> None:
    """In a journey that has ended: one under way is refused, see tests/moves/test_journal_trouble.py."""
    story.until("sync")
    story.progress = replace(story.progress, step="pivot-of-the-future")
    story.intent()
    story.progress = replace(story.progress, status=Status.MOVED)
    story.journal.record(story.order, story.progress, story.now)
    times = read(story)
    assert times.steps[-1].step == "pivot-of-the-future"
    assert times.steps[-1].phase is None
    assert times.phases[-1].phase is Phase.MIRROR


def test_creating_a_domain_is_one_phase_without_freezes(journal: Journal) -> None:
    story = Story(journal, factory.provision()).finish()
    assert [phase.phase for phase in read(story).phases] == [Phase.PROVISION]
    assert freezes(story) == []
    assert sample(story.record, story.events) is None


class TestSample:
    """What a finished move teaches the next prediction."""

    def test_a_finished_move(self, story: Story) -> None:
        story.until("connect").wait(4).act(1).wait(55).done().finish()
        found = sample(story.record, story.events)
        assert found is not None
        assert (found.sync_bytes, found.sync_s, found.memory_mb) == (2 * 2**30, 60.25, 256)
        assert (found.attach_s, found.cutover_s) == tuple(seconds for _, seconds, _, _ in freezes(story))
        assert found.cutover is Cutover.STORE

    def test_an_inexact_freeze_teaches_nothing(self, story: Story) -> None:
        story.until("go").intent().wait(600).done().finish()
        found = sample(story.record, story.events)
        assert found is not None
        assert found.attach_s is not None
        assert found.cutover_s is None

    def test_a_move_held_in_its_sync_teaches_nothing(self, story: Story) -> None:
        story.until("sync").held(Reason.UNREACHABLE, "xen2 is silent").wait(3600).done().finish()
        assert sample(story.record, story.events) is None

    def test_a_paused_sync_teaches_nothing(self, story: Story) -> None:
        story.until("sync").intent(*drbd.pause_sync(100).argv).wait(3600).done().finish()
        assert sample(story.record, story.events) is None

    def test_a_move_that_went_back_or_goes_on_teaches_nothing(self, journal: Journal, story: Story) -> None:
        story.until("sync")
        assert sample(story.record, story.events) is None
        other: Order = factory.order("web2")
        back = Story(journal, other).until("go").turned_back(Reason.STEP_FAILED, "no").finish()
        assert sample(back.record, back.events) is None
