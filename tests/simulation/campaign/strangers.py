"""Other people's volumes and symlinks, in the way at the worst moment."""

from __future__ import annotations

from reconciler.simulator.checkers import extents
from reconciler.simulator.filesystem import Link
from reconciler.simulator.host import SimHost
from reconciler.simulator.process import Result, Steps
from reconciler.simulator.world import World

MARK = "somebody else's data"
AT = 8 << 20


def volume(host: SimHost, argv: tuple[str, ...]) -> None:
    """A volume of the name that is about to be made, with data of somebody else in it."""
    make(host, argv[argv.index("-n") + 1])


def at_once(host: SimHost, *argv: str) -> None:
    """Run a program to its end without letting time pass."""
    for _ in host.run(argv):
        pass


def make(host: SimHost, name: str) -> None:
    at_once(host, "lvcreate", "-y", "-Wy", "-Zy", "-n", name, "-L", f"{512 << 20}b", "vg")
    group = host.groups["vg"]
    device = host.volume_device(group, group.volumes[name])
    assert device is not None
    device.write(AT, MARK)


def replace_old(world: World) -> int:
    """Once the domain runs elsewhere, somebody makes room and a volume of the same name for himself."""
    made = 0
    for host in world.hosts.values():
        group = host.groups["vg"]
        elsewhere = any(
            domain.running
            for other in world.hosts.values()
            if other is not host
            for domain in other.domains.values()
        )
        names = [n for n in group.volumes if n.endswith("-root")]
        if elsewhere and not host.domains and not host.drbd:
            for name in names:
                at_once(host, "lvremove", "-y", f"vg/{name}")
                make(host, name)
                made += 1
    return made


def own(host: SimHost, name: str) -> bool:
    """Whether the volume is somebody else's, as its extents show."""
    group = host.groups["vg"]
    return any(
        window.disk.content.get(AT + window.shift) == MARK
        for window in extents(group, group.volumes[name])
        if window.low <= AT < window.high
    )


def lost(world: World, made: int) -> list[str]:
    """Data of somebody else that is gone."""
    there = sum(own(host, name) for host in world.hosts.values() for name in host.groups["vg"].volumes)
    return ["I8: a volume of somebody else is gone or overwritten"] if there < made else []


def links(host: SimHost) -> Steps:
    """Symlinks of the domain point to the wrong one of its two devices for a moment."""
    kept = {
        path: node.target
        for path, node in host.files.nodes.items()
        if isinstance(node, Link) and path.startswith("/etc/xen/disks/")
    }
    for path, target in kept.items():
        name = path.rsplit("/", 1)[1]
        volume = f"/dev/vg/{name}"
        minors = {
            f"/dev/vg/{name}": f"/dev/drbd{device.minor}"
            for resource in host.drbd.values()
            for device in resource.devices.values()
            if name.endswith(("-root", "-data")[device.volume])
        }
        other = minors.get(volume) if target == volume else volume
        if other is not None:
            host.files.nodes[path] = Link(other)
    yield 0.6
    for path, target in kept.items():
        if path in host.files.nodes:
            host.files.nodes[path] = Link(target)
    return Result()


def refresh(host: SimHost) -> None:
    """`lvchange --refresh`: active volumes stand on their extents again, whoever has them open.

    LVM loads no table that is like the one in use, but puts in use what somebody else has loaded.
    """
    for group in host.groups.values():
        for volume in group.volumes.values():
            device = host.volume_device(group, volume)
            if device is None:
                continue
            extents = host.extents_of(group, volume)
            host.set_table(device, device.loaded if device.loaded and device.table == extents else extents)
            host.load_table(device, None)


def extend(host: SimHost) -> None:
    """`lvextend` of the domain's volumes by one extent, whatever they stand on: then on their extents."""
    for group in host.groups.values():
        for volume in group.volumes.values():
            device = host.volume_device(group, volume)
            more = group.allocate(1)
            if device is not None and more and volume.name.endswith(("-root", "-data")):
                volume.runs += more
                host.set_table(device, host.extents_of(group, volume))
                host.load_table(device, None)
