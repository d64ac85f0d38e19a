"""python -m tests.simulation.campaign single | pairs | swarm --seeds N | replay CASE | mutants."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.simulation.campaign import mutants
from tests.simulation.campaign.cases import many, replay, shares
from tests.simulation.campaign.run import Outcome
from tests.simulation.campaign.stage import SCENARIOS
from tests.simulation.campaign.swarm import seeded, swarm


def tell(outcomes: Iterable[Outcome], what: str, show: int) -> int:
    """Print the failing cases and the figures; the exit status."""
    began = time.monotonic()
    ends: Counter[str] = Counter()
    held: Counter[str] = Counter()
    bad = 0
    cases = 0
    commands = 0
    example: dict[str, str] = {}
    for outcome in outcomes:
        cases += 1
        if cases % 500 == 0:
            print(f"... {cases} cases, {bad} violations, {time.monotonic() - began:.0f} s", flush=True)
        commands += outcome.commands
        ends[outcome.status] += 1
        if outcome.status == "held":
            key = f"{outcome.step} {outcome.reason}"
            held[key] += 1
            example.setdefault(key, f"{outcome.case}: {outcome.detail[:160]}")
        if outcome.trouble:
            bad += 1
            if bad <= show:
                print(f"FAILED {outcome.case}\n  {outcome.trouble[:600]}")
                print(f"  {outcome.status} {outcome.step} {outcome.reason} {outcome.detail[:200]}")
                print("".join(f"  {fault}\n" for fault in outcome.faults), end="", flush=True)
    for key, number in held.most_common():
        print(f"held {number:6} {key}   e.g. {example[key]}")
    took = time.monotonic() - began
    shown = ", ".join(f"{number} {status}" for status, number in sorted(ends.items()))
    print(f"{what}: {cases} cases, {commands} commands, {bad} violations; {shown}; {took:.0f} s")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("what", choices=["single", "pairs", "swarm", "replay", "mutants"])
    parser.add_argument("case", nargs="?")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=float, default=0.05, help="share of second faults that is run")
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    parser.add_argument("--fault", action="append")
    parser.add_argument("--show", type=int, default=20)
    given = parser.parse_args()
    scenarios = given.scenario or list(SCENARIOS)
    only = frozenset(given.fault) if given.fault else None
    match given.what:
        case "single":
            return tell(many(shares(scenarios, 8, only=only)), "single faults", given.show)
        case "pairs":
            tasks = shares(scenarios, 64, depth=2, keep=given.keep, only=only)
            return tell(many(tasks), "pairs of faults", given.show)
        case "swarm":
            return tell(swarm(given.first, given.seeds), "random runs", given.show)
        case "mutants":
            return mutants.main(given.case)
        case _:
            seed = (given.case or "").removeprefix("seed-")
            outcome = seeded(int(seed)) if seed.isdigit() else replay(given.case or "move")
            print("\n".join(outcome.faults))
            return tell([outcome], "replay", 1)


if __name__ == "__main__":
    sys.exit(main())
