"""What two DRBD sides do together: find each other, agree on a direction, resync, lose the link."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.simulator.drbd import JUST_CREATED, PAGE, Device, Metadata, Resource

if TYPE_CHECKING:
    from reconciler.simulator.world import World

RETRY_S = 1.0
DIGEST = 64
"""Bytes about, on the link, for each piece that both sides compare."""
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def pairs(world: World) -> Iterable[tuple[Resource, Resource]]:
    """Every connected pair once, in host order."""
    for host in world.hosts.values():
        for resource in host.drbd.values():
            if resource.peer and resource.local < resource.remote:
                yield resource, resource.peer


def rests(world: World) -> bool:
    """Whether time alone changes nothing: no resync runs, no link is lost, no two sides could connect."""
    waiting = []
    for host in world.hosts.values():
        for resource in host.drbd.values():
            if resource.peer:
                for device in resource.devices.values():
                    if device.replication.startswith("Sync") and not device.at_rest:
                        return False
                if not world.reachable(resource.local, resource.remote):
                    return False
            elif resource.connection == "WFConnection":
                waiting.append(resource)
    return len(waiting) < 2 or not any(world.reachable(each.local, each.remote) for each in waiting)


def settle_links(world: World) -> None:
    """Drop connections whose link is gone and make those that can be made now."""
    for host in world.hosts.values():
        for resource in list(host.drbd.values()):
            if resource.peer and not world.reachable(resource.local, resource.remote):
                resource.drop_link("WFConnection", "WFConnection", world.now_s + RETRY_S)
    for host in world.hosts.values():
        for resource in list(host.drbd.values()):
            if resource.connection == "WFConnection" and resource.retry_at_s <= world.now_s:
                other = _opposite(world, resource)
                if other is not None and resource.peer is None:
                    _connect(world, resource, other)


def _opposite(world: World, mine: Resource) -> Resource | None:
    host = world.host_at(mine.remote)
    if host is None or not world.reachable(mine.local, mine.remote):
        return None
    for other in host.drbd.values():
        waits = other.connection == "WFConnection" and other.retry_at_s <= world.now_s
        if waits and (other.local, other.remote) == (mine.remote, mine.local):
            return other
    return None


def _connect(world: World, mine: Resource, other: Resource) -> None:
    if mine.options.get("shared-secret") != other.options.get("shared-secret"):
        mine.connection = other.connection = "StandAlone"
        return
    if mine.role == other.role == "Primary" or mine.devices.keys() != other.devices.keys():
        mine.connection = other.connection = "StandAlone"
        return
    directions = {}
    for number, device in mine.devices.items():
        directions[number] = _direction(device, other.devices[number])
        if directions[number] is None:
            mine.connection = other.connection = "StandAlone"
            return
    mine.peer, other.peer = other, mine
    mine.connection = other.connection = "Connected"
    for number, direction in directions.items():
        assert direction is not None
        _begin(world, mine.devices[number], other.devices[number], direction)


def _direction(mine: Device, other: Device) -> int | None:
    """2 or 1: this side sends all or what differs; 0: in sync; -1, -2: it receives; None: never."""
    if mine.lower is None or other.lower is None:
        return 0
    if mine.disk != "Inconsistent" and other.size < mine.size and other.disk == "Inconsistent":
        return None  # «The peer's disk size is too small!»
    way = _compare(mine.meta, other.meta)
    good, theirs = mine.disk != "Inconsistent", other.disk != "Inconsistent"
    if good != theirs:
        full = way is None or abs(way) == 2
        if way is None and JUST_CREATED not in (mine.meta.current, other.meta.current):
            return None
        way = (1 if good else -1) * (2 if full else 1)
    if way is None:
        return None
    if (way > 0 and mine.disk == "Inconsistent") or (way < 0 and other.disk == "Inconsistent"):
        return None
    if (way < 0 and mine.role == "Primary") or (way > 0 and other.role == "Primary"):
        return None  # «I shall become SyncTarget, but I am primary!»
    return way


def _compare(mine: Metadata, other: Metadata) -> int | None:
    """drbd_uuid_compare of 8.4, less its rarest rules; None is a split brain or unrelated data."""
    a, b = mine.current & ~1, other.current & ~1
    if a == b == JUST_CREATED:
        return 0
    if a == JUST_CREATED:
        return -2
    if b == JUST_CREATED:
        return 2
    if a == b:
        return int(mine.was_primary and bool(mine.active)) - int(other.was_primary and bool(other.active))
    if a == other.bitmap:
        return -1
    if a in other.history:
        return -2
    if b == mine.bitmap:
        return 1
    if b in mine.history:
        return 2
    return None


def _begin(world: World, mine: Device, other: Device, direction: int) -> None:
    both = (mine, other)
    size = (
        min(device.size for device in both if device.lower is not None) if any(d.lower for d in both) else 0
    )
    for device in both:
        device.replication = "Established"
        device.size = size or device.size
        device.credit_bytes, device.sync_began_s = 0.0, world.now_s
    if mine.lower is None or other.lower is None:
        return
    if abs(direction) == 2:
        for device in both:
            device.meta.dirty, device.meta.pages = device.all_chunks(), set()
    elif direction:
        for device in both:
            device.meta.dirty = mine.meta.dirty | other.meta.dirty
            device.meta.pages = mine.meta.pages | other.meta.pages
    if not direction:
        return
    source, target = both if direction > 0 else (other, mine)
    source.replication, target.replication, target.disk = "SyncSource", "SyncTarget", "Inconsistent"
    if not source.meta.bitmap or abs(direction) == 2:
        source.meta.bitmap = source.resource.new_uuid()
    target.meta.current, target.meta.bitmap = source.meta.bitmap, 0
    target.remember()
    if not source.meta.dirty and not source.meta.pages:
        _finish(source, target)


def _finish(source: Device, target: Device) -> None:
    source.replication = target.replication = "Established"
    source.credit_bytes = target.credit_bytes = 0.0
    target.disk = "UpToDate"
    target.meta.current, target.meta.bitmap = source.meta.current, 0
    target.meta.history = source.meta.history = (source.meta.bitmap, *source.meta.history)[:2]
    source.meta.bitmap = 0
    for device in (source, target):
        device.meta.dirty.clear()
        device.meta.pages.clear()
        device.meta.active.clear()
        device.remember()


def resync(world: World, seconds: float) -> None:
    """Let every running resync go on for some time."""
    for one, other in pairs(world):
        devices = one.devices.values()
        busy = [each for each in devices if each.replication.startswith("Sync") and not each.at_rest]
        if not busy:
            continue
        link = world.rate(one.local, other.local) / len(busy)
        for device in busy:
            peer = device.peer
            assert peer is not None
            source, target = (device, peer) if device.replication == "SyncSource" else (peer, device)
            _copy(source, target, min(link, rate_limit(target.resource)) * seconds)


def _copy(source: Device, target: Device, budget: float) -> None:
    assert source.lower is not None and target.lower is not None
    credit = source.credit_bytes + budget
    dirty, single = source.meta.dirty, source.meta.pages
    while dirty or single:
        index = min(dirty, default=-1)
        low = min(single) if index < 0 else 0
        low, high = source.chunk_range(index) if index >= 0 else (low, min(source.size, low + PAGE))
        if credit < high - low:
            source.credit_bytes = target.credit_bytes = credit
            return
        credit -= high - low
        items = source.lower.items(low, high)
        sent = high - low
        if "csums-alg" in target.resource.options:
            there = target.lower.items(low, high)
            other = {at // PAGE for at in items.keys() | there.keys() if items.get(at) != there.get(at)}
            sent = min(sent, DIGEST + PAGE * len(other))
        if items or zeroes(target.resource):
            target.lower.replace(low, high, items)
        source.sent += sent
        target.received += sent
        for meta in (source.meta, target.meta):
            meta.dirty.discard(index)
            meta.pages -= {page for page in meta.pages if low <= page < high}
    _finish(source, target)


def zeroes(resource: Resource) -> bool:
    """Whether zeros become zeros on the target: a discard may leave what was there (lab)."""
    options = resource.options
    thin = options.get("rs-discard-granularity", "0") != "0"
    return not thin or options.get("discard-zeroes-if-aligned") == "no"


def rate_limit(resource: Resource) -> float:
    """Bytes a second that the resource's options allow a resync."""
    fixed = resource.options.get("c-plan-ahead", "20") == "0"
    text = resource.options.get("resync-rate" if fixed else "c-max-rate", "250K" if fixed else "100M")
    unit = UNITS.get(text[-1:].upper())
    return float(text[:-1]) * unit if unit else float(text) * 1024
