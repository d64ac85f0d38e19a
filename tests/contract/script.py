"""One script of raw commands, with what the parsers make of each answer: run alike on any two hosts.

The transcript holds only what must be equal everywhere: exit status (zero or not), states, roles, names and
sizes; not times, device numbers or memory addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.command import Answer, Claim, Command, Runner, Script
from reconciler.model.facts import Query, View
from reconciler.model.names import mapped
from reconciler.observed.survey import ask

DISKS = ("web1-root", "web1-data")
MINORS = (150, 151)
RESOURCE = "xr-web1"
IMAGE = f"{files.STATE}/images/web1/attach.img"
Transcript = list[tuple[str, Any]]


class Play:
    """Runs the script on xen1 and xen2 behind a runner and writes down what came back."""

    def __init__(
        self, runner: Runner, addresses: dict[str, str], pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.runner = runner
        self.addresses = addresses
        self.pause = pause
        self.transcript: Transcript = []

    def do(self, host: str, *commands: Command) -> None:
        """Run commands; note for each whether it ended well."""
        for command in commands:
            (outcome,) = self.runner.run(host, Script((command,), Claim("web1", 1)))
            assert isinstance(outcome, Answer), (command, outcome)
            note = "ok" if outcome.ok else "fails"
            self.transcript.append((f"{host}: {' '.join(command.argv)}", note))

    def see(self, host: str, *queries: Query[Any]) -> None:
        """Ask for facts and note them without what differs from place to place."""
        view = ask(self.runner, host, queries)
        for query in queries:
            self.transcript.append((f"{host}: {query.name}", NORMAL[query.name](view)))

    def until(self, host: str, query: Query[Any], condition: Callable[[Any], bool]) -> None:
        """Wait, at most two minutes, until a fact has a property."""
        for _ in range(120):
            if condition(ask(self.runner, host, (query,)).get(query)):
                return
            self.pause(1.0)
        raise AssertionError(f"{host}: {query.name} did not come to what was waited for")


def _domains(view: View) -> Any:
    # A guest that waits and one that computes look different from moment to moment; both run.
    return sorted((d.name, d.memory_mb, d.vcpus, d.state.value, d.cpu_s > 0) for d in view.get(xl.DOMAINS))


def _vbds(view: View) -> Any:
    names = {v.major_minor: v.name for v in view.get(lvm.VOLUMES) if v.major_minor}
    drbd_names = {(drbd.MAJOR, minor): f"drbd{minor}" for minor in MINORS}
    return sorted(
        (vbd.device, {**names, **drbd_names}.get(vbd.major_minor or (0, 0), "?")) for vbd in view.get(xl.VBDS)
    )


def _volumes(view: View) -> Any:
    return sorted((v.group, v.name, v.size_bytes, sorted(v.tags), v.plain) for v in view.get(lvm.VOLUMES))


def _resources(view: View) -> Any:
    return [
        (
            r.name,
            r.role.value,
            r.connection.value if r.connection else None,
            r.peer_role.value,
            [
                (v.number, v.minor, v.disk.value, v.peer_disk.value, v.replication.value, v.size_bytes)
                + (("paused here",) if v.paused_here else ())
                for v in r.volumes
            ],
        )
        for r in view.get(drbd.RESOURCES)
    ]


def _configs(view: View) -> Any:
    return sorted(
        (c.name, c.kind, [(d.path, d.device, d.writable) for d in c.disks]) for c in view.get(xl.CONFIGS)
    )


def _numbers(view: View) -> Any:
    """Which devices there are, and whether the numbers of those that are volumes are LVM's."""
    numbers, volumes = view.get(dm.NUMBERS), view.get(lvm.VOLUMES)
    return sorted(numbers), all(numbers.get(mapped(v.group, v.name)) == v.major_minor for v in volumes)


