"""Enumerates cases by forking a run at every command, once for every fault that makes sense there.

The parent goes through the scenario undisturbed; each child takes the run over at its command, with
one fault, and reports how it ended. So no case pays for the way to its fault, and `replay` reaches the
same state by the same commands.
"""

from __future__ import annotations

import json
import os
import random
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from typing import Any

from reconciler.moves import guards
from tests.simulation.campaign import faults
from tests.simulation.campaign.run import Outcome, Run

WORKERS = 2


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
    every later command; `keep` is the share of those that are run, chosen by a seeded coin.
    """

    share: int
    shares: int
    depth: int = 1
    keep: float = 1.0
    seed: int = 0
    only: frozenset[str] | None = None
    until_s: float = float("inf")
    count: int = 0
    lines: list[str] = field(default_factory=list)
    run: Run | None = None
    level: int = 1
    past: tuple[str, ...] = ()
    pipe: int = -1

    def choose(self, number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        if (
            self.run is None
            or self.level > self.depth
            or time.monotonic() > self.until_s
            or not self.run.begun
        ):
            return None
        kinds = faults.kinds(place, argv, pairs=self.depth > 1)
        if self.run.scenario.only_crashes:
            kinds = tuple(kind for kind in kinds if "crash" in kind)
        for fault in kinds:
            if self.only is not None and fault not in self.only:
                continue
            self.count += 1
            if self.level == 1 and self.count % self.shares != self.share:
                continue
            name = f"{number}:{fault}"
            if self.level == 2 and random.Random(f"{self.seed}{self.past}{name}").random() >= self.keep:
                continue
            if self._fork(name):
                return fault
        return None

    def _fork(self, name: str) -> bool:
        """True in the child; the parent waits for the child's report."""
        assert self.run is not None
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self.pipe = writer
            self.level += 1
            self.past = (*self.past, name)
            self.lines = []
            self.run.case = f"{self.run.scenario.name}:{'+'.join(self.past)}"
            return True
        os.close(writer)
        with os.fdopen(reader) as report:
            self.lines += [line for line in report if line.strip()]
        os.waitpid(child, 0)
        return False


def explore(scenario: str, forker: Forker) -> list[Outcome]:
    """All cases of a scenario that are this forker's; in a child this never returns."""
    run = Run(scenario, forker.choose)
    forker.run = run
    try:
        outcome = run.go()
    except BaseException:
        outcome = Outcome(run.case, "crashed: " + traceback.format_exc()[-1500:], faults=run.faults)
    if forker.pipe >= 0:
        with os.fdopen(forker.pipe, "w") as report:
            report.write(json.dumps(asdict(outcome)) + "\n")
            report.writelines(forker.lines)
        os._exit(0)
    return [outcome, *(Outcome(**json.loads(line)) for line in forker.lines)]


def _work(task: dict[str, Any]) -> list[Outcome]:
    with ExitStack() as stack:
        stack.enter_context(guards.without(*task.pop("removed", ())))
        scenarios = task.pop("scenarios")
        found = []
        for scenario in scenarios:
            found += explore(scenario, Forker(**task))
        return found


def many(tasks: Iterable[dict[str, Any]]) -> Iterator[Outcome]:
    """Run tasks on all workers."""
    with get_context("fork").Pool(WORKERS) as pool:
        for outcomes in pool.imap_unordered(_work, list(tasks)):
            yield from outcomes


def shares(scenarios: Iterable[str], pieces: int, **options: Any) -> list[dict[str, Any]]:
    """Tasks of about equal length."""
    return [
        {"scenarios": [scenario], "share": share, "shares": pieces, **options}
        for scenario in scenarios
        for share in range(pieces)
    ]
