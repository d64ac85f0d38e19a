"""Questions the steps ask of what was seen. Pure."""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.facts import (
    Connection,
    DiskState,
    DomainSeen,
    DomainState,
    DrbdResource,
    Replication,
    Role,
    View,
    Volume,
)
from reconciler.model.move import MoveDisk, Order, Side
from reconciler.model.names import INCOMING
from reconciler.moves import guards

ATTACH_IMAGE = "attach"
CUTOVER_IMAGE = "cutover"


def images_folder(order: Order) -> str:
    return f"{files.STATE}/images/{order.domain}"


def image(order: Order, name: str) -> str:
    """Named after the move as well, so that an image of an earlier move is never mistaken for it."""
    return f"{images_folder(order)}/{name}-{order.epoch}.img"


def domain(view: View, order: Order) -> DomainSeen | None:
    """The domain under its own name; None only when the host said that it is not there."""
    return next((seen for seen in view.get(xl.DOMAINS) if seen.name == order.domain), None)


def copy(view: View, order: Order) -> DomainSeen | None:
    """The domain under its own name or, moved live, under the one that a copy has while xl receives it."""
    names = (order.domain, order.domain + INCOMING) if order.live else (order.domain,)
    found = {seen.name: seen for seen in view.get(xl.DOMAINS)}
    return next((found[name] for name in names if name in found), None)


def resource(view: View, order: Order) -> DrbdResource | None:
    return next((found for found in view.get(drbd.RESOURCES) if found.name == order.resource), None)


def volume(view: View, group: str, name: str) -> Volume | None:
    return next((v for v in view.get(lvm.VOLUMES) if v.group == group and v.name == name), None)


def resized(view: View, order: Order, side: Side) -> str:
    """Why DRBD's devices are not as large as the disks the domain has had; empty when they are.

    What it has written behind DRBD's end would be out of its reach, and gone with the source's volumes.
    """
    for disk in order.disks:
        found = volume(view, disk.group(side), disk.volume)
        size = found.size_bytes if found else 0
        if not guards.passed("same-size", size == disk.size_bytes):
            return (
                f"{view.host}: {disk.backing(side)} has {size} bytes now and had {disk.size_bytes} when "
                f"{order.move_id} was planned; DRBD on it has the old size"
            )
    return ""


def swollen(view: View, seen: DomainSeen) -> str:
    """Why a saved image of the domain could not be restored; empty when it could."""
    config = next((config for config in view.get(xl.CONFIGS) if config.domid == seen.domid), None)
    return xl.cannot_be_restored(seen, config, view.host)


def image_size(view: View, order: Order, name: str) -> int:
    """Bytes of a whole saved image, 0 when it is not there: an unfinished one ends in .part."""
    return view.get(files.IMAGES).get(image(order, name), 0)


def same_boot(view: View, order: Order, side: Side) -> bool:
    """Whether the host has not rebooted since the journey was planned: what was seen and saved holds."""
    return view.get(files.BOOT_ID) == order.boot(side)


def being_started(view: View, order: Order, side: Side, seen: DomainSeen) -> bool:
    """Whether a paused copy may be one that its host, just rebooted, is starting by itself."""
    return seen.state is DomainState.PAUSED and not same_boot(view, order, side)


def rebooted_text(order: Order, side: Side) -> str:
    return f"{order.host(side).name} has rebooted since {order.move_id} was planned"


def link_to(view: View, disk: MoveDisk) -> str | None:
    return view.get(files.LINKS).get(disk.link)


def links_all(view: View, order: Order, side: Side, *, drbd_side: bool) -> bool:
    """Whether every symlink of the domain points to DRBD (or to the volumes themselves)."""
    return all(
        link_to(view, disk) == (disk.drbd if drbd_side else disk.backing(side)) for disk in order.disks
    )


def stray_link(view: View, order: Order, side: Side) -> str | None:
    """A symlink of the domain that points to neither its volume nor its DRBD device."""
    for disk in order.disks:
        target = link_to(view, disk)
        if target not in (None, disk.drbd, disk.backing(side)):
            return f"{disk.link} points to {target}, expected {disk.backing(side)} or {disk.drbd}"
    return None


def devices_of(view: View, domid: int) -> dict[str, tuple[int, int] | None]:
    """The devices a domain has open, by the name it knows them by; None where none really is."""
    return {
        vbd.device: vbd.major_minor if vbd.opened else None for vbd in view.get(xl.VBDS) if vbd.domid == domid
    }


def never_ran(view: View, seen: DomainSeen) -> bool:
    """Whether a paused copy has certainly never run: no CPU time, and no front end ever joined its disks.

    A guest joins its disks as the first thing after it was restored or created, and can write nothing
    before that. So it proves that nothing was written, even if it ran for less than `xl list` can show.
    """
    joined = any(vbd.connected for vbd in view.get(xl.VBDS) if vbd.domid == seen.domid)
    proven = seen.cpu_s == 0.0 and not joined
    return seen.state is DomainState.PAUSED and guards.passed("never-ran", proven)


