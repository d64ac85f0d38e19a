"""The daemon as a site runs it: installed as the pages say, under its hardened unit, with a limited key."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from reconciler.execution import sender
from tests.site import Site
from tests.test_systemd import MAX_EXPOSURE

from .host import Host
from .installed import ETC, Installed
from .lab import Lab
from .moving import in_place, move

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]


def the_key_opens_no_shell(daemon: Installed) -> None:
    """Whatever is asked for with the daemon's key, the guard answers; from another address nothing does."""
    ssh = f"ssh -i {ETC}/id_ed25519 -o IdentitiesOnly=yes -o BatchMode=yes"
    for host in daemon.lab.hosts.values():
        done = daemon.host.call(f"{ssh} root@{host.replication_address} id")
        assert "uid=" not in done.stdout
        assert done.stdout.startswith('{"guard": 1')
    key = daemon.host.run(["cat", f"{ETC}/id_ed25519"])
    elsewhere = daemon.lab.hosts["xen2"]
    elsewhere.write("/run/stolen", key, mode="600")
    done = elsewhere.call(f"{ssh.replace(f'{ETC}/id_ed25519', '/run/stolen')} root@10.99.0.1 id")
    assert (done.returncode, done.stdout) == (255, "")
    assert "Permission denied" in done.stderr


def the_unit_is_confined(daemon: Installed) -> None:
    """As systemd and the kernel see the running process, not as the file says."""
    assert daemon.show("Type", "ActiveState", "NRestarts") == {
        "Type": "notify",
        "ActiveState": "active",
        "NRestarts": "0",
    }
    said = daemon.host.run("systemd-analyze security --no-pager reconciler.service | tail -n 2")
    found = re.search(r"Overall exposure level for reconciler.service: ([0-9.]+)", said)
    assert found
    assert float(found[1]) <= MAX_EXPOSURE
    process = daemon.process()
    user = daemon.host.run(["id", "-u", "xen-reconciler"]).strip()
    assert set(process["Uid"].split()) == {user}
    assert user != "0"
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert int(process["CapEff"], 16) == int(process["CapBnd"], 16) == 0


def the_disks_were_opened_by_the_receivers_own_script(target: Host) -> None:
    """Xen's scripts log each of their runs: the network card's did. The guest's next start has Xen's."""
    logged = target.run("journalctl --quiet --output cat")
    assert "/etc/xen/scripts/vif-bridge: Writing" in logged
    assert "/etc/xen/scripts/block: Writing" not in logged
    left_behind = target.run(["pgrep", "-f", "^[^ ]*xl migrate-receive"]).split()
    assert left_behind
    for _ in range(2 * (sender.LATER_S + sender.MOMENTS_S)):
        mounts = target.run(["cat", *(f"/proc/{number}/mounts" for number in ("self", *left_behind))])
        if "/etc/xen/scripts" not in mounts:
            break
        time.sleep(1)
    else:
        pytest.fail(f"the receiver's script is still there: {mounts}")
    assert "check_device_sharing" in target.run(["cat", "/etc/xen/scripts/block"])
    assert target.run("ls /tmp/tmp.* 2>/dev/null || true") == ""
    target.run(["xl", "reboot", "web1"])
    for _ in range(120):
        if "/etc/xen/scripts/block: Writing" in target.run("journalctl --quiet --output cat"):
            return
        time.sleep(1)
    pytest.fail("the guest was rebooted, and Xen's script has logged nothing")


def test_the_unit_moves_a_domain_with_a_key_limited_to_the_guard(
    lab_guest: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon is on one of the hosts, as it may be: also its guard's folder is then beside its journal."""
    lab, daemon = lab_guest, Installed(lab_guest, "xen1")
    lab.observer.wait_for_heartbeats(count=5, side="xen1")
    daemon.install(tmp_path)
    daemon.limit_key()
    daemon.create_repository()
    daemon.write("domains.yaml", "domains:\n  web1: {host: xen1}\n")
    daemon.commit("web1 on xen1")

    # A person's own key puts the guard there, from a machine of that person's.
    person = Site(tmp_path, lab.hosts, lab.key_file, lab.known_hosts)
    person.place(web1="xen1")
    for name in lab.hosts:
        done = person.call("guard", "install", name, "--key", str(lab.key_file))
        assert done.returncode == 0, done.stderr
    the_key_opens_no_shell(daemon)

    daemon.start()
    daemon.wait("web1 in place on xen1", in_place("xen1"), 180)
    the_unit_is_confined(daemon)
    times = move(lab, daemon, "xen2")  # live, the default; the other lab tests move by stream
    with capsys.disabled():
        print("", times, sep="\n")
    the_unit_is_confined(daemon)
    assert "WARNING" not in daemon.log()
    folders = daemon.host.run("cd /var/lib/xen-reconciler && stat -c '%U %a %n' . epochs report.json")
    assert folders.splitlines() == [
        "xen-reconciler 755 .",
        "root 700 epochs",
        "xen-reconciler 644 report.json",
    ]
    the_disks_were_opened_by_the_receivers_own_script(lab.hosts["xen2"])