NORMAL: dict[str, Callable[[View], Any]] = {
    xl.DOMAINS.name: _domains,
    xl.CONFIGS.name: _configs,
    xl.VBDS.name: _vbds,
    lvm.VOLUMES.name: _volumes,
    drbd.RESOURCES.name: _resources,
    drbd.VERSION.name: lambda view: view.get(drbd.VERSION).rsplit(".", 1)[0],
    files.LINKS.name: lambda view: sorted(view.get(files.LINKS).items()),
    files.CONFIG_FILES.name: lambda view: (
        "/etc/xen/web1.cfg" in view.get(files.CONFIG_FILES).configs,
        sorted(view.get(files.CONFIG_FILES).autostart),
    ),
    files.RESOURCE_FILES.name: lambda view: sorted(view.get(files.RESOURCE_FILES)),
    files.IMAGES.name: lambda view: sorted((p, size > 0) for p, size in view.get(files.IMAGES).items()),
    drbd.COPIES.name: lambda view: view.get(drbd.COPIES),
    dm.TABLES.name: lambda view: sorted(view.get(dm.TABLES).items()),
    dm.LOADED.name: lambda view: sorted(view.get(dm.LOADED).items()),
    dm.SUSPENDED.name: lambda view: sorted(view.get(dm.SUSPENDED)),
    files.SAVED_AT_SHUTDOWN.name: lambda view: sorted(view.get(files.SAVED_AT_SHUTDOWN)),
    files.EPOCHS.name: lambda view: sorted(view.get(files.EPOCHS).items()),
    dm.NUMBERS.name: _numbers,
    files.lock_of("web1").name: lambda view: view.get(files.lock_of("web1")),
    files.lock_after("web1").name: lambda view: view.get(files.lock_after("web1")),
}


def volume(disk: str) -> str:
    return f"/dev/vg/{disk}"


def lower(disk: str) -> str:
    return f"/dev/mapper/xr-{mapped('vg', disk)}"


def resource_file(addresses: dict[str, str], backing: Callable[[str], str]) -> str:
    sides = [
        drbd.ResourceSide(
            host,
            addresses[host],
            7850,
            tuple(
                drbd.ResourceVolume(minor, backing(disk), f"/dev/vg/{disk}-drbdmd")
                for minor, disk in zip(MINORS, DISKS, strict=True)
            ),
        )
        for host in ("xen1", "xen2")
    ]
    return drbd.resource_file(RESOURCE, "secret", 100, sides)


def flip(to_drbd: bool) -> list[Command]:
    commands: list[Command] = []
    for minor, disk in zip(MINORS, DISKS, strict=True):
        commands += files.link(
            f"/etc/xen/disks/{disk}", f"/dev/drbd{minor}" if to_drbd else f"/dev/vg/{disk}"
        )
    return commands


def prepare(play: Play, host: str, backing: Callable[[str], str] = volume) -> None:
    """Metadata volumes, resource file, metadata, up."""
    size = drbd.metadata_bytes(1)
    for disk in DISKS:
        play.do(host, lvm.create("vg", f"{disk}-drbdmd", size, "xr.move.web1-1"))
        play.do(host, files.zero(f"/dev/vg/{disk}-drbdmd", size))
    play.do(host, *files.write(f"/etc/drbd.d/{RESOURCE}.res", resource_file(play.addresses, backing)))
    play.do(host, drbd.create_metadata(RESOURCE), drbd.up(RESOURCE))


def pivot(play: Play, sizes: dict[str, int]) -> None:
    """DRBD under the running domain and off again, with the refusals on the way."""
    names = [mapped("vg", disk) for disk in DISKS]
    own = {name: ask(play.runner, "xen1", (dm.TABLES,)).get(dm.TABLES)[name] for name in names}
    over = {
        name: dm.over_drbd(sizes[disk], minor) for name, disk, minor in zip(names, DISKS, MINORS, strict=True)
    }
    seen = (dm.TABLES, dm.SUSPENDED, drbd.RESOURCES, xl.DOMAINS, xl.VBDS, lvm.VOLUMES)
    play.see("xen1", dm.TABLES, dm.SUSPENDED)
    play.do("xen1", dm.remove("nosuch"), *(dm.create(f"xr-{name}", own[name]) for name in names))
    play.do("xen1", dm.create(f"xr-{names[0]}", own[names[0]]))  # refused: it exists
    prepare(play, "xen1", lower)
    play.do("xen1", dm.swap(names[0], over[names[0]])[0])  # refused: DRBD is Secondary
    play.do("xen1", drbd.force_primary(RESOURCE))
    play.see("xen1", dm.LOADED)
    play.do("xen1", dm.load(names[0], over[names[0]]))
    play.do("xen1", drbd.secondary(RESOURCE))  # refused: what is loaded holds it open
    play.see("xen1", dm.TABLES, dm.LOADED)
    play.do("xen1", dm.clear(names[0]), dm.clear(names[0]))
    play.see("xen1", dm.LOADED)
    for name in names:
        play.do("xen1", Command(("dmsetup", "suspend", "--noudevsync", "--nolockfs", name)))
        play.see("xen1", dm.SUSPENDED)
        play.do("xen1", *dm.swap(name, over[name]))
    play.see("xen1", *seen)
    play.do("xen1", drbd.secondary(RESOURCE), drbd.down(RESOURCE), dm.remove(f"xr-{names[0]}"))  # in use
    play.see("xen1", *seen)
    play.do("xen1", drbd.disconnect(RESOURCE), *(dm.load(name, own[name]) for name in names))
    play.do("xen1", dm.resume(names[0], "nosuch", names[1]))  # refused: the second; the first is done
    play.see("xen1", dm.TABLES, dm.LOADED)
    play.do("xen1", dm.resume(*names))
    play.see("xen1", *seen)
    play.do("xen1", drbd.down(RESOURCE), *(dm.remove(f"xr-{name}") for name in names))
    play.do("xen1", *(lvm.remove("vg", f"{disk}-drbdmd") for disk in DISKS))
    play.do("xen1", files.remove(f"/etc/drbd.d/{RESOURCE}.res"))
    play.see("xen1", *seen)


