"""Programs of a simulated host: forms that are not the mirror's, and what they refuse."""

from __future__ import annotations

import pytest

from reconciler.simulator import checkers, scene
from reconciler.simulator.filesystem import Directory, DiskImage, File
from reconciler.simulator.host import SimHost
from reconciler.simulator.process import Result
from reconciler.simulator.tools.mounting import SUPERBLOCK, Ext4
from reconciler.simulator.world import World

from .seed import Hand


@pytest.fixture
def host(world: World) -> SimHost:
    return world.hosts["xen1"]


def run(host: SimHost, *argv: str, stdin: str = "") -> Result:
    return scene.shell(host, *argv, stdin=stdin)


def typed(host: SimHost, line: str) -> Result:
    return run(host, *line.split())


@pytest.mark.parametrize(
    "argv",
    [
        "bash -c true",
        "xl migrate web1 xen2",
        "lvs",
        "lvs --reportformat json --units b --nosuffix -o nonsense",
        "lvcreate -y -n x -l 100%FREE vg",
        "lvcreate -y -n x -L 1g vg",
        "drbdadm attach xr-web1",
        "drbdadm up nosuch",
        "drbdsetup wait-sync 10",
        "dmsetup message web1 0 nothing",
        "find /etc -newer /tmp",
        "df -h",
        "grep -E x /etc/xen",
        "mkdir /no/such/folder",
        "mkdir /etc",
        "mv /none /tmp/x",
        "ln /etc/xen/web1.cfg /tmp/x",
        "rm /none",
        "dd if=/none of=/tmp/x",
        "dd of=/no/folder/x",
        "dd if=/dev/zero of=/dev/vg/web1-root nonsense=1",
        "mount /dev/vg/web1-root /mnt",
        "umount /mnt",
        "mkfs.ext4 -q -F /dev/vg/none",
        "blockdev --getsize64 /dev/vg/none",
        "blockdev --getsize64 /etc/xen/web1.cfg",
        "scp -q /none root@10.99.0.2:/tmp/x",
        "scp -q /etc/xen/web1.cfg root@10.99.0.9:/tmp/x",
        "scp -q /etc/xen/web1.cfg root@10.99.0.2:/no/folder/x",
        "ssh -o BatchMode=yes root@10.99.0.9 true",
        "cat /etc",
        "cat /none",
        "uname -a",
    ],
)
def test_what_is_unknown_or_wrong_fails_loudly(host: SimHost, argv: str) -> None:
    before = set(host.files.nodes)
    result = typed(host, argv)
    assert result.exit != 0 and result.stderr
    assert set(host.files.nodes) == before
    assert checkers.violations(host.world) == []


def test_links_and_files(host: SimHost) -> None:
    assert run(host, "ln", "-s", "/dev/vg/web1-root", "/etc/xen/disks/new").exit == 0
    assert run(host, "ln", "-s", "/dev/vg/web1-data", "/etc/xen/disks/new").exit == 1
    assert run(host, "ln", "-sfn", "/dev/vg/web1-data", "/etc/xen/disks/new").exit == 0
    assert run(host, "readlink", "/etc/xen/disks/new").stdout == "/dev/vg/web1-data\n"
    assert run(host, "readlink", "-f", "/etc/xen/disks/new").stdout == "/dev/dm-1\n"
    assert run(host, "blockdev", "--getsize64", "/etc/xen/disks/new").stdout == f"{260 << 20}\n"
    assert run(host, "mv", "-T", "/etc/xen/disks/new", "/etc/xen").exit == 1
    assert run(host, "cat", "/etc/xen/auto/web1.cfg").stdout.startswith("name = 'web1'")
    assert run(host, "rm", "-f", "/etc/xen/disks/new", "/none").exit == 0
    assert run(host, "mkdir", "-p", "-m", "0700", "/var/lib/xen-reconciler/a/b").exit == 0
    assert run(host, "dd", "of=/var/lib/xen-reconciler/a/b/c", stdin="12345").exit == 0
    listed = run(host, "find", "/var/lib/xen-reconciler", "-mindepth", "2", "-maxdepth", "3", "-type", "f",
                 "-printf", r"%p\t%s\n").stdout  # fmt: skip
    assert listed == "/var/lib/xen-reconciler/a/b/c\t5\n"
    assert run(host, "stat", "-c", "%s", "/var/lib/xen-reconciler/a/b/c").stdout == "5\n"
    found = run(
        host,
        "find",
        "/etc/xen/auto",
        "/etc/xen",
        "-maxdepth",
        "1",
        "-name",
        "*.cfg",
        "-printf",
        r"%y\t%p\t%l\n",
    )
    assert found.stdout == "l\t/etc/xen/auto/web1.cfg\t../web1.cfg\nf\t/etc/xen/web1.cfg\t\n"
    missing = run(host, "find", "/none", "-printf", r"%p\n")
    assert (missing.exit, missing.stderr) == (1, "find: '/none': No such file or directory\n")
    assert run(host, "rm", "-rf", "/var/lib/xen-reconciler/a").exit == 0
    assert not host.files.exists("/var/lib/xen-reconciler/a")
    assert run(host, "grep", "-rs", "", "/var/lib/xen-reconciler/epochs").exit == 2
    assert run(host, "df", "-B1", "--output=target,avail", "/var/lib/xen-reconciler").stdout.startswith(
        "Mounted on "
    )


