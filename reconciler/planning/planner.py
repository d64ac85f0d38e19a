"""Turns desired, observed and journeys in flight into a plan. Pure; `now` and `salt` are passed in."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.commands import drbd, files, xl
from reconciler.errors import UnknownFact
from reconciler.model.facts import DomainState, Unknown, View
from reconciler.model.move import CLAIMS, LOTS, Direction, Kind, MoveDisk, Order, Progress, Reason, Status
from reconciler.model.placement import Attach, Cutover, Desired, Domain
from reconciler.model.plan import Item, ItemKind, Plan
from reconciler.moves.machine import waits_for_window
from reconciler.moves.provision import config_text
from reconciler.planning import attaching
from reconciler.planning.attaching import check_tables
from reconciler.planning.devices import check_open
from reconciler.planning.index import Found, Index, index
from reconciler.planning.predict import NO_MOVE, Rates, Sample, predict
from reconciler.planning.preflight import (
    MIB,
    Room,
    Rooms,
    check_hosts,
    check_image,
    check_source,
    check_target,
    resolve_disk,
)
from reconciler.planning.rewinds import Accepted, heeded, rewinds
from reconciler.planning.traces import exists, remains, saved_notes, traces, twins, untold
from reconciler.planning.whereabouts import Whereabouts, locate, unmanaged


@dataclass(frozen=True)
class Past:
    """An ended journey, as far as planning cares."""

    order: Order
    progress: Progress
    ended: datetime.datetime


@dataclass(frozen=True)
class Limits:
    """What the operator allows and assumes."""

    max_moves: int = 1
    retry_s: float = 300.0
    max_attempts: int = 3
    ports: range = range(7800, 7900)
    minors: range = range(100, 200)
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True)
class Situation:
    """Everything a plan depends on."""

    desired: Desired
    views: Mapping[str, View]
    active: Sequence[tuple[Order, Progress]]
    past: Sequence[Past]
    samples: Sequence[Sample]
    epochs: Mapping[str, int]
    limits: Limits
    now: datetime.datetime
    salt: str
    held: Mapping[str, str] = field(default_factory=dict)
    """Domains for which the operator wants no new journey, and what is said about it."""
    accepted: Accepted = field(default_factory=dict)


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
    desired, seen = situation.desired, index(situation.views)
    rooms = Rooms(order for order, _ in situation.active)
    in_flight = {order.domain: (order, progress) for order, progress in situation.active}
    waiting = (waits_for_window(order, progress, situation.now) for order, progress in situation.active)
    slots = situation.limits.max_moves - len(in_flight) + sum(waiting)
    rewound = rewinds(situation.views, situation.accepted)
    for name in sorted({*desired.domains, *desired.refused, *in_flight}):
        domain = desired.domains.get(name)
        if name in in_flight:
            yield _carry_on(*in_flight[name], domain)
            continue
        if name in desired.refused or domain is None:
            yield Item(name, ItemKind.REFUSED, None, None, str(desired.refused[name]))
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
        yield item
    for name, host in unmanaged({*desired.domains, *desired.refused, *in_flight}, situation.views):
        yield Item(name, ItemKind.UNMANAGED, None, host, "named in no committed file; left alone")


def _carry_on(order: Order, progress: Progress, domain: Domain | None) -> Item:
    verb = "going back" if progress.direction is Direction.BACK else "under way"
    why = f"{order.kind.value} {order.move_id} is {verb} at step {progress.step}"
    if progress.status is Status.HELD and progress.reason:
        held = f"held at step {progress.step} ({progress.reason.value}): {progress.detail}"
        why = f"{order.kind.value} {order.move_id} is {held}"
    source = order.source.name if order.source else None
    return Item(
        order.domain, ItemKind.CARRY_ON, domain.host if domain else order.target.name, source, why, order
    )


def _place(situation: Situation, domain: Domain, seen: Index, rooms: Rooms) -> Item:
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
    left = traces(domain.name, seen, found)
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
        return item(ItemKind.IN_PLACE, "", *silent, *left_on, *saved_notes(domain.name, seen))
    if where.silent:
        return item(
            ItemKind.UNKNOWN, f"{', '.join(where.silent)} did not answer, so it may run there as well"
        )
    later = _held_off(situation, domain)
    if later is not None:
        return later
    ordered = _move(situation, domain, found, rooms.at(domain.host), situation.views)
    if isinstance(ordered, str):
        return item(
            ItemKind.REFUSED, "; ".join([ordered, *([untold(domain.name, left, found)] if left else [])])
        )
    order, notes = ordered
    if left:
        return item(ItemKind.REFUSED, untold(domain.name, left, found))
    allowed_s = domain.policy.max_freeze_s
    freeze_s = max(order.prediction.freeze_attach_s, order.prediction.freeze_cutover_s)
    if allowed_s is not None and freeze_s > allowed_s:
        return item(ItemKind.REFUSED, f"its freeze is predicted at {freeze_s} s, policy allows {allowed_s} s")
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
    later = _held_off(situation, domain)
    if later is not None:
        return later
    order = _provision(situation, domain, rooms.at(domain.host))
    if isinstance(order, str):
        return item(ItemKind.REFUSED, order)
    return item(ItemKind.PROVISION, "", order)


def _names(situation: Situation) -> set[str]:
    """Every domain that is committed or runs somewhere."""
    running = {seen.name for view in situation.views.values() for seen in view.get(xl.DOMAINS)}
    return {*situation.desired.domains, *situation.desired.refused, *running}


def _held_off(situation: Situation, domain: Domain) -> Item | None:
    """After a journey that went back: wait longer each time, then ask for a new commit."""
    failures = []
    for past in situation.past:  # newest first
        if past.order.domain != domain.name:
            continue
        if past.progress.status is not Status.BACK or past.order.commit != situation.desired.commit:
            break
        if past.progress.reason is Reason.ABORTED:
            break  # no failure: somebody wanted it, and what holds it off is the operator's hold
        failures.append(past)
    if not failures:
        return None
    last = failures[0]
    why = f"went back {len(failures)} times, last {last.progress.detail}"
    if len(failures) >= situation.limits.max_attempts:
        text = f"{why}; it is not tried again before the next commit"
        return Item(domain.name, ItemKind.REFUSED, domain.host, None, text)
    due = last.ended + datetime.timedelta(seconds=situation.limits.retry_s * 2 ** (len(failures) - 1))
    if situation.now < due:
        text = f"{why}; tried again at {due.isoformat(timespec='seconds')}"
        return Item(domain.name, ItemKind.LATER, domain.host, None, text)
    return None


def _epoch(situation: Situation, domain: str, hosts: Sequence[str]) -> int:
    seen = [_known(situation, domain, host) // CLAIMS for host in hosts]
    return max([situation.epochs.get(domain, 0), *seen]) + 1


def _known(situation: Situation, domain: str, host: str) -> int:
    return situation.views[host].get(files.EPOCHS).get(domain, 0)


def _lot(situation: Situation, move_id: str) -> int:
    drawn = hashlib.sha256(f"lot/{situation.salt}/{move_id}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") % LOTS


def _secret(situation: Situation, move_id: str) -> str:
    return hashlib.sha256(f"{situation.salt}/{move_id}".encode()).hexdigest()[:40]


def _move(
    situation: Situation, domain: Domain, found: Found, room: Room, views: Mapping[str, View]
) -> tuple[Order, tuple[str, ...]] | str:
    """The order for one move and remarks about it, or every reason why there can be none."""
    hosts, limits = situation.desired.hosts, situation.limits
    if found.host not in hosts or domain.host not in hosts:
        return f"{found.host} is not among the committed hosts"
    target, source_view, target_view = hosts[domain.host], views[found.host], views[domain.host]
    if found.config is None:
        return f"xl on {found.host} lists {domain.name} but shows no configuration of it"
    resolved = [resolve_disk(disk, found, source_view, target) for disk in found.config.disks]
    problems = [text for text in resolved if isinstance(text, str)]
    disks = [disk for disk in resolved if isinstance(disk, MoveDisk)]
    if not resolved:
        problems.append(f"{domain.name} on {found.host} has no disk")
    problems += check_hosts(found, source_view, target_view)
    problems += check_source(found, disks, source_view)
    problems += check_open(found, disks, source_view)
    problems += check_tables(found, disks, source_view)
    ways = attaching.choose(domain.policy, found, disks, source_view, target_view)
    problems += ways.problems
    problems += check_target(domain.name, found.seen.memory_mb, disks, target, target_view, room)
    if Attach.SUSPEND is ways.attach or Cutover.STORE is ways.cutover:
        problems += check_image(domain.name, found.seen.memory_mb, source_view)
    if Cutover.STORE is ways.cutover:
        problems += check_image(domain.name, found.seen.memory_mb, target_view)
    busy = {
        v.minor for view in (source_view, target_view) for r in view.get(drbd.RESOURCES) for v in r.volumes
    }
    free = [minor for minor in limits.minors if minor not in busy and minor not in room.minors]
    ports = [port for port in limits.ports if port not in room.ports]
    if len(free) < len(disks) or not ports:
        problems.append("no DRBD minor or port is free in the configured ranges")
    if problems:
        return "; ".join(problems)
    numbered = tuple(
        replace(disk, minor=free[index]) if disk.minor < 0 else disk for index, disk in enumerate(disks)
    )
    epoch = _epoch(situation, domain.name, (found.host, target.name))
    size = sum(disk.size_bytes for disk in disks)
    order = Order(
        kind=Kind.MOVE,
        domain=domain.name,
        uuid=found.config.uuid,
        epoch=epoch,
        commit=situation.desired.commit,
        source=hosts[found.host],
        target=target,
        source_node=source_view.get(files.NODE),
        target_node=target_view.get(files.NODE),
        source_boot=source_view.get(files.BOOT_ID),
        target_boot=target_view.get(files.BOOT_ID),
        lot=_lot(situation, f"{domain.name}-{epoch}"),
        source_known=_known(situation, domain.name, found.host),
        target_known=_known(situation, domain.name, target.name),
        disks=numbered,
        memory_mb=found.seen.memory_mb,
        policy=domain.policy,
        port=ports[0],
        secret=_secret(situation, f"{domain.name}-{epoch}"),
        config_text=None,
        autostart=f"/etc/xen/auto/{domain.name}.cfg" in source_view.get(files.CONFIG_FILES).autostart,
        attach=ways.attach,
        cutover=ways.cutover,
        prediction=predict(
            size, found.seen.memory_mb, ways.attach, ways.cutover, situation.samples, limits.rates
        ),
    )
    window = domain.policy.cutover_window
    when = (f"changes hosts between {window.replace('-', ' and ')} UTC",) if window else ()
    return order, (*ways.remarks, *when)


def _provision(situation: Situation, domain: Domain, room: Room) -> Order | str:
    """The order to create a domain, or why not."""
    wanted = domain.provision
    assert wanted is not None
    target, view = situation.desired.hosts[domain.host], situation.views[domain.host]
    disks = tuple(
        MoveDisk(
            device=disk.device,
            link=f"{files.LINKS_DIR}/{domain.name}-{disk.name}",
            volume=f"{domain.name}-{disk.name}",
            size_bytes=disk.size_mb * MIB,
            minor=-1,
            source_group=target.volume_group,
            target_group=target.volume_group,
        )
        for disk in wanted.disks
    )
    problems = check_target(domain.name, wanted.memory_mb, disks, target, view, room)
    if problems:
        return "; ".join(problems)
    epoch = _epoch(situation, domain.name, (target.name,))
    name = f"{situation.salt}/{domain.name}/{epoch}"
    ident = domain.uuid or str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    return Order(
        kind=Kind.PROVISION,
        domain=domain.name,
        uuid=ident,
        epoch=epoch,
        commit=situation.desired.commit,
        source=None,
        target=target,
        source_node="",
        target_node=view.get(files.NODE),
        target_boot=view.get(files.BOOT_ID),
        lot=_lot(situation, f"{domain.name}-{epoch}"),
        target_known=_known(situation, domain.name, target.name),
        disks=disks,
        memory_mb=wanted.memory_mb,
        policy=domain.policy,
        port=0,
        secret="",
        config_text=config_text(domain.name, ident, wanted, disks),
        autostart=wanted.autostart,
        prediction=NO_MOVE,
        provision=wanted,
    )
