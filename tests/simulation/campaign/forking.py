"""A run that children take over: each goes on from where the parent stands, and reports how it ended."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.campaign.outcome import Outcome

End = list[str]
"""What went wrong, status, step and reason: as much of an end as must be alike."""


def end_of(outcome: Outcome) -> End:
    return [outcome.trouble[:40], outcome.status, outcome.step, outcome.reason]


@dataclass
class Report:
    """What a process and its children saw; the first outcome is the process's own.

    `ends` says how the run ended that stands for a state, or for a state and a fault. `pruned` cases were
    not begun, and `cut` ones not gone on with, because of one that stands for them; `checked` ones were
    run to the end all the same, and those in `otherwise` ended in another way.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    ends: dict[str, End] = field(default_factory=dict)
    pruned: int = 0
    cut: int = 0
    checked: int = 0
    otherwise: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.outcomes += other.outcomes
        self.ends |= other.ends
        self.pruned += other.pruned
        self.cut += other.cut
        self.checked += other.checked
        self.otherwise += other.otherwise

    def text(self) -> str:
        return json.dumps({**vars(self), "outcomes": [vars(outcome) for outcome in self.outcomes]})

    @staticmethod
    def read(text: str) -> Report:
        row = json.loads(text)
        return Report(**{**row, "outcomes": [Outcome(**each) for each in row["outcomes"]]})


@dataclass
class Forks:
    """One process's end of it. A child runs to its end while its parent waits, so two never run at once."""

    report: Report = field(default_factory=Report)
    known: dict[str, End] = field(default_factory=dict)
    pipe: int = -1

    def split(self, case: str) -> Outcome | None:
        """None in the child; in the parent how the child ended, once all that it forked have, too."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            gc.disable()  # it would touch, and so copy, all that the parent has
            sys.settrace(None)  # coverage could not count what a child reaches: it never ends as others do
            os.close(reader)
            if self.pipe >= 0:
                os.close(self.pipe)
            self.pipe, self.report = writer, Report()
            return None
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        if status or not text:
            text = Report([Outcome(case, f"crashed: its process ended with {status}")]).text()
        told = Report.read(text)
        self.report.add(told)
        self.known |= told.ends
        return told.outcomes[0]

    def finish(self, own: Iterable[Outcome]) -> Report:
        """Everything this process and its children saw; a child tells its parent and ends here."""
        self.report.outcomes = [*own, *self.report.outcomes]
        if self.pipe < 0:
            return self.report
        with os.fdopen(self.pipe, "w") as pipe:
            pipe.write(self.report.text())
        os._exit(0)