def test_a_disk_from_a_tarball_and_one_from_an_image(host: SimHost) -> None:
    for name in ("new1-root", "new1-data"):
        assert typed(host, f"lvcreate -y -Wy -Zy -n {name} -L {100 << 20}b vg").exit == 0
    host.files.nodes["/srv/base.tar"] = File(thing="archive", bulk=50 << 20)
    host.files.nodes["/srv/base.img"] = File(thing=DiskImage({SUPERBLOCK: Ext4(("base",))}), bulk=64 << 20)
    for argv in (
        "mkfs.ext4 -q -F /dev/vg/new1-root",
        "mkdir -p /run/new1",
        "mount /dev/vg/new1-root /run/new1",
        "tar -xf /srv/base.tar -C /run/new1",
    ):
        assert typed(host, argv).exit == 0, argv
    in_use = run(host, "lvremove", "-y", "vg/new1-root")
    assert "contains a filesystem in use" in in_use.stderr
    assert run(host, "umount", "/run/new1").exit == 0
    assert host.maps["vg-new1--root"].read(SUPERBLOCK) == Ext4(("/srv/base.tar",))
    assert typed(host, "dd if=/srv/base.img of=/dev/vg/new1-data bs=4M oflag=direct conv=fsync").exit == 0
    assert host.maps["vg-new1--data"].read(SUPERBLOCK) == Ext4(("base",))
    too_big = File(thing=DiskImage(), bulk=200 << 20)
    host.files.nodes["/srv/big.img"] = too_big
    assert "No space left" in run(host, "dd", "if=/srv/big.img", "of=/dev/vg/new1-data").stderr


def test_zeroing_a_part_leaves_the_rest(host: SimHost) -> None:
    assert run(host, "xl", "destroy", "web1").exit == 0
    device = host.maps["vg-web1--root"]
    before = len(device.everything())
    assert typed(host, "dd if=/dev/zero of=/dev/vg/web1-root bs=1M count=100").exit == 0
    assert 0 < len(device.everything()) < before
    whole = typed(host, "dd if=/dev/zero of=/dev/vg/web1-root bs=1M")
    assert device.everything() == {} and whole.exit == 0


def test_a_copy_stops_when_the_link_is_cut(host: SimHost, world: World) -> None:
    assert run(host, "xl", "save", "web1", "/root/web1.img").exit == 0
    job = world.start(host, host.run(["scp", "-q", "/root/web1.img", "root@10.99.0.2:/root/web1.img"]))
    world.advance(1.5)
    world.cut("replication", "xen1", "xen2")
    world.advance(10)
    assert job.result is not None and job.result.exit == 255
    other = world.hosts["xen2"]
    assert other.files.exists("/root/web1.img")
    assert run(other, "xl", "restore", "-p", "/root/web1.img").exit != 0
    assert not other.domains
    host.unreachable_by_ssh.add("xen2")
    world.mend("replication", "xen1", "xen2")
    assert "Permission denied" in run(host, "ssh", "-o", "BatchMode=yes", "root@10.99.0.2", "true").stderr


