"""Every refusal of the preflight names the domain, the host and what is in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import drbd, files, lvm, xl
from reconciler.commands.files import ConfigFiles
from reconciler.model.facts import DiskSeen, DomainState, Query, View, VolumeGroup
from reconciler.model.plan import ItemKind
from reconciler.planning.planner import plan
from tests.planning.site import (
    CAPS,
    changed,
    config,
    empty,
    opened,
    resource,
    running,
    seen,
    situation,
    volume,
)

MIB = 1024**2
SAVED = {"/var/lib/xen/save/web1": 9, "/var/lib/xen/save/web2": 9}
SMALL = (VolumeGroup("fast", 64 << 30, 8 * MIB, 4 * MIB),)


def why(*views: View) -> str:
    (item,) = plan(situation(*views)).items
    assert item.kind is ItemKind.REFUSED, item
    return item.why


def source(query: Query[Any], fact: Any) -> str:
    return why(changed(running(), query, fact))


def target(query: Query[Any], fact: Any) -> str:
    return why(running(), changed(empty("xen2"), query, fact))


def info(**changes: Any) -> Any:
    return replace(empty("xen2").get(xl.INFO), **changes)


@pytest.mark.parametrize(
    ("query", "fact", "said"),
    [
        (xl.INFO, info(free_memory_mb=100), "xen2 has 100 MiB of memory free, web1 needs 256"),
        (xl.INFO, info(version="4.16.1"), "same or the next minor version only"),
        (xl.INFO, info(version="4.19.0"), "same or the next minor version only"),
        (xl.INFO, info(version="5.17.0"), "same or the next minor version only"),
        (xl.INFO, info(version="new"), "same or the next minor version only"),
        (xl.INFO, info(hw_caps="078bfbfd:00000001"), "lacks CPU features that xen1 has (hw_caps words 1)"),
        (drbd.VERSION, "9.2.3", "xen2 runs DRBD 9.2.3"),
        (lvm.GROUPS, (), "xen2 has no volume group fast"),
        (lvm.GROUPS, SMALL, "volume group fast has 8388608 bytes free"),
        (lvm.VOLUMES, (volume("web1-root", group="fast"),), "/dev/fast/web1-root exists and is never reused"),
        (
            lvm.VOLUMES,
            (volume("web1-data-drbdmd", group="fast"),),
            "/dev/fast/web1-data-drbdmd exists and is never",
        ),
        (files.LINKS, {"/etc/xen/disks/web1-root": "/dev/x"}, "web1-root already points to /dev/x"),
        (
            files.CONFIG_FILES,
            ConfigFiles(frozenset({"/etc/xen/web1.cfg"}), frozenset()),
            "/etc/xen/web1.cfg exists already",
        ),
        (drbd.RESOURCES, (resource(),), "xen2: DRBD resource xr-web1 exists already"),
        (files.SAVED_AT_SHUTDOWN, SAVED, "xen2: /var/lib/xen/save/web1 is an image that xendomains would"),
    ],
)
def test_target(query: Query[Any], fact: Any, said: str) -> None:
    assert said in target(query, fact)


def test_the_next_minor_version_of_xen_will_do() -> None:
    there = changed(empty("xen2"), xl.INFO, info(version="4.18.0", hw_caps=f"{CAPS}"))
    assert plan(situation(running(), there)).items[0].kind is ItemKind.MOVE


def disk(**changes: Any) -> Any:
    whole = DiskSeen("/etc/xen/disks/web1-root", "xvda", True, "phy")
    return (replace(config(), disks=(replace(whole, **changes),)),)


@pytest.mark.parametrize(
    ("query", "fact", "said"),
    [
        (xl.DOMAINS, (seen(state=DomainState.PAUSED),), "is paused on xen1; only a running domain"),
        (files.SAVED_AT_SHUTDOWN, SAVED, "xen1: /var/lib/xen/save/web1 is an image that xendomains would"),
        (lvm.GROUPS, (VolumeGroup("vg", 1, 4 * MIB, 4 * MIB),), "are needed for DRBD's metadata"),
        (drbd.VERSION, "9.1.0", "xen1 runs DRBD 9.1.0"),
        (drbd.RESOURCES, (resource(),), "exists though web1 does not run on it"),
        (xl.CONFIGS, disk(backend="qdisk"), "is not a writable block device"),
        (xl.CONFIGS, disk(writable=False), "is not a writable block device"),
        (xl.CONFIGS, disk(path="/dev/vg/web1-root"), "is not named through a symlink"),
        (xl.CONFIGS, (replace(config(), kind="hvm"),), "is an HVM domain"),
        (
            xl.CONFIGS,
            (replace(config(), target_memory_mb=200),),
            "web1 on xen1 has 256 MiB and is to have 200: a saved image of it could not be restored",
        ),
        (
            files.LINKS,
            {"/etc/xen/disks/web1-root": "/dev/sdb", "/etc/xen/disks/web1-data": "/dev/sdc"},
            "which is no logical volume",
        ),
        (
            files.LINKS,
            {
                "/etc/xen/disks/web1-root": "/dev/mapper/vg-web1--root",
                "/etc/xen/disks/web1-data": "/dev/vg/web1-data",
            },
            "point the symlink to /dev/vg/web1-root instead",
        ),
        (
            files.LINKS,
            {"/etc/xen/disks/web1-root": "/dev/drbd7", "/etc/xen/disks/web1-data": "/dev/drbd8"},
            "runs on DRBD devices that are not its resource",
        ),
        (lvm.VOLUMES, (volume("web1-root", plain=False), volume("web1-data")), "only plain volumes"),
    ],
)
def test_source(query: Query[Any], fact: Any, said: str) -> None:
    assert said in source(query, fact)


@pytest.mark.parametrize("name", ["web1-root-drbdmd", "web1:root"])
def test_a_volume_name_that_leaves_no_room(name: str) -> None:
    view = changed(running(), xl.CONFIGS, disk())
    view = changed(view, lvm.VOLUMES, (volume(name),))
    view = changed(view, files.LINKS, {"/etc/xen/disks/web1-root": f"/dev/vg/{name}"})
    assert "cannot be moved under that name" in why(view)


def attached(minors: tuple[int, ...] = (7, 8), on: tuple[int, ...] = (7, 8)) -> View:
    """The domain already runs on DRBD, as an earlier move left it."""
    view = changed(running(), drbd.RESOURCES, (resource(minors=minors),))
    names = ("/etc/xen/disks/web1-root", "/etc/xen/disks/web1-data")
    links = {name: f"/dev/drbd{on[number]}" for number, name in enumerate(names)}
    return opened(changed(view, files.LINKS, links), *[(147, minor) for minor in on])


def test_a_domain_on_drbd_keeps_its_minors() -> None:
    order = plan(situation(attached())).items[0].order
    assert order is not None and [disk.minor for disk in order.disks] == [7, 8]
    assert why(attached((7, 9))) == "web1 on xen1 runs on DRBD devices that are not its resource xr-web1"
    first = plan(situation(attached((0, 8), (0, 8)))).items[0].order
    assert first is not None and [disk.minor for disk in first.disks] == [0, 8]


def test_its_metadata_needs_no_second_room() -> None:
    view = attached()
    meta = (volume("web1-root-drbdmd", 4), volume("web1-data-drbdmd", 4))
    view = changed(view, lvm.VOLUMES, (*view.get(lvm.VOLUMES), *meta))
    view = changed(view, lvm.GROUPS, (VolumeGroup("vg", 64 << 30, 0, 4 * MIB),))
    assert plan(situation(view)).items[0].kind is ItemKind.MOVE


def test_two_volumes_of_the_name_that_drbd_may_stand_on() -> None:
    view = attached()
    view = changed(view, lvm.VOLUMES, (*view.get(lvm.VOLUMES), volume("web1-root", group="old")))
    assert "may stand on any of /dev/vg/web1-root, /dev/old/web1-root; nothing is guessed" in why(view)
