"""A selection of the fault campaign; the whole of it is `make sim`."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.moves import guards
from reconciler.simulator import checkers
from reconciler.simulator.world import World
from tests.simulation.campaign.cases import Forker, explore, replay
from tests.simulation.campaign.forking import Report
from tests.simulation.campaign.outcome import Outcome
from tests.simulation.campaign.run import Run
from tests.simulation.campaign.stage import SCENARIOS
from tests.simulation.campaign.swarm import seeded, seeds
from tests.simulation.campaign.tally import Log, Tally, tally_of


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_undisturbed(scenario: str) -> None:
    outcome = replay(scenario)
    assert outcome.trouble == ""
    assert outcome.status == ("back" if "back" in scenario else "moved")


@pytest.mark.parametrize("scenario", ["move", "pivot"])
@pytest.mark.parametrize("fault", ["lose-reply", "done-but-failed", "crash-during", "late-70"])
def test_one_fault_at_every_fourth_command_of_a_move(fault: str, scenario: str) -> None:
    outcomes = explore(scenario, Forker(1, 4, only=frozenset({fault})))
    assert len(outcomes) > 5
    assert [(outcome.case, outcome.trouble) for outcome in outcomes if outcome.trouble] == []


def test_a_case_can_be_replayed() -> None:
    (_, *outcomes) = explore("back-go", Forker(3, 40, check=1.0, only=frozenset({"lose-reply"})))
    assert outcomes
    for outcome in outcomes:
        again = replay(outcome.case)
        assert (again.trouble, again.status, again.commands) == (
            outcome.trouble,
            outcome.status,
            outcome.commands,
        )


def test_random_runs_that_share_their_beginnings_end_as_they_do_alone() -> None:
    together = sorted(seeds(range(8)), key=lambda outcome: outcome.case)
    assert together == [seeded(seed) for seed in range(8)]
    assert [outcome.case for outcome in together if outcome.trouble] == []


def test_rules_asked_only_after_a_change_say_what_they_always_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Both(checkers.Watch):
        def violations(self, world: World) -> list[str]:
            found = super().violations(world)
            assert found == checkers.violations(world)
            return found

    monkeypatch.setattr(checkers, "Watch", Both)
    with guards.without("image-once"):
        outcomes = seeds(range(20, 50))
    assert [outcome.case for outcome in outcomes if "crashed" in outcome.trouble] == []


def test_a_stream_that_runs_on_is_waited_for() -> None:
    """The daemon is started anew while memory is still sent: that is no reason to go back."""

    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        return "kill-during" if place == "before" and "xl save -p" in " ".join(argv) else None

    run = Run("stream", choose)
    for link in run.world.links.values():
        link.bytes_per_s = 1 << 20
    outcome = run.go()
    assert len(outcome.faults) == 1
    assert (outcome.status, outcome.trouble) == ("moved", "")


@pytest.mark.parametrize("scenario", ["stream-back-go", "provision"])
def test_a_single_fault_that_is_cut_would_end_as_the_one_that_stands_for_it(scenario: str) -> None:
    kinds = frozenset({"fail", "lose-reply", "crash-after", "guest-gone-after"})
    forker = Forker(1, 3, check=1.0, only=kinds)
    outcomes = explore(scenario, forker)
    assert forker.forks.report.cut == 0
    assert forker.forks.report.checked > 20
    assert forker.forks.report.otherwise == []
    assert [outcome.case for outcome in outcomes if outcome.trouble] == []


def test_a_pair_that_is_pruned_would_end_as_the_one_that_stands_for_it() -> None:
    forker = Forker(1, 6, depth=2, check=0.4, only=frozenset({"lose-reply"}))
    outcomes = explore("back-go", forker)
    assert forker.forks.report.checked > 20
    assert forker.forks.report.cut > 10
    assert forker.forks.report.otherwise == []
    assert [outcome.case for outcome in outcomes if outcome.trouble] == []


@pytest.mark.parametrize("request_", ["abort", "hold-60"])
def test_a_request_at_every_second_step_of_a_move(request_: str) -> None:
    (undisturbed, *outcomes) = explore("move", Forker(0, 2, check=1.0, only=frozenset({request_})))
    assert len(outcomes) > 20
    assert [(outcome.case, outcome.trouble) for outcome in outcomes if outcome.trouble] == []
    held = request_ != "abort"
    assert {outcome.status for outcome in outcomes} == ({"moved"} if held else {"moved", "back"})
    assert not held or min(outcome.world_s for outcome in outcomes) > undisturbed.world_s


def test_a_campaign_goes_on_from_its_log(tmp_path: Path) -> None:
    file = tmp_path / "log"
    tally = tally_of(
        Report([Outcome("a", status="moved"), Outcome("b", "I1: bad", "held", "why", step="go")])
    )
    Log(file).keep("one piece", tally)
    with file.open("a") as log:
        log.write('{"piece": "cut off')
    Log(file).keep("another", Tally())
    assert Log(file).done == {"one piece": tally, "another": Tally()}
    assert (tally.violations, tally.held) == (1, {"go why": 1})


def test_a_removed_guard_is_noticed() -> None:
    with guards.without("intent-first"):
        assert "I5" in replay("move").trouble
    assert replay("move").trouble == ""
