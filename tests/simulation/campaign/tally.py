"""Figures of a campaign, kept while it runs, so that one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.campaign.forking import Report
from tests.simulation.campaign.outcome import Outcome

SHOWN = 20


@dataclass
class Tally:
    """What came out of some cases. `cpu_s` is what they took of the processors."""

    cases: int = 0
    pruned: int = 0
    commands: int = 0
    violations: int = 0
    cpu_s: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    cut: int = 0
    checked: int = 0
    otherwise: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.cases += 1
        self.commands += outcome.commands
        self.ends[outcome.status] += 1
        if outcome.status == "held":
            key = f"{outcome.step} {outcome.reason}"
            self.held[key] += 1
            self.examples.setdefault(key, f"{outcome.case}: {outcome.detail[:160]}")
        if outcome.trouble:
            self.violations += 1
            end = f"{outcome.status} {outcome.step} {outcome.reason} {outcome.detail[:200]}"
            faults = "".join(f"\n    {fault}" for fault in outcome.faults)
            if len(self.failed) < SHOWN:
                self.failed.append(f"{outcome.case}\n  {outcome.trouble[:600]}\n  {end}{faults}")

    def merge(self, other: Tally) -> None:
        self.cases += other.cases
        self.pruned += other.pruned
        self.commands += other.commands
        self.violations += other.violations
        self.cpu_s += other.cpu_s
        self.ends += other.ends
        self.held += other.held
        self.examples = {**other.examples, **self.examples}
        self.failed = [*self.failed, *other.failed][:SHOWN]
        self.cut += other.cut
        self.checked += other.checked
        self.otherwise = [*self.otherwise, *other.otherwise]

    def text(self, what: str) -> str:
        ends = ", ".join(f"{number} {status}" for status, number in sorted(self.ends.items()))
        pruned = ""
        if self.pruned or self.cut:
            otherwise = f"{len(self.otherwise)} of {self.checked} checked ended otherwise"
            pruned = f", {self.cut} of them cut, and {self.pruned} pruned ({otherwise})"
        return (
            f"{what}: {self.cases} cases{pruned}, {self.commands} commands, {self.violations} violations; "
            f"{ends}; {self.cpu_s:.0f} s of processor time"
        )


def tally_of(report: Report) -> Tally:
    tally = Tally(pruned=report.pruned, cut=report.cut, checked=report.checked, otherwise=report.otherwise)
    for outcome in report.outcomes:
        tally.add(outcome)
    return tally


def code() -> str:
    """Which code this is: figures of another one are not added to its own."""
    top = Path(__file__).parents[3]
    files = sorted([*top.glob("reconciler/**/*.py"), *top.glob("tests/simulation/campaign/*.py")])
    return hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=6).hexdigest()


class Log:
    """A line for every piece of work that is done, in a file if one is named."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.code = code()
        self.done: dict[str, Tally] = {}
        if path is not None and path.exists():
            whole, end, _cut_short = path.read_text(encoding="utf-8").rpartition("\n")
            path.write_text(whole + end, encoding="utf-8")
            for line in whole.splitlines():
                row = json.loads(line)
                if row["code"] != self.code:
                    sys.exit(f"{path} holds what other code has done; name another file")
                counted = {key: Counter(row["tally"][key]) for key in ("ends", "held")}
                self.done[row["piece"]] = Tally(**{**row["tally"], **counted})

    def keep(self, piece: str, tally: Tally) -> None:
        self.done[piece] = tally
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"piece": piece, "code": self.code, "tally": vars(tally)}) + "\n")
