"""What the hosts must look like at the end of a run: I6, judged from outside."""

from __future__ import annotations

from reconciler.commands import files
from reconciler.model.move import Kind, MoveDisk, Order, Progress, Status
from reconciler.model.names import mapped
from reconciler.simulator import scene
from reconciler.simulator.filesystem import Link
from reconciler.simulator.host import SimHost
from reconciler.simulator.world import World
from tests.simulation.campaign import strangers


def held_badly(progress: Progress, faults: list[str]) -> str:
    """A held journey names its reason and says in words what is the matter.

    And something was the matter: what a person may do, or a daemon killed and started again, is no reason.
    """
    if progress.reason is None or not progress.detail:
        return f"I6: held at {progress.step} without a reason"
    if no_host_failed(faults):
        return f"I6: held at {progress.step} though no host and no command failed: {progress.detail}"
    return ""


def no_host_failed(faults: list[str]) -> bool:
    """Whether no more has happened than that the daemon was killed, or a person did something."""
    return all(fault.startswith("kill-") or " on the desk: " in fault for fault in faults)


def problems(world: World, order: Order, progress: Progress, faults: list[str]) -> list[str]:
    """What is not as the end that was reported says it is; empty when all is."""
    target = world.hosts[order.target.name]
    source = world.hosts[order.source.name] if order.source else None
    guest_gone = any(fault.startswith(("guest-gone", "crash-ran-gone", "ran-then-gone")) for fault in faults)
    rebooted = any("crash" in fault for fault in faults)
    may_be_down = guest_gone or (rebooted and not order.autostart)
    match progress.status, order.kind:
        case Status.MOVED, _:
            found = here(target, order, may_be_down)
            found += [*gone(source, order, "source"), *kept_badly(source, order)] if source else []
            return found + leftovers(target, order, own=True) + unfinished(world)
        case Status.BACK, Kind.MOVE:
            assert source is not None
            found = here(source, order, may_be_down) + gone(target, order, "target") + unfinished(world)
            found += kept_badly(target, order)
            return [*found, f"I6: a sync is paused on {source.name} still"] if paused(source) else found
        case Status.BACK, _:
            return gone(target, order, "target") + unfinished(world)
    return []


def paused(host: SimHost) -> bool:
    """Whether DRBD was told to pause a sync there."""
    return any(device.paused for resource in host.drbd.values() for device in resource.devices.values())


def unfinished(world: World) -> list[str]:
    """Files and symlinks that were begun under another name; tables that a resume would put in use."""
    named = [
        f"I6: {path} is left on {host.name}"
        for host in world.hosts.values()
        for path in host.files.nodes
        if path.endswith(files.NEW)
    ]
    loaded = [
        f"I6: a table is loaded beside that of {name} on {host.name}"
        for host in world.hosts.values()
        for name, device in host.maps.items()
        if device.loaded is not None
    ]
    return named + loaded


def here(host: SimHost, order: Order, may_be_down: bool) -> list[str]:
    """The domain runs here, its files and volumes are here, and it comes back after a reboot."""
    found = []
    domain = host.domain(order.domain)
    if domain is None and not may_be_down:
        found.append(f"I6: {order.domain} is not on {host.name}")
    if domain is not None and not domain.running:
        found.append(f"I6: {order.domain} does not run on {host.name}")
    for vbd in domain.vbds if domain is not None else ():
        if not (vbd.opened and vbd.flushes):
            found.append(f"I6: {order.domain} on {host.name} can write nothing to {vbd.vdev}")
    if order.config_path not in host.files.nodes:
        found.append(f"I6: {host.name} has lost {order.config_path}")
    if order.autostart != (order.auto_path in host.files.nodes):
        found.append(f"I6: autostart of {order.domain} on {host.name} is not as it was")
    for disk in order.disks:
        node = host.files.nodes.get(disk.link)
        if not isinstance(node, Link):
            found.append(f"I6: {host.name} has lost {disk.link}")
        elif domain is None and not host.files.exists(disk.link):
            found.append(f"I6: {disk.link} on {host.name} points to {node.target}; nothing can start so")
        if disk.volume not in host.groups["vg"].volumes:
            found.append(f"I8: {host.name} has lost {disk.volume}")
    return found


def gone(host: SimHost, order: Order, what: str) -> list[str]:
    """Nothing of the domain is left here, and nothing could start it."""
    found = []
    if host.domain(order.domain) is not None:
        found.append(f"I6: {order.domain} is left on the {what} {host.name}")
    for disk in order.disks:
        if mine(host, disk.volume) and not kept(host, order, disk):
            found.append(f"I6: {disk.volume} is left on the {what} {host.name}")
        if disk.link in host.files.nodes:
            found.append(f"I6: {disk.link} is left on the {what} {host.name}")
    for path in (order.config_path, order.auto_path):
        if path in host.files.nodes:
            found.append(f"I6: {path} is left on the {what} {host.name}")
    return found + leftovers(host, order, own=False)


def kept(host: SimHost, order: Order, disk: MoveDisk) -> bool:
    """Whether a volume was left on purpose, for a mirror: with a tag that says so, and no other."""
    volume = host.groups["vg"].volumes.get(disk.volume)
    return order.policy.keep_mirror and volume is not None and volume.tags == [order.kept_tag]


def kept_badly(host: SimHost, order: Order) -> list[str]:
    """Volumes that were kept and do not stand on their extents."""
    tables = scene.must(host, "dmsetup", "table").splitlines()
    plain = {line.split(":")[0] for line in tables if " linear " in line}
    names = [disk.volume for disk in order.disks if kept(host, order, disk)]
    return [
        f"I6: {name} on {host.name} is kept, and cannot be read"
        for name in names
        if mapped("vg", name) not in plain
    ]


def mine(host: SimHost, name: str) -> bool:
    """Whether a volume is there that is not somebody else's."""
    return name in host.groups["vg"].volumes and not strangers.own(host, name)


def leftovers(host: SimHost, order: Order, *, own: bool) -> list[str]:
    """What a journey must not leave anywhere: metadata, images, DRBD, resource files, tags."""
    found = []
    group = host.groups["vg"]
    for disk in order.disks:
        if mine(host, disk.metadata):
            found.append(f"I6: {disk.metadata} is left on {host.name}")
        volume = group.volumes.get(disk.volume)
        if own and volume is not None and order.tag in volume.tags:
            found.append(f"I6: {disk.volume} on {host.name} still has the tag {order.tag}")
    if order.resource in host.drbd:
        found.append(f"I6: DRBD {order.resource} is left on {host.name}")
    for path in host.files.nodes:
        images = path.startswith(f"/var/lib/xen-reconciler/images/{order.domain}/")
        if images or path == f"/etc/drbd.d/{order.resource}.res":
            found.append(f"I6: {path} is left on {host.name}")
    return found
