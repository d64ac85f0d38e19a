"""What the simulated tools print, against outputs captured on real hosts in the same situation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reconciler.simulator import scene
from reconciler.simulator.process import Result
from reconciler.simulator.world import World

FIXTURES = Path(__file__).parents[1] / "commands" / "fixtures"
VOLUMES = {"web1-root": 68, "web1-data": 132}
EVENTS = ("drbdsetup", "events2", "--now", "--statistics")
VBD = ("xenstore-ls", "-f", "/local/domain/0/backend/vbd")
LVS = (
    "lvs --reportformat json --units b --nosuffix -a -o vg_name,lv_name,lv_uuid,lv_size,lv_attr,lv_tags,"
    "lv_kernel_major,lv_kernel_minor,lv_device_open,lv_active,origin,pool_lv"
)
VGS = "vgs --reportformat json --units b --nosuffix -o vg_name,vg_size,vg_free,vg_extent_size"
RESOURCE = """resource web1 {
  net { protocol C; cram-hmac-alg sha1; shared-secret "notasecret"; }
  disk { on-io-error detach; resync-rate 400k; c-plan-ahead 0; }
  on xen1 { SIDE1 } on xen2 { SIDE2 }
}
"""
for number in (1, 2):
    side = f"address ipv4 10.99.0.{number}:7801; " + " ".join(
        f"volume {n} {{ device /dev/drbd{10 + n} minor {10 + n}; disk /dev/vg/{volume};"
        f" flexible-meta-disk /dev/vg/{volume}_meta; }}"
        for n, volume in enumerate(VOLUMES)
    )
    RESOURCE = RESOURCE.replace(f"SIDE{number}", side)


class Pair:
    """The lab's situation when the outputs were captured: web1 with two disks, mirrored by hand."""

    def __init__(self) -> None:
        self.world: World = scene.site(2)
        self.one, self.two = self.world.hosts["xen1"], self.world.hosts["xen2"]

    def place(self) -> None:
        scene.place(self.one, memory_mib=96, sizes_mib=tuple(VOLUMES.values()))
        self.world.advance(3)

    def run(self, number: int, *argv: str, stdin: str = "") -> Result:
        words = argv[0].split() if len(argv) == 1 else argv
        return scene.shell(self.one if number == 1 else self.two, *words, stdin=stdin)

    def up(self, number: int) -> None:
        for volume, size in VOLUMES.items():
            if number == 2:
                self.run(2, f"lvcreate -y -Wy -Zy -n {volume} -L {size << 20}b vg")
            self.run(number, f"lvcreate -y -Wy -Zy -n {volume}_meta -L 4194304b vg")
        self.run(number, "dd", "of=/etc/drbd.d/web1.res", stdin=RESOURCE)
        assert self.run(number, "drbdadm -- --force create-md web1").exit == 0
        assert self.run(number, "drbdadm up web1") == Result()


@pytest.fixture
def pair() -> Pair:
    return Pair()


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def shape(text: str) -> list[str]:
    """Words stay, numbers and identifiers do not; line order is kept."""
    text = re.sub(r"[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}", "UUID", text)
    text = re.sub(r" --[a-z-]+=[^\s']+", "", text)
    text = re.sub(r"0x[0-9a-f]+|\d[\d.,:]*", "#", text)
    text = re.sub(r"=*>\.*", "BAR", text)
    return [re.sub(r" +", " ", line).rstrip() for line in text.splitlines()]


def same(result: Result, name: str) -> None:
    """stdout, stderr and exit status as captured, apart from numbers."""
    err, code = FIXTURES / f"{name}.err", FIXTURES / f"{name}.exit"
    assert shape(result.stdout) == shape(fixture(f"{name}.txt"))
    assert shape(result.stderr) == (shape(err.read_text()) if err.exists() else [])
    assert result.exit == (int(code.read_text()) if code.exists() else 0)


def keys(value: Any) -> Any:
    """The structure of JSON: keys and types."""
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items()}
    return [keys(each) for each in value] if isinstance(value, list) else type(value).__name__