def stream(play: Play, sizes: dict[str, int]) -> None:
    """Memory into a paused copy over volumes that fail every request, and the copy here run on after that.

    By stream it is only refused here: one that ends well, and ends as this does, is in every move by stream.
    """
    names = [mapped("vg", disk) for disk in DISKS]
    seen = (xl.DOMAINS, xl.VBDS, lvm.VOLUMES, files.lock_of("web1"))
    into_nothing = xl.stream("web1", "root", play.addresses["xen2"], 300, compressed=False)
    play.do("xen1", into_nothing)  # no disks there: refused
    for host in ("xen1", "xen2"):
        play.see(host, *seen)
    play.do("xen1", xl.unpause("web1"))
    size = drbd.metadata_bytes(1)
    for disk in DISKS:
        play.do("xen2", lvm.create("vg", disk, sizes[disk], "xr.move.web1-1"))
        play.do("xen2", lvm.create("vg", f"{disk}-drbdmd", size, "xr.move.web1-1"))
    own = ask(play.runner, "xen2", (dm.TABLES,)).get(dm.TABLES)
    for disk, name in zip(DISKS, names, strict=True):
        place = dm.last_place(own[mapped("vg", f"{disk}-drbdmd")])
        play.do("xen2", dm.create(f"xr-{name}", own[name]), *dm.swap(name, dm.stand_in(sizes[disk], place)))
    play.do("xen2", *flip(False))
    play.see("xen2", dm.TABLES, dm.SUSPENDED)
    here = ask(play.runner, "xen1", (dm.TABLES,)).get(dm.TABLES)
    then: list[xl.Then] = [(dm.table_of(name), dm.text(here[name])) for name in names]
    then += [(dm.load(name, dm.failing(sizes[disk])), None) for disk, name in zip(DISKS, names, strict=True)]
    then.append((dm.resume(*names), None))
    play.do("xen1", xl.migrate("web1", "root", play.addresses["xen2"], 300, then))
    play.see("xen1", files.lock_of("web1"), dm.TABLES, xl.DOMAINS)  # it is answered for, and goes on
    play.until("xen1", files.lock_after("web1"), lambda held: not held)
    play.see("xen1", files.lock_after("web1"))
    for host in ("xen1", "xen2"):
        play.see(host, *seen, dm.NUMBERS)
    play.do("xen2", *(dm.load(name, own[name]) for name in names), dm.resume(*names), xl.destroy("web1"))
    play.do("xen1", *(each for name in names for each in dm.swap(name, here[name])), xl.unpause("web1"))
    for host in ("xen1", "xen2"):
        play.see(host, *seen)
    play.do("xen2", *(dm.remove(f"xr-{name}") for name in names), dm.load(names[0], own[names[0]]))
    play.see("xen2", dm.LOADED)
    play.do("xen2", *(lvm.remove("vg", name) for disk in DISKS for name in (disk, f"{disk}-drbdmd")))
    play.do("xen2", *lvm.flush("vg"))
    play.do("xen2", files.remove(*(f"/etc/xen/disks/{disk}" for disk in DISKS)))
    play.see("xen2", dm.TABLES, lvm.VOLUMES, files.LINKS)


