"""The daemon with `accept` and `accept-host`: a ref or a host that was rewound, on simulated hosts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.simulator.filesystem import File
from reconciler.simulator.live import Handle, start
from tests.site import Site, entry
from tests.source import signing
from tests.test_daemon import Address, at, in_step


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Handle]:
    handle = start(tmp_path / "hosts", hosts=2, speed=50.0)
    yield handle
    handle.stop()


def site_of(fleet: Handle, folder: Path, **config: object) -> Site:
    hosts = {
        name: Address("127.0.0.1", port, fleet.world.hosts[name].replication_address)
        for name, port in fleet.ports.items()
    }
    return Site(folder, hosts, fleet.key_file, fleet.known_hosts_file, **config)


def test_a_force_push_is_held_until_it_is_accepted(fleet: Handle, tmp_path: Path) -> None:
    site = site_of(fleet, tmp_path)
    assert site.call("accept", "main").returncode == 1, "nothing is in force yet"
    first = site.place(web1="xen1")
    assert site.call("once").returncode == 0
    site.git("commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
    forced = site.place(web1="xen2")
    done = site.call("once")
    report = site.report()
    assert (report["commit"]["in_force"], report["commit"]["head"]) == (first, forced)
    (problem,) = report["commit"]["problems"]
    assert "force-pushed" in problem["message"]
    assert f"reconciler accept {forced}" in problem["allowed"]
    assert any("reconciler accept" in step for step in report["commit"]["what_to_do"])
    assert fleet.where("web1") == "xen1"
    assert site.call("accept", "1" * 40).returncode == 1
    done = site.call("accept", forced)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert site.call("once").returncode == 0
    assert site.report()["commit"]["in_force"] == forced
    assert fleet.where("web1") == "xen2"
    site.git("reset", "-q", "--hard", first)
    site.call("once")
    assert site.report()["commit"]["in_force"] == forced, "the way back was never accepted"
    site.git("reset", "-q", "--hard", forced)
    assert "needs no word" in site.call("accept", forced).stdout
    assert fleet.violations() == []


def test_an_unsigned_commit_does_not_come_into_force(fleet: Handle, tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(f"alice {signing.new_key(tmp_path / 'alice')}\n")
    site = site_of(fleet, tmp_path, signatures={"ssh_allowed_signers_file": "signers"})
    site.place(web1="xen1")
    done = site.call("plan")
    assert done.returncode == 1
    assert "it is not signed" in done.stderr
    site.git("config", "gpg.format", "ssh")
    site.git("config", "user.signingKey", str(tmp_path / "alice"))
    site.git("config", "commit.gpgSign", "true")
    signed = site.place(web1="xen2")
    site.start()
    site.wait("web1 on xen2", at("xen2"), 60)
    site.git("config", "commit.gpgSign", "false")
    site.place(web1="xen1")
    report = site.wait("the refusal", lambda report: bool(report["commit"]["problems"]), 30)
    assert "it is not signed" in report["commit"]["problems"][0]["message"]
    assert report["commit"]["in_force"] == signed
    assert fleet.where("web1") == "xen2"
    site.close()


EPOCH, CONFIG = "/var/lib/xen-reconciler/epochs/web1", "/etc/xen/web1.cfg"


def held(report: dict[str, Any]) -> bool:
    error = entry(report).get("last_error") or {}
    return entry(report).get("state") == "held" and error.get("reason") == "host-rewound"


def test_a_host_put_back_to_before_a_move_is_held_until_it_is_accepted(fleet: Handle, tmp_path: Path) -> None:
    site = site_of(fleet, tmp_path)
    with fleet.live.lock:
        before = fleet.world.hosts["xen1"].files.nodes[CONFIG]
    site.place(web1="xen2")
    assert site.call("once").returncode == 0
    with fleet.live.lock:
        nodes = fleet.world.hosts["xen1"].files.nodes
        del nodes[EPOCH]
        nodes[CONFIG] = before
    site.place(web1="xen1")
    assert site.call("once").returncode == 1
    assert held(site.report())
    assert any("accept-host xen1" in step for step in entry(site.report())["last_error"]["what_to_do"])
    looked = site.call("accept-host", "xen1")
    assert looked.returncode == 1
    assert "xen1 has no number for web1 now, and had accepted" in looked.stdout
    assert "needs no word" in site.call("accept-host", "xen2").stdout
    site.call("once")
    assert held(site.report()), "a look accepts nothing"
    assert site.call("accept-host", "xen1", "--i-have-checked").returncode == 0
    assert "needs no word" not in site.call("accept-host", "xen1").stdout, (
        "only the daemon writes its journal"
    )
    site.call("once")
    assert "/etc/xen/web1.cfg exists already" in entry(site.report())["why"]
    assert fleet.where("web1") == "xen2"
    with fleet.live.lock:
        del nodes[CONFIG]
    assert site.call("once").returncode == 0
    assert fleet.where("web1") == "xen1"
    assert fleet.violations() == []
    with fleet.live.lock:
        nodes[EPOCH] = File("1\n")
    site.call("once")
    assert held(site.report()), "what was accepted was one step only"


def test_a_host_put_back_inside_a_move_stops_it_and_the_guest_runs_on(fleet: Handle, tmp_path: Path) -> None:
    with fleet.live.lock:
        fleet.world.links["replication"].bytes_per_s = 20e6 / fleet.live.speed
    site = site_of(fleet, tmp_path)
    site.place(web1="xen2")
    site.start()
    site.wait("the sync", in_step("sync"), 60)
    with fleet.live.lock:
        fleet.live.catch_up()
        del fleet.world.hosts["xen2"].files.nodes[EPOCH]
        fleet.world.links["replication"].bytes_per_s = 1e9
    report = site.wait("the rewind", held, 60)
    assert (entry(report)["move"]["status"], entry(report)["move"]["direction"]) == ("held", "forward")
    assert fleet.where("web1") == "xen1"
    refused = site.call("abort", "web1")
    assert (refused.returncode, "was put back" in refused.stderr) == (1, True)
    assert "accept-host xen2" in site.call("explain", "web1").stdout
    assert site.call("accept-host", "xen2", "--i-have-checked").returncode == 0
    os.kill(site.pid, signal.SIGHUP)
    site.wait("web1 on xen2", at("xen2"), 90)
    assert fleet.where("web1") == "xen2"
    assert fleet.violations() == []
    site.close()
