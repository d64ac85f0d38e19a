"""Shares a campaign out over processes, piece by piece; a piece that is in the log is not done again."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context

from reconciler.moves import guards
from tests.simulation.campaign.cases import Forker, explore
from tests.simulation.campaign.forking import Report
from tests.simulation.campaign.run import Run, finished
from tests.simulation.campaign.swarm import seeds
from tests.simulation.campaign.tally import Log, Tally, tally_of


@dataclass(frozen=True)
class Piece:
    """Some cases of a scenario, or some seeds."""

    name: str
    scenario: str = ""
    share: int = 0
    shares: int = 1
    depth: int = 1
    only: frozenset[str] | None = None
    check: float = 0.0
    removed: tuple[str, ...] = ()
    seeds: range = range(0)

    def run(self) -> Report:
        if self.seeds:
            return Report(seeds(self.seeds))
        with ExitStack() as stack:
            stack.enter_context(guards.without(*self.removed))
            forker = Forker(self.share, self.shares, self.depth, self.only, self.check)
            explore(self.scenario, forker)
            return forker.forks.report


def warm_up() -> None:
    """What is made at its first use is made before any fork, or every child would make it anew."""

    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        return {(1, "step"): "hold-60@take-epoch", (20, "after"): "kill-after"}.get((number, place))

    logging.getLogger("reconciler").setLevel(logging.CRITICAL)
    for scenario in ("move", "provision"):
        finished(Run(scenario, choose))


def _do(piece: Piece) -> tuple[str, Tally]:
    began = _cpu_s()
    tally = tally_of(piece.run())
    tally.cpu_s = round(_cpu_s() - began, 2)
    return piece.name, tally


def _cpu_s() -> float:
    """Of this process and its children."""
    return sum(os.times()[:4])


def do(pieces: Iterable[Piece], what: str, log: Log, workers: int) -> int:
    """All pieces on all workers, failing cases and figures as they come; the exit status."""
    began, total = time.monotonic(), Tally()
    wanted = list(pieces)
    left = [piece for piece in wanted if piece.name not in log.done]
    for piece in wanted:
        if piece.name in log.done:
            total.merge(log.done[piece.name])
    if len(left) < len(wanted):
        print(
            total.text(f"{what}, from the log, {len(wanted) - len(left)} of {len(wanted)} pieces"), flush=True
        )
    with get_context("fork").Pool(min(workers, len(left) or 1), warm_up) as pool:
        for done, (name, tally) in enumerate(pool.imap_unordered(_do, left), 1):
            log.keep(name, tally)
            total.merge(tally)
            for failed in tally.failed:
                print(f"FAILED {failed}", flush=True)
            for one in tally.otherwise:
                print(f"OTHERWISE {one}", flush=True)
            print(
                f"... {name}: {done + len(wanted) - len(left)} of {len(wanted)} pieces, {total.cases} cases, "
                f"{total.violations} violations, {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    for key, number in total.held.most_common():
        print(f"held {number:6} {key}   e.g. {total.examples[key]}")
    print(f"{total.text(what)}; {time.monotonic() - began:.0f} s", flush=True)
    return 1 if total.violations or total.otherwise else 0
