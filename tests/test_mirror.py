"""A mirror that is kept, by the real daemon on simulated hosts: there and back, and what ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.simulator.live import Handle, start
from tests.site import Site, entry, mirrored
from tests.test_daemon import addresses, at


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Handle]:
    handle = start(tmp_path / "hosts", hosts=3, speed=20.0)
    yield handle
    handle.stop()


@pytest.fixture
def site(fleet: Handle, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, addresses(fleet), fleet.key_file, fleet.known_hosts_file)
    yield made
    made.close()


def place(site: Site, host: str, *, keep: bool = True) -> str:
    policy = f"{{keep_mirror: {str(keep).lower()}}}"
    site.write("domains.yaml", f"domains:\n  web1: {{host: {host}, policy: {policy}}}\n")
    return site.commit(f"web1 to {host}, {policy}")


def test_a_domain_goes_there_and_back(site: Site, fleet: Handle) -> None:
    """The way back is a change of hosts only: no step of attach or mirror is taken again."""
    place(site, "xen2")
    site.start()
    report = site.wait("a mirror on xen1", mirrored("xen1"), 120)
    assert report["converged"]
    assert site.call("plan").returncode == 0
    (first,) = report["history"]
    mirror = entry(report)["move"]
    assert (first["standby"], mirror["standby"]) == (False, True)
    assert (mirror["source"], mirror["target"], mirror["step"]) == ("xen2", "xen1", "cutover-ready")
    assert fleet.where("web1") == "xen2"
    with fleet.live.lock:
        sent = sum(device.sent for device in fleet.world.hosts["xen2"].drbd["xr-web1"].devices.values())
        (size,) = {first["disk_bytes"], mirror["disk_bytes"]}
        assert sent < size / 50, "what xen1 had kept was compared, not sent anew"
        tags = [volume.tags for volume in fleet.world.hosts["xen1"].groups["vg"].volumes.values()]
        assert tags == [[f"xr.move.{mirror['id']}"]] * 4
    place(site, "xen1")
    report = site.wait("web1 on xen1, and a mirror on xen2", mirrored("xen2"), 120)
    back = report["history"][0]
    assert (back["id"], back["outcome"]) == (mirror["id"], "moved")
    assert [step["step"] for step in back["steps"]].count("sync") == 1
    assert fleet.where("web1") == "xen1"
    assert fleet.violations() == []
    assert site.stop() == 0
    site.start()
    site.wait("the same mirror", mirrored("xen2"), 60)


def test_a_mirror_that_nobody_wants_any_more(site: Site, fleet: Handle) -> None:
    place(site, "xen2")
    site.start()
    site.wait("a mirror on xen1", mirrored("xen1"), 120)
    commit = place(site, "xen2", keep=False)
    report = site.wait("no mirror", lambda r: at("xen2")(r) and not entry(r)["move"], 120)
    assert report["history"][0]["outcome"] == "back"
    assert report["history"][0]["detail"].endswith(f"commit {commit[:12]} keeps no mirror of web1")
    assert fleet.where("web1") == "xen2"
    with fleet.live.lock:
        assert not any(host.drbd for host in fleet.world.hosts.values())
        assert not fleet.world.hosts["xen1"].groups["vg"].volumes
    assert fleet.violations() == []


def test_a_domain_goes_elsewhere(site: Site, fleet: Handle) -> None:
    """The mirror goes first; there is one behind it afterwards, on the host it came from."""
    place(site, "xen2")
    site.start()
    site.wait("a mirror on xen1", mirrored("xen1"), 120)
    place(site, "xen3")
    report = site.wait("web1 on xen3, and a mirror on xen2", mirrored("xen2"), 180)
    ends = [(move["target"], move["outcome"]) for move in report["history"]]
    assert ends == [("xen3", "moved"), ("xen1", "back"), ("xen2", "moved")]
    assert fleet.where("web1") == "xen3"
    assert fleet.violations() == []


def test_once_ends_when_the_mirror_is_in_step(site: Site, fleet: Handle) -> None:
    place(site, "xen2")
    done = site.call("once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert mirrored("xen1")(site.report())
    again = site.call("once")
    assert again.returncode == 0
    assert mirrored("xen1")(site.report())
    shown = site.call("plan").stdout
    assert "mirror on xen1: in step; web1 changes to xen1 when a commit wants it there" in shown
    told = site.call("explain", "web1").stdout
    assert "xen1: web1 is not there" in told and "Do not start web1 on xen1." in told


def test_a_mirror_that_fell_behind_is_in_step_again(site: Site, fleet: Handle) -> None:
    """The link is cut while the guest writes: what it wrote is sent afterwards, and it is the same mirror."""
    place(site, "xen2")
    site.start()
    report = site.wait("a mirror on xen1", mirrored("xen1"), 120)
    mirror = entry(report)["move"]["id"]
    with fleet.live.lock:
        fleet.live.catch_up()
        fleet.world.cut("replication", "xen1", "xen2")
    os.kill(site.pid, signal.SIGHUP)
    site.wait("a mirror out of step", lambda r: entry(r)["move"]["step"] == "sync", 60)
    assert at("xen2")(site.report()), "the domain is where it is wanted all the same"
    with fleet.live.lock:
        fleet.live.catch_up()
        fleet.world.mend("replication", "xen1", "xen2")
    report = site.wait("the mirror", mirrored("xen1"), 120)
    assert entry(report)["move"]["id"] == mirror
    assert fleet.violations() == []
