"""Mirrors that are kept: on the host that a domain has left, in step, until a commit wants it back. Pure.

Such a mirror is a move back that stops before its cutover. `Order.standby` says in the journal that a journey
was begun as one; in an order as the commit in force has it, that it is none but that now.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace

from reconciler.errors import UnknownFact
from reconciler.model.move import Direction, Kind, Order, Progress, Side, Status
from reconciler.model.placement import Desired, Host
from reconciler.model.plan import Item, ItemKind
from reconciler.moves.machine import before_stop, waits_at_gate
from reconciler.planning.index import Index
from reconciler.planning.orders import move, too_long_frozen
from reconciler.planning.preflight import Rooms
from reconciler.planning.retries import held_off
from reconciler.planning.situation import Situation
from reconciler.planning.traces import kept_notes
from reconciler.planning.whereabouts import locate


def stands_by(order: Order, desired: Desired | None) -> bool:
    """Whether a journey that was begun as a mirror is none but that, by the commit in force."""
    domain = desired.domains.get(order.domain) if desired else None
    return order.standby and (domain is None or domain.host == order.host(Side.SOURCE).name)


def as_committed(order: Order, desired: Desired | None) -> Order:
    """The order with what the commit in force says of its window and of mirrors; the rest stays."""
    domain = desired.domains.get(order.domain) if desired else None
    said = domain.policy if domain else order.policy
    policy = replace(order.policy, cutover_window=said.cutover_window, keep_mirror=said.keep_mirror)
    return replace(order, policy=policy, standby=stands_by(order, desired))


def quiet(order: Order, progress: Progress, desired: Desired | None) -> bool:
    """Whether it is a mirror that comes about, or is there, and nothing is wrong with it."""
    refused = desired is not None and order.domain in desired.refused
    if refused or progress.direction is Direction.BACK or progress.status is Status.HELD:
        return False
    return stands_by(order, desired) and before_stop(order, progress)


def called(
    active: Iterable[tuple[Order, Progress]], desired: Desired | None, max_moves: int, day: datetime.datetime
) -> frozenset[str]:
    """The mirrors that may become moves now, as a commit wants their domains there: so many moves at a time.

    `active` is in the order in which journeys began, as the journal has them. `day` is for windows.
    """
    moves = [
        (order, progress)
        for order, progress in active
        if not (stands_by(order, desired) and before_stop(order, progress))
        and not waits_at_gate(as_committed(order, desired), progress, day)
    ]
    waiting = [order for order, progress in moves if order.standby and before_stop(order, progress)]
    free = max(0, max_moves - (len(moves) - len(waiting)))
    going = [order for order, _ in moves if order.standby and order not in waiting]
    return frozenset(order.move_id for order in (*going, *waiting[:free]))


def unwanted(order: Order, desired: Desired) -> str:
    """Why the commit in force wants a move or a mirror no more; empty when it does, or says nothing of it."""
    domain, commit = desired.domains.get(order.domain), f"commit {desired.commit[:12]}"
    if order.kind is not Kind.MOVE or order.domain in desired.refused:
        return ""
    if domain is None:
        return f"{commit} does not name {order.domain} any more" if order.standby else ""
    if stands_by(order, desired):
        if not domain.policy.keep_mirror:
            return f"{commit} keeps no mirror of {order.domain}"
        others = [host.name for host in map(order.host, Side) if _reached(host) != _committed(host, desired)]
        return f"{commit} drops or changes {' and '.join(others)}" if others else ""
    if domain.host == order.target.name:
        return ""
    return f"{commit} wants {order.domain} on {domain.host}"


def _reached(host: Host) -> Host:
    """What says which machine a host is, and how it is reached."""
    return replace(host, reserve_memory_mb=0, sync_mb_s=None)


def _committed(host: Host, desired: Desired) -> Host | None:
    found = desired.hosts.get(host.name)
    return _reached(found) if found else None


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
        there, room = replace(domain, host=host), rooms.at(host)
        ordered = move(situation, there, where.found[0], room, situation.views, standby=True)
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
    before = tuple(note for note in item.notes if note not in kept_notes(domain.name, domain.host, seen))
    return replace(item, kind=ItemKind.MIRROR, order=order, notes=(*before, *notes))
