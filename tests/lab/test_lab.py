"""The lab itself: both hosts answer, the guest is seen from outside, a reset undoes everything."""

from __future__ import annotations

import pytest

from .host import HostCommandError
from .lab import Lab
from .records import changes_of_side, repeated
from .stages import GUEST_UUID, guest_config

pytestmark = [pytest.mark.lab, pytest.mark.slow]
NEW_UUID, NEW_MAC = "6f0c9d3e-1b5a-4c8e-9a77-0000000000b1", "00:16:3e:00:00:02"


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


def test_a_guest_with_a_populated_file_system_keeps_its_heartbeat_in_a_file_of_it(lab_up: Lab) -> None:
    host = lab_up.hosts["xen1"]
    host.write("/etc/xen/new1.cfg", guest_config("new1", NEW_UUID, NEW_MAC, {"new1-root": "xvda"}))
    script = """set -e
        lvcreate -qq --yes --extents 5 --name new1-root vg
        mkfs.ext4 -q /dev/vg/new1-root
        mount /dev/vg/new1-root /mnt
        tar --extract --file /srv/guest/root.tar --directory /mnt
        umount /mnt
        ln -s /dev/vg/new1-root /etc/xen/disks/new1-root
        xl create -q /etc/xen/new1.cfg"""
    host.run(script, timeout_s=300)
    lab_up.observer.wait_for_heartbeats("new1", count=20, side="xen1", timeout_s=120)
    result = lab_up.observer.verify("new1")
    assert result.problems == []
    assert result.heartbeat_on_disk >= 20
    host.run("xl shutdown -w new1; mount /dev/vg/new1-root /mnt", timeout_s=120)
    assert sorted(host.run("ls /mnt").split()) == ["README", "etc", "heartbeat", "lost+found"]
