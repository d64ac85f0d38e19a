"""What becomes of a person's request: the new hold, the new progress, and the words of the answer."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from reconciler.model.move import Direction, Order, Progress, Reason, Status
from reconciler.model.request import Hold, Request, Result, Verb
from reconciler.moves.requests import Decision, Journey, decide, no_abort
from tests.moves.journeys import at, back, move, provision
from tests.planning.site import NOW

MOVE, NEW = move(), provision()
ASKED = NOW + datetime.timedelta(minutes=5)
LATER = NOW + datetime.timedelta(minutes=6)
COMMIT = "d" * 40
BEFORE_GO = ("cutover-suspend", "target-restore")
BY_HOLD = Hold(NOW, Verb.HOLD, "a backup runs")
BY_ABORT = Hold(NOW, Verb.ABORT, "not now", COMMIT)


def ask(
    verb: Verb,
    progress: Progress | None,
    hold: Hold | None = None,
    *,
    order: Order = MOVE,
    reason: str = "",
    move_id: str | None = None,
) -> Decision:
    request = Request("id", ASKED, verb, "web1", move_id, reason)
    return decide(request, Journey(order, progress) if progress else None, hold, COMMIT, LATER)


def refused(decision: Decision, said: str, hold: Hold | None = None) -> None:
    """Refused: nothing changes, the hold least of all."""
    assert decision == Decision(Result.REFUSED, said, hold)


# -- abort ------------------------------------------------------------------------------------------


def test_abort_turns_back_and_keeps_the_domain_until_another_commit() -> None:
    decision = ask(Verb.ABORT, at("sync", *BEFORE_GO), reason="not now")
    assert (decision.result, decision.closes) == (Result.DONE, False)
    assert decision.text == "web1-1 goes back from step sync; web1 stays on xen1"
    assert decision.hold == Hold(ASKED, Verb.ABORT, "not now", COMMIT)
    turned = decision.progress
    assert turned is not None
    assert (turned.direction, turned.step, turned.reason) == (
        Direction.BACK,
        "back-target-fence",
        Reason.ABORTED,
    )
    assert turned.detail == "at step sync: the operator aborted it: not now"
    assert (turned.step_began, turned.tried) == (LATER, frozenset(BEFORE_GO))
    silent = ask(Verb.ABORT, at("sync")).progress
    assert silent is not None and silent.detail == "at step sync: the operator aborted it"


def test_abort_of_a_new_domain() -> None:
    decision = ask(Verb.ABORT, at("create", "create"), order=NEW)
    assert decision.text == "web1-1 goes back from step create; what it made on xen2 is removed"
    assert decision.progress is not None and decision.progress.step == "back-target-fence"
    said = "the start of web1 on xen2 was tried: it may have run there"
    refused(ask(Verb.ABORT, at("start", "create", "start"), BY_HOLD, order=NEW), said, BY_HOLD)
    assert no_abort(NEW, at("create", "create")) == ""


def test_abort_of_what_goes_back_already_changes_nothing_but_the_hold() -> None:
    decision = ask(Verb.ABORT, back("back-source-flip"), reason="really")
    said = "web1-1 is going back already; web1 stays on xen1"
    assert decision == Decision(Result.DONE, said, Hold(ASKED, Verb.ABORT, "really", COMMIT))


def test_abort_under_a_hold_lasts_as_long_as_the_hold() -> None:
    kept = ask(Verb.ABORT, at("sync"), BY_HOLD).hold
    assert kept == Hold(ASKED, Verb.ABORT, "a backup runs", None)
    kept = ask(Verb.ABORT, at("sync"), BY_HOLD, reason="worse").hold
    assert kept == Hold(ASKED, Verb.ABORT, "worse", None)
    assert ask(Verb.ABORT, at("sync"), BY_ABORT).hold == Hold(ASKED, Verb.ABORT, "", COMMIT)


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (at("go", *BEFORE_GO, "go"), "GO was sent: only xen2 can say whether web1 runs there"),
        (
            at("target-runs", *BEFORE_GO, "go"),
            "web1 was seen running on xen2, which holds the truth; to have it back on xen1, commit that host",
        ),
        (
            at("go", "go", status=Status.HELD, reason=Reason.TWO_RUNNERS),
            "web1 was seen running on both hosts: nothing is touched until one is left",
        ),
        (
            at("sync", status=Status.HELD, reason=Reason.DISKS),
            "xen2 may hold writes that the source lacks: going back would remove them",
        ),
        (
            at("sync", status=Status.HELD, reason=Reason.REWOUND),
            "a host was put back to an earlier state: nothing is touched until a person has accepted that",
        ),
        (
            at("sync", status=Status.HELD, reason=Reason.STALE_EPOCH),
            "a host knows a newer move of this domain, made by somebody else: nothing is touched",
        ),
    ],
)
def test_abort_is_refused_where_the_source_has_not_the_truth(progress: Progress, said: str) -> None:
    assert no_abort(MOVE, progress) == said
    refused(ask(Verb.ABORT, progress, BY_HOLD), said, BY_HOLD)


def test_abort_is_refused_by_the_machine_too() -> None:
    ended = at("sync", status=Status.BACK)
    for hold in (None, BY_HOLD):
        refused(ask(Verb.ABORT, ended, hold), "going back is not safe at step sync", hold)


# -- hold and resume --------------------------------------------------------------------------------


def test_hold() -> None:
    kept = Hold(ASKED, Verb.HOLD, "a backup")
    said = "no move of web1 is begun before `resume`"
    assert ask(Verb.HOLD, None, reason="a backup") == Decision(Result.DONE, said, kept)
    said = "web1-1 stops before step sync"
    assert ask(Verb.HOLD, at("sync"), reason="a backup") == Decision(Result.DONE, said, kept)
    said = "web1-1 is at step ship; it stops as soon as web1 surely runs"
    assert ask(Verb.HOLD, at("ship"), BY_ABORT, reason="a backup") == Decision(Result.DONE, said, kept)


def test_hold_twice_keeps_its_time_and_its_reason() -> None:
    assert ask(Verb.HOLD, at("sync"), BY_HOLD).hold == BY_HOLD
    assert ask(Verb.HOLD, at("sync"), BY_HOLD, reason="longer").hold == replace(BY_HOLD, reason="longer")


def test_resume_of_what_a_person_held() -> None:
    resting = at("sync", unknown_since=NOW, busy_since=NOW)
    decision = ask(Verb.RESUME, resting, BY_HOLD)
    said = "the hold of web1 is lifted; web1-1 goes on at step sync"
    on = replace(resting, step_began=LATER, unknown_since=None, busy_since=None)
    assert decision == Decision(Result.DONE, said, None, progress=on)
    said = "the hold of web1 is lifted"
    assert ask(Verb.RESUME, None, BY_HOLD) == Decision(Result.DONE, said, None)


def test_resume_of_what_holds_itself() -> None:
    held = at("ship", status=Status.HELD, reason=Reason.DEADLINE)
    on = replace(held, retry_at=LATER, step_began=LATER)
    said = "web1-1 goes on at step ship, from what the hosts show then"
    assert ask(Verb.RESUME, held) == Decision(Result.DONE, said, None, progress=on)
    said = f"the hold of web1 is lifted; {said}"
    assert ask(Verb.RESUME, held, BY_HOLD) == Decision(Result.DONE, said, None, progress=on)


def test_resume_where_nothing_held() -> None:
    for journey in (None, at("sync")):
        assert ask(Verb.RESUME, journey) == Decision(Result.DONE, "nothing held web1", None)


# -- release ----------------------------------------------------------------------------------------


def test_release_closes_a_held_journey_and_lets_nothing_new_begin() -> None:
    held = at("go", "go", status=Status.HELD, reason=Reason.OUTCOME_UNKNOWN)
    said = (
        "web1-1 is closed and no host was touched; clear up there, then `reconciler resume web1` has it "
        "planned anew"
    )
    kept = Hold(ASKED, Verb.RELEASE, "checked")
    assert ask(Verb.RELEASE, held, reason="checked") == Decision(Result.DONE, said, kept, closes=True)
    said = "web1-1 is at work at step go: only a move that is held is released"
    refused(ask(Verb.RELEASE, at("go", "go"), BY_HOLD), said, BY_HOLD)


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.RELEASE])
def test_a_request_is_about_the_move_the_person_saw(verb: Verb) -> None:
    held = at("sync", status=Status.HELD, reason=Reason.DEADLINE)
    refused(ask(verb, held, BY_HOLD, move_id="web1-9"), "web1-9 is over; web1-1 is under way now", BY_HOLD)
    assert ask(verb, held, move_id="web1-1").result is Result.DONE
    refused(ask(verb, None, BY_HOLD), "no move of web1 is under way", BY_HOLD)
    for other in (Verb.HOLD, Verb.RESUME):
        assert ask(other, held, move_id="web1-9").result is Result.DONE, "these are about the domain"
