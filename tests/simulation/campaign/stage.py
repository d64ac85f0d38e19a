"""A small world with a domain in it, and the orders the scenarios begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.commands import files
from reconciler.model.command import Runner
from reconciler.model.move import Order
from reconciler.model.names import kept_tag
from reconciler.model.placement import (
    Attach,
    Cutover,
    Desired,
    DiskSource,
    Domain,
    Host,
    NewDisk,
    Policy,
    Provision,
)
from reconciler.moves.journal import Journal
from reconciler.observed.survey import ask, survey
from reconciler.planning.planner import plan
from reconciler.planning.situation import Limits, Situation
from reconciler.simulator import scene
from reconciler.simulator.filesystem import DiskImage, File
from reconciler.simulator.simclock import SimClock
from reconciler.simulator.world import World

NAME = "web1"
SOURCE, TARGET = "xen1", "xen2"
IMAGE = "/srv/guest/root.img"
WANTED = Provision(
    memory_mb=64,
    disks=(
        NewDisk("root", "xvda", 64, DiskSource(image=IMAGE)),
        NewDisk("data", "xvdb", 32),
    ),
    kernel="/srv/guest/vmlinuz",
)


@dataclass(frozen=True)
class Scenario:
    """Where a run starts: `turn_at` names the step at which somebody asks for going back.

    Faults are made from the step `begins_at` on; what comes before it another scenario has as well. `paused`:
    the sync is until a commit lets it go on, and faults are made at that step only; or until `turn_at`.
    `standby`: it is a mirror until a commit wants the domain there; faults are made while it waits for that.
    `keep`: the source keeps what the domain leaves, for a mirror; `seeded`: the target has done so before.
    """

    name: str
    turn_at: str | None = None
    begins_at: str | None = None
    paused: bool = False
    standby: bool = False
    keep: bool = False
    seeded: bool = False
    provision: bool = False
    unpause_fails: bool = False
    autostart: bool = True
    attach: Attach = Attach.SUSPEND
    cutover: Cutover = Cutover.STORE
    only_crashes: bool = False


TURNS = (
    "source-drbd-up",
    "attach-flip",
    "attach-unpause",
    "sync",
    "ship",
    "target-drbd-down",
    "target-restore",
    "go",
)
PIVOT_TURNS = ("ship", "go")
STREAM_TURNS = ("source-drbd-up", "source-pivot", "sync", "cutover-stream", "target-open", "go")
LIVE_TURNS = ("cutover-live", "go")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("move"),
        Scenario("provision", provision=True),
        *(Scenario(f"back-{step}", turn_at=step) for step in TURNS),
        Scenario("back-unpause-fails", unpause_fails=True),
        Scenario("back-new", turn_at="start", provision=True),
        Scenario("back-new-unpause-fails", provision=True, unpause_fails=True),
        Scenario("move-no-autostart", autostart=False, only_crashes=True),
        Scenario("stream", attach=Attach.PIVOT, cutover=Cutover.STREAM),
        *(
            Scenario(f"stream-back-{step}", turn_at=step, attach=Attach.PIVOT, cutover=Cutover.STREAM)
            for step in STREAM_TURNS
        ),
        Scenario(
            "stream-back-unpause-fails", unpause_fails=True, attach=Attach.PIVOT, cutover=Cutover.STREAM
        ),
        Scenario("paused", paused=True, attach=Attach.PIVOT, cutover=Cutover.STREAM),
        Scenario("paused-back", paused=True, turn_at="sync"),
        Scenario(
            "keep", keep=True, begins_at="source-destroyed", attach=Attach.PIVOT, cutover=Cutover.STREAM
        ),
        Scenario("keep-suspend", keep=True, begins_at="source-drbd-down"),
        Scenario(
            "seeded",
            keep=True,
            seeded=True,
            standby=True,
            begins_at="target-volumes",
            attach=Attach.PIVOT,
            cutover=Cutover.STREAM,
        ),
        Scenario("mirror", standby=True, attach=Attach.PIVOT, cutover=Cutover.STREAM),
        Scenario("live", begins_at="cutover-live", attach=Attach.PIVOT, cutover=Cutover.LIVE),
        *(
            Scenario(f"live-back-{step}", turn_at=step, attach=Attach.PIVOT, cutover=Cutover.LIVE)
            for step in LIVE_TURNS
        ),
        Scenario("pivot", begins_at="cutover-ready", attach=Attach.PIVOT),
        *(Scenario(f"pivot-back-{step}", turn_at=step, attach=Attach.PIVOT) for step in PIVOT_TURNS),
        Scenario("pivot-back-unpause-fails", unpause_fails=True, attach=Attach.PIVOT),
    )
}


def build(scenario: Scenario) -> World:
    """Two hosts; on the first one a running domain, unless the scenario is to create it."""
    world = scene.site(2, beat_s=0.5)
    if scenario.provision:
        for host in world.hosts.values():
            host.files.nodes[IMAGE] = File(thing=DiskImage({}), bulk=16 << 20)
            for name in ("vmlinuz", "initrd.img"):
                host.files.nodes[f"/srv/guest/{name}"] = File("kernel")
    else:
        scene.place(world.hosts[SOURCE], NAME, 64, (96, 64))
        if not scenario.autostart:
            world.hosts[SOURCE].files.remove(f"/etc/xen/auto/{NAME}.cfg")
        if scenario.seeded:
            keep(world)
        world.advance(3)
    return world


def keep(world: World) -> None:
    """The target has what the domain's disks hold now, as if a move had just left it there."""
    here, there = world.hosts[SOURCE], world.hosts[TARGET]
    for volume in here.groups["vg"].volumes.values():
        size = here.groups["vg"].size_of(volume)
        argv = ("lvcreate", "-y", "-Wy", "-Zy", "-n", volume.name, "-L", f"{size}b")
        scene.must(there, *argv, "--addtag", kept_tag(NAME), "vg")
        device = here.volume_device(here.groups["vg"], volume)
        copy = there.volume_device(there.groups["vg"], there.groups["vg"].volumes[volume.name])
        assert device is not None and copy is not None
        copy.replace(0, size, device.items(0, size))


def order_for(scenario: Scenario, world: World, runner: Runner, journal: Journal) -> Order:
    """What the planner orders for this world."""
    hosts = {name: Host(name, h.address, h.replication_address) for name, h in world.hosts.items()}
    wanted = Domain(
        NAME,
        TARGET,
        policy=Policy(
            scenario.attach,
            scenario.cutover,
            keep_mirror=scenario.keep,
            **({"resync_rate_mb_s": 0} if scenario.paused else {}),
        ),
        provision=WANTED if scenario.provision else None,
    )
    views = survey(runner, list(hosts))
    situation = Situation(
        desired=Desired("c" * 40, hosts, {NAME: wanted}),
        views=views,
        active=[],
        past=[],
        samples=[],
        epochs={NAME: journal.newest_epoch(NAME)},
        limits=Limits(),
        now=SimClock(world).now(),
        salt="salt",
    )
    (item,) = [item for item in plan(situation).items if item.domain == NAME]
    assert item.order is not None, item
    if scenario.provision:
        return item.order
    query = files.text_of(item.order.config_path)
    text = ask(runner, SOURCE, [query]).get(query)
    return replace(item.order, config_text=text, standby=scenario.standby)
