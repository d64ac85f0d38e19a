"""The seed procedure as an operator would type it: raw argv on two hosts, the checkers asked after each."""

from __future__ import annotations

import re

from reconciler.simulator import checkers, scene
from reconciler.simulator.world import World

STATE = "/var/lib/xen-reconciler"
ATTACH = f"{STATE}/images/web1/attach.img"
CUTOVER = f"{STATE}/images/web1/cutover.img"
SIDE = """
  on xen{host} {{
    address ipv4 10.99.0.{host}:7801;
    volume 0 {{
      device /dev/drbd10 minor 10; disk /dev/vg/web1-root; flexible-meta-disk /dev/vg/web1-root-drbdmd;
    }}
    volume 1 {{
      device /dev/drbd11 minor 11; disk /dev/vg/web1-data; flexible-meta-disk /dev/vg/web1-data-drbdmd;
    }}
  }}"""
RESOURCE = f"""resource xr-web1 {{
  net {{
    protocol C; cram-hmac-alg sha1; shared-secret "s3cret";
    verify-alg crc32c; csums-alg crc32c; max-buffers 8000;
  }}
  disk {{ on-io-error detach; resync-rate 100M; c-plan-ahead 10; }}
  {SIDE.format(host=1)}
  {SIDE.format(host=2)}
}}
"""
DISKS = {"web1-root": 512 << 20, "web1-data": 260 << 20}
TAG = "xr.move.web1-1"


class Hand:
    """An operator at two consoles who looks at the checkers after every command."""

    def __init__(self, world: World) -> None:
        self.world = world

    def do(self, host: str, *argv: str, stdin: str = "") -> str:
        out = scene.must(self.world.hosts[host], *argv, stdin=stdin)
        assert checkers.violations(self.world) == [], argv
        return out

    def write(self, host: str, path: str, text: str) -> None:
        self.do(host, "dd", f"of={path}.new", "conv=fsync", "status=none", stdin=text)
        self.do(host, "mv", "-T", f"{path}.new", path)

    def flip(self, host: str, volume: str, target: str) -> None:
        link = f"/etc/xen/disks/{volume}"
        self.do(host, "ln", "-sfn", target, f"{link}.new")
        self.do(host, "mv", "-T", f"{link}.new", link)

    def metadata(self, host: str) -> None:
        for volume in DISKS:
            meta = f"{volume}-drbdmd"
            self.do(host, *f"lvcreate -y -Wy -Zy -n {meta} -L 4194304b --addtag {TAG} vg".split())
            zeros = f"dd if=/dev/zero of=/dev/vg/{meta} bs=1M count=4 oflag=direct conv=fsync status=none"
            self.do(host, *zeros.split())
        self.write(host, "/etc/drbd.d/xr-web1.res", RESOURCE)
        self.do(host, "drbdadm", "--", "--force", "create-md", "xr-web1")
        self.do(host, "drbdadm", "up", "xr-web1")

    def physical(self, host: str) -> list[str]:
        tree = self.do(host, "xenstore-ls", "-f", "/local/domain/0/backend/vbd")
        return re.findall(r'/physical-device = "(.*)"', tree)

    def attach(self) -> None:
        self.metadata("xen1")
        self.do("xen1", "drbdadm", "primary", "--force", "xr-web1")
        self.do("xen1", "mkdir", "-p", "-m", "0700", f"{STATE}/images/web1")
        self.do("xen1", "xl", "save", "web1", ATTACH)
        self.flip("xen1", "web1-root", "/dev/drbd10")
        self.flip("xen1", "web1-data", "/dev/drbd11")
        self.do("xen1", "xl", "restore", "-p", ATTACH)
        assert self.physical("xen1") == ["93:a", "93:b"]
        self.do("xen1", "xl", "unpause", "web1")
        self.do("xen1", "rm", "-f", ATTACH)

    def mirror(self) -> None:
        for volume, size in DISKS.items():
            self.do("xen2", *f"lvcreate -y -Wy -Zy -n {volume} -L {size}b --addtag {TAG} vg".split())
            self.flip("xen2", volume, f"/dev/drbd{10 + list(DISKS).index(volume)}")
        self.metadata("xen2")

    def synced(self) -> bool:
        events = self.do("xen1", "drbdsetup", "events2", "--now", "--statistics")
        return events.count("replication:Established peer-disk:UpToDate") == len(DISKS)

    def await_sync(self) -> None:
        for _ in range(60):
            if self.synced():
                return
            self.world.advance(1)
        raise AssertionError("never in sync")

    def cutover(self) -> None:
        self.do("xen1", "mkdir", "-p", "-m", "0700", f"{STATE}/images/web1")
        self.do("xen2", "mkdir", "-p", "-m", "0700", f"{STATE}/images/web1")
        self.do("xen1", "xl", "save", "web1", CUTOVER)
        sent = f"root@10.99.0.2:{CUTOVER}.part"
        self.do("xen1", "scp", "-q", "-B", "-o", "StrictHostKeyChecking=yes", CUTOVER, sent)
        self.do("xen2", "mv", "-T", f"{CUTOVER}.part", CUTOVER)
        assert self.synced()
        self.do("xen1", "drbdadm", "secondary", "xr-web1")
        self.do("xen2", "drbdadm", "down", "xr-web1")
        for volume in DISKS:
            self.flip("xen2", volume, f"/dev/vg/{volume}")
        self.do("xen2", "xl", "restore", "-p", CUTOVER)
        assert self.physical("xen2") == ["fd:0", "fd:1"]
        self.do("xen2", "xl", "unpause", "web1")

    def settle(self) -> None:
        self.write("xen2", "/etc/xen/web1.cfg", self.do("xen1", "cat", "/etc/xen/web1.cfg"))
        self.do("xen2", "ln", "-sfn", "../web1.cfg", "/etc/xen/auto/web1.cfg")
        self.do("xen1", "drbdadm", "down", "xr-web1")
        for volume in DISKS:
            self.do("xen1", "lvremove", "-y", f"vg/{volume}")
        for host in ("xen1", "xen2"):
            for volume in DISKS:
                self.do(host, "lvremove", "-y", f"vg/{volume}-drbdmd")
            self.do(host, "rm", "-f", "/etc/drbd.d/xr-web1.res")
            self.do(host, "rm", "-rf", f"{STATE}/images/web1")
        for path in ("/etc/xen/web1.cfg", "/etc/xen/auto/web1.cfg", *(f"/etc/xen/disks/{v}" for v in DISKS)):
            self.do("xen1", "rm", "-f", path)
        for volume in DISKS:
            self.do("xen2", "lvchange", "--deltag", TAG, f"vg/{volume}")
