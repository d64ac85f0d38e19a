"""Random runs: a seed decides which faults happen where, any number of them.

Seeds that have thrown the same dice so far share one run: at a place where some of them get a fault a
child goes on with those. Alone, a seed's run is the same, command by command.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tests.simulation.campaign import faults
from tests.simulation.campaign.forking import Forks
from tests.simulation.campaign.outcome import Outcome
from tests.simulation.campaign.run import Run, finished
from tests.simulation.campaign.stage import SCENARIOS


class Dice:
    """What a seed throws."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.scenario = self.dice.choice(sorted(SCENARIOS))
        self.rate = self.dice.choice((0.003, 0.01, 0.03))
        self.left = self.dice.randint(1, 8)

    def throw(self, kinds: tuple[str, ...]) -> str | None:
        if self.left and kinds and self.dice.random() < self.rate:
            self.left -= 1
            return self.dice.choice(kinds)
        return None


@dataclass
class Crowd:
    """The seeds that are in one run."""

    dice: list[Dice]
    forks: Forks = field(default_factory=Forks)
    run: Run | None = None

    def choose(self, number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        kinds = faults.kinds(place, argv)
        thrown: dict[str | None, list[Dice]] = {}
        for dice in self.dice:
            thrown.setdefault(dice.throw(kinds), []).append(dice)
        if len(thrown) == 1:
            return next(iter(thrown))
        assert self.run is not None
        self.run.journal.write()
        *others, last = sorted(thrown, key=lambda fault: (fault is None, fault or ""))
        for fault in others:
            if self.forks.split(f"seed-{thrown[fault][0].seed}") is None:
                self.dice = thrown[fault]
                return fault
        self.dice = thrown[last]
        return last

    def go(self, scenario: str) -> list[Outcome]:
        self.run = Run(scenario, self.choose)
        outcome = finished(self.run)
        own = (replace(outcome, case=f"seed-{dice.seed}") for dice in self.dice)
        return self.forks.finish(own).outcomes


def seeded(seed: int) -> Outcome:
    """The run of one seed."""
    return seeds([seed])[0]


def seeds(numbers: Iterable[int]) -> list[Outcome]:
    """The runs of many."""
    crowds: dict[str, list[Dice]] = {}
    for number in numbers:
        dice = Dice(number)
        crowds.setdefault(dice.scenario, []).append(dice)
    return [outcome for scenario, crowd in crowds.items() for outcome in Crowd(crowd).go(scenario)]
