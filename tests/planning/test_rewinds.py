"""Which domains are held when a host shows older claim numbers than it had accepted."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.commands import files
from reconciler.model.facts import View
from reconciler.model.move import Reason
from reconciler.model.placement import Domain
from reconciler.model.plan import ItemKind
from reconciler.planning.rewinds import rewinds
from tests.planning.site import changed, empty, running, silent, situation
from tests.planning.test_planner import PROVISION, one


def with_numbers(view: View, **numbers: int) -> View:
    return changed(view, files.EPOCHS, numbers)


def test_what_counts_as_rewound() -> None:
    views = {
        "xen1": with_numbers(empty("xen1"), web1=5, db1=9),
        "xen2": with_numbers(empty("xen2"), web1=5),
        "xen3": silent("xen3"),
    }
    known = {
        "xen1": {"web1": 5, "db1": 8},
        "xen2": {"web1": 6, "db1": 1},
        "xen3": {"web1": 7},
        "gone": {"a": 1},
    }
    found = [(r.host, r.domain, r.shown, r.known) for r in rewinds(views, known)]
    assert found == [("xen2", "db1", 0, 1), ("xen2", "web1", 5, 6)]
    assert rewinds(views, {}) == ()


@pytest.mark.parametrize("host", ["xen1", "xen2"])
@pytest.mark.parametrize("where", ["xen1", "xen2"])
def test_the_domain_itself_is_held_wherever_it_is_wanted(host: str, where: str) -> None:
    held = one(situation(running(where), accepted={host: {"web1": 4}}))
    assert (held.kind, held.reason, held.host, held.order) == (ItemKind.REFUSED, Reason.REWOUND, host, None)
    assert f"{host} was put back to an earlier state: it has no number for web1 now" in held.why
    assert one(situation(running(where), accepted={host: {"web1": 0}})).reason is None


def test_nothing_is_begun_from_or_to_such_a_host_but_what_is_in_place_stays() -> None:
    for host in ("xen1", "xen2"):
        assert one(situation(running(), accepted={host: {"other": 4}})).reason is Reason.REWOUND
        assert one(situation(running("xen2"), accepted={host: {"other": 4}})).kind is ItemKind.IN_PLACE
    third: dict[str, Any] = {"accepted": {"xen3": {"other": 4}}}
    assert one(situation(running(), empty("xen3"), **third)).kind is ItemKind.MOVE


def test_a_domain_seen_nowhere_is_not_created_while_any_host_is_rewound() -> None:
    wanted = (Domain("web1", "xen2", provision=PROVISION),)
    assert one(situation(wanted=wanted)).kind is ItemKind.PROVISION
    held = one(situation(empty("xen3"), wanted=wanted, accepted={"xen3": {"other": 4}}))
    assert (held.kind, held.reason) == (ItemKind.REFUSED, Reason.REWOUND)


def test_two_copies_are_told_first_with_the_likely_cause() -> None:
    both = one(situation(running("xen1"), running("xen2"), accepted={"xen1": {"web1": 4}}))
    assert both.kind is ItemKind.REFUSED and both.reason is None
    assert "at once" in both.why and "xen1 was put back" in both.why
