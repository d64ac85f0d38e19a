"""Attends to people's requests and keeps the operator's holds. The daemon's end of `mailbox`.

What became of a request is in the journal before the request is put away; decided a second time after a
crash in between, it comes to the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from cattrs.preconf.json import make_converter

from reconciler import mailbox
from reconciler.clock import Clock
from reconciler.errors import JournalError
from reconciler.model.move import Direction
from reconciler.model.request import Answered, Hold, Request, Result, Verb
from reconciler.moves import requests
from reconciler.moves.journal import EventKind, Journal, Record
from reconciler.moves.requests import Decision, Journey

HOLDS = "operator-holds"
ANSWERED = "answered-requests"
KEPT = 50
log = logging.getLogger("reconciler")
_converter = make_converter()


def read_holds(journal: Journal) -> dict[str, Hold]:
    """The operator's holds by domain. Raises JournalError when they cannot be read."""
    text = journal.recall(HOLDS)
    try:
        return _converter.loads(text, dict[str, Hold]) if text else {}
    except Exception as error:  # whatever a damaged row makes the decoder raise
        raise JournalError(f"the operator's holds in the journal cannot be read: {error!r}") from error


def read_answered(journal: Journal) -> list[Answered]:
    """What became of the latest requests, newest first; they are for people only."""
    text = journal.recall(ANSWERED)
    try:
        return _converter.loads(text, list[Answered]) if text else []
    except Exception as error:
        log.error("the answered requests in the journal cannot be read: %r", error)
        return []


class Desk:
    """One for each daemon. Any thread may attend, but only for domains whose journey no other one drives."""

    def __init__(self, journal: Journal, clock: Clock, folder: Path) -> None:
        self._journal, self._clock, self._folder = journal, clock, folder
        self._lock = threading.RLock()
        self._holds = read_holds(journal)
        self._answered = read_answered(journal)
        self._away: set[str] = set()
        """Names of files that were dealt with, should they not go away."""

    def holds(self, commit: str | None) -> Mapping[str, Hold]:
        """The holds in force under a commit."""
        with self._lock:
            return {name: hold for name, hold in self._holds.items() if hold.in_force(commit)}

    def stops(self, domain: str) -> bool:
        """Whether a hold asks the domain's journey to stop."""
        with self._lock:
            hold = self._holds.get(domain)
        return hold is not None and hold.by is Verb.HOLD

    @property
    def answered(self) -> list[Answered]:
        with self._lock:
            return list(self._answered)

    def prune(self, commit: str) -> None:
        """Forget holds that ended with another commit."""
        with self._lock:
            left = {name: hold for name, hold in self._holds.items() if hold.in_force(commit)}
            if left != self._holds:
                self._keep(left)

    def calls(self, domain: str | None = None) -> bool:
        """Whether a request waits, for this domain or for any."""
        waiting = [name for name in mailbox.names(self._folder) if name not in self._away]
        if not waiting or domain is None:
            return bool(waiting)
        return any((found := self._read(name)) is not None and found.domain == domain for name in waiting)

    def attend(
        self,
        known: Collection[str] | None,
        commit: str | None,
        only: str | None = None,
        driven: Collection[str] = (),
    ) -> int:
        """Decide on what waits; how many requests were answered.

        `known` holds the names that may be held, None for any. With `only`, for that domain alone. A
        journey in `driven` is another thread's: nothing but a hold is decided about it here.
        """
        count = 0
        with self._lock:
            for name in mailbox.names(self._folder):
                if name in self._away:
                    continue
                request = self._read(name)
                if request is None or only not in (None, request.domain):
                    continue
                if request.domain in driven and request.verb is not Verb.HOLD:
                    continue
                self._attend(request, known, commit)
                self._put_away(name)
                count += 1
        return count

    def _read(self, name: str) -> Request | None:
        request = mailbox.read(self._folder, name)
        if request is None:
            self._put_away(name)
        return request

    def _put_away(self, name: str) -> None:
        self._away.add(name)
        mailbox.drop(self._folder, name)

    def _attend(self, request: Request, known: Collection[str] | None, commit: str | None) -> None:
        if any(past.request.ident == request.ident for past in self._answered):
            return
        now = self._clock.now()
        record = next((r for r in self._journal.active() if r.order.domain == request.domain), None)
        journey = Journey(record.order, record.progress) if record else None
        hold = self._holds.get(request.domain)
        stranger = journey is None and known is not None and request.domain not in known
        if request.verb is Verb.HOLD and stranger:
            text = f"no domain {request.domain} is known: neither the commit nor a move names it"
            decision = Decision(Result.REFUSED, text, hold)
        else:
            decision = requests.decide(request, journey, hold, commit, now)
        log.warning("%s %s: %s: %s", request.verb.value, request.domain, decision.result.value, decision.text)
        if record is not None:
            self._apply(request, record, decision)
        holds = {name: kept for name, kept in self._holds.items() if name != request.domain}
        if decision.hold is not None:
            holds[request.domain] = decision.hold
        if holds != self._holds:
            self._keep(holds)
        answered = [Answered(request, decision.result, decision.text, now), *self._answered][:KEPT]
        self._journal.remember(ANSWERED, _converter.dumps(answered, list[Answered]))
        self._answered = answered

    def _apply(self, request: Request, record: Record, decision: Decision) -> None:
        now, before, after = self._clock.now(), record.progress, decision.progress
        if decision.closes:
            self._journal.release(record.order, before, now, request.reason)
        elif after is not None:
            turned = after.direction is Direction.BACK and before.direction is Direction.FORWARD
            kind = EventKind.TURNED_BACK if turned else None
            detail = {"reason": after.reason.value if after.reason else None, "detail": after.detail}
            self._journal.record(record.order, after, now, kind, step=before.step, detail=detail)

    def _keep(self, holds: dict[str, Hold]) -> None:
        self._journal.remember(HOLDS, _converter.dumps(holds, dict[str, Hold]))
        self._holds = holds
