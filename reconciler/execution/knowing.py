"""Lets a journey's scripts run only on hosts that still know what they had accepted of its domain."""

from __future__ import annotations

from reconciler.model.command import Known, Outcome, Runner, Script, Skip, Skipped
from reconciler.moves.journal import Journal


class Knowing:
    """A `Runner` for one domain. Each host is told the newest number the journal knows it has accepted.

    A host that does not have it any more was put back to an earlier state, and runs nothing, not even a
    query: what it shows fits neither the journal nor the other host. `denied` then says so.
    """

    def __init__(self, runner: Runner, journal: Journal, domain: str) -> None:
        self._runner = runner
        self._journal = journal
        self._domain = domain
        self.denied = ""

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        number = self._journal.accepted_on(host, self._domain)
        known = Known(self._domain, number) if number else None
        outcomes = self._runner.run(host, Script(script.commands, script.claim, known))
        for outcome in outcomes:
            if isinstance(outcome, Skipped) and outcome.why is Skip.REWOUND:
                self.denied = f"{host}: {outcome.reason}"
        return outcomes
