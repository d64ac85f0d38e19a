"""Building a domain and plugging its disks in: what libxl, the block script and blkback do together."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from reconciler.simulator.domain import Domain, Guest, Vbd
from reconciler.simulator.filesystem import ENOENT, FileError
from reconciler.simulator.process import Fail
from reconciler.simulator.storage import IOFault

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

FATAL = "libxl: error: "
HOTPLUG_S = 0.1
MEMORY_PATIENCE_S = 20.0


def named(host: SimHost, name: str) -> Domain:
    domain = host.domain(name)
    if domain is None:
        raise Fail(1, f"{name} is an invalid domain identifier (rc=-6)")
    return domain


def failed(number: int, *lines: str) -> Fail:
    """libxl gives up on a domain: why, and the echoes of taking away what is left of it."""
    echoes = (
        f"libxl_domain.c:1183:libxl__destroy_domid: Domain {number}:Non-existant domain",
        f"libxl_domain.c:1137:domain_destroy_callback: Domain {number}:Unable to destroy guest",
        f"libxl_domain.c:1064:domain_destroy_cb: Domain {number}:Destruction of domain failed",
    )
    return Fail(3, "".join(f"{FATAL}{line}\n" for line in (*lines, *echoes)))


def new_domain(host: SimHost, config: dict[str, Any], guest: Guest) -> Domain:
    """An entry in `xl list`, paused and still without disks."""
    name, uuid, number = config["c_info"]["name"], config["c_info"]["uuid"], next(host.domids)
    for index, disk in enumerate(config.get("disks", [])):
        if not host.files.exists(disk["pdev_path"]):
            stat = f"Disk vdev={disk['vdev']} failed to stat: {disk['pdev_path']}: {ENOENT}"
            unable = f"Domain {number}:Unable to set disk defaults for disk {index}"
            raise failed(
                number,
                f"libxl_device.c:455:libxl__device_disk_set_backend: {stat}",
                f"libxl_create.c:1318:initiate_domain_create: {unable}",
            )
    if host.domain(name) is not None:
        where = f"libxl_domain.c:81:libxl__domain_rename: Domain {number}"
        cannot = f"libxl_create.c:1296:initiate_domain_create: Domain {number}:cannot make domain: -6"
        raise failed(number, f'{where}:Domain with name "{name}" already exists.', cannot)
    memory, vcpus = config["b_info"]["max_memkb"] // 1024, config["b_info"]["max_vcpus"]
    domain = Domain(number, name, uuid, memory, vcpus, copy.deepcopy(config), guest)
    domain.started_s = host.world.now_s
    host.domains[number] = domain
    return domain


def rebuild_failed(host: SimHost, domain: Domain, first: str, *lines: str) -> Fail:
    """The domain could not be built; nothing of it stays. `first` is the line of the library below libxl."""
    host.destroy(domain)
    last = f"libxl_create.c:1640:domcreate_rebuild_done: Domain {domain.domid}:cannot (re-)build domain: -3"
    fail = failed(domain.domid, *lines, last)
    return Fail(3, f"{first}\n{fail.result.stderr}")


def check_memory(host: SimHost, domain: Domain) -> Generator[float, None, None]:
    """libxl waits for memory to become free before it gives up."""
    if host.free_mib() >= 0:
        return
    yield MEMORY_PATIENCE_S
    low = "xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory"
    why = "libxl_dom.c:586:libxl__build_dom: xc_dom_boot_mem_init failed: Cannot allocate memory"
    raise rebuild_failed(host, domain, f"xc: error: panic: xg_dom_boot.c:119: {low}", why)


def plug_all(host: SimHost, domain: Domain, *, asks: bool = True) -> Generator[float, None, None]:
    """Attach every disk, or destroy the domain: on failure nothing is left.

    `asks`: by Xen's script, which asks whether somebody else has the disk. The one of `sender.py` does not.
    """
    troubles = []
    for disk in domain.config.get("disks", []):
        yield HOTPLUG_S
        if host.domains.get(domain.domid) is not domain:
            gone = f"libxl_create.c:1672:domcreate_launch_dm: Domain {domain.domid}:destroyed"
            raise failed(domain.domid, gone)
        trouble = plug(host, domain, disk, asks=asks)
        if trouble:
            troubles.append(script_failed(trouble))
    if troubles:
        host.destroy(domain)
        unable = f"libxl_create.c:1672:domcreate_launch_dm: Domain {domain.domid}:unable to add disk devices"
        raise failed(domain.domid, *troubles, unable)
    domain.building = False


def plug(host: SimHost, domain: Domain, disk: dict[str, Any], *, asks: bool = True) -> str:
    """What the block script and blkback do: resolve once, check sharing, open. Says what is wrong.

    When blkback cannot open the device (a Secondary mirror) the script does not notice: `xl` exits 0.
    """
    path, mode = disk["pdev_path"], "w" if disk["readwrite"] else "r"
    try:
        device, real = host.device_at(path)
    except FileError:
        return f"{path} is not a block device."
    sharers = [o for o in device.opens if o.startswith(("domain ", "mount "))]
    if sharers and asks:
        place = "in the privileged domain" if sharers[0].startswith("mount") else "in a guest domain"
        return f"Device {real} is mounted {place},\nand so cannot be mounted now."
    vbd = Vbd(disk["vdev"], path, mode, device, real, flushes=device.flushes())
    try:
        device.open(domain.holder, mode == "w")
    except IOFault:
        vbd.opened = False
    domain.vbds.append(vbd)
    return ""


def script_failed(said: str) -> str:
    return (
        "libxl_exec.c:117:libxl_report_child_exitstatus: "
        f"/etc/xen/scripts/block add [1000] exited with error status 1\n{FATAL}"
        f"libxl_device.c:1337:device_hotplug_child_death_cb: script: {said}"
    )
