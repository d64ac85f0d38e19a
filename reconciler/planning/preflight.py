"""What must hold before a domain is moved. Every refusal names the domain, the host and the remedy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.facts import DiskSeen, DomainState, View, Volume
from reconciler.model.move import MoveDisk, Order
from reconciler.model.names import METADATA_SUFFIX, is_volume, kept_tag, mapped
from reconciler.model.placement import Host
from reconciler.planning.index import Found

MIB = 1024**2
MAPPER = "/dev/mapper/"


@dataclass(frozen=True)
class Room:
    """What orders that are not carried out yet will take, so that two orders do not count on the same."""

    minors: frozenset[int] = frozenset()
    ports: frozenset[int] = frozenset()
    memory_mb: int = 0
    volume_bytes: int = 0


class Rooms:
    """What is taken so far.

    Memory and space count for one target; a mirror that is kept takes no memory. Minors and ports are kept
    apart over all hosts, and only by orders that are under way: those that wait get theirs in their turn.
    """

    def __init__(self) -> None:
        self._minors: set[int] = set()
        self._ports: set[int] = set()
        self._memory_mb: Counter[str] = Counter()
        self._volume_bytes: Counter[str] = Counter()

    def take(self, order: Order, *, waits: bool = False, made: bool = False) -> None:
        """Count with an order from now on; one whose volumes are `made` takes no more space."""
        self._memory_mb[order.target.name] += 0 if order.standby else order.memory_mb
        anew = () if made else (disk for disk in order.disks if not disk.seeded)
        self._volume_bytes[order.target.name] += sum(disk.size_bytes for disk in anew)
        if not waits:
            self._minors.update(disk.minor for disk in order.disks)
            self._ports.add(order.port)

    def at(self, target: str) -> Room:
        """What an order to this host must leave alone."""
        minors, ports = frozenset(self._minors), frozenset(self._ports)
        return Room(minors, ports, self._memory_mb[target], self._volume_bytes[target])


def volume_of(link_target: str, view: View) -> Volume | None:
    """The volume that /dev/GROUP/NAME or /dev/mapper/GROUP-NAME stands for."""
    volumes = view.get(lvm.VOLUMES)
    if link_target.startswith(MAPPER):
        name = link_target.removeprefix(MAPPER)
        return next((volume for volume in volumes if mapped(volume.group, volume.name) == name), None)
    return next((volume for volume in volumes if volume.path == link_target), None)


def resolve_disk(disk: DiskSeen, found: Found, view: View, target: Host) -> MoveDisk | str:
    """What a disk of the running domain stands on, or why it cannot be moved. An open minor is -1."""
    name = f"{found.seen.name} on {found.host}: disk {disk.device} ({disk.path})"
    if disk.backend != "phy" or not disk.writable:
        return f"{name} is not a writable block device (phy:); only such disks are moved"
    link_target = view.get(files.LINKS).get(disk.path)
    if link_target is None:
        return (
            f"{name} is not named through a symlink in {files.LINKS_DIR}; see docs/how-to/adopt.md "
            "for naming it so at the domain's next start"
        )
    minor = -1
    attached = re.fullmatch(r"/dev/drbd([0-9]+)", link_target)
    if attached:
        minor = int(attached[1])
        same = [v for v in view.get(lvm.VOLUMES) if v.name == disk.path.rsplit("/", 1)[1]]
        if len(same) > 1:
            paths = ", ".join(volume.path for volume in same)
            return (
                f"{name} runs on {link_target}, which may stand on any of {paths}; nothing is guessed: "
                f"see /etc/drbd.d/xr-{found.seen.name}.res, then rename the other one"
            )
        volume = same[0] if same else None
    else:
        volume = volume_of(link_target, view)
    if volume is None:
        return f"{name} points to {link_target}, which is no logical volume this host shows"
    if not is_volume(volume.name) or volume.name.endswith(METADATA_SUFFIX):
        return f"{name} stands on a volume named {volume.name}, which cannot be moved under that name"
    if not volume.plain:
        return (
            f"{name} stands on {volume.path}, a thin, snapshot or origin volume; only plain volumes are moved"
        )
    if not attached and link_target != volume.path:
        return f"{name} points to {link_target}; point the symlink to {volume.path} instead"
    return MoveDisk(
        device=disk.device,
        link=disk.path,
        volume=volume.name,
        size_bytes=volume.size_bytes,
        minor=minor,
        source_group=volume.group,
        target_group=target.volume_group,
        source_uuid=volume.uuid,
    )


def check_hosts(found: Found, source: View, target: View) -> list[str]:
    """Xen and DRBD on both sides must fit."""
    problems = []
    here, there = source.get(xl.INFO), target.get(xl.INFO)
    pair = f"{source.host} has Xen {here.version}, {target.host} has {there.version}"
    if not _same_or_next(here.version, there.version):
        problems.append(f"{pair}; a domain moves to the same or the next minor version only")
    missing = _missing_features(here.hw_caps, there.hw_caps)
    if missing:
        problems.append(f"{target.host} lacks CPU features that {source.host} has (hw_caps words {missing})")
    versions = {view.host: view.get(drbd.VERSION) for view in (source, target)}
    for host, version in versions.items():
        if not version.startswith("8.4."):
            problems.append(
                f"{host} runs DRBD {version}; this version of the reconciler drives DRBD 8.4 only"
            )
    if found.config is not None and found.config.kind == "hvm":
        problems.append(f"{found.seen.name} is an HVM domain; its device model opens the disks by itself")
    return problems


def _same_or_next(here: str, there: str) -> bool:
    numbers = [tuple(int(part) for part in re.findall(r"\d+", version)[:2]) for version in (here, there)]
    if any(len(pair) != 2 for pair in numbers):
        return False
    (major, minor), (major_there, minor_there) = numbers
    return major == major_there and minor_there - minor in (0, 1)


def _missing_features(here: str, there: str) -> str:
    pairs = list(zip(here.split(":"), there.split(":"), strict=False))
    return ",".join(str(i) for i, (a, b) in enumerate(pairs) if int(a, 16) & ~int(b, 16))


def seeded(domain: str, disk: MoveDisk, view: View) -> MoveDisk:
    """The disk, and whether the target has kept an earlier state of it that is large enough."""
    found = next(
        (v for v in view.get(lvm.VOLUMES) if (v.group, v.name) == (disk.target_group, disk.volume)), None
    )
    if found is None or not (found.plain and found.is_kept_for(domain)):
        return disk
    return replace(disk, seeded=found.size_bytes >= disk.size_bytes)


def check_target(
    domain: str, memory_mb: int, disks: Sequence[MoveDisk], target: Host, view: View, room: Room
) -> list[str]:
    """The target must have room and nothing in the way. Nothing is reused but what was kept for a mirror."""
    problems = []
    free_mb = view.get(xl.INFO).free_memory_mb - target.reserve_memory_mb - room.memory_mb
    if free_mb < memory_mb:
        problems.append(f"{target.name} has {free_mb} MiB of memory free, {domain} needs {memory_mb}")
    groups = {group.name: group for group in view.get(lvm.GROUPS)}
    group = groups.get(target.volume_group)
    if group is None:
        problems.append(f"{target.name} has no volume group {target.volume_group}")
    else:
        need = sum(
            lvm.rounded(size, group.extent_bytes)
            for disk in disks
            for size in (0 if disk.seeded else disk.size_bytes, drbd.metadata_bytes(disk.size_bytes))
        )
        free = group.free_bytes - room.volume_bytes
        if need > free:
            problems.append(
                f"{target.name}: volume group {group.name} has {free} bytes free, {need} are needed"
            )
    present = {(volume.group, volume.name): volume for volume in view.get(lvm.VOLUMES)}
    for disk in disks:
        for name in (*(() if disk.seeded else (disk.volume,)), disk.metadata):
            there = present.get((target.volume_group, name))
            if there is not None and kept_tag(domain) in there.tags:
                problems.append(
                    f"{target.name}: {there.path}, kept for a mirror, is open, too small by now or "
                    "no plain volume; look what it is, then rename or remove it"
                )
            elif there is not None:
                problems.append(
                    f"{target.name}: {there.path} exists and is never reused; "
                    "look what is in it, then rename or remove it"
                )
        if disk.link in view.get(files.LINKS):
            problems.append(
                f"{target.name}: {disk.link} already points to {view.get(files.LINKS)[disk.link]}"
            )
    if f"/etc/xen/{domain}.cfg" in view.get(files.CONFIG_FILES).configs:
        problems.append(f"{target.name}: /etc/xen/{domain}.cfg exists already; move it away")
    if any(resource.name == f"xr-{domain}" for resource in view.get(drbd.RESOURCES)):
        problems.append(f"{target.name}: DRBD resource xr-{domain} exists already")
    problems += check_saved(domain, view)
    return problems


def check_image(domain: str, memory_mb: int, view: View) -> list[str]:
    """Where a saved image is made, there must be room for it."""
    if view.get(files.SPACE) >= memory_mb * MIB + 64 * MIB:
        return []
    return [f"{view.host} has no room below {files.STATE} for the saved image of {domain}"]


def check_saved(domain: str, view: View) -> list[str]:
    """No old image may wait for a boot: restored then, it would bring old memory onto newer disks."""
    path = f"{files.SAVE_DIR}/{domain}"
    if path not in view.get(files.SAVED_AT_SHUTDOWN):
        return []
    return [
        f"{view.host}: {path} is an image that xendomains would restore at the next boot, whatever has been "
        f"written since; look whether anybody needs it, then remove it"
    ]


def check_source(found: Found, disks: Sequence[MoveDisk], view: View) -> list[str]:
    """The source must have room for metadata; the domain must be plainly running."""
    problems = []
    name = found.seen.name
    if found.seen.state is not DomainState.RUNNING:
        problems.append(f"{name} is {found.seen.state.value} on {found.host}; only a running domain is moved")
    if swollen := xl.cannot_be_restored(found.seen, found.config, found.host):
        problems.append(swollen)
    problems += check_saved(name, view)
    groups = {group.name: group for group in view.get(lvm.GROUPS)}
    present = {(volume.group, volume.name) for volume in view.get(lvm.VOLUMES)}
    for group in sorted({disk.source_group for disk in disks}):
        need = sum(
            lvm.rounded(drbd.metadata_bytes(disk.size_bytes), groups[group].extent_bytes)
            for disk in disks
            if disk.source_group == group and (group, disk.metadata) not in present
        )
        if need > groups[group].free_bytes:
            problems.append(
                f"{found.host}: volume group {group} has {groups[group].free_bytes} bytes free, "
                f"{need} are needed for DRBD's metadata"
            )
    resources = {resource.name: resource for resource in view.get(drbd.RESOURCES)}
    attached = [disk.minor for disk in disks if disk.minor >= 0]
    ours = resources.get(f"xr-{name}")
    if attached and (ours is None or [v.minor for v in ours.volumes] != [disk.minor for disk in disks]):
        problems.append(f"{name} on {found.host} runs on DRBD devices that are not its resource xr-{name}")
    if not attached and ours is not None:
        problems.append(f"{found.host}: DRBD resource xr-{name} exists though {name} does not run on it")
    return problems
