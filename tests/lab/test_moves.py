"""The referee: the real daemon moves a writing guest between two real Xen hosts by a git commit."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site import Site, entry

from .faults.watch import Watch
from .lab import Lab
from .moving import MOVE_S, VOLUMES, at_home, in_place, move, nothing_left
from .records import repeated

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]


@pytest.fixture
def site(lab_guest: Lab, tmp_path: Path) -> Iterator[Site]:
    """A repository and a configuration for a lab in which web1 runs on xen1; the daemon is not started."""
    made = Site(tmp_path, lab_guest.hosts, lab_guest.key_file, lab_guest.known_hosts)
    yield made
    made.close()


def sync_between(low: float, high: float) -> Any:
    def under_way(report: dict[str, Any]) -> bool:
        sync = (entry(report).get("move") or {}).get("sync") or {}
        return low < (sync.get("percent") or 0) < high

    return under_way


def shown(lab: Lab, host: str) -> str:
    """What DRBD says of its resources there."""
    return lab.hosts[host].run(["drbdsetup", "events2", "--now", "--statistics"])


def out_of_sync_kib(lab: Lab, host: str) -> int:
    """What DRBD on the source still has to send."""
    return sum(int(number) for number in re.findall(r"out-of-sync:(\d+)", shown(lab, host)))


def sync_at(site: Site, mb_s: int) -> None:
    """Commit another rate for the move under way."""
    wanted = {"host": "xen2", "policy": {**SLOW, "resync_rate_mb_s": mb_s}}
    site.write("domains.yaml", f"domains:\n  web1: {json.dumps(wanted)}\n")
    site.commit(f"a sync of {mb_s} MB a second")


def rates(lab: Lab) -> set[str]:
    """How fast a sync may be at the most, as the kernel of each host has it for each volume."""
    shown = "".join(host.run(["drbdsetup", "show"]) for host in lab.hosts.values())
    return set(re.findall(r"c-max-rate\s+(\w+);", shown))


SLOW = {"resync_rate_mb_s": 1, "compression": "zstd", "transport": "tls"}


def test_a_commit_moves_a_writing_guest_through_faults(
    lab_guest: Lab, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """A move with a daemon killed twice, another rate for its sync, a link cut; then both hosts reboot.

    The faults are a short part of the matrix that `make lab-faults` runs whole; the undisturbed move is the
    unit's, in test_unit.py, and `make lab-moves` moves back and forth.
    """
    lab, watch = lab_guest, Watch(site)
    lab.observer.wait_for_heartbeats(count=5, side="xen1")
    site.place(web1="xen1")
    assert site.call("plan").returncode == 0
    site.start()
    site.wait("web1 in place on xen1", in_place("xen1"), 120)

    # An uncommitted edit changes nothing; a bad commit keeps the last good one in force.
    good = site.git("rev-parse", "HEAD")
    site.write("domains.yaml", "domains:\n  web1: {host: xen2}\n")
    assert site.call("plan").returncode == 0
    site.write("domains.yaml", "domains:\n  web1: {host: xen3}\n")
    bad = site.commit("web1 to a host that does not exist")
    report = site.wait("the refused commit", lambda r: bool(r["commit"]["problems"]), 60)
    assert report["commit"]["in_force"] == good
    (problem,) = report["commit"]["problems"]
    assert (problem["commit"], problem["file"], problem["line"]) == (bad, "desired/domains.yaml", 2)
    assert "xen3" in problem["value"]
    assert "xen1" in problem["allowed"]
    assert "web1" in lab.hosts["xen1"].run(["xl", "list"])

    def faults() -> None:
        site.wait("a sync under way", sync_between(5, 40), MOVE_S)
        site.stop(signal.SIGKILL)
        before = out_of_sync_kib(lab, "xen1")
        time.sleep(2)
        assert 0 < out_of_sync_kib(lab, "xen1") < before, "DRBD goes on without the daemon"
        assert rates(lab) == {"1024k"}
        sync_at(site, 0)
        site.start()
        watch.wait("a paused sync", lambda: "PausedSyncS" in shown(lab, "xen1"), 60)
        before = out_of_sync_kib(lab, "xen1")
        time.sleep(2)
        assert before - 512 < out_of_sync_kib(lab, "xen1"), "it stands still, but for what was on its way"
        sync_at(site, 50)
        watch.wait("the new rate", lambda: rates(lab) == {"51200k"}, 60)
        watch.wait("memory on its way", lambda: watch.at("cutover-stream"), MOVE_S)
        lab.hosts["xen1"].cut("mgmt")
        time.sleep(15)
        lab.hosts["xen1"].heal("mgmt")
        watch.wait("the removal of volumes", lambda: watch.at("source-volumes-removed"), MOVE_S)
        site.stop(signal.SIGKILL)
        site.start()

    times = move(lab, site, "xen2", faults, **SLOW)
    began = lab.hosts["xen1"].run("dmesg | grep -c 'Began resync as SyncSource'").strip()
    assert began == str(len(VOLUMES)), "the sync was started over"
    with capsys.disabled():
        print("", times, sep="\n")
    assert lab.observer.errors() == []
    assert site.stop() == 0

    # After a reboot of both hosts the domain comes up where it is now only, from its own disks.
    last = lab.observer.wait_for_heartbeats(count=1, side="xen2")[-1]
    lab.reboot()
    beats = lab.observer.wait_for_heartbeats(count=3, side="xen2", timeout_s=240)
    assert beats[0].boot != last.boot
    assert beats[0].number > last.number, "the guest went on from an older disk"
    nothing_left(lab, "xen1")
    at_home(lab, "xen2")
    assert lab.observer.verify().problems == []


def test_a_domain_that_could_be_saved_but_not_restored_is_refused(lab_guest: Lab, tmp_path: Path) -> None:
    """A balloon that has not come down to its target: xl saves the guest, and then it does not fit."""
    lab = lab_guest
    site = Site(tmp_path, lab.hosts, lab.key_file, lab.known_hosts)
    site.place(web1="xen2")
    host = lab.hosts["xen1"]
    host.run("xl mem-set web1 48")
    host.run(
        "until ! xl list web1 | grep -q ' 96 '; do sleep 1; done", timeout_s=60
    )  # it gives back a little
    planned = site.call("plan")
    said = " ".join((planned.stdout + planned.stderr).split())
    assert "a saved image of it could not be restored" in said
    assert "xl mem-set web1" in said
    # The refusal is right, and what the runbook says is the way out.
    host.run("xl save web1 /root/image")
    refused = host.call("xl restore -p /root/image")
    assert refused.returncode != 0
    assert "Failed to populate physmap" in refused.stderr
    host.run("xl restore -p /etc/xen/web1.cfg /root/image && xl unpause web1", timeout_s=180)
    lab.observer.wait_for_heartbeats(count=5, side="xen1", timeout_s=60)
    assert repeated(lab.observer.heartbeats()) == []
    assert lab.observer.verify().problems == []


NEW1 = """\
domains:
  new1:
    host: xen2
    provision:
      memory_mb: 96
      kernel: /srv/guest/vmlinux
      ramdisk: /srv/guest/initrd.img
      extra: console=hvc0 quiet
      disks:
        - {name: beat, device: xvda, size_mb: 33}
        - {name: blocks, device: xvdb, size_mb: 65}
        - name: root
          device: xvdc
          size_mb: 30
          source: {tarball: /srv/guest/root.tar}
