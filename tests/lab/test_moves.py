"""The referee: the real daemon moves a writing guest between two real Xen hosts by a git commit."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site import Site, entry

from .lab import Lab
from .records import changes_of_side, repeated

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

VOLUMES = ("web1-root", "web1-data")
MOVE_S = 600


@pytest.fixture
def site(lab_guest: Lab, tmp_path: Path) -> Iterator[Site]:
    """A repository and a configuration for a lab in which web1 runs on xen1; the daemon is not started."""
    made = Site(tmp_path, lab_guest.hosts, lab_guest.key_file, lab_guest.known_hosts)
    yield made
    made.close()


def in_place(host: str) -> Any:
    def arrived(report: dict[str, Any]) -> bool:
        web1 = entry(report)
        return web1.get("state") == "in-place" and web1.get("observed_host") == host

    return arrived


def nothing_left(lab: Lab, name: str) -> None:
    """Nothing of web1 is on a host: no domain, DRBD, volume, symlink, configuration or image."""
    host = lab.hosts[name]
    assert "web1" not in host.run(["xl", "list"])
    assert host.run(["drbdsetup", "status"]).strip() in ("", "# No currently configured DRBD found.")
    assert host.run(["lvs", "--noheadings", "-o", "lv_name"]).split() == []
    assert host.run("ls /etc/xen/disks /etc/xen/auto | grep web1 || true").strip() == ""
    assert host.run("ls /etc/xen/*.cfg /etc/drbd.d/*.res 2>/dev/null | grep web1 || true").strip() == ""
    assert host.run("find /var/lib/xen-reconciler/images -type f 2>/dev/null || true").strip() == ""


def at_home(lab: Lab, name: str) -> None:
    """web1 is on a host as an ordinary domain: own volumes, symlinks, configuration and autostart only."""
    host = lab.hosts[name]
    assert re.search(r"^web1 .* (r-----|-b----|------) ", host.run(["xl", "list"]).replace("\t", " "), re.M)
    assert sorted(host.run(["lvs", "--noheadings", "-o", "lv_name"]).split()) == sorted(VOLUMES)
    assert host.run(["lvs", "--noheadings", "-o", "lv_tags"]).split() == []
    for volume in VOLUMES:
        assert host.run(["readlink", f"/etc/xen/disks/{volume}"]).strip() == f"/dev/vg/{volume}"
    assert "/etc/xen/disks/web1-root" in host.run(["cat", "/etc/xen/web1.cfg"])
    assert host.run(["readlink", "/etc/xen/auto/web1.cfg"]).strip() == "../web1.cfg"
    assert host.run("ls /etc/drbd.d/xr-* 2>/dev/null || true").strip() == ""
    backends = host.run("xenstore-ls -f /local/domain/0/backend/vbd | grep physical-device-path || true")
    assert "drbd" not in backends


def table(report: dict[str, Any], lab: Lab, window: tuple[float, float]) -> str:
    """The times of the newest finished move, and the freeze as the outside observer saw it."""
    move = report["history"][0]
    lines = [
        f"{move['id']}: {move['source']} -> {move['target']}, {move['outcome']} in {move['duration_s']} s"
    ]
    lines += [f"  {phase['phase']:<15} {phase['duration_s']:>6.2f} s" for phase in move["phases"]]
    for freeze in move["freezes"]:
        measured, predicted = freeze["measured_s"], freeze["predicted_s"]
        lines.append(f"  freeze {freeze['kind']:<8} {measured:>6.2f} s (predicted {predicted} s)")
    gap = lab.observer.gap(since_s=window[0], until_s=window[1])
    lines.append(f"  longest gap at the observer {gap.length_s:.2f} s")
    return "\n".join(lines)


def move(lab: Lab, site: Site, target: str) -> str:
    """Commit, wait for the daemon, check what must hold after every move; the table of its times."""
    source = "xen1" if target == "xen2" else "xen2"
    began = lab.observer.now()
    site.place(web1=target)
    report = site.wait(f"web1 on {target}", in_place(target), MOVE_S)
    lab.observer.wait_for_heartbeats(count=5, side=target)
    ended = lab.observer.now()
    nothing_left(lab, source)
    at_home(lab, target)
    beats = lab.observer.heartbeats(since_s=began)
    assert repeated(beats) == [], "a heartbeat number was heard twice: lost write or two copies"
    assert changes_of_side(beats) == [source, target]
    found = lab.observer.verify()
    assert found.problems == []
    assert found.side == target
    done = report["history"][0]
    assert done["outcome"] == "moved"
    assert [phase["phase"] for phase in done["phases"]] == ["attach", "mirror", "cutover", "settle"]
    assert {freeze["kind"] for freeze in done["freezes"]} == {"attach", "cutover"}
    for freeze in done["freezes"]:
        assert freeze["measured_s"] > 0
        assert freeze["measured_s"] <= lab.observer.gap(since_s=began, until_s=ended).length_s + 5
    return table(report, lab, (began, ended))


def test_a_commit_moves_a_writing_guest_there_and_back(
    lab_guest: Lab, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = lab_guest
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

    tables = [move(lab, site, "xen2"), move(lab, site, "xen1")]
    with capsys.disabled():
        print("", *tables, sep="\n")
    assert lab.observer.errors() == []
    assert site.stop() == 0


def sync_between(low: float, high: float) -> Any:
    def under_way(report: dict[str, Any]) -> bool:
        sync = (entry(report).get("move") or {}).get("sync") or {}
        return low < (sync.get("percent") or 0) < high

    return under_way


def out_of_sync_kib(lab: Lab) -> int:
    """What DRBD on the source still has to send."""
    text = lab.hosts["xen1"].run(["drbdsetup", "events2", "--now", "--statistics"])
    return sum(int(number) for number in re.findall(r"out-of-sync:(\d+)", text))


def test_a_killed_daemon_goes_on_with_the_same_sync_then_reboots(lab_guest: Lab, site: Site) -> None:
    lab = lab_guest
    site.write("domains.yaml", "domains:\n  web1:\n    host: xen2\n    policy: {resync_rate_mb_s: 4}\n")
    site.commit("web1 to xen2, slowly")
    site.start()
    site.wait("a sync under way", sync_between(10, 60), MOVE_S)
    site.stop(signal.SIGKILL)
    before = out_of_sync_kib(lab)
    time.sleep(2)
    between = out_of_sync_kib(lab)
    assert 0 < between < before, "DRBD goes on without the daemon"
    site.start()
    site.wait("web1 on xen2", in_place("xen2"), MOVE_S)
    began = lab.hosts["xen1"].run("dmesg | grep -c 'Began resync as SyncSource'").strip()
    assert began == str(len(VOLUMES)), "the sync was started over"
    assert lab.observer.verify().problems == []
    assert repeated(lab.observer.heartbeats()) == []
    nothing_left(lab, "xen1")
    at_home(lab, "xen2")
    assert site.stop() == 0

    # After a reboot of both hosts the domain comes up on the target only, from its own disks.
    last = lab.observer.wait_for_heartbeats(count=1, side="xen2")[-1]
    lab.reboot()
    beats = lab.observer.wait_for_heartbeats(count=3, side="xen2", timeout_s=240)
    assert beats[0].boot != last.boot
    assert beats[0].number > last.number, "the guest went on from an older disk"
    nothing_left(lab, "xen1")
    at_home(lab, "xen2")
    assert lab.observer.verify().problems == []


NEW1 = """\
domains:
  new1:
    host: xen2
    provision:
      memory_mb: 96
      kernel: /srv/guest/vmlinuz
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
