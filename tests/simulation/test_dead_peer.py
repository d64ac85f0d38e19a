"""The target dies while the guest's last writes are on their way to it."""

from __future__ import annotations

import pytest

from reconciler.moves import attach, recipe
from tests.simulation.campaign.run import Outcome, Run


def target_dies() -> Outcome:
    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        saves = argv[0] == "sh" and "save" in argv[2]
        mirrored = bool(run.world.hosts["xen2"].drbd)
        return "peer-crash-long" if place == "before" and saves and mirrored else None

    run = Run("move", choose)
    return run.go()


def test_the_domain_goes_back() -> None:
    outcome = target_dies()
    assert (outcome.trouble, outcome.status) == ("", "back"), outcome
    assert outcome.faults


def test_pages_that_were_not_copied_hold_its_disks_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen on real hosts before DRBD was told to copy."""
    without = tuple(step for step in recipe.MOVE if not isinstance(step, attach.CopyPages))
    monkeypatch.setattr(recipe, "MOVE", without)
    outcome = target_dies()
    assert outcome.status == "held"
    assert "held open by someone" in outcome.detail
