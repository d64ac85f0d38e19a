"""Enumerates cases by forking a run at every command, once for every fault that makes sense there.

The parent goes through the scenario undisturbed; each child takes the run over at its command, with
one fault, and reports how it ended. So no case pays for the way to its fault, and `replay` reaches the
same state by the same commands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulation.campaign import faults
from tests.simulation.campaign.forking import Forks
from tests.simulation.campaign.run import Outcome, Run, finished


def replay(case: str) -> Outcome:
    """Run one case again."""
    scenario, _, rest = case.partition(":")
    planned = {}
    for part in filter(None, rest.split("+")):
        number, _, fault = part.partition(":")
        planned[int(number), fault] = True

    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        for fault in (*faults.kinds(place, argv), *faults.kinds(place, argv, pairs=True)):
            if planned.pop((number, fault), None):
                return fault
        return None

    run = Run(scenario, choose)
    run.case = case
    return run.go()


@dataclass
class Forker:
    """Chooses no fault for the parent, and one for each child that it forks.

    `share` of `shares` tells the workers' cases apart. With `depth` 2 a child forks again, once for
    every later command.
    """

    share: int
    shares: int
    depth: int = 1
    only: frozenset[str] | None = None
    count: int = 0
    forks: Forks = field(default_factory=Forks)
    run: Run | None = None
    level: int = 1
    past: tuple[str, ...] = ()

    def choose(self, number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        if self.run is None or self.level > self.depth or not self.run.begun:
            return None
        kinds = faults.kinds(place, argv, pairs=self.depth > 1)
        if self.run.scenario.only_crashes:
            kinds = tuple(kind for kind in kinds if "crash" in kind)
        for fault in kinds:
            if self.only is not None and fault.partition("@")[0] not in self.only:
                continue
            self.count += 1
            if self.level == 1 and self.count % self.shares != self.share:
                continue
            name = f"{number}:{fault}"
            past = (*self.past, name)
            case = f"{self.run.scenario.name}:{'+'.join(past)}"
            if self.forks.split(case):
                self.level += 1
                self.past, self.run.case = past, case
                return fault
        return None


def explore(scenario: str, forker: Forker) -> list[Outcome]:
    """All cases of a scenario that are this forker's; in a child this never returns."""
    forker.run = Run(scenario, forker.choose)
    return forker.forks.finish([finished(forker.run)])
