"""A move as the referee sees it: commit, wait for the real daemon, check the hosts and the guest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from tests.site import entry

from .lab import Lab
from .records import changes_of_side, repeated

VOLUMES = ("web1-root", "web1-data")
MOVE_S = 900
MEMORY_MB = 96
"""What the lab's guest has."""


class Placement(Protocol):
    """A repository to commit to, and the report of the daemon that obeys it."""

    def write(self, name: str, text: str) -> None: ...

    def commit(self, message: str) -> str: ...

    def wait(
        self, what: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float
    ) -> dict[str, Any]: ...


def in_place(host: str) -> Any:
    def arrived(report: dict[str, Any]) -> bool:
        web1 = entry(report)
        return web1.get("state") == "in-place" and web1.get("observed_host") == host

    return arrived


def start_with(lab: Lab, memory_mb: int) -> None:
    """Start web1 on xen1 anew, with so much memory."""
    source = lab.hosts["xen1"]
    source.run(["sed", "-i", f"s/^memory = .*/memory = {memory_mb}/", "/etc/xen/web1.cfg"])
    source.run(
        "xl list web1 >/dev/null 2>&1 && xl destroy web1; xl create -q /etc/xen/web1.cfg", timeout_s=300
    )
    lab.observer.wait_for_heartbeats(count=5, side="xen1", timeout_s=120)
    lab.observer.clear()


def nothing_left(lab: Lab, name: str) -> None:
    """Nothing of web1 is on a host: no domain, DRBD, volume, symlink, configuration or image."""
    host = lab.hosts[name]
    assert "web1" not in host.run(["xl", "list"])
    assert host.run(["drbdsetup", "status"]).strip() in ("", "# No currently configured DRBD found.")
    assert host.run(["lvs", "--noheadings", "-o", "lv_name"]).split() == []
    assert host.run("ls /etc/xen/disks /etc/xen/auto | grep web1 || true").strip() == ""
    assert host.run("ls /etc/xen/*.cfg /etc/drbd.d/*.res 2>/dev/null | grep web1 || true").strip() == ""
    assert host.run("find /etc/xen /etc/drbd.d -name '*.xr-new'").strip() == ""
    assert host.run("find /var/lib/xen-reconciler/images -type f 2>/dev/null || true").strip() == ""
    assert host.run(["dmsetup", "table"]).strip() == "No devices found"


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
    assert host.run("find /etc/xen -name '*.xr-new'").strip() == ""
    tables = host.run(["dmsetup", "table"]).splitlines()
    assert sorted(line.partition(": ")[0] for line in tables) == sorted(
        f"vg-{volume.replace('-', '--')}" for volume in VOLUMES
    )
    assert all(" linear 254:16 " in line for line in tables)
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


def move(
    lab: Lab, site: Placement, target: str, meanwhile: Callable[[], None] = lambda: None, **policy: int | str
) -> str:
    """Commit, wait for the daemon, check what must hold after every move; the table of its times.

    `meanwhile` is called once the commit is made: what it does must leave the daemon running.
    """
    source = "xen1" if target == "xen2" else "xen2"
    began = lab.observer.now()
    wanted = {"host": target, **({"policy": policy} if policy else {})}
    site.write("domains.yaml", f"domains:\n  web1: {json.dumps(wanted)}\n")
    site.commit(f"web1 to {target}")
    meanwhile()
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
    suspended = policy.get("attach") == "suspend"
    assert {freeze["kind"] for freeze in done["freezes"]} == {"cutover", *(["attach"] if suspended else [])}
    for freeze in done["freezes"]:
        assert freeze["measured_s"] > 0
        assert freeze["measured_s"] <= lab.observer.gap(since_s=began, until_s=ended).length_s + 5
    return table(report, lab, (began, ended))
