"""Turns desired, observed and journeys in flight into a plan. Pure; `now` and `salt` are passed in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from reconciler.commands import files, xl
from reconciler.errors import UnknownFact
from reconciler.model.facts import DomainState, Unknown, View
from reconciler.model.move import Direction, Order, Progress, Side, Status
from reconciler.model.placement import Domain
from reconciler.model.plan import BEGUN, Item, ItemKind, Plan
from reconciler.moves.machine import waits_at_gate
from reconciler.planning.index import Found, Index, index
from reconciler.planning.mirrors import as_committed, keep, quiet, told
from reconciler.planning.orders import move, provision, too_long_frozen
from reconciler.planning.preflight import Rooms
from reconciler.planning.retries import held_off
from reconciler.planning.rewinds import heeded, rewinds
from reconciler.planning.situation import Situation
from reconciler.planning.traces import exists, kept_notes, remains, saved_notes, traces, twins, untold
from reconciler.planning.whereabouts import Whereabouts, locate, unmanaged


def plan(situation: Situation) -> Plan:
    """One item for each domain that is wanted, in flight or running."""
    return Plan(
        commit=situation.desired.commit,
        items=tuple(_items(situation)),
        hosts={host: _host_word(view) for host, view in sorted(situation.views.items())},
    )


def _host_word(view: View) -> str:
    unknown = [f"{name}: {fact.reason}" for name, fact in view.facts.items() if isinstance(fact, Unknown)]
    return "answers" if not unknown else "; ".join(unknown[:3])


def _items(situation: Situation) -> Iterator[Item]:
    desired, seen, rooms = situation.desired, index(situation.views), Rooms()
    mirrors = moves = 0
    for planned, progress in situation.active:
        order = as_committed(planned, desired)
        waits = waits_at_gate(order, progress, situation.now)
        rooms.take(order, made=order.standby and waits)
        mirrors, moves = mirrors + (order.standby and not waits), moves + (not order.standby and not waits)
    slots = situation.limits.max_moves - moves
    items = _placed(situation, seen, rooms, slots)
    begun = sum(item.kind in BEGUN for item in items.values())
    items |= _mirrors(situation, items, seen, rooms, slots - begun - mirrors)  # moves never wait for mirrors
    yield from items.values()
    for name, host in unmanaged(set(items), situation.views):
        yield Item(name, ItemKind.UNMANAGED, None, host, "named in no committed file; left alone")


def _placed(situation: Situation, seen: Index, rooms: Rooms, slots: int) -> dict[str, Item]:
    """What each domain that is wanted or in flight needs, so many at a time, by name."""
    desired, items = situation.desired, dict[str, Item]()
    in_flight = {order.domain: (order, progress) for order, progress in situation.active}
    rewound = rewinds(situation.views, situation.accepted)
    for name in sorted({*desired.domains, *desired.refused, *in_flight}):
        domain = desired.domains.get(name)
        if name in in_flight:
            items[name] = _carry_on(situation, *in_flight[name], seen, rooms)
            continue
        if name in desired.refused or domain is None:
            items[name] = Item(name, ItemKind.REFUSED, None, None, str(desired.refused[name]))
            continue
        try:
            item = _place(situation, domain, seen, rooms)
        except UnknownFact as unknown:
            item = Item(name, ItemKind.UNKNOWN, domain.host, None, str(unknown))
        item = heeded(item, rewound)
        if item.order is not None and name in situation.held:
            item = replace(item, kind=ItemKind.LATER, why=situation.held[name])
        elif item.order is not None:
            rooms.take(item.order, waits=slots <= 0)
            if slots <= 0:
                why = f"waits for its turn: {situation.limits.max_moves} at a time"
                item = replace(item, kind=ItemKind.LATER, why=why)
            else:
                slots -= 1
        items[name] = item
    return items


def _mirrors(
    situation: Situation, items: Mapping[str, Item], seen: Index, rooms: Rooms, slots: int
) -> dict[str, Item]:
    """Domains in place of which a mirror is to be kept: that it is begun, or why not."""
    in_flight = {order.domain for order, _ in situation.active}
    rewound, found = rewinds(situation.views, situation.accepted), dict[str, Item]()
    for name, host in situation.came_from.items():
        if name in in_flight or name not in items or items[name].kind is not ItemKind.IN_PLACE:
            continue
        kept = keep(situation, items[name], host, seen, rooms, slots)
        if kept.order is not None and (why := heeded(kept, rewound).why):
            kept = replace(items[name], notes=(*items[name].notes, f"no mirror is kept on {host}: {why}"))
        if kept.order is not None:
            rooms.take(kept.order)
            slots -= 1
        found[name] = kept
    return found


def _mirrored(situation: Situation, order: Order, progress: Progress, seen: Index, rooms: Rooms) -> Item:
    """A domain with a mirror: asked for the same as one without, but for what the mirror has of it."""
    here, domain = order.host(Side.SOURCE).name, situation.desired.domains.get(order.domain)
    if domain is not None and locate(order.domain, seen).found:
        with contextlib.suppress(UnknownFact):  # it is somewhere else: its journey sees to that
            placed = _place(situation, domain, seen, rooms, mirrored=True)
            if placed.kind is ItemKind.REFUSED:
                return placed
    wanted = domain.host if domain else here
    return Item(order.domain, ItemKind.IN_PLACE, wanted, here, notes=(told(order, progress),))


def _carry_on(situation: Situation, order: Order, progress: Progress, seen: Index, rooms: Rooms) -> Item:
    desired = situation.desired
    domain, problem = desired.domains.get(order.domain), desired.refused.get(order.domain)
    if quiet(order, progress, desired):
        return _mirrored(situation, order, progress, seen, rooms)
    if order.standby and problem is not None:
        return Item(order.domain, ItemKind.REFUSED, None, order.host(Side.SOURCE).name, str(problem))
    verb = "going back" if progress.direction is Direction.BACK else "under way"
    why = f"{order.kind.value} {order.move_id} is {verb} at step {progress.step}"
    if progress.status is Status.HELD and progress.reason:
        held = f"held at step {progress.step} ({progress.reason.value}): {progress.detail}"
        why = f"{order.kind.value} {order.move_id} is {held}"
    source = order.source.name if order.source else None
    return Item(
        order.domain, ItemKind.CARRY_ON, domain.host if domain else order.target.name, source, why, order
    )


def _place(
    situation: Situation, domain: Domain, seen: Index, rooms: Rooms, *, mirrored: bool = False
) -> Item:
    where = locate(domain.name, seen)

    def item(kind: ItemKind, why: str = "", *notes: str) -> Item:
        found = where.found[0].host if where.found else None
        return Item(domain.name, kind, domain.host, found, why, notes=notes)

    if len(where.found) > 1:
        hosts = " and ".join(f"{found.host} ({found.seen.state.value})" for found in where.found)
        return item(
            ItemKind.REFUSED, f"it is on {hosts} at once; nothing is touched, decide which one is right"
        )
    if where.halves:
        return item(
            ItemKind.REFUSED, f"a half of an interrupted migration is left: {', '.join(where.halves)}"
        )
    if not where.found:
        absent = _absent(situation, domain, where, seen, rooms)
        return replace(absent, notes=saved_notes(domain.name, seen))
    found = where.found[0]
    if domain.uuid and found.config and found.config.uuid != domain.uuid:
        return item(
            ItemKind.REFUSED,
            f"the domain on {found.host} has uuid {found.config.uuid}, {domain.where} says {domain.uuid}",
        )
    twin = twins(domain.name, found.config.uuid if found.config else None, seen)
    if twin:
        return item(
            ItemKind.REFUSED,
            f"{domain.name} on {found.host} has the same uuid as {', '.join(twin)}; nothing is touched: "
            "destroy the one that is a copy, or give it a uuid of its own",
        )
    left = () if mirrored else traces(domain.name, seen, found)
    if found.host == domain.host:
        if left:
            return item(ItemKind.REFUSED, untold(domain.name, left, found))
        if found.seen.state is not DomainState.RUNNING:
            return item(
                ItemKind.REFUSED,
                f"{domain.name} is on {found.host} as wanted, but {found.seen.state.value}; nothing is done "
                f"about it: see there why, for instance with «xl list» and «xl unpause {domain.name}»",
            )
        silent = (f"could not ask {', '.join(where.silent)}",) if where.silent else ()
        left_on = _left_on_drbd(found, situation.views[found.host])
        kept = kept_notes(domain.name, domain.host, seen)
        return item(ItemKind.IN_PLACE, "", *silent, *left_on, *saved_notes(domain.name, seen), *kept)
    if where.silent:
        return item(
            ItemKind.UNKNOWN, f"{', '.join(where.silent)} did not answer, so it may run there as well"
        )
    later = held_off(situation, domain)
    if later is not None:
        return later
    ordered = move(situation, domain, found, rooms.at(domain.host), situation.views)
    if isinstance(ordered, str):
        return item(
            ItemKind.REFUSED, "; ".join([ordered, *([untold(domain.name, left, found)] if left else [])])
        )
    order, notes = ordered
    if left:
        return item(ItemKind.REFUSED, untold(domain.name, left, found))
    if why := too_long_frozen(order):
        return item(ItemKind.REFUSED, why)
    return replace(item(ItemKind.MOVE), order=order, notes=notes)


def _left_on_drbd(found: Found, view: View) -> tuple[str, ...]:
    """A remark when the domain still runs on DRBD, left there by a move that went back."""
    if found.config is None or not view.knows(files.LINKS):
        return ()
    links = view.get(files.LINKS)
    if not any(links.get(disk.path, "").startswith("/dev/drbd") for disk in found.config.disks):
        return ()
    return (
        f"runs on DRBD without a peer on {found.host} since a move went back; its next move takes it along",
    )


def _absent(situation: Situation, domain: Domain, where: Whereabouts, seen: Index, rooms: Rooms) -> Item:
    def item(kind: ItemKind, why: str, order: Order | None = None) -> Item:
        return Item(domain.name, kind, domain.host, None, why, order)

    left = traces(domain.name, seen, None)
    if left:
        silent = f"; {', '.join(where.silent)} did not answer" if where.silent else ""
        return item(ItemKind.REFUSED, untold(domain.name, left, None) + silent)
    if where.silent:
        return item(ItemKind.UNKNOWN, f"seen nowhere, but {', '.join(where.silent)} did not answer")
    if where.configs_on == (domain.host,):
        return item(ItemKind.IN_PLACE, f"is not running; its configuration is on {domain.host}")
    if where.configs_on:
        hosts = ", ".join(where.configs_on)
        return item(
            ItemKind.REFUSED,
            f"is not running; its configuration is on {hosts}. Start it there to have it moved",
        )
    if domain.provision is None:
        return item(ItemKind.REFUSED, "is on no host and has no «provision» section")
    twin = twins(domain.name, domain.uuid, seen)
    if twin:
        return item(ItemKind.REFUSED, f"its uuid {domain.uuid} is that of {', '.join(twin)}")
    kept = remains(domain.name, situation.views, _names(situation))
    if kept:
        return item(ItemKind.REFUSED, exists(domain.name, kept))
    later = held_off(situation, domain)
    if later is not None:
        return later
    order = provision(situation, domain, rooms.at(domain.host))
    if isinstance(order, str):
        return item(ItemKind.REFUSED, order)
    return item(ItemKind.PROVISION, "", order)


def _names(situation: Situation) -> set[str]:
    """Every domain that is committed or runs somewhere."""
    running = {seen.name for view in situation.views.values() for seen in view.get(xl.DOMAINS)}
    return {*situation.desired.domains, *situation.desired.refused, *running}
