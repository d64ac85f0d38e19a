"""Enumerates cases by forking a run at every command, once for every fault that makes sense there.

The parent goes through the scenario undisturbed; each child takes the run over at its command, with
one fault, and reports how it ended. So no case pays for the way to its fault, and `replay` reaches the
same state by the same commands.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.simulation.campaign import faults
from tests.simulation.campaign.forking import Forks
from tests.simulation.campaign.run import Outcome, Run, finished
from tests.simulation.campaign.state import digest


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
    every fault at every later command, unless a run that was in the same state has met that fault: then
    that one stands for it. A share `check` of those it stands for are run as well and compared with it.
    """

    share: int = 0
    shares: int = 1
    depth: int = 1
    only: frozenset[str] | None = None
    check: float = 0.0
    count: int = 0
    forks: Forks = field(default_factory=Forks)
    run: Run | None = None
    level: int = 1
    past: tuple[str, ...] = ()
    state: str | None = None
    since: int = 0

    def choose(self, number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        if self.run is None or self.level > self.depth or not self.run.begun:
            return None
        kinds = faults.kinds(place, argv, pairs=self.depth > 1)
        if self.run.scenario.only_crashes:
            kinds = tuple(kind for kind in kinds if "crash" in kind)
        if self.depth > 1 and kinds and place == "request":
            self.state, self.since = digest(self.run, self.run.stand.asked), number
        for fault in kinds:
            if self.only is not None and fault.partition("@")[0] not in self.only:
                continue
            self.count += 1
            if self.level == 1 and self.count % self.shares != self.share:
                continue
            if self._meet((*self.past, f"{number}:{fault}"), self._key(number, place, fault)):
                return fault
        return None

    def _key(self, number: int, place: str, fault: str) -> str | None:
        """A fault at a place of a script, with the state before the script; None inside one disturbed."""
        assert self.run is not None
        if self.depth == 1:
            return None
        if place == "step":
            return f"{digest(self.run, None)} {fault}"
        return None if self.state is None else f"{self.state} {number - self.since} {place} {fault}"

    def _meet(self, past: tuple[str, ...], key: str | None) -> bool:
        """True in the child that is to meet a fault."""
        assert self.run is not None
        forks = self.forks
        case = f"{self.run.scenario.name}:{'+'.join(past)}"
        expected = forks.known.get(key or "") if self.level > 1 else None
        if expected is not None:
            forks.report.pruned += 1
            if random.Random(case).random() >= self.check:
                return False
        outcome = forks.split(case)
        if outcome is None:
            self.level += 1
            self.past, self.run.case, self.state = past, case, None
            return True
        end = " ".join((outcome.trouble[:40], outcome.status, outcome.step, outcome.reason))
        if expected is not None:
            forks.report.checked += 1
            if end != expected:
                forks.report.otherwise.append(f"{case}: {end}, not {expected}")
        elif key is not None:
            forks.known[key] = forks.report.ends[key] = end
        return False


def explore(scenario: str, forker: Forker) -> list[Outcome]:
    """All cases of a scenario that are this forker's; in a child this never returns."""
    forker.run = Run(scenario, forker.choose)
    return forker.forks.finish([finished(forker.run)]).outcomes
