"""A person who asks for something between two steps, and the desk that answers, without its letter box."""

from __future__ import annotations

from pathlib import Path

from reconciler.clock import Clock
from reconciler.desk import Desk
from reconciler.model.move import Order, Progress
from reconciler.model.request import Request, Result, Verb
from reconciler.moves.authority import may_rest
from reconciler.moves.journal import Journal
from tests.simulation.campaign.stand import Killed

NOWHERE = Path("/nonexistent")


class Operator:
    """Asks for `abort`, or for `hold` and some time later for `resume`."""

    def __init__(self, journal: Journal, clock: Clock, order: Order) -> None:
        self.journal, self.clock, self.order = journal, clock, order
        self.desk: Desk | None = None
        self.waiting: list[Request] = []
        self.resume_at_s: float | None = None
        self.aborted = False
        self._kill = False
        self._count = 0

    def ask(self, what: str) -> None:
        """`abort`, `abort-killed` (the daemon dies once it has kept its answer), or `hold-SECONDS`."""
        verb, _, more = what.partition("-")
        self._kill = more == "killed"
        if verb == "hold":
            self.resume_at_s = self.clock.monotonic_s() + float(more)
        self._put(Verb(verb))

    def _put(self, verb: Verb) -> None:
        self._count += 1
        order = self.order
        self.waiting.append(
            Request(str(self._count), self.clock.now(), verb, order.domain, order.move_id, "a test")
        )

    def calls(self) -> bool:
        """Whether a request waits."""
        if self.resume_at_s is not None and self.clock.monotonic_s() >= self.resume_at_s:
            self.resume_at_s = None
            self._put(Verb.RESUME)
        return bool(self.waiting)

    def attend(self) -> None:
        """The desk answers what waits; a request is put away only after that."""
        self.desk = self.desk or Desk(self.journal, self.clock, NOWHERE)
        while self.waiting:
            request = self.waiting[0]
            self.desk._attend(request, None, self.order.commit)
            if self._kill:
                self._kill = False
                raise Killed("abort-killed")
            self.waiting.pop(0)
            answer = next(done for done in self.desk.answered if done.request == request)
            if request.verb is Verb.ABORT:
                self.aborted = self.aborted or answer.result is Result.DONE

    def restart(self) -> None:
        """A daemon that starts anew has what the journal holds."""
        if self.desk is not None:
            self.desk = Desk(self.journal, self.clock, NOWHERE)

    def rests(self, progress: Progress) -> bool:
        """Whether a hold stops the journey where it is."""
        held = self.desk is not None and self.desk.stops(self.order.domain)
        return held and may_rest(self.order, progress)
