"""Takes each guard of the production code away and looks whether the enumeration finds the harm."""

from __future__ import annotations

import time

from reconciler.moves import guards
from tests.simulation.campaign.cases import many, shares
from tests.simulation.campaign.stage import SCENARIOS


def caught(name: str, scenarios: list[str]) -> tuple[str, str, int]:
    """The first failing case, what broke, and how many cases were run until then."""
    cases = 0
    for outcome in many(shares(scenarios, 6, removed=(name,))):
        cases += 1
        if outcome.trouble:
            return outcome.case, outcome.trouble, cases
    return "", "", cases


def main(only: str | None = None) -> int:
    """Print one line for each guard; the exit status says whether all were caught."""
    missed = 0
    for name in [only] if only else list(guards.GUARDS):
        began = time.monotonic()
        case, trouble, cases = caught(name, list(SCENARIOS))
        missed += not case
        took = time.monotonic() - began
        said = f"caught by {case}: {trouble[:150]}" if case else "NOT CAUGHT"
        print(f"{name:20} {said} ({cases} cases, {took:.0f} s)", flush=True)
    print(f"mutants: {len(guards.GUARDS) if not only else 1} guards removed in turn, {missed} not caught")
    return 1 if missed else 0
