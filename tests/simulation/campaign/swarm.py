"""Random runs: a seed decides which faults happen where, any number of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from multiprocessing import get_context

from tests.simulation.campaign import faults
from tests.simulation.campaign.cases import WORKERS
from tests.simulation.campaign.run import Outcome, Run
from tests.simulation.campaign.stage import SCENARIOS


def seeded(seed: int) -> Outcome:
    """The run of one seed."""
    dice = random.Random(seed)
    scenario = dice.choice(sorted(SCENARIOS))
    rate = dice.choice((0.003, 0.01, 0.03))
    left = dice.randint(1, 8)

    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        nonlocal left
        kinds = faults.kinds(place, argv)
        if left and kinds and dice.random() < rate:
            left -= 1
            return dice.choice(kinds)
        return None

    run = Run(scenario, choose)
    run.case = f"seed-{seed}"
    return run.go()


def _seeds(bounds: tuple[int, int]) -> list[Outcome]:
    return [seeded(seed) for seed in range(*bounds)]


def swarm(first: int, count: int) -> Iterator[Outcome]:
    """`count` seeds from `first` on."""
    step = 25
    bounds = [(low, min(low + step, first + count)) for low in range(first, first + count, step)]
    with get_context("fork").Pool(WORKERS) as pool:
        for outcomes in pool.imap_unordered(_seeds, bounds):
            yield from outcomes
