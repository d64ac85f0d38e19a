"""One simulated host: its devices, files, domains and DRBD, and the table of programs it has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.simulator import drbd
from reconciler.simulator.domain import Domain
from reconciler.simulator.filesystem import ENOENT, Directory, File, FileError, Files, Link, Node
from reconciler.simulator.lvm import DATA_START, Volume, VolumeGroup
from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.storage import BlockDevice, Disk, Mapped, Segment
from reconciler.simulator.tools import TOOLS
from reconciler.simulator.tools.drbdsetup import proc_drbd

if TYPE_CHECKING:
    from reconciler.simulator.world import World

DM_MAJOR = 253
DOM0_MIB = 640
SAVED = "/var/lib/xen/save"
NO_ZERO_COPY = "/sys/module/drbd/parameters/disable_sendpage"


class SimHost:
    """What a command can see and change. Everything is plain data: the checkers read it from outside."""

    def __init__(self, world: World, name: str, number: int, memory_mib: int, disk_bytes: int) -> None:
        self.world = world
        self.name = name
        self.address = f"10.0.2.{number}"
        self.replication_address = f"10.99.0.{number}"
        self.memory_mib = memory_mib
        self.hw_caps = "078bfbfd:80982201:20100800:00000001:00000000:00000000:00000000:00000000"
        self.up = True
        self.boot_id = world.uuid()
        self.files = Files(8 << 30, self._special)
        self.disk = Disk(254, 16, disk_bytes)
        self.groups = {"vg": VolumeGroup("vg", self.disk)}
        self.maps: dict[str, Mapped] = {}
        self.drbd: dict[str, drbd.Resource] = {}
        self.domains: dict[int, Domain] = {}
        self.mounts: dict[str, tuple[str, BlockDevice]] = {}
        self.locks: dict[str, object] = {}
        self.domids = itertools.count(1)
        self.unreachable_by_ssh: set[str] = set()
        self.autostart = True
        self._load_modules()

    # -- devices --------------------------------------------------------------------------------

    def map_name(self, group: str, volume: str) -> str:
        return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"

    def add_map(self, name: str, table: tuple[Segment, ...]) -> Mapped:
        taken = {device.minor for device in self.maps.values()}
        minor = next(n for n in itertools.count() if n not in taken)
        size = sum(segment.length for segment in table)
        device = Mapped(DM_MAJOR, minor, size, name=name)
        self.maps[name] = device
        self.set_table(device, table)
        return device

    def set_table(self, device: Mapped, table: tuple[Segment, ...]) -> None:
        """Make a table live: device-mapper claims what it maps (a PV may be claimed by many maps)."""
        self._drop_table(device, device.table)
        device.table = table
        device.size = sum(segment.length for segment in table)
        self._hold_table(device, table)

    def load_table(self, device: Mapped, table: tuple[Segment, ...] | None) -> None:
        """Beside the live one: what it maps is open from then on. None forgets it."""
        self._drop_table(device, device.loaded or ())
        device.loaded = table
        self._hold_table(device, table or ())

    def _drop_table(self, device: Mapped, table: tuple[Segment, ...]) -> None:
        for below in {s.device for s in table if s.device}:
            below.close(f"dm {device.name}")
            if not any(opener.startswith("dm ") for opener in below.opens):
                below.claim = None

    def _hold_table(self, device: Mapped, table: tuple[Segment, ...]) -> None:
        for below in {s.device for s in table if s.device}:
            below.open(f"dm {device.name}")
            below.claim = "dm"

    def remove_map(self, device: Mapped) -> None:
        self.load_table(device, None)
        self.set_table(device, ())
        del self.maps[device.name]

    def extents_of(self, group: VolumeGroup, volume: Volume) -> tuple[Segment, ...]:
        table, start = [], 0
        for first, count in volume.runs:
            length = count * group.extent
            table.append(Segment(start, length, group.disk, DATA_START + first * group.extent))
            start += length
        return tuple(table)

    def activate(self, group: VolumeGroup, volume: Volume) -> None:
        self.add_map(self.map_name(group.name, volume.name), self.extents_of(group, volume))

    def volume_device(self, group: VolumeGroup, volume: Volume) -> Mapped | None:
        return self.maps.get(self.map_name(group.name, volume.name))

    def block_devices(self) -> list[BlockDevice]:
        mirrors = [device for resource in self.drbd.values() for device in resource.devices.values()]
        return [self.disk, *self.maps.values(), *mirrors]

    def minor(self, number: int) -> drbd.Device | None:
        mirrors = (device for resource in self.drbd.values() for device in resource.devices.values())
        return next((device for device in mirrors if device.minor == number), None)

    def device_at(self, path: str) -> tuple[BlockDevice, str]:
        """The block device a path leads to, and its canonical path; FileError when there is none."""
        real = self.files.real(path)
        for device in self.block_devices():
            if real == self.node_path(device):
                return device, real
        raise FileError(ENOENT if self.files.lookup(real) is None else "Block device required")

    def node_path(self, device: BlockDevice) -> str:
        match device:
            case Mapped():
                return f"/dev/dm-{device.minor}"
            case drbd.Device():
                return f"/dev/drbd{device.minor}"
            case _:
                return "/dev/vdb"

    def _special(self, path: str) -> Node | None:
        if path == "/proc/sys/kernel/random/boot_id":
            return File(self.boot_id + "\n")
        if path == "/proc/drbd":
            return File(proc_drbd(self))
        if (
            path.startswith("/proc/sys/kernel") and "/proc/sys/kernel/random".startswith(path)
        ) or path == "/proc/sys":
            return Directory()
        return self._device_node(path) if path.startswith("/dev/") else None

    def _device_node(self, path: str) -> Node | None:
        if any(path == self.node_path(device) for device in self.block_devices()):
            return File(mode=0o660)
        if path == "/dev/mapper":
            return Directory()
        if path.startswith("/dev/mapper/"):
            mapped = self.maps.get(path.removeprefix("/dev/mapper/"))
            return Link(f"../dm-{mapped.minor}") if mapped else None
        for group in self.groups.values():
            if path == f"/dev/{group.name}" and any(v.active for v in group.volumes.values()):
                return Directory()
            volume = group.volumes.get(path.removeprefix(f"/dev/{group.name}/"))
            if volume is not None:
                mapped = self.volume_device(group, volume)
                return Link(f"../dm-{mapped.minor}") if mapped else None
        return None

    # -- domains --------------------------------------------------------------------------------

    def domain(self, name: str) -> Domain | None:
        """By name, or by number as xl allows it."""
        if name.isdigit():
            return self.domains.get(int(name))
        return next((domain for domain in self.domains.values() if domain.name == name), None)

    def free_mib(self) -> int:
        return self.memory_mib - DOM0_MIB - sum(domain.memory_mib for domain in self.domains.values())

    def destroy(self, domain: Domain) -> None:
        for vbd in domain.vbds:
            if vbd.opened and not stuck(vbd.device):
                vbd.device.close(domain.holder)
        domain.vbds.clear()
        self.domains.pop(domain.domid, None)

    # -- running, dying, booting ----------------------------------------------------------------

    def run(self, argv: Sequence[str], stdin: str = "") -> Steps:
        """The process for an argv: looked up as the guard's PATH would, never through a shell."""
        tool = TOOLS.get(argv[0].removeprefix("/usr/sbin/").removeprefix("/usr/bin/"))
        if tool is None:
            yield 0.001
            return Result(127, "", f"{argv[0]}: {ENOENT}")
        try:
            return (yield from tool(self, list(argv[1:]), stdin))
        except Fail as fail:
            return fail.result

    def crash(self) -> None:
        """Power off at once: kernel state and processes are gone, disks and files stay."""
        self.up = False
        for job in [job for job in self.world.jobs if job.host is self]:
            self.world.kill(job)
        for resource in self.drbd.values():
            for host in self.world.hosts.values():
                host.lose_peer(resource)
            resource.drop_link("StandAlone", "WFConnection", self.world.now_s + 1.0)
        for group in self.groups.values():
            group.lose_power(self.world.now_s)
        self.drbd.clear()
        self.domains.clear()
        self.maps.clear()
        self.mounts.clear()
        self.locks.clear()
        self.disk.opens.clear()
        self.disk.claim = None

    def locked(self, domain: str) -> bool:
        """Whether a guard has the domain's lock, or a command that outlived its guard."""
        inherited = any(job.host is self and job.lock == domain for job in self.world.jobs)
        return inherited or domain in self.locks

    def lose_peer(self, dead: drbd.Resource) -> None:
        """Without a copy, a guest's pages wait in TCP for the dead peer: its disks can't be closed."""
        copies = self.files.nodes[NO_ZERO_COPY]
        for resource in self.drbd.values():
            if resource.peer is dead and isinstance(copies, File) and copies.text.strip() != "Y":
                resource.pages_out = any(device.opens for device in resource.devices.values())

    def _load_modules(self) -> None:
        for path in ("/sys", "/sys/module", "/sys/module/drbd", "/sys/module/drbd/parameters"):
            self.files.nodes[path] = Directory()
        self.files.nodes[NO_ZERO_COPY] = File("N\n")

    def boot(self) -> None:
        """Start again: a new boot id, volumes active, domains with an autostart entry created."""
        self.up = True
        self.boot_id = self.world.uuid()
        self.domids = itertools.count(1)
        self._load_modules()
        for group in self.groups.values():
            for volume in group.volumes.values():
                if volume.active:
                    self.activate(group, volume)
        if self.autostart:
            self.world.start(self, self._xendomains())

    def shut_down(self) -> Steps:
        """A clean shutdown as Debian sets it up: every domain is saved. Then the power goes: `crash`."""
        for domain in list(self.domains.values()):
            yield from self.run(["xl", "save", domain.name, f"{SAVED}/{domain.name}"])
        return Result()

    def _xendomains(self) -> Steps:
        """What a shutdown saved is restored, and its image removed if that went well; then autostart."""
        for path in list(self.files.children(SAVED)):
            if (yield from self.run(["xl", "restore", path])).exit == 0:
                self.files.remove(path)
        for path in list(self.files.children("/etc/xen/auto")):
            self.world.start(self, self.run(["xl", "create", path]))
        return Result()


def stuck(device: BlockDevice) -> bool:
    """Whether pages of the guest that had the device open wait in TCP for a peer that died."""
    if isinstance(device, Mapped):
        return any(segment.device is not None and stuck(segment.device) for segment in device.table)
    return isinstance(device, drbd.Device) and device.resource.pages_out
