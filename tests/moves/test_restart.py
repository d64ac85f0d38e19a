"""The daemon stops at every place of a whole move, and a new one ends it: moved, with every rule kept.

Places: before a step's intent, after it and before anything is sent, and after every command.
"""

from __future__ import annotations

import pytest

from tests.simulation.campaign.cases import Forker, explore

PIECES = 4
KILLS = frozenset({"kill-unsent", "kill-during", "kill-after"})


@pytest.mark.parametrize("share", range(PIECES))
@pytest.mark.parametrize("scenario", ["move", "provision"])
def test_a_move_ends_moved_wherever_the_daemon_was_stopped(scenario: str, share: int) -> None:
    outcomes = explore(scenario, Forker(share, PIECES, only=KILLS))
    assert len(outcomes) > 10
    assert [(o.case, o.trouble) for o in outcomes if o.trouble] == []
    assert {o.case: o.status for o in outcomes if o.status != "moved"} == {}