def on_drbd(view: View, order: Order, seen: DomainSeen) -> bool:
    """Whether every disk of the domain really is open on its DRBD device (xenstore's physical-device)."""
    devices = devices_of(view, seen.domid)
    return all(devices.get(disk.device) == (drbd.MAJOR, disk.minor) for disk in order.disks)


def at_home(view: View, order: Order, seen: DomainSeen) -> bool:
    """Whether every disk of the domain on the source is open on its volume, or on the DRBD over it."""
    return on_volumes(view, order, Side.SOURCE, seen) or (not order.pivots and on_drbd(view, order, seen))


def on_volumes(view: View, order: Order, side: Side, seen: DomainSeen) -> bool:
    """Whether every disk of the domain really is open on its own logical volume.

    The volumes' numbers are device-mapper's, which takes a tenth of LVM's time: the domain may be suspended.
    """
    devices, numbers = devices_of(view, seen.domid), view.get(dm.NUMBERS)
    own = [numbers.get(disk.mapped(side)) for disk in order.disks]
    return None not in own and own == [devices.get(disk.device) for disk in order.disks]


def in_use(view: View, order: Order, side: Side, seen: DomainSeen | None) -> str:
    """The volume of the domain's that another one of the host has open, or may have; empty if there is none.

    `xl` asks this, too, when it opens a disk, but not where `execution/sender.py` opens them for it. A
    backend that is closing may have the device open still.
    """
    numbers = view.get(dm.NUMBERS)
    names = {other.domid: other.name for other in view.get(xl.DOMAINS)}
    for disk in order.disks:
        number, path = numbers.get(disk.mapped(side)), disk.backing(side)
        if number is None:
            return f"{view.host}: whether somebody has {path} open is not known: it is not active"
        for vbd in view.get(xl.VBDS):
            if vbd.major_minor == number and (seen is None or vbd.domid != seen.domid):
                return f"{view.host}: domain {names.get(vbd.domid, vbd.domid)} has {path} open"
    return ""


def devices_text(view: View, seen: DomainSeen) -> str:
    devices = devices_of(view, seen.domid)
    return ", ".join(
        f"{name}={f'{numbers[0]}:{numbers[1]}' if numbers else 'none'}"
        for name, numbers in sorted(devices.items())
    )


def disks_up_to_date(found: DrbdResource, order: Order) -> bool:
    return len(found.volumes) == len(order.disks) and all(
        v.disk is DiskState.UP_TO_DATE for v in found.volumes
    )


def minors_match(found: DrbdResource, order: Order) -> bool:
    return [v.minor for v in found.volumes] == [disk.minor for disk in order.disks]


def in_step(found: DrbdResource, order: Order) -> bool:
    """Connected, both sides' disks UpToDate, nothing out of step, as this side sees it."""
    return (
        found.connection is Connection.CONNECTED
        and disks_up_to_date(found, order)
        and all(
            v.peer_disk is DiskState.UP_TO_DATE
            and v.replication is Replication.ESTABLISHED
            and v.out_of_sync_kib == 0
            for v in found.volumes
        )
    )


def disk_lost(found: DrbdResource) -> bool:
    """Whether this side has lost a disk under DRBD: what is written goes to the other side only."""
    return any(v.disk in (DiskState.DISKLESS, DiskState.FAILED, DiskState.DETACHING) for v in found.volumes)


def may_be_newer(target: DrbdResource | None) -> bool:
    """Whether the target may hold writes the source lacks: somebody wrote there, or the source had no disk.

    A side whose disk is the only one marks every block written since as out of sync (drbd_receiver.c,
    receive_Data); a target that merely lost the connection has nothing marked, and one that is about to be
    synced gets the source's marks before its disk becomes Inconsistent.
    """
    if target is None:
        return False
    settled = (Replication.OFF, Replication.ESTABLISHED)
    ahead = any(
        v.disk is DiskState.UP_TO_DATE and v.out_of_sync_kib > 0 and v.replication in settled
        for v in target.volumes
    )
    return target.role is Role.PRIMARY or ahead


def quiet(found: DrbdResource, order: Order) -> bool:
    """The gate before a teardown, as this side sees it: in step, both Secondary, no request in flight."""
    return (
        in_step(found, order)
        and found.role is Role.SECONDARY
        and found.peer_role is Role.SECONDARY
        and all(v.in_flight == 0 for v in found.volumes)
    )


def describe(found: DrbdResource | None) -> str:
    """A resource in a few words, for messages."""
    if found is None:
        return "no DRBD resource"
    link = found.connection.value if found.connection else "no connection"
    disks = " ".join(
        f"{v.number}:{v.disk.value}/{v.peer_disk.value}"
        + (f" {v.replication.value} oos={v.out_of_sync_kib}KiB in-flight={v.in_flight}")
        for v in found.volumes
    )
    return f"{found.name} {found.role.value}/{found.peer_role.value} {link} {disks}"
