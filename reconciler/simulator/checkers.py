"""What must hold after every command, judged from outside: the safety rules I1, I2 and I3 (and I8's core).

These functions follow devices down to the physical disks on their own and read nothing but what is
there. They share no code with the parts of the world that move data, so that a mistake in one does
not hide in the other. Each returns its violations as text; an empty list means that the rule holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from reconciler.simulator.domain import Beat, Domain, Vbd
from reconciler.simulator.drbd import Device
from reconciler.simulator.host import SimHost
from reconciler.simulator.lvm import Volume, VolumeGroup
from reconciler.simulator.storage import BlockDevice, Disk, Mapped
from reconciler.simulator.world import World


def domains(world: World) -> Iterator[tuple[SimHost, Domain]]:
    for host in world.hosts.values():
        for domain in host.domains.values():
            yield host, domain


def one_runner(world: World) -> list[str]:
    """I1: at most one unpaused domain per UUID; and no heartbeat number heard twice."""
    seen: dict[str, str] = {}
    found = []
    for host, domain in domains(world):
        if domain.running:
            where = f"{domain.name} on {host.name}"
            if domain.uuid in seen:
                found.append(f"I1: {domain.uuid} runs twice: {seen[domain.uuid]} and {where}")
            seen[domain.uuid] = where
    for before, beat in world.observer.repeated[:5]:
        found.append(
            f"I1: {beat.guest} made heartbeat {beat.number} on {beat.host} "
            f"after {before.number} on {before.host}"
        )
    return found


def bottom(device: BlockDevice, offset: int) -> list[tuple[str, int]]:
    """Every physical place that a write to `offset` reaches: (name of the disk, offset on it)."""
    match device:
        case Disk():
            return [(f"disk {id(device):x}", offset)]
        case Mapped():
            for segment in device.table:
                if segment.start <= offset < segment.start + segment.length and segment.device is not None:
                    return bottom(segment.device, segment.offset + offset - segment.start)
            return []
        case Device():
            mine = bottom(device.lower, offset) if device.lower is not None else []
            peer = device.resource.peer.devices.get(device.volume) if device.resource.peer else None
            theirs = bottom(peer.lower, offset) if peer is not None and peer.lower is not None else []
            return mine + theirs
    return []


def one_writer(world: World) -> list[str]:
    """I2: DRBD primary on one side only; a running guest's disks open for writing nowhere else."""
    found = []
    primaries: dict[frozenset[str], str] = {}
    for host in world.hosts.values():
        for resource in host.drbd.values():
            ends = frozenset((resource.local, resource.remote))
            if resource.role == "Primary" and len(ends) == 2:
                if ends in primaries:
                    found.append(f"I2: {resource.name} is primary on {primaries[ends]} and on {host.name}")
                primaries[ends] = host.name
    for host, domain in domains(world):
        if not domain.running:
            continue
        for other_host, other in domains(world):
            same = other.uuid == domain.uuid and other is not domain
            if same and any(vbd.mode == "w" and vbd.opened and bottom(vbd.device, 0) for vbd in other.vbds):
                found.append(
                    f"I2: {domain.name} runs on {host.name}; its disks are open on {other_host.name} too"
                )
        for vbd in domain.vbds:
            found += _written_beside(host, domain, vbd)
    return found


def _written_beside(host: SimHost, domain: Domain, vbd: Vbd) -> list[str]:
    """A running guest that writes the volume under a DRBD whose peer already relies on it."""
    found = []
    mine = set(bottom(vbd.device, 0))
    for resource in host.drbd.values():
        for device in resource.devices.values():
            below = device.lower is not None and set(bottom(device.lower, 0)) & mine
            if (
                below
                and device is not vbd.device
                and not _through(vbd.device, device)
                and resource.peer is not None
            ):
                found.append(
                    f"I2: {domain.name} on {host.name} writes {vbd.vdev} beside connected drbd{device.minor}"
                )
    return found


def _through(device: BlockDevice, wanted: BlockDevice) -> bool:
    if device is wanted:
        return True
    if isinstance(device, Mapped):
        return any(
            segment.device is not None and _through(segment.device, wanted) for segment in device.table
        )
    return False


class Window(NamedTuple):
    """Bytes `low` to `high` of a device are those of a disk, `shift` further on."""

    low: int
    high: int
    disk: Disk
    shift: int


def windows(device: BlockDevice) -> list[Window]:
    """What a read of the device gives, found by hand; for DRBD the local copy if good, else the peer's."""
    match device:
        case Disk():
            return [Window(0, device.size, device, 0)]
        case Mapped():
            return [
                Window(
                    max(below.low - shift, segment.start),
                    min(below.high - shift, segment.start + segment.length),
                    below.disk,
                    below.shift + shift,
                )
                for segment in device.table
                if segment.device is not None
                for shift in [segment.offset - segment.start]
                for below in windows(segment.device)
            ]
        case Device():
            peer = device.resource.peer.devices.get(device.volume) if device.resource.peer else None
            for side in (device, peer):
                if side is not None and side.disk == "UpToDate" and side.lower is not None:
                    return windows(side.lower)
    return []


