"""The lab itself: both hosts answer, the guest is seen from outside, a reset undoes everything."""

from __future__ import annotations

import pytest

from .host import HostCommandError
from .lab import Lab
from .records import changes_of_side, repeated
from .stages import GUEST_UUID

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def test_both_hosts_answer_and_reach_each_other(lab_up: Lab) -> None:
    for name, host in lab_up.hosts.items():
        assert host.run(["uname", "-n"]).strip() == name
        assert "xen_version" in host.run(["xl", "info"])
        assert host.run(["vgs", "--noheadings", "-o", "lv_count", "vg"]).strip() == "0"
    assert lab_up.hosts["xen1"].run(["ssh", "xen2", "uname", "-n"]).strip() == "xen2"


def test_a_failed_command_says_what_failed(lab_up: Lab) -> None:
    with pytest.raises(HostCommandError, match=r"xen1: `xl domid nosuch` exited 1: Can't get domid"):
        lab_up.hosts["xen1"].run(["xl", "domid", "nosuch"])


def test_the_guests_heartbeat_is_seen_outside_on_xen1(lab_guest: Lab) -> None:
    lab = lab_guest
    beats = lab.observer.wait_for_heartbeats("web1", count=50, timeout_s=60)
    assert changes_of_side(beats) == ["xen1"]
    assert repeated(beats) == []
    assert GUEST_UUID in lab.hosts["xen1"].run(["xl", "list", "-v"])
    assert lab.hosts["xen2"].run("xl list | wc -l").strip() == "2"


def test_the_guest_reads_back_what_was_acknowledged(lab_guest: Lab) -> None:
    lab = lab_guest
    lab.observer.wait_for_heartbeats("web1", count=30)
    result = lab.observer.verify("web1")
    assert result.problems == []
    assert len(result.blocks) == 512
    assert result.heartbeat_on_disk >= result.last_heard > 0


def test_a_volume_read_on_the_host_holds_the_acknowledged_blocks(lab_guest: Lab) -> None:
    lab = lab_guest
    lab.observer.wait("some blocks", lambda: len(lab.observer.blocks()) > 10)
    assert lab.check_volume("xen1", "/dev/vg/web1-data") == []


def test_a_reset_undoes_everything(lab_guest: Lab) -> None:
    lab = lab_guest
    host = lab.hosts["xen1"]
    host.run("xl destroy web1; lvremove -qq --yes vg/web1-data; touch /root/mark; rm /etc/xen/web1.cfg")
    lab.reset("guest")
    assert host.call("ls /root/mark").returncode == 2
    assert "web1-data" in host.run(["lvs", "--noheadings", "-o", "lv_name", "vg"])
    assert lab.observer.wait_for_heartbeats("web1", count=5, side="xen1")


def test_cutting_the_replication_link_stops_it_and_healing_brings_it_back(lab_up: Lab) -> None:
    probe = "timeout 10 socat -u OPEN:/dev/null TCP:10.99.0.2:22"
    source = lab_up.hosts["xen1"]
    assert source.call(probe).returncode == 0
    lab_up.hosts["xen2"].cut("repl")
    assert source.call(probe).returncode != 0
    lab_up.hosts["xen2"].heal("repl")
    assert source.call(probe).returncode == 0