def test_an_empty_host(pair: Pair) -> None:
    same(pair.run(1, "xl list"), "xl-4.17-list-empty")
    same(pair.run(1, *VBD), "xenstore-4.17-vbd-empty")
    same(pair.run(1, LVS), "lvm-2.03-lvs-empty")
    same(pair.run(1, VGS), "lvm-2.03-vgs-empty")
    same(pair.run(1, "dmsetup table"), "dm-1.02-table-empty")
    same(pair.run(1, *EVENTS), "drbd-8.4-events2-none")
    same(pair.run(1, "cat /proc/drbd"), "drbd-8.4-proc-none")
    same(pair.run(1, "drbdsetup status"), "drbd-8.4-status-none")
    same(pair.run(1, "drbdsetup show"), "drbd-8.4-show-none")
    assert keys(json.loads(pair.run(1, "xl list -l").stdout)) == keys(
        json.loads(fixture("xl-4.17-list-long-empty.txt"))
    )


def test_a_running_domain(pair: Pair) -> None:
    pair.place()
    same(pair.run(1, "xl list"), "xl-4.17-list-running")
    same(pair.run(1, *VBD), "xenstore-4.17-vbd-running")
    same(pair.run(1, LVS), "lvm-2.03-lvs-running")
    same(pair.run(1, VGS), "lvm-2.03-vgs")
    same(pair.run(1, "dmsetup table"), "dm-1.02-table")
    long = json.loads(pair.run(1, "xl list -l").stdout)
    assert keys(long) == keys(json.loads(fixture("xl-4.17-list-long-running.txt")))
    printf = ("find", "/etc/xen/disks", "-maxdepth", "1", "-type", "l", "-printf", r"%p\t%l\n")
    assert sorted(pair.run(1, *printf).stdout.splitlines()) == sorted(
        fixture("find-4.9-disks-running.txt").splitlines()
    )
    info = [line.split(":")[0] for line in pair.run(1, "xl info").stdout.splitlines()]
    assert info == [line.split(":")[0] for line in fixture("xl-4.17-info.txt").splitlines()]
    pair.run(1, "xl pause web1")
    same(pair.run(1, "xl list"), "xl-4.17-list-paused")


def test_refusals_of_xl(pair: Pair) -> None:
    pair.place()
    for command in ("destroy", "pause", "unpause", "domid"):
        same(pair.run(1, f"xl {command} nosuch"), f"xl-4.17-{command}-nosuch")
    same(pair.run(1, "xl list nosuch"), "xl-4.17-list-domain-nosuch")
    same(pair.run(1, "xl save nosuch /root/web1.img"), "xl-4.17-save-nosuch")
    same(pair.run(1, "xl restore -p /root/web1.img"), "xl-4.17-restore-no-file")
    same(pair.run(1, "xl create /etc/xen/web1.cfg"), "xl-4.17-create-existing-name")
    pair.run(1, "mkdir /mnt/small")
    pair.one.files.capacity = pair.one.files.used + (20 << 20)
    same(pair.run(1, "xl save web1 /mnt/small/web1.img"), "xl-4.17-save-no-space")
    assert "web1" in pair.run(1, "xl list").stdout
    assert pair.one.domains[1].running


def test_save_and_restore(pair: Pair) -> None:
    pair.place()
    same(pair.run(1, "xl save web1 /root/web1.img"), "xl-4.17-save")
    same(pair.run(1, "xl restore -p /root/web1.img"), "xl-4.17-restore-paused")
    same(pair.run(1, "xl list"), "xl-4.17-list-restored-paused")
    same(pair.run(1, "xl restore -p /root/web1.img"), "xl-4.17-restore-existing-name")


def test_refusals_of_lvm(pair: Pair) -> None:
    pair.place()
    same(pair.run(1, "lvcreate -y -Wy -Zy -n web1-root -L 4194304b vg"), "lvm-2.03-lvcreate-existing")
    same(pair.run(1, f"lvcreate -y -Wy -Zy -n big -L {5 << 40}b vg"), "lvm-2.03-lvcreate-no-space")
    same(pair.run(1, "lvcreate -y -Wy -Zy -n x -L 4194304b nosuch"), "lvm-2.03-lvcreate-nosuch-vg")
    same(pair.run(1, "lvremove -y vg/web1-root"), "lvm-2.03-lvremove-in-use")
    same(pair.run(1, "lvremove -y vg/nosuch"), "lvm-2.03-lvremove-nosuch")
    same(pair.run(1, "dmsetup remove vg-web1--root"), "dm-1.02-remove-busy")
    same(pair.run(1, "dmsetup remove nosuch"), "dm-1.02-remove-nosuch")


