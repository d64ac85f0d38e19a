"""The seed procedure as raw argv, start to end, with every checker silent after every command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.simulator import checkers, scene
from reconciler.simulator.host import SimHost
from reconciler.simulator.world import World

from .seed import Hand


@pytest.fixture
def hand(world: World) -> Iterator[Hand]:
    yield Hand(world)


def last_beat(world: World) -> tuple[str, int]:
    beat = world.observer.heard[-1]
    return beat.host, beat.number


def leftovers(host: SimHost) -> list[str]:
    files = [path for path in host.files.nodes if "web1" in path]
    return files + list(host.groups["vg"].volumes) + list(host.drbd) + [d.name for d in host.domains.values()]


def test_moves_a_running_domain_without_losing_a_write(world: World, hand: Hand) -> None:
    before = last_beat(world)
    hand.attach()
    hand.mirror()
    hand.await_sync()
    hand.cutover()
    hand.settle()
    world.advance(20)
    assert checkers.violations(world) == []
    host, number = last_beat(world)
    assert host == "xen2" and number > before[1]
    assert leftovers(world.hosts["xen1"]) == []
    assert len(world.observer.freezes("web1", over_s=1.0)) == 2


def test_runs_are_repeatable() -> None:
    def run() -> list[object]:
        site = scene.site(2)
        scene.place(site.hosts["xen1"])
        hand = Hand(site)
        hand.attach()
        hand.mirror()
        hand.await_sync()
        hand.cutover()
        return [site.now_s, list(site.observer.heard), site.hosts["xen2"].boot_id]

    assert run() == run()


def test_a_reboot_of_the_target_brings_the_domain_back_there(world: World, hand: Hand) -> None:
    hand.attach()
    hand.mirror()
    hand.await_sync()
    hand.cutover()
    hand.settle()
    for host in world.hosts.values():
        host.crash()
    world.advance(30)
    for host in world.hosts.values():
        host.boot()
    world.advance(30)
    assert checkers.violations(world) == []
    assert last_beat(world)[0] == "xen2"
    assert not world.hosts["xen1"].domains


def test_the_resync_survives_a_cut_of_the_link(world: World, hand: Hand) -> None:
    hand.attach()
    hand.mirror()
    world.advance(3)
    device = world.hosts["xen1"].minor(10)
    assert device is not None
    left = device.out_of_sync()
    assert 0 < left < device.size
    world.cut("replication", "xen1", "xen2")
    world.advance(5)
    assert "connection:Connecting" in hand.do("xen1", "drbdsetup", "events2", "--now", "--statistics")
    world.mend("replication", "xen1", "xen2")
    world.advance(1.5)
    assert device.out_of_sync() <= left + 2 * device.chunk
    hand.await_sync()
    hand.cutover()
