"""Each checker fires on the mistake it is there for."""

from __future__ import annotations

import pytest

from reconciler.simulator import checkers, scene
from reconciler.simulator.storage import Mapped
from reconciler.simulator.world import World

from .seed import ATTACH, CUTOVER, DISKS, RESOURCE, STATE, Hand


class Careless(Hand):
    """An operator who does not look at what the checkers say, only that `Watch` misses nothing of it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.watch = checkers.Watch()

    def do(self, host: str, *argv: str, stdin: str = "") -> str:
        out = scene.must(self.world.hosts[host], *argv, stdin=stdin)
        assert self.watch.violations(self.world) == checkers.violations(self.world)
        return out


@pytest.fixture
def hand(world: World) -> Careless:
    return Careless(world)


@pytest.fixture
def mirrored(world: World, hand: Careless) -> Careless:
    """web1 runs on xen1 on a connected mirror that is in sync."""
    hand.attach()
    hand.mirror()
    hand.await_sync()
    assert checkers.violations(world) == []
    return hand


def rules(world: World) -> set[str]:
    return {text.split(":")[0] for text in checkers.violations(world)}


def test_two_runners(mirrored: Careless, world: World) -> None:
    mirrored.do("xen1", "mkdir", "-p", f"{STATE}/images/web1")
    mirrored.do("xen2", "mkdir", "-p", f"{STATE}/images/web1")
    mirrored.do("xen1", "xl", "save", "web1", CUTOVER)
    mirrored.do("xen1", "scp", "-q", "-B", CUTOVER, f"root@10.99.0.2:{CUTOVER}")
    mirrored.do("xen1", "xl", "restore", "-p", CUTOVER)
    mirrored.do("xen1", "xl", "unpause", "web1")
    mirrored.do("xen2", "drbdadm", "down", "xr-web1")
    for volume in DISKS:
        mirrored.flip("xen2", volume, f"/dev/vg/{volume}")
    mirrored.do("xen2", "xl", "restore", "-p", CUTOVER)
    assert rules(world) == {"I2"}
    mirrored.do("xen2", "xl", "unpause", "web1")
    assert rules(world) >= {"I1", "I2"}
    world.advance(1)
    assert rules(world) == {"I1", "I2", "I3", "I8"}
    assert any("heartbeat" in text for text in checkers.one_runner(world))


def test_an_old_image_restored_again(mirrored: Careless, world: World) -> None:
    mirrored.do("xen1", "mkdir", "-p", f"{STATE}/images/web1")
    mirrored.do("xen1", "xl", "save", "web1", ATTACH)
    mirrored.do("xen1", "xl", "restore", "-p", ATTACH)
    mirrored.do("xen1", "xl", "unpause", "web1")
    world.advance(2)
    mirrored.do("xen1", "xl", "destroy", "web1")
    mirrored.do("xen1", "xl", "restore", "-p", ATTACH)
    mirrored.do("xen1", "xl", "unpause", "web1")
    world.advance(1)
    assert "I1" in rules(world)


def test_two_primaries(mirrored: Careless, world: World) -> None:
    world.cut("replication", "xen1", "xen2")
    mirrored.do("xen2", "drbdadm", "primary", "xr-web1")
    assert rules(world) == {"I2"}
    world.mend("replication", "xen1", "xen2")
    world.advance(5)
    assert world.hosts["xen1"].drbd["xr-web1"].connection == "StandAlone"


def test_a_guest_that_writes_beside_drbd(world: World, hand: Careless) -> None:
    """The save failed, the script went on: the guest writes the volume under the mirror."""
    hand.metadata("xen1")
    hand.do("xen1", "drbdadm", "primary", "--force", "xr-web1")
    hand.mirror()
    assert checkers.violations(world) == []  # nothing is connected yet
    world.advance(1)
    assert rules(world) == {"I2"}
    world.advance(60)
    hand.do("xen1", "mkdir", "-p", f"{STATE}/images/web1")
    hand.do("xen2", "mkdir", "-p", f"{STATE}/images/web1")
    hand.cutover()
    world.advance(1)
    assert "I3" in rules(world)


def test_a_cutover_before_the_sync_is_complete(world: World, hand: Careless) -> None:
    hand.attach()
    hand.mirror()
    world.advance(1)
    hand.do("xen1", "mkdir", "-p", f"{STATE}/images/web1")
    hand.do("xen2", "mkdir", "-p", f"{STATE}/images/web1")
    hand.do("xen1", "xl", "save", "web1", CUTOVER)
    world.cut("replication", "xen1", "xen2")
    hand.do("xen1", "scp", "-q", "-B", CUTOVER, f"root@10.0.2.2:{CUTOVER}")
    hand.do("xen2", "drbdadm", "down", "xr-web1")
    for volume in DISKS:
        hand.flip("xen2", volume, f"/dev/vg/{volume}")
    hand.do("xen2", "xl", "restore", "-p", CUTOVER)
    hand.do("xen2", "xl", "unpause", "web1")
    assert "I3" in rules(world)


def test_the_last_good_copy_removed(mirrored: Careless, world: World) -> None:
    mirrored.do("xen1", "mkdir", "-p", f"{STATE}/images/web1")
    mirrored.do("xen1", "xl", "save", "web1", CUTOVER)
    for host, expected in (("xen1", set[str]()), ("xen2", {"I8"})):
        mirrored.do(host, "drbdadm", "down", "xr-web1")
        for volume in DISKS:
            mirrored.do(host, "lvremove", "-y", f"vg/{volume}")
        assert rules(world) == expected


def test_equal_identifiers_hide_a_difference(mirrored: Careless, world: World) -> None:
    """Old metadata lies after a write round DRBD: both sides connect again without a resync."""
    mirrored.do("xen1", "mkdir", "-p", f"{STATE}/images/web1")
    mirrored.do("xen1", "xl", "save", "web1", CUTOVER)
    for host in ("xen1", "xen2"):
        mirrored.do(host, "drbdadm", "down", "xr-web1")
    for volume in DISKS:
        mirrored.flip("xen1", volume, f"/dev/vg/{volume}")
    mirrored.do("xen1", "xl", "restore", "-p", CUTOVER)
    mirrored.do("xen1", "xl", "unpause", "web1")
    world.advance(3)
    for host in ("xen1", "xen2"):
        mirrored.do(host, "drbdadm", "up", "xr-web1")
    world.advance(3)
    assert mirrored.synced()
    assert "I2" in rules(world)


def test_a_stale_file_system_is_seen_through_a_partial_resync(world: World) -> None:
    """Extents are not cleaned by lvremove: the next volume there finds what was left."""
    host = world.hosts["xen2"]
    scene.place(host, "old1")
    world.advance(10)
    scene.must(host, "xl", "destroy", "old1")
    scene.must(host, "lvremove", "-y", "vg/old1-root")
    scene.must(host, *f"lvcreate -y -Wy -Zy -n new -L {512 << 20}b vg".split())
    device = host.maps["vg-new"]
    assert isinstance(device, Mapped) and device.everything()


def test_resource_files_with_an_error_are_refused(world: World) -> None:
    host = world.hosts["xen1"]
    for text in (
        RESOURCE.replace("protocol C;", "protocol C"),
        RESOURCE.replace("on xen1", "on other"),
        "resource {",
    ):
        scene.must(host, "dd", "of=/etc/drbd.d/xr-web1.res", stdin=text)
        assert scene.shell(host, "drbdadm", "up", "xr-web1").exit != 0
        assert not host.drbd
