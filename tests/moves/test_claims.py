"""The numbers by which hosts tell an older journey from a newer one, and two of the same time apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import files
from reconciler.execution.guard import Claim, Known, Refused
from reconciler.model.move import LOTS, SERIALS, Order, Reason, Side, Status
from reconciler.moves import machine, recipe
from reconciler.moves.step import READY, Views
from tests.planning.site import NOW, changed, empty, running
from tests.planning.test_planner import one, situation

from .journeys import at
from .states import ORDER


def test_no_claim_of_an_older_journey_reaches_those_of_a_newer_one() -> None:
    older, newer = replace(ORDER, lot=LOTS - 1), replace(ORDER, epoch=ORDER.epoch + 1, lot=0)
    assert older.claim(SERIALS - 1).epoch < newer.claim(0).epoch
    with pytest.raises(ValueError, match="used up"):
        ORDER.claim(SERIALS)


def planned(salt: str, stored: int = 0) -> Order:
    epochs = {"web1": stored} if stored else {}
    views = changed(running(), files.EPOCHS, epochs), changed(empty("xen2"), files.EPOCHS, epochs)
    order = one(situation(*views, salt=salt)).order
    assert order is not None
    return order


def asked(order: Order, serial: int = 0) -> Claim:
    """The claim as the guard on the source has it."""
    claim = order.claim(serial, Side.SOURCE)
    assert claim.after is not None
    return Claim(claim.domain, claim.epoch, claim.first, claim.after)


def refused(claim: Claim, stored: int) -> bool:
    try:
        claim.check(stored)
    except Refused as refusal:
        assert refusal.reason == "stale-epoch"
        return True
    return False


@pytest.mark.parametrize("salts", [("a", "b"), ("b", "a")])
def test_of_two_journeys_planned_at_the_same_time_a_host_keeps_to_the_first(salts: tuple[str, str]) -> None:
    first, second = (planned(salt) for salt in salts)
    assert first.epoch == second.epoch == 1
    assert not refused(asked(first), 0)
    for serial in (0, 3):
        assert refused(asked(second), first.claim(serial).epoch)
        assert not refused(asked(first, serial + 1), first.claim(serial).epoch)
    later = planned(salts[1], first.claim(7).epoch)
    assert later.epoch == 2
    assert not refused(asked(later), first.claim(7).epoch)
    assert refused(asked(first, 8), later.claim(0).epoch)


def test_a_journey_that_was_overtaken_is_held_and_nothing_is_done() -> None:
    first, second = planned("a"), planned("b")

    def judged(order: Order) -> machine.Decision:
        number = first.claim(0).epoch
        views = Views({
            Side.SOURCE: changed(running(), files.EPOCHS, {"web1": number}),
            Side.TARGET: changed(empty("xen2"), files.EPOCHS, {}),
        })  # fmt: skip
        step = recipe.first(order)
        verdict = step.judge(order, at(step.name), views)
        return machine.decide(order, at(step.name), verdict, NOW)

    assert isinstance(judged(first), machine.Act)
    held = judged(second)
    assert isinstance(held, machine.Pause)
    assert (held.progress.status, held.progress.reason) == (Status.HELD, Reason.STALE_EPOCH)


def test_a_host_that_forgot_what_it_had_accepted_is_rewound() -> None:
    Known("web1", 5).check(5)
    Known("web1", 5).check(6)
    for stored in (0, 4):
        with pytest.raises(Refused) as caught:
            Known("web1", 5).check(stored)
        assert caught.value.reason == "rewound"
        assert "had accepted 5" in caught.value.detail


def test_a_journey_held_for_a_rewind_goes_on_once_that_was_accepted() -> None:
    held = machine.hold_rewound(at("sync"), "xen2: …", NOW).progress
    assert (held.status, held.reason, held.retry_at) == (Status.HELD, Reason.REWOUND, None)
    assert isinstance(machine.decide(ORDER, held, READY, NOW), machine.Act)
