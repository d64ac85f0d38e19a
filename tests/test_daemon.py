"""The real daemon as a process, with real git and real ssh, on simulated hosts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.simulator.live import Handle, start
from tests.site import Site, entry


@dataclass(frozen=True)
class Address:
    address: str
    port: int
    replication_address: str


def addresses(fleet: Handle) -> dict[str, Address]:
    """Where simulated hosts are reached."""
    return {
        name: Address("127.0.0.1", port, fleet.world.hosts[name].replication_address)
        for name, port in fleet.ports.items()
    }


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Handle]:
    handle = start(tmp_path / "hosts", hosts=2, speed=20.0)
    yield handle
    handle.stop()


@pytest.fixture
def site(fleet: Handle, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, addresses(fleet), fleet.key_file, fleet.known_hosts_file)
    yield made
    made.close()


def at(host: str) -> Any:
    def arrived(report: dict[str, Any]) -> bool:
        web1 = entry(report)
        return web1.get("state") == "in-place" and web1.get("observed_host") == host

    return arrived


def in_step(*steps: str) -> Any:
    return lambda report: ((entry(report).get("move") or {}).get("step")) in steps


def test_a_commit_moves_a_domain_its_first_command_within_a_second(site: Site, fleet: Handle) -> None:
    site.place(web1="xen1")
    site.start()
    site.wait("web1 in place", at("xen1"), 30)
    time.sleep(1.5)  # let the pass end; the timer is half a minute away
    commands: list[float] = []
    fleet.live.on_change = lambda: commands.append(time.monotonic())
    committed = time.monotonic()
    site.place(web1="xen2")
    site.wait("web1 on xen2", at("xen2"), 60)
    assert commands[0] - committed < 1.0
    assert fleet.where("web1") == "xen2"
    assert fleet.violations() == []
    assert site.stop() == 0


def test_an_uncommitted_edit_changes_nothing_and_a_bad_commit_keeps_the_last_good_one(
    site: Site, fleet: Handle
) -> None:
    good = site.place(web1="xen1")
    site.start()
    site.wait("web1 in place", at("xen1"), 30)
    site.write("domains.yaml", "domains:\n  web1: {host: xen2}\n")
    assert site.call("plan").returncode == 0
    site.write("domains.yaml", "domains:\n  web1:\n    host: NO\n")
    bad = site.commit("a mistake")
    report = site.wait("the refused commit", lambda r: bool(r["commit"]["problems"]), 30)
    (problem,) = report["commit"]["problems"]
    assert (problem["commit"], problem["file"], problem["line"]) == (bad, "desired/domains.yaml", 3)
    assert report["commit"]["in_force"] == good
    assert site.call("plan").returncode == 1
    assert fleet.where("web1") == "xen1"
    site.place(web1="xen2")
    site.wait("web1 on xen2 after the mistake was mended", at("xen2"), 60)


def link(fleet: Handle, bytes_per_s: float) -> None:
    """How fast a sync goes: 1 MB/s leaves time for whoever looks at the report."""
    with fleet.live.lock:
        fleet.live.catch_up()
        fleet.world.links["replication"].bytes_per_s = bytes_per_s


def test_sigterm_ends_between_steps_and_the_next_start_goes_on(site: Site, fleet: Handle) -> None:
    link(fleet, 1e6)
    site.place(web1="xen2")
    site.start()
    site.wait("the sync", in_step("sync"), 60)
    assert site.stop() == 0
    assert fleet.violations() == []
    before = entry(site.report())["move"]["id"]
    link(fleet, 110e6)
    site.start()
    report = site.wait("web1 on xen2", at("xen2"), 60)
    assert [move["id"] for move in report["history"]] == [before]
    assert fleet.violations() == []


def test_a_commit_changes_the_rate_of_a_sync_under_way(site: Site, fleet: Handle) -> None:
    """1 MB a second would take the 772 MB of web1 for 39 s of the simulated hosts' time, 20 times as fast."""

    def place(policy: str) -> None:
        site.write("domains.yaml", f"domains:\n  web1: {{host: xen2, policy: {policy}}}\n")
        site.commit(policy)

    def rates() -> set[str]:
        with fleet.live.lock:
            hosts = fleet.world.hosts.values()
            return {host.drbd["xr-web1"].options["c-max-rate"] for host in hosts if "xr-web1" in host.drbd}

    place("{resync_rate_mb_s: 1}")
    site.start()
    site.wait("the sync", in_step("sync"), 60)
    assert rates() == {"1M"}
    place("{resync_rate_mb_s: 80}")
    report = site.wait("web1 on xen2", at("xen2"), 30)
    assert [step["step"] for step in report["history"][0]["steps"]].count("sync") == 1
    assert report["history"][0]["outcome"] == "moved"
    assert fleet.violations() == []


