"""Building a domain and plugging its disks in: what libxl, the block script and blkback do together."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from reconciler.simulator.domain import Domain, Guest, Vbd
from reconciler.simulator.filesystem import FileError
from reconciler.simulator.process import Fail
from reconciler.simulator.storage import IOFault

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

FATAL = "libxl: error: "


def named(host: SimHost, name: str) -> Domain:
    domain = host.domain(name)
    if domain is None:
        raise Fail(1, f"{name} is an invalid domain identifier (rc=-6)")
    return domain


def new_domain(host: SimHost, config: dict[str, Any], guest: Guest) -> Domain:
    """An entry in `xl list`, paused and still without disks."""
    name, uuid = config["c_info"]["name"], config["c_info"]["uuid"]
    memory = config["b_info"]["max_memkb"] // 1024
    if host.domain(name) is not None:
        raise Fail(3, name_taken(next(host.domids), name))
    if memory > host.free_mib():
        raise Fail(3, "failed to free memory for the domain")
    vcpus = config["b_info"]["max_vcpus"]
    domain = Domain(next(host.domids), name, uuid, memory, vcpus, copy.deepcopy(config), guest)
    domain.started_s = host.world.now_s
    host.domains[domain.domid] = domain
    return domain


def plug_all(host: SimHost, domain: Domain) -> None:
    """Attach every disk, or destroy the domain: on failure nothing is left."""
    if host.domains.get(domain.domid) is not domain:
        raise Fail(3, f"{FATAL}libxl_create.c:1295: Domain {domain.domid}:cannot (re-)build domain: -3\n")
    for disk in domain.config.get("disks", []):
        try:
            plug(host, domain, disk)
        except Fail:
            host.destroy(domain)
            raise
    domain.building = False


def name_taken(number: int, name: str) -> str:
    words = (
        f'libxl_domain.c:81:libxl__domain_rename: Domain {number}:Domain with name "{name}" already exists.',
        f"libxl_create.c:1296:initiate_domain_create: Domain {number}:cannot make domain: -6",
        f"libxl_domain.c:1183:libxl__destroy_domid: Domain {number}:Non-existant domain",
        f"libxl_domain.c:1137:domain_destroy_callback: Domain {number}:Unable to destroy guest",
        f"libxl_domain.c:1064:domain_destroy_cb: Domain {number}:Destruction of domain failed",
    )
    return "".join(f"{FATAL}{line}\n" for line in words)


def plug(host: SimHost, domain: Domain, disk: dict[str, Any]) -> None:
    """What the block hotplug script and blkback do: resolve once, check sharing on this host, open."""
    path, mode = disk["pdev_path"], "w" if disk["readwrite"] else "r"
    try:
        device, real = host.device_at(path)
    except FileError as error:
        said = f"{path} does not exist." if "No such" in str(error) else f"{path} is not a block device."
        raise Fail(1, device_failed(domain, said)) from error
    sharers = [o for o in device.opens if o.startswith(("domain ", "mount "))]
    if sharers:
        place = "in the privileged domain" if sharers[0].startswith("mount") else "in a guest domain"
        said = f"Device {path} is mounted {place},\nand so cannot be mounted now."
        raise Fail(1, device_failed(domain, said))
    try:
        device.open(domain.holder, mode == "w")
    except IOFault as error:
        raise Fail(1, device_failed(domain, str(error))) from error
    domain.vbds.append(Vbd(disk["vdev"], path, mode, device, real))


def device_failed(domain: Domain, said: str) -> str:
    lines = (
        "libxl_exec.c:117:libxl_report_child_exitstatus: "
        "/etc/xen/scripts/block add [1000] exited with error status 1",
        f"libxl_device.c:1265:device_hotplug_child_death_cb: script: {said}",
        f"libxl_create.c:1921:domcreate_attach_devices: Domain {domain.domid}:unable to add disk devices",
    )
    return "".join(f"{FATAL}{line}\n" for line in lines)
