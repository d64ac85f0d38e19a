"""The report: one document that says what is wanted, what is seen, what is done and what was done. Pure.

Its form is schemas/report.schema.json. It holds no secret: anybody on the daemon's host may read it.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reconciler.model.move import Order
from reconciler.model.placement import Desired, Problem
from reconciler.model.plan import Plan
from reconciler.model.request import Answered, Hold
from reconciler.moves.journal import Event, EventKind, Record
from reconciler.report import advice, moves
from reconciler.report.domains import SETTLED, Events, State, domains
from reconciler.report.words import clean, moment

T = TypeVar("T")

SCHEMA_VERSION = 1
HISTORY = 50
MAX_PROBLEMS = 100


@dataclass(frozen=True)
class Source:
    """The repository: what its ref points to, and what is wrong with that."""

    repository: str
    ref: str
    head: str | None = None
    problems: Sequence[Problem] = ()
    error: str | None = None
    """Why the repository or the ref could not be read at all."""


@dataclass(frozen=True)
class Standing:
    """Everything a report is made of. `finished` is newest first."""

    source: Source
    desired: Desired | None
    plan: Plan | None
    active: Sequence[Record]
    finished: Sequence[Record]
    events: Events
    holds: Mapping[str, Hold] = field(default_factory=dict)
    answered: Sequence[Answered] = ()
    """Requests of people and what came of them, newest first."""


class EventsOnce:
    """Reads and tells an ended journey once: it never changes, and reports are made often, in freezes too."""

    def __init__(self, read: Events, keep: int = 4 * HISTORY) -> None:
        self._read, self._keep = read, keep
        self._events: OrderedDict[str, Sequence[Event]] = OrderedDict()
        self._told: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def __call__(self, order: Order) -> Sequence[Event]:
        if order.move_id in self._events:
            return self._events[order.move_id]
        events = self._read(order)
        if events and events[-1].kind is EventKind.ENDED:
            self._remember(self._events, order.move_id, events)
        return events

    def past(self, record: Record) -> dict[str, Any]:
        """The entry of an ended journey in the history."""
        name = record.order.move_id
        if name not in self._told:
            self._remember(self._told, name, moves.finished(record, self(record.order)))
        return self._told[name]

    def _remember(self, kept: OrderedDict[str, T], name: str, value: T) -> None:
        kept[name] = value
        while len(kept) > self._keep:
            kept.popitem(last=False)


def build(standing: Standing, now: datetime.datetime, version: str) -> dict[str, Any]:
    """The report at this moment."""
    events = standing.events if isinstance(standing.events, EventsOnce) else EventsOnce(standing.events)
    found = domains(
        standing.desired,
        standing.plan,
        standing.active,
        standing.finished,
        standing.events,
        now,
        standing.holds,
    )
    commit = _commit(standing)
    states = [State(entry["state"]) for entry in found]
    return {
        "schema_version": SCHEMA_VERSION,
        "generated": moment(now),
        "daemon_version": version,
        "repository": {"path": clean(standing.source.repository), "ref": clean(standing.source.ref)},
        "commit": commit,
        "converged": bool(commit["head_in_force"] and _planned(standing))
        and all(state in SETTLED for state in states),
        "counts": {state.value: states.count(state) for state in State},
        "hosts": _hosts(standing),
        "domains": found,
        "requests": [_answered(one) for one in standing.answered[:HISTORY]],
        "history": [events.past(record) for record in standing.finished[:HISTORY]],
    }


def _planned(standing: Standing) -> bool:
    """Whether the plan is about the commit in force."""
    plan, desired = standing.plan, standing.desired
    return plan is not None and desired is not None and plan.commit == desired.commit


def _commit(standing: Standing) -> dict[str, Any]:
    source = standing.source
    in_force = standing.desired.commit if standing.desired else None
    told = advice.commit_refused(in_force) if source.problems or source.error else None
    return {
        "in_force": in_force,
        "head": source.head,
        "head_in_force": in_force is not None and in_force == source.head and not source.problems,
        "error": clean(source.error) if source.error else None,
        "problems": [_problem(problem) for problem in source.problems[:MAX_PROBLEMS]],
        "problems_left_out": max(0, len(source.problems) - MAX_PROBLEMS),
        "safe": told.safe if told else None,
        "what_to_do": list(told.what_to_do) if told else [],
        "page": told.page if told else None,
    }


def _answered(one: Answered) -> dict[str, Any]:
    return {
        "id": one.request.ident,
        "at": moment(one.request.at),
        "verb": one.request.verb.value,
        "domain": clean(one.request.domain),
        "move": clean(one.request.move_id) if one.request.move_id else None,
        "reason": clean(one.request.reason) or None,
        "outcome": one.result.value,
        "text": clean(one.text),
        "answered": moment(one.at),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "commit": problem.commit,
        "file": clean(problem.file),
        "line": problem.line,
        "message": clean(problem.message),
        "value": clean(problem.value, 200) or None,
        "allowed": clean(problem.allowed) or None,
    }


def _hosts(standing: Standing) -> list[dict[str, Any]]:
    words = dict(standing.plan.hosts) if standing.plan else {}
    names = {*words, *(standing.desired.hosts if standing.desired else ())}
    return [
        {
            "name": name,
            "answers": words[name] == "answers" if name in words else None,
            "why": None if words.get(name, "answers") == "answers" else clean(words[name]),
        }
        for name in sorted(names)
    ]
