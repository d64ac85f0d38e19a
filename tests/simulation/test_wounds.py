"""Things that happen to a move from outside: a disk that fails, a journal that was restored from a backup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.move import Progress, Reason, Status
from reconciler.moves import machine
from reconciler.simulator import checkers
from reconciler.simulator.drbd import Device
from reconciler.simulator.filesystem import Link
from tests.simulation.campaign import run as campaign
from tests.simulation.campaign import stage
from tests.simulation.campaign.run import Run

VOLUMES = {"web1-root", "web1-data"}


class Journey:
    """A move in the simulated world that can be stopped at a step and sent on."""

    def __init__(self, scenario: str = "move") -> None:
        self.run = Run(scenario)
        self.run.journal.begin(
            self.run.order, machine.begin(self.run.order, self.run.clock.now()), self.run.clock.now()
        )
        self.run.stand.watch = lambda point: None

    @property
    def progress(self) -> Progress:
        records = self.run.journal.active() or self.run.journal.finished(1)
        return records[0].progress

    def on(self, step: str | None = None, turns: int = 200) -> Progress:
        """Up to a step, or to an end or as many turns; whatever happens, no rule is broken."""
        executor = self.run._executor()
        for _ in range(turns):
            now = self.progress
            if now.ended or now.step == step:
                break
            _, pause_s = executor.advance(self.run.order, now, lambda: self.progress.step == step)
            self.run.world.advance(max(pause_s, 0.01))
            assert checkers.violations(self.run.world) == []
        return self.progress

    def fail(self, device: Device) -> None:
        """The backing disk fails under DRBD, as `on-io-error detach` has it; the guest writes on."""
        device.detach()
        self.run.world.advance(3.0)

    def kept(self, host: str) -> bool:
        return set(self.run.world.hosts[host].groups["vg"].volumes) >= VOLUMES


@pytest.mark.parametrize("scenario", ["move", "pivot"])
def test_a_disk_that_fails_in_the_sync_holds_the_move(scenario: str) -> None:
    """One disk of the source is gone and lives on the target, the other is not synced yet."""
    journey = Journey(scenario)
    journey.on("sync")
    devices = list(journey.run.world.hosts["xen1"].drbd["xr-web1"].devices.values())
    for _ in range(600):
        journey.run.world.advance(0.3)
        synced = [device for device in devices if device.replication == "Established"]
        if len(synced) == 1:
            break
    journey.fail(synced[0])
    now = journey.on()
    assert (now.status, now.reason) == (Status.HELD, Reason.DISKS)
    assert journey.kept("xen2")


@pytest.mark.parametrize("scenario", ["move", "pivot"])
@pytest.mark.parametrize("crash", [False, True])
def test_going_back_keeps_the_only_good_copy(crash: bool, scenario: str) -> None:
    """Asked to go back, or forced to by a reboot, when the domain already lives on the target's disk."""
    journey = Journey(scenario)
    journey.on("cutover-ready")
    source = journey.run.world.hosts["xen1"]
    journey.fail(source.drbd["xr-web1"].devices[0])
    if crash:
        source.crash()
        journey.run.world.advance(5.0)
        source.boot()
    else:
        now = journey.run.clock.now()
        back = machine.turn_back(journey.run.order, journey.progress, Reason.ABORTED, "", now)
        assert back is not None
        journey.run.journal.record(journey.run.order, back, now)
    now_held = journey.on()
    assert (now_held.status, now_held.reason) == (Status.HELD, Reason.DISKS)
    assert journey.kept("xen2")


@pytest.mark.parametrize("scenario", ["move", "pivot"])
@pytest.mark.parametrize("off_s", [5.0, 900.0])
def test_what_was_in_doubt_stays_so_through_silence_and_reboots(off_s: float, scenario: str) -> None:
    """Once it was seen, neither hosts that don't answer nor what a reboot has wiped out decide about it."""
    journey = Journey(scenario)
    journey.on("cutover-ready")
    hosts = journey.run.world.hosts
    journey.fail(hosts["xen1"].drbd["xr-web1"].devices[0])
    assert journey.on(turns=3).reason is Reason.DISKS
    for host in hosts.values():
        host.crash()
    for _ in range(int(off_s / 5.0)):
        journey.run.world.advance(5.0)
        journey.on(turns=1)
    for host in hosts.values():
        host.boot()
    now = journey.on()
    assert (now.status, now.reason) == (Status.HELD, Reason.DISKS)
    assert "has failed" in now.detail
    assert journey.kept("xen2")
    assert not any(domain.running for host in hosts.values() for domain in host.domains.values())


@pytest.mark.parametrize("scenario", ["move", "pivot"])
@pytest.mark.parametrize(
    ("kept_at", "reality"),
    [("sync", "go"), ("sync", "source-drbd-down"), ("cutover-suspend", "source-drbd-down")],
)
def test_a_journal_from_a_backup_changes_nothing(kept_at: str, reality: str, scenario: str) -> None:
    """The hosts have seen newer claims of the same move; the domain stays as it is, and nothing starts."""
    journey = Journey(scenario)
    old = journey.on(kept_at)
    if kept_at == "cutover-suspend":  # backed up while its commands were out
        old = replace(old, tried=old.tried | {kept_at}, pending=True, attempts=1)
    journey.on(reality)
    hosts = journey.run.world.hosts
    before = {name: [d.running for d in host.domains.values()] for name, host in hosts.items()}
    journey.run.journal.record(journey.run.order, old, journey.run.clock.now())
    now = journey.on()
    assert (now.status, now.reason) == (Status.HELD, Reason.STALE_EPOCH)
    assert {name: [d.running for d in host.domains.values()] for name, host in hosts.items()} == before
    assert journey.kept("xen1")
    assert journey.kept("xen2")


def test_a_symlink_that_names_another_volume_than_the_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody prepared the next start; a move planned from the link must not put the domain there."""
    build = stage.build

    def prepared(scenario: stage.Scenario) -> campaign.World:
        world = build(scenario)
        host = world.hosts["xen1"]
        world.start(host, host.run(["lvcreate", "-y", "-Wy", "-Zy", "-n", "web1-new", "-L", "96m", "vg"]))
        world.advance(2.0)
        host.files.nodes["/etc/xen/disks/web1-root"] = Link("/dev/vg/web1-new")
        return world

    monkeypatch.setattr(campaign, "build", prepared)
    try:
        journey = Journey()
    except AssertionError as refused:  # the plan sees it as well
        assert "web1" in str(refused)
        return
    assert journey.on().status is Status.BACK
    assert journey.run.world.hosts["xen1"].domain("web1") is not None
