"""The target dies while the guest's last writes are on their way to it."""

from __future__ import annotations

import pytest

from reconciler.moves import attach, recipe
from tests.simulation.campaign.run import Outcome, Run

RECIPES = {
    "move": ("MOVE", "held open by someone"),
    "pivot": ("PIVOT_MOVE", "is mounted in a guest domain"),
}


def target_dies(scenario: str) -> Outcome:
    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        saves = argv[0] == "sh" and "save" in argv[2]
        mirrored = bool(run.world.hosts["xen2"].drbd)
        return "peer-crash-long" if place == "before" and saves and mirrored else None

    run = Run(scenario, choose)
    return run.go()


@pytest.mark.parametrize("scenario", RECIPES)
def test_the_domain_goes_back(scenario: str) -> None:
    outcome = target_dies(scenario)
    assert (outcome.trouble, outcome.status) == ("", "back"), outcome
    assert outcome.faults


@pytest.mark.parametrize("scenario", RECIPES)
def test_pages_that_were_not_copied_hold_its_disks_open(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As seen on real hosts before DRBD was told to copy."""
    name, trouble = RECIPES[scenario]
    without = [step for step in getattr(recipe, name) if not isinstance(step, attach.CopyPages)]
    monkeypatch.setattr(recipe, name, tuple(without))
    outcome = target_dies(scenario)
    assert outcome.status == "held"
    assert trouble in outcome.detail
