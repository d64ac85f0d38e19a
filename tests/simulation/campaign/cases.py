"""Enumerates cases by forking a run at every command, once for every fault that makes sense there.

The parent goes through the scenario undisturbed; each child takes the run over at its command, with
one fault, and reports how it ended. So no case pays for the way to its fault, and `replay` reaches the
same state by the same commands.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field

from tests.simulation.campaign import faults
from tests.simulation.campaign.forking import End, Forks, end_of
from tests.simulation.campaign.outcome import Met, Outcome
from tests.simulation.campaign.run import Run, finished
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
    every fault at every later command.

    Two runs of a scenario in the same state go on alike. So a run that has had its faults is not gone on
    with once it comes to a state from which another one has gone on, and with `depth` 2 a fault is not
    begun with where a run in that state has met it already. A share `check` of both is run to the end all
    the same, and compared.
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
    passed: list[str] = field(default_factory=list)
    expected: End | None = None
    whole: bool = False
    tell_at_s: float = 0.0

    def choose(self, number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        if self.run is None or not self.run.begun:
            return None
        if place == "request" and not faults.reads(argv):
            self._pass(number)
        if self.level > self.depth:
            return None
        kinds = faults.kinds(place, argv, pairs=self.depth > 1)
        if self.run.scenario.only_crashes:
            kinds = tuple(kind for kind in kinds if "crash" in kind)
        state: str | None = None
        for fault in kinds:
            if self.only is not None and fault.partition("@")[0] not in self.only:
                continue
            self.count += 1
            if self.level == 1 and self.count % self.shares != self.share:
                continue
            state = state or self._state(number, place)
            key = None if state is None else f"{state} {fault}"
            if self._meet((*self.past, f"{number}:{fault}"), key):
                return fault
        return None

    def _pass(self, number: int) -> None:
        """A script that changes something is about to be sent; perhaps it is known how this goes on."""
        assert self.run is not None
        self.state, self.since = digest(self.run, self.run.stand.asked), number
        known = self.forks.known.get(self.state)
        if known is not None and self.level > self.depth:
            if not self.whole:
                self.forks.report.cut += 1
                raise Met(*known)
            self.expected = self.expected or known
        self.passed.append(self.state)

    def _state(self, number: int, place: str) -> str | None:
        """A place of a script, with the state before the script; None inside one disturbed."""
        assert self.run is not None
        if self.depth == 1:
            return None
        if place == "step":
            return digest(self.run, None)
        return None if self.state is None else f"{self.state} {number - self.since} {place}"

    def _meet(self, past: tuple[str, ...], key: str | None) -> bool:
        """True in the child that is to meet a fault."""
        assert self.run is not None
        forks = self.forks
        case = f"{self.run.scenario.name}:{'+'.join(past)}"
        whole = random.Random(case).random() < self.check
        expected = forks.known.get(key or "") if self.level > 1 else None
        if expected is not None:
            forks.report.pruned += 1
            if not whole:
                return False
        self.run.journal.write()
        outcome = forks.split(case)
        if outcome is None:
            self.level += 1
            self.past, self.run.case, self.state = past, case, None
            self.passed, self.expected, self.whole = [], expected, whole
            return True
        if self.depth > 1 and self.level == 1 and time.monotonic() > self.tell_at_s:
            self.tell_at_s = time.monotonic() + 60.0
            done = f"{len(forks.report.outcomes)} cases and {forks.report.pruned} pruned so far"
            print(f"... {case}: {done}", file=sys.stderr, flush=True)
        if key is not None:
            forks.known[key] = forks.report.ends[key] = end_of(outcome)
        return False

    def finish(self, outcome: Outcome) -> list[Outcome]:
        """Report how the run went on from the states it has passed since its last fault."""
        report, end = self.forks.report, end_of(outcome)
        report.ends |= dict.fromkeys(self.passed, end)
        if self.expected is not None:
            report.checked += 1
            if end != self.expected:
                report.otherwise.append(f"{outcome.case}: {end}, not {self.expected}")
        return self.forks.finish([outcome]).outcomes


def explore(scenario: str, forker: Forker) -> list[Outcome]:
    """All cases of a scenario that are this forker's; in a child this never returns."""
    forker.run = Run(scenario, forker.choose)
    return forker.finish(finished(forker.run))
