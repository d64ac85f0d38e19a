"""The simulator answers like the lab: the same script, the same parsed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.commands import lvm
from reconciler.execution.ssh import SshRunner
from reconciler.model.placement import Host
from reconciler.observed.survey import ask
from reconciler.simulator import scene
from reconciler.simulator.runner import SimRunner
from tests.lab.lab import Lab

from .script import Play, Transcript, run

MEMORY_MB = 96
SIZES_MB = {"web1-root": 20, "web1-data": 36}


def simulated() -> Transcript:
    world = scene.site(2)
    scene.place(world.hosts["xen1"], memory_mib=MEMORY_MB, sizes_mib=tuple(SIZES_MB.values()))
    world.advance(5)
    addresses = {name: host.replication_address for name, host in world.hosts.items()}
    sizes = {name: size << 20 for name, size in SIZES_MB.items()}
    return run(Play(SimRunner(world), addresses, world.advance), sizes)


def test_the_script_comes_to_its_end_on_the_simulator() -> None:
    transcript = simulated()
    failing = [what for what, note in transcript if note == "fails"]
    assert len(failing) == 22, failing


@pytest.mark.lab
@pytest.mark.timeout(900)
def test_the_simulator_and_the_lab_say_the_same(lab_guest: Lab, tmp_path: Path) -> None:
    lab = lab_guest
    hosts = {n: Host(n, h.address, h.replication_address, port=h.port) for n, h in lab.hosts.items()}
    runner = SshRunner(hosts, lab.key_file, lab.known_hosts, 30)
    try:
        found = ask(runner, "xen1", (lvm.VOLUMES,)).get(lvm.VOLUMES)
        assert {v.name: v.size_bytes >> 20 for v in found} == SIZES_MB, (
            "the simulated site must be like the lab's"
        )
        addresses = {name: host.replication_address for name, host in lab.hosts.items()}
        real = run(Play(runner, addresses), {v.name: v.size_bytes for v in found})
    finally:
        runner.close()
    model = simulated()
    for at, (one, other) in enumerate(zip(real, model, strict=True)):
        assert one == other, f"entry {at}: the lab says {one}, the simulator {other}"
