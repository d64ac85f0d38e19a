"""Takes guards of the production code away and looks whether the enumeration finds the harm.

Some guards stand behind one another. Where the removal of one alone changes nothing that a rule could
see, because the next one holds, they are removed together: the entry says which.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from reconciler.moves import guards
from tests.simulation.campaign.work import Piece


@dataclass(frozen=True)
class Mutant:
    """Guards to remove, and the part of the enumeration that must notice."""

    removed: tuple[str, ...]
    scenario: str
    faults: tuple[str, ...]


NONE = ("none",)
MUTANTS = (
    Mutant(("intent-first",), "move", NONE),
    Mutant(("own-volumes",), "move", ("stranger",)),
    Mutant(("source-volume-uuid",), "move", ("replaced-soon",)),
    Mutant(("devices-proven",), "move", ("wrong-device",)),
    Mutant(("image-this-boot",), "move", ("crash-ran-gone",)),
    Mutant(("restorable",), "move", ("mem-set",)),
    Mutant(("same-size",), "move", ("extend",)),
    Mutant(("on-drbd",), "pivot", ("refresh",)),
    Mutant(("on-drbd-live",), "live", ("refresh-during",)),
    Mutant(("cut-off",), "stream", ("refresh",)),
    Mutant(("image-once",), "move", ("guest-gone-after",)),
    Mutant(("settled",), "move", ("guest-gone",)),
    Mutant(("late",), "provision", ("late-70",)),
    Mutant(("never-ran",), "back-unpause-fails", ("ran-then-paused",)),
    Mutant(("back-target-gone",), "back-go", NONE),
    Mutant(("gate", "go-source-secondary"), "move", ("drbd-alone",)),
    Mutant(("back-ran-there",), "back-new", ("crash-ran-gone",)),
    Mutant(("authority", "back-ran-there"), "move", ("ran-then-gone",)),
)
"""Without «gate» alone GO refuses a source that is not Secondary; without «go-source-secondary» alone the
gate has seen to it. Without «authority» alone the way back finds that the copy may have run and ends."""


def caught(mutant: Mutant) -> tuple[str, str, int]:
    """The first failing case, what broke, and how many cases were run until then."""
    cases = 0
    only = frozenset(mutant.faults)
    piece = Piece(mutant.scenario, mutant.scenario, only=only, removed=mutant.removed)
    for outcome in piece.run().outcomes:
        cases += 1
        if outcome.trouble:
            return outcome.case, outcome.trouble, cases
    return "", "", cases


def main(only: str | None = None) -> int:
    """Print one line for each mutant; the exit status says whether all were caught."""
    missed = 0
    chosen = [mutant for mutant in MUTANTS if only in (None, *mutant.removed)]
    for mutant in chosen:
        began = time.monotonic()
        case, trouble, cases = caught(mutant)
        missed += not case
        took = time.monotonic() - began
        said = f"caught by {case}: {trouble[:110]}" if case else "NOT CAUGHT"
        print(f"{' + '.join(mutant.removed):28} {said} ({cases} cases, {took:.0f} s)", flush=True)
    listed = {name for mutant in MUTANTS for name in mutant.removed}
    for name in sorted(guards.GUARDS.keys() - listed):
        missed += 1
        print(f"{name:28} NO MUTANT")
    print(f"mutants: {len(chosen)} removals, {missed} not caught")
    return 1 if missed else 0
