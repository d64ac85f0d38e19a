"""One entry for each domain: what is wanted, what is seen, what is being done about it. Pure.

A plan is as old as the pass that made it while journeys go on; where both speak of a domain, the
journey is right.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.model.move import Direction, Order, Status
from reconciler.model.placement import Desired
from reconciler.model.plan import ERRORS, Item, ItemKind, Plan
from reconciler.model.request import Hold, Verb
from reconciler.moves.authority import may_rest
from reconciler.moves.journal import Event, Record
from reconciler.planning import mirrors
from reconciler.report import advice, moves
from reconciler.report.timings import timings
from reconciler.report.words import clean, moment

Events = Callable[[Order], Sequence[Event]]


class State(enum.Enum):
    """How a domain stands."""

    IN_PLACE = "in-place"
    MOVING = "moving"
    GOING_BACK = "going-back"
    HELD = "held"
    LATER = "later"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNMANAGED = "unmanaged"


SETTLED = frozenset({State.IN_PLACE, State.UNMANAGED})
WENT_BACK = "went back "
"""How the planner begins the reason of a domain that waits because its last move went back."""
_BY_ITEM = {
    ItemKind.IN_PLACE: State.IN_PLACE,
    ItemKind.MOVE: State.LATER,
    ItemKind.MIRROR: State.IN_PLACE,
    ItemKind.PROVISION: State.LATER,
    ItemKind.CARRY_ON: State.LATER,
    ItemKind.LATER: State.LATER,
    ItemKind.REFUSED: State.REFUSED,
    ItemKind.UNKNOWN: State.UNKNOWN,
    ItemKind.UNMANAGED: State.UNMANAGED,
}


def domains(
    desired: Desired | None,
    plan: Plan | None,
    active: Sequence[Record],
    finished: Sequence[Record],
    events: Events,
    now: datetime.datetime,
    holds: Mapping[str, Hold] | None = None,
) -> list[dict[str, Any]]:
    """All domains that are wanted, under way or seen, by name."""
    items = {item.domain: item for item in plan.items} if plan else {}
    going = {record.order.domain: record for record in active}
    latest: dict[str, Record] = {}
    for record in finished:  # newest first
        latest.setdefault(record.order.domain, record)
    wanted: Mapping[str, object] = {**desired.domains, **desired.refused} if desired else {}
    found = []
    for name in sorted({*items, *going, *wanted}):
        entry = _head(name, desired, items.get(name))
        if name in going:
            entry |= _going(going[name], events(going[name].order), now, desired)
            if entry["state"] == State.IN_PLACE.value and name in items:
                entry |= _trouble(items[name], desired)
        elif name not in items:
            entry |= _plain(State.UNKNOWN, "the hosts have not been looked at since this was committed")
        else:
            entry |= _still(items[name], latest.get(name), events, desired)
        if holds and name in holds:
            _held(entry, holds[name], going.get(name))
        found.append(entry)
    return found


def _head(name: str, desired: Desired | None, item: Item | None) -> dict[str, Any]:
    declared = desired.domains.get(name) if desired else None
    fallback = item.wanted if item and desired is None else None
    return {
        "name": clean(name),
        "desired_host": declared.host if declared else fallback,
        "observed_host": item.found if item else None,
        "declared_at": clean(str(declared.where)) if declared and declared.where.file else None,
        "state": "",
        "why": None,
        "notes": [clean(note) for note in item.notes] if item else [],
        "predicted": None,
        "move": None,
        "last_error": None,
        "held_by_operator": None,
    }


def _held(entry: dict[str, Any], hold: Hold, record: Record | None) -> None:
    """What the operator's hold changes about an entry."""
    entry["held_by_operator"] = {
        "since": moment(hold.since),
        "by": hold.by.value,
        "reason": clean(hold.reason) or None,
        "while_commit": hold.commit,
    }
    rests = record is not None and hold.by is Verb.HOLD and may_rest(record.order, record.progress)
    if rests and entry["state"] != State.HELD.value:
        entry |= {"state": State.HELD.value, "why": clean(hold.text)}
        entry["move"]["status"] = Status.HELD.value
    elif entry["why"] != clean(hold.text):
        entry["notes"].append(clean(hold.text))


def _plain(state: State, why: str = "") -> dict[str, Any]:
    return {"state": state.value, "why": clean(why) or None}


def _going(
    record: Record, seen: Sequence[Event], now: datetime.datetime, desired: Desired | None
) -> dict[str, Any]:
    progress, why = record.progress, record.progress.detail
    times = timings(record, seen)
    if mirrors.quiet(record.order, progress, desired):
        state, why = State.IN_PLACE, mirrors.told(record.order, progress)
    elif progress.status is Status.HELD:
        state = State.HELD
    else:
        state = State.GOING_BACK if progress.direction is Direction.BACK else State.MOVING
    return {
        **_plain(state, why),
        "observed_host": moves.standing(record, times),
        "move": moves.under_way(record, times, now),
        "last_error": moves.last_error(record, seen, times),
    }


def _trouble(item: Item, desired: Desired | None) -> dict[str, Any]:
    """What the plan says of a domain with a mirror that is not as wanted."""
    if item.kind not in ERRORS:
        return {}
    problem = desired.refused.get(item.domain) if desired else None
    error = moves.error(None, item.reason, item.why, advice.planned(item, problem))
    return {**_plain(_BY_ITEM[item.kind], item.why), "last_error": error}


def _still(item: Item, last: Record | None, events: Events, desired: Desired | None) -> dict[str, Any]:
    if last is not None and item.order is not None and last.order.move_id == item.order.move_id:
        return _just_ended(last, events, desired)
    declared = desired.domains.get(item.domain) if desired else None
    if declared is not None and item.kind is not ItemKind.UNMANAGED and declared.host != item.wanted:
        return _plain(State.LATER, "another host was committed since the last pass; planned in the next one")
    state = State.HELD if item.reason else _BY_ITEM[item.kind]
    entry = _plain(state, item.why)
    if item.order is not None:
        entry["predicted"] = moves.predicted(item.order.prediction) if item.order.source else None
        entry["why"] = entry["why"] or "planned; it begins in this pass"
    if last is not None and last.progress.status is Status.BACK and item.why.startswith(WENT_BACK):
        entry["observed_host"] = item.found or moves.standing(last, timings(last, ()))
        entry["last_error"] = moves.gone_back(last, events(last.order))
    elif state in (State.REFUSED, State.UNKNOWN, State.HELD):
        problem = desired.refused.get(item.domain) if desired else None
        entry["last_error"] = moves.error(None, item.reason, item.why, advice.planned(item, problem))
    return entry


def _just_ended(last: Record, events: Events, desired: Desired | None) -> dict[str, Any]:
    """The journey of this item is over since the plan was made."""
    order, status = last.order, last.progress.status
    declared = desired.domains.get(order.domain) if desired else None
    there = {"observed_host": moves.standing(last, timings(last, ()))}
    if status is Status.MOVED and (declared is None or declared.host == order.target.name):
        return {**_plain(State.IN_PLACE), **there}
    if status is Status.BACK:
        error = moves.gone_back(last, events(order))
        return {**_plain(State.LATER, f"went back: {error['text']}"), **there, "last_error": error}
    return {**_plain(State.LATER, "planned anew in the next pass"), **there}
