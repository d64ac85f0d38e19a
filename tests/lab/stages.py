"""The snapshots every lab starts from: `up` (hosts, no guest) and `guest` (web1 runs on xen1).

They are made once per number of hosts by a cold boot, and kept in the cache beside the artefacts.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .image.build import ensure_built
from .image.recipe import Artefacts, LabError, cache_root, hash_of, locked

if TYPE_CHECKING:
    from .lab import Lab

STAGES = ("up", "guest")
GUEST_UUID = "6f0c9d3e-1b5a-4c8e-9a77-0000000000a1"
GUEST_MAC = "00:16:3e:00:00:01"
GUEST_VOLUMES = {"web1-root": ("xvda", 5), "web1-data": ("xvdb", 9)}
"""Each volume's name in the guest and its size in extents of 4 MiB: no round numbers."""

CONFIG = """\
# A PV guest with two disks. The disks are named through symlinks, so that what they mean can change.
name = "{name}"
uuid = "{uuid}"
type = "pv"
kernel = "/srv/guest/vmlinux"
ramdisk = "/srv/guest/initrd.img"
extra = "console=hvc0 quiet mitigations=off name={name} seed={seed} hb=10 wr=5"
memory = 96
vcpus = 1
vif = [ "mac={mac},bridge=xenbr0" ]
disk = [
{disks}
]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
"""


def guest_config(name: str, uuid: str, mac: str, volumes: dict[str, str], seed: int = 42) -> str:
    """A guest's xl configuration; `volumes` maps a volume's name to its name in the guest."""
    disks = "\n".join(f'    "phy:/etc/xen/disks/{volume},{device},w",' for volume, device in volumes.items())
    return CONFIG.format(name=name, uuid=uuid, mac=mac, seed=seed, disks=disks)


def create_guest(
    lab: Lab, host: str = "xen1", name: str = "web1", uuid: str = GUEST_UUID, mac: str = GUEST_MAC,
    volumes: dict[str, tuple[str, int]] | None = None, seed: int = 42,
) -> None:  # fmt: skip
    """Create volumes, symlinks, configuration and autostart of a guest on a host, and start it."""
    volumes = GUEST_VOLUMES if volumes is None else volumes
    devices = {volume: device for volume, (device, _) in volumes.items()}
    commands = ["set -e"]
    for volume, (_, extents) in volumes.items():
        commands.append(f"lvcreate -qq --yes --wipesignatures y --extents {extents} --name {volume} vg")
        commands.append(f"ln -s /dev/vg/{volume} /etc/xen/disks/{volume}")
    commands.append(f"ln -s ../{name}.cfg /etc/xen/auto/{name}.cfg")
    commands.append(f"xl create -q /etc/xen/{name}.cfg")
    lab.hosts[host].write(f"/etc/xen/{name}.cfg", guest_config(name, uuid, mac, devices, seed))
    lab.hosts[host].run("\n".join(commands), timeout_s=300)
    lab.observer.wait_for_heartbeats(name, 5, side=host, timeout_s=120)


def snapshots_directory(artefacts: Artefacts, hosts: int) -> Path:
    """Where the prepared machines of a lab of this size are."""
    here = Path(__file__).parent
    return artefacts.directory / f"hosts-{hosts}-{hash_of([here / 'stages.py', here / 'qemu.py'])}"


def ensure_prepared(hosts: int, say: Callable[[str], None] = print) -> tuple[Artefacts, Path]:
    """The artefacts and the directory of prepared machines, made now if they are not in the cache."""
    from .lab import Lab

    artefacts = ensure_built(say)
    wanted = snapshots_directory(artefacts, hosts)
    with locked(cache_root() / f"{artefacts.directory.name}-{wanted.name}.lock"):
        if wanted.exists():
            return artefacts, wanted
        say(f"lab: preparing {hosts} hosts by a cold boot; this takes about three minutes")
        temporary = Path(tempfile.mkdtemp(prefix="preparing-", dir=artefacts.directory))
        lab = Lab(hosts, say=say)
        try:
            lab.cold_boot(artefacts, temporary)
            taken = {}
            for stage, step in (("up", _hosts_up), ("guest", _guest_running)):
                began = time.monotonic()
                try:
                    step(lab)
                except LabError as error:
                    raise LabError(f"lab: stage {stage}: {error}") from error
                lab.snapshot(stage)
                taken[stage] = time.time()
                say(f"lab: stage {stage} {time.monotonic() - began:.0f} s")
            (temporary / "stages.json").write_text(json.dumps(taken) + "\n")
        except BaseException:
            logs = cache_root() / "last-failure-logs"
            shutil.rmtree(logs, ignore_errors=True)
            shutil.copytree(temporary, logs, ignore=shutil.ignore_patterns("*.qcow2"))
            lab.down()
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        lab.power_off_all()
        lab.down()
        temporary.rename(wanted)
    return artefacts, wanted


def _hosts_up(lab: Lab) -> None:
    for host in lab.hosts.values():
        host.wait_ready(booted=True)
        for command in (
            "vgcreate -qq vg /dev/vdb",
            "xl info",
            "grep ^version /proc/drbd",
            "brctl show xenbr0",
        ):
            host.run(command)
    for host in lab.hosts.values():
        for peer in lab.hosts:
            host.run(["ssh", "-o", "BatchMode=yes", peer, "true"])


def _guest_running(lab: Lab) -> None:
    create_guest(lab)
    blocks = 512
    lab.observer.wait(f"{blocks} written blocks", lambda: len(lab.observer.blocks()) >= blocks, timeout_s=300)