def test_a_domain_does_not_start_without_its_disks_or_kernel(host: SimHost) -> None:
    other = host.world.hosts["xen2"]
    text = host.files.read("/etc/xen/web1.cfg")
    assert run(other, "dd", "of=/etc/xen/web1.cfg", stdin=text).exit == 0
    assert "failed to stat" in run(other, "xl", "create", "/etc/xen/web1.cfg").stderr
    assert typed(host, "xl destroy web1").exit == 0
    host.files.rename("/srv/guest/vmlinuz", "/srv/guest/away")
    assert "vmlinuz" in typed(host, "xl create /etc/xen/web1.cfg").stderr
    host.files.rename("/srv/guest/away", "/srv/guest/vmlinuz")
    assert typed(host, "xl create /etc/xen/web1.cfg").exit == 0
    assert run(other, "dd", "of=/etc/xen/web1.cfg", stdin="name = web1\n").exit == 0
    assert run(other, "xl", "create", "/etc/xen/web1.cfg").exit == 1
    assert not other.domains
    clone = text.replace("'web1'", "'web2'")
    assert run(host, "dd", "of=/etc/xen/web2.cfg", stdin=clone).exit == 0
    assert "is mounted in a guest domain" in run(host, "xl", "create", "/etc/xen/web2.cfg").stderr


def test_memory_runs_out(host: SimHost) -> None:
    host.memory_mib = 640 + 256 + 100
    assert run(host, "xl", "save", "web1", "/root/web1.img").exit == 0
    host.memory_mib = 640 + 100
    assert "memory" in run(host, "xl", "restore", "-p", "/root/web1.img").stderr
    assert not host.domains
    host.memory_mib = 4096
    assert run(host, "xl", "restore", "-p", "/root/web1.img").exit == 0


def test_volumes_in_pieces(world: World) -> None:
    host = world.hosts["xen2"]
    host.files.nodes["/data"] = Directory()
    for name, extents in (("a", 3), ("b", 3), ("c", 3)):
        assert typed(host, f"lvcreate -y -Wy -Zy -n {name} -L {extents * 4 << 20}b vg").exit == 0
    assert run(host, "lvremove", "-y", "vg/b").exit == 0
    host.groups["vg"].disk.size = (1 << 20) + 13 * (4 << 20)
    assert typed(host, f"lvcreate -y -Wy -Zy -n d -L {25 << 20}b vg").stderr.startswith("  Rounding up")
    assert len(run(host, "dmsetup", "table", "vg-d").stdout.splitlines()) == 2
    device = host.maps["vg-d"]
    device.write(13 << 20, "far")
    assert device.read(13 << 20) == "far" and device.everything() == {13 << 20: "far"}


def test_a_pivot_under_the_running_guest(world: World, host: SimHost) -> None:
    """device-mapper swaps DRBD in below a guest that goes on running; the later attach without suspension."""
    sectors = (512 << 20) // 512
    assert run(host, "xl", "destroy", "web1").exit == 0
    assert run(host, "dmsetup", "create", "w", stdin=f"0 {sectors} linear /dev/vg/web1-root 0\n").exit == 0
    assert run(host, "ln", "-sfn", "/dev/mapper/w", "/etc/xen/disks/web1-root").exit == 0
    assert run(host, "xl", "create", "/etc/xen/web1.cfg").exit == 0
    world.advance(5)
    assert (
        run(host, "dmsetup", "create", "l", stdin=run(host, "dmsetup", "table", "vg-web1--root").stdout).exit
        == 0
    )
    assert typed(host, f"lvcreate -y -Wy -Zy -n meta -L {4 << 20}b vg").exit == 0
    side = "address ipv4 10.99.0.{0}:7801; device /dev/drbd10 minor 10; disk /dev/mapper/l;"
    side += " meta-disk /dev/vg/meta;"
    text = f"resource r {{ on xen1 {{ {side.format(1)} }} on xen2 {{ {side.format(2)} }} }}"
    assert run(host, "dd", "of=/etc/drbd.d/r.res", stdin=text).exit == 0
    for argv in ("drbdadm -- --force create-md r", "drbdadm up r"):
        assert typed(host, argv).exit == 0, argv
    table = f"0 {sectors} linear /dev/drbd10 0\n"
    assert "Read-only" in run(host, "dmsetup", "load", "w", stdin=table).stderr
    assert run(host, "drbdadm", "primary", "--force", "r").exit == 0
    assert run(host, "dmsetup", "load", "w", stdin=table).exit == 0
    assert run(host, "dmsetup", "suspend", "--nolockfs", "w").exit == 0
    heard = world.observer.count
    world.advance(1)
    assert world.observer.count == heard
    assert run(host, "dmsetup", "resume", "w").exit == 0
    world.advance(5)
    assert world.observer.count > heard
    assert checkers.violations(world) == []
    mirror = host.minor(10)
    assert mirror is not None and mirror.written > 0
    assert "held open" in run(host, "drbdadm", "secondary", "r").stderr