def test_a_commit_pauses_a_sync_and_lets_it_go_on(site: Site, fleet: Handle) -> None:
    def place(rate: int) -> None:
        text = (
            f"domains:\n  web1: {{host: xen2, policy: {{resync_rate_mb_s: {rate}, sync_deadline_s: 10}}}}\n"
        )
        site.write("domains.yaml", text)
        site.commit(f"{rate} MB/s")

    def left() -> int:
        with fleet.live.lock:
            return sum(
                device.out_of_sync() for device in fleet.world.hosts["xen1"].drbd["xr-web1"].devices.values()
            )

    def paused(report: dict[str, Any]) -> bool:
        return (entry(report).get("why") or "").startswith("paused, as the commit in force says")

    place(0)
    site.start()
    site.wait("a paused sync", paused, 60)
    before = left()
    assert before > 0
    time.sleep(12.0)
    assert left() == before
    assert in_step("sync")(site.report()), "it has waited for longer than a sync may take"
    place(80)
    report = site.wait("web1 on xen2", at("xen2"), 60)
    assert report["history"][0]["outcome"] == "moved"
    assert fleet.violations() == []


@pytest.mark.parametrize("then", ["home", "now"])
def test_a_domain_waits_for_its_window(site: Site, fleet: Handle, then: str) -> None:
    """In step, and running; until the commit wants it at home again, or at any time."""
    opens = time.strftime("%H:%M", time.gmtime(time.time() + 6 * 3600))
    shuts = time.strftime("%H:%M", time.gmtime(time.time() + 7 * 3600))
    policy = f"{{cutover_window: {opens}-{shuts}}}"
    site.write("domains.yaml", f"domains:\n  web1: {{host: xen2, policy: {policy}}}\n")
    site.commit("web1 to xen2, later")
    site.start()

    def waits(report: dict[str, Any]) -> bool:
        return f"between {opens} and {shuts} UTC" in (entry(report).get("why") or "")

    site.wait("web1 waiting for its window", waits, 60)
    time.sleep(1.0)
    assert in_step("cutover-ready")(site.report())
    assert fleet.where("web1") == "xen1"
    site.place(web1="xen1" if then == "home" else "xen2")
    report = site.wait("what the commit wants", at("xen1" if then == "home" else "xen2"), 90)
    assert report["history"][0]["outcome"] == ("back" if then == "home" else "moved")
    assert fleet.violations() == []


@pytest.mark.parametrize("step", ["source-pivot", "ship", "target-restore", "source-volumes-removed"])
def test_a_killed_daemon_is_followed_by_one_that_goes_on(site: Site, fleet: Handle, step: str) -> None:
    fleet.live.speed = 5.0
    site.place(web1="xen2")
    site.start()
    site.wait(step, lambda r: in_step(step)(r) or bool(r["history"]), 90)
    site.stop(signal.SIGKILL)
    site.start()
    report = site.wait("web1 on xen2", at("xen2"), 120)
    assert report["history"][0]["outcome"] == "moved"
    assert fleet.violations() == []
    assert fleet.where("web1") == "xen2"


def test_a_second_daemon_on_the_same_state_refuses_to_start(site: Site) -> None:
    site.place(web1="xen1")
    site.start()
    site.wait("web1 in place", at("xen1"), 30)
    second = site.call("once")
    assert second.returncode == 1
    assert "another reconciler works with" in second.stderr


def test_a_repository_that_is_away_keeps_the_last_good_commit_in_force(site: Site) -> None:
    good = site.place(web1="xen1")
    site.start()
    site.wait("web1 in place", at("xen1"), 30)
    away = site.repository.with_name("away")
    site.repository.rename(away)
    assert site.running
    os.kill(site.pid, signal.SIGHUP)
    report = site.wait("the missing repository", lambda r: bool(r["commit"]["error"]), 30)
    assert report["commit"]["in_force"] == good
    away.rename(site.repository)
    os.kill(site.pid, signal.SIGHUP)
    site.wait("the repository again", lambda r: not r["commit"]["error"], 30)


