"""A run that children take over: each goes on from where the parent stands, and reports how it ended."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from tests.simulation.campaign.run import Outcome


@dataclass
class Forks:
    """One process's end of it. A child runs to its end while its parent waits, so two never run at once."""

    outcomes: list[Outcome] = field(default_factory=list)
    pipe: int = -1

    @property
    def in_child(self) -> bool:
        return self.pipe >= 0

    def split(self, case: str) -> bool:
        """True in the child; the parent comes back once the child, and all that it forked, have reported."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            gc.disable()  # it would touch, and so copy, all that the parent has
            os.close(reader)
            if self.in_child:
                os.close(self.pipe)
            self.pipe, self.outcomes = writer, []
            return True
        os.close(writer)
        with os.fdopen(reader) as report:
            told = [Outcome(**json.loads(line)) for line in report]
        _, status = os.waitpid(child, 0)
        self.outcomes += told
        if status or not told:
            self.outcomes.append(
                Outcome(case, f"crashed: the process ended with {status} and {len(told)} told")
            )
        return False

    def finish(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Everything this process and its children saw; a child tells its parent and ends here."""
        everything = [*outcomes, *self.outcomes]
        if not self.in_child:
            return everything
        with os.fdopen(self.pipe, "w") as report:
            report.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in everything)
        os._exit(0)