"""


def test_a_domain_that_exists_nowhere_is_created(lab_up: Lab, tmp_path: Path) -> None:
    lab = lab_up
    site = Site(tmp_path, lab.hosts, lab.key_file, lab.known_hosts)
    site.write("domains.yaml", NEW1)
    site.commit("a new domain")
    planned = site.call("plan")
    assert planned.returncode == 2, planned.stdout + planned.stderr
    done = site.call("once", timeout_s=MOVE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    host = lab.hosts["xen2"]
    assert "new1" in host.run(["xl", "list"])
    names = sorted(host.run(["lvs", "--noheadings", "-o", "lv_name"]).split())
    assert names == ["new1-beat", "new1-blocks", "new1-root"]
    assert host.run(["lvs", "--noheadings", "-o", "lv_tags"]).split() == []
    assert host.run(["readlink", "/etc/xen/auto/new1.cfg"]).strip() == "../new1.cfg"
    assert 'uuid = "' in host.run(["cat", "/etc/xen/new1.cfg"])
    listed = host.run(["tar", "-tf", "/srv/guest/root.tar"]).split()
    host.run(["xl", "destroy", "new1"])
    host.run("mkdir -p /mnt/new1 && mount -o ro /dev/vg/new1-root /mnt/new1")
    found = host.run("cd /mnt/new1 && find . -type f").split()
    assert {name for name in listed if not name.endswith("/")} <= {*found, *(f[2:] for f in found)}
