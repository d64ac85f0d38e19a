"""Mirrors that are kept: on the host that a domain has left, in step, until a commit wants it back. Pure.

Such a mirror is a move back that stops before its cutover.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.errors import UnknownFact
from reconciler.model.move import Direction, Kind, Order, Progress, Status
from reconciler.model.placement import Desired
from reconciler.model.plan import Item, ItemKind
from reconciler.planning.index import Index
from reconciler.planning.orders import move, too_long_frozen
from reconciler.planning.preflight import Rooms
from reconciler.planning.retries import held_off
from reconciler.planning.situation import Situation
from reconciler.planning.whereabouts import locate


def stands_by(order: Order, desired: Desired | None) -> bool:
    """Whether a journey that was begun as a mirror is none but that, by the commit in force."""
    domain = desired.domains.get(order.domain) if desired else None
    return order.standby and (domain is None or order.source is None or domain.host == order.source.name)


def quiet(order: Order, progress: Progress, desired: Desired | None) -> bool:
    """Whether it is a mirror that comes about, or is there, and nothing is wrong with it."""
    well = progress.direction is Direction.FORWARD and progress.status is not Status.HELD
    return well and stands_by(order, desired)


def unwanted(order: Order, desired: Desired) -> str:
    """Why the commit in force wants a move or a mirror no more; empty when it does, or says nothing of it."""
    domain, commit = desired.domains.get(order.domain), f"commit {desired.commit[:12]}"
    if order.kind is not Kind.MOVE or order.domain in desired.refused:
        return ""
    if domain is None:
        return f"{commit} does not name {order.domain} any more" if order.standby else ""
    if stands_by(order, desired):
        return "" if domain.policy.keep_mirror else f"{commit} keeps no mirror of {order.domain}"
    if domain.host == order.target.name:
        return ""
    return f"{commit} wants {order.domain} on {domain.host}"


def told(order: Order, progress: Progress) -> str:
    """A mirror in a few words."""
    return f"mirror on {order.target.name}: {progress.detail or progress.step}"


def keep(situation: Situation, item: Item, host: str, seen: Index, rooms: Rooms, slots: int) -> Item:
    """A domain that is in place, and what keeps a mirror on the host that it has left; or why none is."""

    def none(why: str) -> Item:
        return replace(item, notes=(*item.notes, f"no mirror is kept on {host}: {why}"))

    domain, where = situation.desired.domains[item.domain], locate(item.domain, seen)
    if host not in situation.desired.hosts:
        return none("it is not among the committed hosts")
    if where.silent:
        return none(f"{', '.join(where.silent)} did not answer")
    if not where.found:
        return none("the domain is not running")
    if item.domain in situation.held:
        return none(situation.held[item.domain])
    if (later := held_off(situation, domain)) is not None:
        return none(later.why)
    try:
        there = replace(domain, host=host)
        ordered = move(situation, there, where.found[0], rooms.at(host), situation.views)
    except UnknownFact as unknown:
        return none(str(unknown))
    if isinstance(ordered, str):
        return none(ordered)
    order, notes = ordered
    if not order.pivots:
        return none("; ".join(["it would be suspended to attach", *notes]))
    if why := too_long_frozen(order):
        return none(why)
    if slots <= 0:
        return none(f"waits for its turn: {situation.limits.max_moves} at a time")
    return replace(
        item, kind=ItemKind.MIRROR, order=replace(order, standby=True), notes=(*item.notes, *notes)
    )
