"""Hosts as a survey shows them, to be changed fact by fact; and a situation around them.

What can differ between two hosts does: volume group, device numbers and node name.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.commands.files import ConfigFiles
from reconciler.model.facts import (
    Connection,
    DiskSeen,
    DiskState,
    DomainConfig,
    DomainSeen,
    DomainState,
    DrbdResource,
    DrbdVolume,
    Query,
    Replication,
    Role,
    Unknown,
    Vbd,
    View,
    Volume,
    VolumeGroup,
    XenInfo,
)
from reconciler.model.names import mapped
from reconciler.model.placement import Desired, Domain, Host
from reconciler.planning.situation import Limits, Situation

MIB = 1024**2
NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
UUID = "6f0c9d3e-1b5a-4c8e-9a77-0000000000a1"
HOSTS = {
    "xen1": Host("xen1", "10.0.2.1", "10.99.0.1"),
    "xen2": Host("xen2", "10.0.2.2", "10.99.0.2", volume_group="fast"),
    "xen3": Host("xen3", "10.0.2.3", "10.99.0.3"),
}
CAPS = "078bfbfd:80982201"


def volume(name: str, mib: int = 512, minor: int = 0, group: str = "vg", **changes: Any) -> Volume:
    whole = Volume(group, name, f"uuid-{name}", mib * MIB, frozenset(), (253, minor), True, True)
    return replace(whole, **changes)


def empty(host: str) -> View:
    """A host with nothing on it."""
    facts: dict[Query[Any], Any] = {
        files.BOOT_ID: f"boot-{host}",
        files.NODE: f"{host}.example",
        xl.INFO: XenInfo(host, "4.17.5", 4096, ("xen-3.0-x86_64",), CAPS),
        xl.DOMAINS: (),
        xl.CONFIGS: (),
        xl.VBDS: (),
        lvm.VOLUMES: (),
        dm.TABLES: {},
        dm.LOADED: {},
        dm.SUSPENDED: frozenset(),
        dm.NUMBERS: {},
        lvm.GROUPS: (VolumeGroup(HOSTS[host].volume_group, 64 << 30, 32 << 30, 4 * MIB),),
        drbd.VERSION: "8.4.11",
        drbd.RESOURCES: (),
        files.LINKS: {},
        files.CONFIG_FILES: ConfigFiles(frozenset(), frozenset()),
        files.RESOURCE_FILES: {},
        files.UNFINISHED: {},
        files.IMAGES: {},
        files.SAVED_AT_SHUTDOWN: {},
        files.EPOCHS: {},
        files.SPACE: 8 << 30,
        files.PROGRAMS: frozenset(),
        files.lock_of("web1"): False,
        files.lock_after("web1"): False,
    }
    return View(host, {query.name: fact for query, fact in facts.items()})


def changed(view: View, query: Query[Any], fact: Any) -> View:
    """With another fact; device-mapper's numbers are those of the volumes."""
    facts = {**view.facts, query.name: fact}
    if query is lvm.VOLUMES and not isinstance(fact, Unknown):
        facts[dm.NUMBERS.name] = {mapped(v.group, v.name): v.major_minor for v in fact if v.major_minor}
    return View(view.host, facts)


def seen(name: str = "web1", **changes: Any) -> DomainSeen:
    return replace(DomainSeen(name, 3, 256, 1, DomainState.RUNNING, 12.0), **changes)


def config(name: str = "web1", disks: tuple[str, ...] = ("root", "data"), **changes: Any) -> DomainConfig:
    rows = tuple(
        DiskSeen(f"/etc/xen/disks/{name}-{disk}", f"xvd{letter}", True, "phy")
        for disk, letter in zip(disks, "abcd", strict=False)
    )
    return replace(DomainConfig(name, 3, UUID, "pv", 256, rows), **changes)


def running(host: str = "xen1", name: str = "web1") -> View:
    """A host with one running domain of two disks."""
    view = empty(host)
    view = changed(view, xl.DOMAINS, (seen(name),))
    view = changed(view, xl.CONFIGS, (config(name),))
    group = HOSTS[host].volume_group
    volumes = (volume(f"{name}-root", group=group), volume(f"{name}-data", 260, 1, group))
    view = changed(view, lvm.VOLUMES, volumes)
    view = changed(view, dm.TABLES, tables(*volumes))
    view = changed(view, files.LINKS, {f"/etc/xen/disks/{v.name}": v.path for v in volumes})
    view = opened(view, *[v.major_minor for v in volumes])
    paths = frozenset({f"/etc/xen/{name}.cfg"}), frozenset({f"/etc/xen/auto/{name}.cfg"})
    return changed(view, files.CONFIG_FILES, ConfigFiles(*paths))


def tables(*volumes: Volume) -> dict[str, dm.Lines]:
    """What device-mapper says of volumes that stand on their extents."""
    return {
        mapped(v.group, v.name): (f"0 {v.size_bytes // 512} linear 254:16 {2048 + 4194304 * number}",)
        for number, v in enumerate(volumes)
    }


def opened(view: View, *numbers: tuple[int, int] | None) -> View:
    """What the running domain really has open, disk by disk."""
    rows = (Vbd(3, f"xvd{letter}", pair) for letter, pair in zip("abcd", numbers, strict=False))
    return changed(view, xl.VBDS, tuple(rows))


def resource(name: str = "xr-web1", minors: tuple[int, ...] = (100, 101)) -> DrbdResource:
    volumes = tuple(
        DrbdVolume(
            number,
            minor,
            DiskState.UP_TO_DATE,
            DiskState.UNKNOWN,
            Replication.OFF,
            512 * MIB,
            0,
            0,
            None,
        )
        for number, minor in enumerate(minors)
    )
    return DrbdResource(name, Role.PRIMARY, Connection.CONNECTING, Role.UNKNOWN, volumes)


def silent(host: str, why: str = "the host could not be asked") -> View:
    return View(host, {name: Unknown(why) for name in empty(host).facts})


def situation(*views: View, wanted: tuple[Domain, ...] | None = None, **changes: Any) -> Situation:
    """web1 is wanted on xen2; what is not given is an empty host."""
    by_host = {view.host: view for view in views}
    for name in ("xen1", "xen2"):
        by_host.setdefault(name, empty(name))
    domains = {d.name: d for d in (wanted if wanted is not None else (Domain("web1", "xen2"),))}
    hosts = {name: HOSTS[name] for name in by_host}
    whole = Situation(
        desired=Desired("c" * 40, hosts, domains),
        views=by_host,
        active=(),
        past=(),
        samples=(),
        epochs={},
        limits=Limits(),
        now=NOW,
        salt="salt",
    )
    return replace(whole, **changes)
