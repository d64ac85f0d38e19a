"""python -m tests.simulation.campaign single | pairs | swarm --seeds N | replay CASE | mutants."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.simulation.campaign import mutants
from tests.simulation.campaign.cases import replay
from tests.simulation.campaign.forking import Report
from tests.simulation.campaign.stage import SCENARIOS
from tests.simulation.campaign.swarm import seeded
from tests.simulation.campaign.tally import Log, tally_of
from tests.simulation.campaign.work import Piece, do

BLOCK = 1000
SHARES = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("what", choices=["single", "pairs", "swarm", "replay", "mutants"])
    parser.add_argument("case", nargs="?")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    parser.add_argument("--fault", action="append")
    parser.add_argument("--check", type=float, default=0.01, help="share of what is cut that is run")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--log", type=Path, help="keep what is done here, and go on from it")
    given = parser.parse_args()
    scenarios = given.scenario or list(SCENARIOS)
    only = frozenset(given.fault) if given.fault else None
    name = " ".join([given.what, *sorted(only or ())])
    match given.what:
        case "single":
            pieces = [
                Piece(f"{name} {s} {n}/{SHARES}", s, n, SHARES, only=only, check=given.check)
                for s in scenarios
                for n in range(SHARES)
            ]
            return do(pieces, "single faults", Log(given.log), given.workers)
        case "pairs":
            pieces = [Piece(f"{name} {s}", s, depth=2, only=only, check=given.check) for s in scenarios]
            return do(pieces, "pairs of faults", Log(given.log), given.workers)
        case "swarm":
            end = given.first + given.seeds
            blocks = [range(low, min(low + BLOCK, end)) for low in range(given.first, end, BLOCK)]
            pieces = [Piece(f"seeds {block.start}-{block.stop}", seeds=block) for block in blocks]
            return do(pieces, "random runs", Log(given.log), given.workers)
        case "mutants":
            return mutants.main(given.case)
        case _:
            seed = (given.case or "").removeprefix("seed-")
            outcome = seeded(int(seed)) if seed.isdigit() else replay(given.case or "move")
            tally = tally_of(Report([outcome]))
            print("\n".join([*outcome.faults, *tally.failed, tally.text("replay")]))
            return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