def look(pair: Pair, number: int, situation: str) -> None:
    same(pair.run(number, *EVENTS), f"drbd-8.4-events2-{situation}")
    if (FIXTURES / f"drbd-8.4-proc-{situation}.txt").exists():
        same(pair.run(number, "cat /proc/drbd"), f"drbd-8.4-proc-{situation}")


def test_a_mirror_from_start_to_end(pair: Pair) -> None:
    pair.place()
    pair.up(1)
    look(pair, 1, "secondary-inconsistent-unconnected")
    same(pair.run(1, "drbdadm primary web1"), "drbd-8.4-primary-inconsistent")
    same(pair.run(1, "drbdadm primary --force web1"), "drbd-8.4-primary-force")
    look(pair, 1, "primary-unconnected")
    same(pair.run(1, "drbdadm role web1"), "drbd-8.4-drbdadm-role")
    shown = set(shape(fixture("drbd-8.4-show-web1.txt")))
    assert set(shape(pair.run(1, "drbdsetup show").stdout)) <= shown
    assert pair.run(1, "xl save web1 /root/web1.img").exit == 0
    for number, volume in enumerate(VOLUMES):
        pair.run(1, f"ln -sfn /dev/drbd{10 + number} /etc/xen/disks/{volume}")
    assert pair.run(1, "xl restore -p /root/web1.img").exit == 0
    same(pair.run(1, *VBD), "xenstore-4.17-vbd-drbd")
    assert pair.run(1, "xl unpause web1").exit == 0
    same(pair.run(1, "drbdadm secondary web1"), "drbd-8.4-secondary-while-open")
    same(pair.run(1, "drbdadm down web1"), "drbd-8.4-down-while-open")
    look(pair, 1, "primary-unconnected")
    pair.up(2)
    pair.world.advance(3)
    look(pair, 1, "syncsource-primary")
    same(pair.run(2, "drbdadm primary web1"), "drbd-8.4-primary-peer-is-primary")
    same(pair.run(2, "drbdadm up web1"), "drbd-8.4-up-twice")
    assert shape(pair.run(2, *EVENTS).stdout) == shape(fixture("drbd-8.4-events2-synctarget-secondary.txt"))
    pair.run(2, "drbdadm disconnect web1")
    look(pair, 1, "primary-peer-gone-mid-sync")
    look(pair, 2, "standalone-synctarget")
    assert pair.run(2, "drbdadm connect web1").exit == 0
    pair.world.advance(400)
    look(pair, 1, "connected-primary")
    look(pair, 2, "connected-secondary")
    assert pair.run(1, "xl save web1 /root/web1.img").exit == 0
    assert pair.run(1, "drbdadm secondary web1") == Result()
    look(pair, 1, "connected-secondary-secondary")
    same(pair.run(2, "drbdadm down web1"), "drbd-8.4-down-target")
    look(pair, 1, "secondary-peer-down")
    look(pair, 2, "after-down")
    same(pair.run(2, "drbdsetup down nosuch"), "drbd-8.4-down-nosuch")
    same(pair.run(1, "drbdadm down nosuch"), "drbd-8.4-adm-nosuch")


def test_drbd_refuses_what_device_mapper_holds(pair: Pair) -> None:
    pair.place()
    table = pair.run(1, "dmsetup table vg-web1--root").stdout
    sectors = table.split()[1]
    pair.run(1, "dmsetup", "create", "held", stdin=f"0 {sectors} linear /dev/vg/web1-root 0\n")
    for volume in VOLUMES:
        pair.run(1, f"lvcreate -y -Wy -Zy -n {volume}_meta -L 4194304b vg")
    pair.run(1, "dd", "of=/etc/drbd.d/web1.res", stdin=RESOURCE)
    result = pair.run(1, "drbdadm up web1")
    assert "No valid meta data found" in result.stderr and result.exit == 1
    assert pair.run(1, "drbdsetup down web1").exit == 0
    pair.run(1, "drbdadm -- --force create-md web1")
    same(pair.run(1, "drbdadm up web1"), "drbd-8.4-up-backing-held-by-dm")
    look(pair, 1, "diskless-after-failed-up")
