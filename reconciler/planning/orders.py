"""The order for a move or a creation, or every reason why there can be none. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from reconciler.commands import drbd, files
from reconciler.model.facts import View
from reconciler.model.move import Kind, MoveDisk, Order
from reconciler.model.placement import Attach, Cutover, Domain
from reconciler.moves.provision import config_text
from reconciler.planning import attaching
from reconciler.planning.attaching import check_tables
from reconciler.planning.devices import check_open
from reconciler.planning.index import Found
from reconciler.planning.predict import NO_MOVE, predict
from reconciler.planning.preflight import (
    MIB,
    Room,
    check_hosts,
    check_image,
    check_source,
    check_target,
    resolve_disk,
    seeded,
)
from reconciler.planning.situation import Situation, epoch, known, lot, secret


def move(
    situation: Situation,
    domain: Domain,
    found: Found,
    room: Room,
    views: Mapping[str, View],
    *,
    standby: bool = False,
) -> tuple[Order, tuple[str, ...]] | str:
    """The order for one move and remarks about it, or every reason why there can be none.

    A mirror (`standby`) is a move that needs no memory on its target yet.
    """
    hosts, limits = situation.desired.hosts, situation.limits
    if found.host not in hosts or domain.host not in hosts:
        return f"{found.host} is not among the committed hosts"
    target, source_view, target_view = hosts[domain.host], views[found.host], views[domain.host]
    if found.config is None:
        return f"xl on {found.host} lists {domain.name} but shows no configuration of it"
    resolved = [resolve_disk(disk, found, source_view, target) for disk in found.config.disks]
    problems = [text for text in resolved if isinstance(text, str)]
    disks = [seeded(domain.name, disk, target_view) for disk in resolved if isinstance(disk, MoveDisk)]
    if not resolved:
        problems.append(f"{domain.name} on {found.host} has no disk")
    problems += check_hosts(found, source_view, target_view)
    problems += check_source(found, disks, source_view)
    problems += check_open(found, disks, source_view)
    problems += check_tables(found, disks, source_view)
    ways = attaching.choose(domain.policy, found, disks, source_view, target_view)
    problems += ways.problems
    memory_mb = 0 if standby else found.seen.memory_mb
    problems += check_target(domain.name, memory_mb, disks, target, target_view, room)
    if Attach.SUSPEND is ways.attach or Cutover.STORE is ways.cutover:
        problems += check_image(domain.name, found.seen.memory_mb, source_view)
    if Cutover.STORE is ways.cutover and not standby:
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
    number = epoch(situation, domain.name, (found.host, target.name))
    size = sum(disk.size_bytes for disk in disks)
    order = Order(
        kind=Kind.MOVE,
        domain=domain.name,
        uuid=found.config.uuid,
        epoch=number,
        commit=situation.desired.commit,
        source=hosts[found.host],
        target=target,
        source_node=source_view.get(files.NODE),
        target_node=target_view.get(files.NODE),
        source_boot=source_view.get(files.BOOT_ID),
        target_boot=target_view.get(files.BOOT_ID),
        lot=lot(situation, f"{domain.name}-{number}"),
        source_known=known(situation, domain.name, found.host),
        target_known=known(situation, domain.name, target.name),
        disks=numbered,
        memory_mb=found.seen.memory_mb,
        policy=domain.policy,
        port=ports[0],
        secret=secret(situation, f"{domain.name}-{number}"),
        config_text=None,
        autostart=f"/etc/xen/auto/{domain.name}.cfg" in source_view.get(files.CONFIG_FILES).autostart,
        attach=ways.attach,
        cutover=ways.cutover,
        standby=standby,
        prediction=predict(
            size, found.seen.memory_mb, ways.attach, ways.cutover, situation.samples, limits.rates
        ),
    )
    window = domain.policy.cutover_window
    when = (f"changes hosts between {window.replace('-', ' and ')} UTC",) if window else ()
    return order, (*ways.remarks, *when)


def too_long_frozen(order: Order) -> str:
    """Why its freeze is not allowed; empty when it is."""
    allowed_s = order.policy.max_freeze_s
    freeze_s = max(order.prediction.freeze_attach_s, order.prediction.freeze_cutover_s)
    if allowed_s is None or freeze_s <= allowed_s:
        return ""
    return f"its freeze is predicted at {freeze_s} s, policy allows {allowed_s} s"


def provision(situation: Situation, domain: Domain, room: Room) -> Order | str:
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
    number = epoch(situation, domain.name, (target.name,))
    name = f"{situation.salt}/{domain.name}/{number}"
    ident = domain.uuid or str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    return Order(
        kind=Kind.PROVISION,
        domain=domain.name,
        uuid=ident,
        epoch=number,
        commit=situation.desired.commit,
        source=None,
        target=target,
        source_node="",
        target_node=view.get(files.NODE),
        target_boot=view.get(files.BOOT_ID),
        lot=lot(situation, f"{domain.name}-{number}"),
        target_known=known(situation, domain.name, target.name),
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
