"""A selection of the fault campaign; the whole of it is `make sim`."""

from __future__ import annotations

import pytest

from reconciler.moves import guards
from tests.simulation.campaign.cases import Forker, explore, replay
from tests.simulation.campaign.stage import SCENARIOS
from tests.simulation.campaign.swarm import seeded


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_undisturbed(scenario: str) -> None:
    outcome = replay(scenario)
    assert outcome.trouble == ""
    assert outcome.status == ("back" if scenario.startswith("back") else "moved")


@pytest.mark.parametrize("fault", ["lose-reply", "done-but-failed", "crash-during", "late-70"])
def test_one_fault_at_every_fourth_command_of_a_move(fault: str) -> None:
    outcomes = explore("move", Forker(1, 4, only=frozenset({fault})))
    assert len(outcomes) > 5
    assert [(outcome.case, outcome.trouble) for outcome in outcomes if outcome.trouble] == []


def test_a_case_can_be_replayed() -> None:
    (_, *outcomes) = explore("back-go", Forker(3, 40, only=frozenset({"lose-reply"})))
    assert outcomes
    for outcome in outcomes:
        again = replay(outcome.case)
        assert (again.trouble, again.status, again.commands) == (
            outcome.trouble,
            outcome.status,
            outcome.commands,
        )


@pytest.mark.parametrize("seed", range(8))
def test_random_runs(seed: int) -> None:
    assert seeded(seed).trouble == ""


def test_a_removed_guard_is_noticed() -> None:
    with guards.without("intent-first"):
        assert "I5" in replay("move").trouble
    assert replay("move").trouble == ""