def run(play: Play, sizes: dict[str, int]) -> Transcript:
    """The seed procedure up to the target's restore, with the refusals on the way."""
    everything = (
        xl.DOMAINS, xl.CONFIGS, xl.VBDS, lvm.VOLUMES, drbd.VERSION, drbd.RESOURCES,
        files.LINKS, files.CONFIG_FILES, files.RESOURCE_FILES, files.IMAGES, files.EPOCHS,
        files.SAVED_AT_SHUTDOWN, drbd.COPIES,
    )  # fmt: skip
    with_volumes = (xl.DOMAINS, xl.VBDS, lvm.VOLUMES)
    for host in ("xen1", "xen2"):
        play.see(host, *everything)
    play.do("xen1", drbd.copy_pages())
    play.see("xen1", drbd.COPIES)
    pivot(play, sizes)
    stream(play, sizes)
    play.do("xen1", xl.unpause("nosuch"), xl.destroy("nosuch"), xl.restore_paused("/nosuch.img", 60))
    play.do(
        "xen1", lvm.create("vg", "web1-root", 4194304, "xr.x"), lvm.remove("vg", "nosuch"), drbd.up("nosuch")
    )
    prepare(play, "xen1")
    play.see("xen1", drbd.RESOURCES, lvm.VOLUMES, files.RESOURCE_FILES)
    play.do("xen1", drbd.force_primary(RESOURCE))
    play.see("xen1", drbd.RESOURCES)
    play.do("xen1", files.make_private_folder(IMAGE.rsplit("/", 1)[0]), xl.save("web1", IMAGE, 120))
    play.see("xen1", xl.DOMAINS, files.IMAGES)
    play.do("xen1", *flip(True), xl.restore_paused(IMAGE, 120))
    play.see("xen1", *with_volumes, files.LINKS)
    play.do("xen1", xl.restore_paused(IMAGE, 120), drbd.secondary(RESOURCE), drbd.down(RESOURCE))
    play.see("xen1", drbd.RESOURCES)
    play.do("xen1", xl.unpause("web1"))
    play.until("xen1", xl.DOMAINS, lambda domains: all(d.cpu_s > 0 for d in domains))
    play.see("xen1", *with_volumes)

    for disk in DISKS:
        play.do("xen2", lvm.create("vg", disk, sizes[disk], "xr.move.web1-1"))
    for minor in (MINORS[0], *MINORS):  # refused where it has been said
        play.do("xen1", drbd.pause_sync(minor))
    prepare(play, "xen2")
    play.do("xen2", *flip(True))
    play.until("xen1", drbd.RESOURCES, lambda found: found[0].volumes[1].replication.value == "PausedSyncS")
    for host in ("xen1", "xen2"):
        play.see(host, drbd.RESOURCES)
    for minor in (MINORS[0], *MINORS):
        play.do("xen1", drbd.resume_sync(minor))
    for host in ("xen1", "xen2"):
        play.until(host, drbd.RESOURCES, _synced)
        play.see(host, drbd.RESOURCES)
    play.do("xen2", Command(("drbdadm", "primary", RESOURCE)))  # refused: the peer is Primary

    play.do("xen1", xl.save("web1", IMAGE, 120), drbd.secondary(RESOURCE))
    for host in ("xen1", "xen2"):
        play.see(host, drbd.RESOURCES)
    play.do("xen2", drbd.down_at_once(RESOURCE))
    play.until("xen1", drbd.RESOURCES, lambda found: found[0].connection.value == "Connecting")
    play.see("xen1", drbd.RESOURCES)
    play.do("xen1", drbd.down(RESOURCE), *flip(False), xl.restore_paused(IMAGE, 120))
    play.see("xen1", *with_volumes, drbd.RESOURCES)
    play.do("xen1", lvm.remove("vg", "web1-root"), xl.destroy("web1"))
    play.see("xen1", *with_volumes)
    play.do("xen1", *(lvm.remove("vg", f"{disk}-drbdmd") for disk in DISKS))
    play.do("xen2", lvm.other_tag("vg", "web1-root", "xr.move.web1-1", "xr.kept.web1"))
    play.see("xen2", lvm.VOLUMES)
    play.do("xen2", lvm.drop_tag("vg", "web1-root", "xr.kept.web1"), files.remove("/etc/xen/disks/web1-root"))
    for host in ("xen1", "xen2"):
        play.see(host, lvm.VOLUMES, files.LINKS, files.EPOCHS)
    return play.transcript


def _synced(found: Any) -> bool:
    return all(
        v.replication.value == "Established" and v.peer_disk.value == "UpToDate"
        for r in found
        for v in r.volumes
    )