def missing(seen: list[Window], wanted: dict[int, Beat]) -> Iterator[Beat]:
    """What is not where it should be."""
    if any(_holds_all(window, wanted) for window in seen):
        return
    for offset, beat in wanted.items():
        for window in seen:
            if window.low <= offset < window.high:
                value = window.disk.content.get(offset + window.shift)
                break
        else:
            value = None
        if value is not beat and value != beat:
            yield beat


def _holds_all(window: Window, wanted: dict[int, Beat]) -> bool:
    """Whether all of it is in this one window, as it nearly always is: quicker than to ask for each alone."""
    content, shift = window.disk.content, window.shift
    for offset, beat in wanted.items():
        if content.get(offset + shift) != beat:
            return False
        break  # most devices do not even have one of them
    inside = wanted and (window.low == 0 or window.low <= min(wanted)) and max(wanted) < window.high
    return bool(inside) and [content.get(offset + shift) for offset in wanted] == [*wanted.values()]


def no_lost_write(world: World) -> list[str]:
    """I3: every write a guest was told is on disk is read back by the guest that runs now."""
    found = []
    for host, domain in domains(world):
        if not domain.running:
            continue
        ledger = world.observer.acknowledged.get(domain.guest.name, {})
        for vbd in domain.vbds:
            if not vbd.opened or vbd.vdev not in ledger:
                continue  # not opened, the guest hangs; what it wrote before is not lost
            wrong = [beat.number for beat in missing(windows(vbd.device), ledger[vbd.vdev])]
            if wrong:
                some = ", ".join(map(str, sorted(wrong)[:5]))
                found.append(
                    f"I3: {domain.name} on {host.name}: {vbd.vdev} lost {len(wrong)} writes (number {some})"
                )
    return found


def a_good_copy(world: World) -> list[str]:
    """I8: some volume of some host, up or down, holds every acknowledged write of each disk."""
    found = []
    copies = [
        extents(group, volume)
        for host in world.hosts.values()
        for group in host.groups.values()
        for volume in group.volumes.values()
    ]
    for guest, disks in world.observer.acknowledged.items():
        for vdev, ledger in disks.items():
            if not any(next(missing(copy, ledger), None) is None for copy in copies):
                found.append(f"I8: no volume holds all acknowledged writes of {guest}'s {vdev}")
    return found


def extents(group: VolumeGroup, volume: Volume) -> list[Window]:
    """A volume as its group's metadata describes it, active or not."""
    found, start = [], 0
    for first, count in volume.runs:
        length = count * group.extent
        found.append(Window(start, start + length, group.disk, (1 << 20) + first * group.extent - start))
        start += length
    return found


OF_CONTENT: tuple[Callable[[World], list[str]], ...] = (no_lost_write, a_good_copy)
"""The rules that read what is on disks; the others read only what leads there."""
ALL = (one_runner, one_writer, *OF_CONTENT)


def violations(world: World, rules: Iterable[Callable[[World], list[str]]] = ALL) -> list[str]:
    """All rules at once."""
    return [text for rule in rules for text in rule(world)]


class Watch:
    """The same rules, asked again only once something that they read has changed since they held."""

    def __init__(self) -> None:
        self._held: list[object] | None = None
        self._written: list[int] = []

    def violations(self, world: World) -> list[str]:
        now, written = everything_read(world), writes(world)
        if now != self._held:
            found = violations(world)
        elif written != self._written:
            found = violations(world, OF_CONTENT)
        else:
            return []
        self._held, self._written = None if found else now, written
        return found


def writes(world: World) -> list[int]:
    """How much was ever written; while it is the same, so is what is on the disks."""
    return [world.observer.acknowledgements, *(host.disk.writes for host in world.hosts.values())]


def everything_read(world: World) -> list[object]:
    """All that the rules look at but the content of disks: while two such lists are equal, only rules that
    read content can say anything else. Devices and domains are compared as objects.
    """
    read: list[object] = [len(world.observer.repeated)]
    for host in world.hosts.values():
        for domain in host.domains.values():
            read += (domain, domain.name, domain.uuid, domain.running, len(domain.vbds))
            for vbd in domain.vbds:
                read += (vbd.vdev, vbd.mode, vbd.opened)
                _add_device(read, vbd.device)
        for resource in host.drbd.values():
            read += (resource, resource.local, resource.remote, resource.peer, resource.role)
            for device in resource.devices.values():
                _add_device(read, device)
        for group in host.groups.values():
            for volume in group.volumes.values():
                read += (volume, *volume.runs)
    return read


def _add_device(read: list[object], device: BlockDevice | None) -> None:
    read.append(device)
    if isinstance(device, Mapped):
        read.append(device.table)
        for segment in device.table:
            if not isinstance(segment.device, Disk):  # that is in the table, and its writes are counted
                _add_device(read, segment.device)
    elif isinstance(device, Device):
        read += (device.volume, device.disk, device.resource)
        _add_device(read, device.lower)