def test_with_a_full_disk_nothing_begins_and_the_daemon_lives(
    fleet: Handle, site: Site, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size=8m,uid={os.geteuid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(state)], check=True)
    try:
        site.config_file.write_text(site.config_file.read_text() + f"report_file: {tmp_path}/report.json\n")
        site.report_file = tmp_path / "report.json"
        site.place(web1="xen2")
        site.start()
        report = site.wait("why nothing begins", lambda r: entry(r).get("state") == "later", 30)
        assert "no room is kept there for the journal" in entry(report)["why"]
        assert report["history"] == []
        subprocess.run([*sudo, "mount", "-o", "remount,size=40m", str(state)], check=True)
        os.kill(site.pid, signal.SIGHUP)
        site.wait("web1 on xen2", at("xen2"), 60)
        assert site.stop() == 0
    finally:
        site.close()
        subprocess.run([*sudo, "umount", str(state)], check=True)


def test_a_changed_mind_before_the_cutover_goes_back(site: Site, fleet: Handle) -> None:
    link(fleet, 1e6)
    site.place(web1="xen2")
    site.start()
    site.wait("the sync", in_step("sync"), 60)
    site.place(web1="xen1")
    report = site.wait("web1 in place again", at("xen1"), 60)
    assert report["history"][0]["outcome"] == "back"
    assert report["history"][0]["reason"] == "placement-changed"
    assert fleet.violations() == []
    with fleet.live.lock:
        nodes = fleet.world.hosts["xen2"].files.nodes
        assert not [path for path in nodes if "web1" in path and "epochs" not in path]


def test_a_new_domain_is_created_from_its_provision_section(site: Site, fleet: Handle) -> None:
    with fleet.live.lock:
        files = fleet.world.hosts["xen2"].files
        assert "/srv/guest" in files.nodes
    site.write(
        "domains.yaml",
        "domains:\n"
        "  web1: {host: xen1}\n"
        "  new1:\n    host: xen2\n    provision:\n      memory_mb: 64\n"
        "      kernel: /srv/guest/vmlinuz\n      ramdisk: /srv/guest/initrd.img\n"
        "      disks:\n        - {name: root, device: xvda, size_mb: 30}\n",
    )
    site.commit("a new domain")
    done = site.call("once", timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.where("new1") == "xen2"
    assert fleet.violations() == []
    site.write("domains.yaml", "domains:\n  web1: {host: xen1}\n  new1: {host: xen1}\n")
    site.commit("and away with it")
    done = site.call("once", timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.where("new1") == "xen1"
    assert fleet.violations() == []


def test_several_domains_move_one_after_another_in_both_directions(tmp_path: Path) -> None:
    from reconciler.simulator import scene

    world = scene.site(3)
    scene.place(world.hosts["xen1"], "web1", 128, (30, 31))
    scene.place(world.hosts["xen2"], "db1", 192, (45,))
    scene.place(world.hosts["xen3"], "app1", 64, (17, 18, 19))
    fleet = start(tmp_path / "hosts", speed=20.0, world=world)
    hosts = {n: Address("127.0.0.1", p, world.hosts[n].replication_address) for n, p in fleet.ports.items()}
    site = Site(tmp_path, hosts, fleet.key_file, fleet.known_hosts_file, max_moves=2)
    try:
        site.place(web1="xen2", db1="xen1", app1="xen1")
        done = site.call("once", timeout_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {name: fleet.where(name) for name in ("web1", "db1", "app1")} == {
            "web1": "xen2",
            "db1": "xen1",
            "app1": "xen1",
        }
        assert fleet.violations() == []
        assert site.call("plan").returncode == 0
    finally:
        site.close()
        fleet.stop()


def test_systemd_is_told_what_happens(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        site.place(web1="xen1")
        site.start()
        heard = [listener.recv(4096).decode()]
        site.wait("web1 in place", at("xen1"), 30)
        site.stop()
        while "STOPPING=1" not in heard:
            heard.append(listener.recv(4096).decode())
    assert heard[0] == "READY=1"
    assert any(text.startswith("STATUS=0 under way; commit ") for text in heard)