def test_a_start_on_a_secondary_mirror_seems_to_work(world: World) -> None:
    """As seen in the lab: xl exits 0, the domain is there, but blkback has not opened the device."""
    hand, host = Hand(world), world.hosts["xen1"]
    hand.metadata("xen1")
    assert typed(host, "xl save web1 /root/web1.img").exit == 0
    for number, volume in enumerate(("web1-root", "web1-data")):
        hand.flip("xen1", volume, f"/dev/drbd{10 + number}")
    assert typed(host, "xl restore -p /root/web1.img").exit == 0
    store = typed(host, "xenstore-ls -f /local/domain/0/backend/vbd").stdout
    assert store.count('/state = "5"') == 2 and store.count('/physical-device = "93:') == 2
    assert typed(host, "drbdadm primary --force xr-web1").exit == 0
    heard = world.observer.count
    assert typed(host, "xl unpause web1").exit == 0
    world.advance(3)
    assert world.observer.count == heard
    assert checkers.violations(world) == []
    assert typed(host, "drbdadm secondary xr-web1").exit == 0  # nobody has it open
    assert typed(host, "xl destroy web1").exit == 0


def test_what_drbd_holds_or_no_longer_knows(world: World) -> None:
    hand, host = Hand(world), world.hosts["xen2"]
    hand.mirror()
    said = typed(host, "lvremove -y vg/web1-root").stderr
    assert said == "  Logical volume vg/web1-root is used by another device.\n"
    assert "is configured!" in typed(host, "drbdadm -- --force create-md xr-web1").stderr
    assert typed(host, "drbdadm down xr-web1").exit == 0
    assert "(127)" in typed(host, "drbdadm secondary xr-web1").stderr
    assert "(162)" in typed(host, "drbdadm disconnect xr-web1").stderr


def test_pauses_are_counted_and_a_paused_domain_is_not_saved(world: World, host: SimHost) -> None:
    typed(host, "xl pause web1")
    began = world.now_s
    failed = typed(host, "xl save web1 /root/web1.img")
    assert failed.exit == 1 and "acknowledge" in failed.stderr and world.now_s - began > 60
    typed(host, "xl pause web1")
    typed(host, "xl unpause web1")
    assert host.domains[1].paused
    typed(host, "xl unpause web1")
    assert host.domains[1].running
    assert typed(host, "xl save web1 /root/web1.img").exit == 0
    assert typed(host, "xl restore -p /root/web1.img").exit == 0
    failed = typed(host, "xl save web1 /root/again.img")
    assert failed.exit == 1 and "Bad mfn" in failed.stderr
    assert typed(host, "xl unpause web1").exit == 0
    assert host.domains[2].running


def test_a_guest_above_its_target_is_saved_but_not_restored(host: SimHost) -> None:
    """As in the lab after `xl mem-set` to less than the guest gives back."""
    domain = host.domain("web1")
    assert domain is not None
    domain.config["b_info"]["target_memkb"] = (domain.memory_mib - 2) << 10
    assert typed(host, "xl save web1 /root/image").exit == 0
    refused = typed(host, "xl restore -p /root/image")
    assert refused.exit == 1
    assert "Failed to populate physmap (16 = Device or resource busy)" in refused.stderr
    assert host.domain("web1") is None
