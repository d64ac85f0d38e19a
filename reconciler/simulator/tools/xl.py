"""`xl` of Xen 4.17: info, list, create, save, restore, pause, unpause, destroy, domid."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from reconciler.simulator.domain import Domain, Guest, Image, Vbd
from reconciler.simulator.filesystem import File, FileError
from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.storage import IOFault
from reconciler.simulator.tools import xlconfig

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

QUERY_S = 0.1
CREATE_S = 1.2
IMAGE_BYTES_PER_S = 400e6
FATAL = "libxl: error: "


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    commands = {
        "info": info,
        "list": listing,
        "create": create,
        "save": save,
        "restore": restore,
        "pause": pause,
        "unpause": unpause,
        "destroy": destroy,
        "domid": domid,
    }
    if not args or args[0] not in commands:
        yield 0.02
        raise Fail(1, f"command not implemented: {args[0] if args else ''}")
    return (yield from commands[args[0]](host, args[1:]))


def info(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    lines = {
        "host": host.name,
        "release": "6.1.0-50-amd64",
        "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)",
        "machine": "x86_64",
        "nr_cpus": 1,
        "max_cpu_id": 0,
        "nr_nodes": 1,
        "cores_per_socket": 1,
        "threads_per_core": 1,
        "cpu_mhz": "2596.132",
        "hw_caps": host.hw_caps,
        "virt_caps": "pv shadow gnttab-v1 gnttab-v2",
        "total_memory": host.memory_mib,
        "free_memory": host.free_mib(),
        "sharing_freed_memory": 0,
        "sharing_used_memory": 0,
        "outstanding_claims": 0,
        "free_cpus": 0,
        "xen_major": 4,
        "xen_minor": 17,
        "xen_extra": ".5",
        "xen_version": "4.17.5",
        "xen_caps": "xen-3.0-x86_64 ",
        "xen_scheduler": "credit2",
        "xen_pagesize": 4096,
        "platform_params": "virt_start=0xffff800000000000",
        "xen_changeset": "",
        "xen_commandline": "dom0_mem=640M,max:640M sched=credit2",
        "cc_compiler": "x86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
        "cc_compile_by": "pkg-xen-devel",
        "cc_compile_domain": "lists.alioth.debian.org",
        "cc_compile_date": "Sat Nov 29 13:52:25 UTC 2025",
        "build_id": "39a640e6f1412319235087391df9f1c5e13ae920",
        "xend_config_format": 4,
    }
    return Result(0, "".join(f"{key:<23}: {value}\n" for key, value in lines.items()))


def listing(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    long = "-l" in args or "--long" in args
    names = [arg for arg in args if not arg.startswith("-")]
    chosen = [found(host, name) for name in names] or [host.domains[n] for n in sorted(host.domains)]
    if long:
        shown = [{"domid": domain.domid, "config": domain.config} for domain in chosen]
        return Result(0, json.dumps(shown if names else [dom0(host), *shown], indent=4) + "\n")
    out = "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
    if not names:
        out += row("Domain-0", 0, 640, 1, "r-----", host.world.now_s / 20)
    for domain in chosen:
        state = "---s--" if domain.suspended else "--p---" if domain.paused else "-b----"
        name, age = domain.name, host.world.now_s - domain.started_s
        out += row(name, domain.domid, domain.memory_mib, domain.vcpus, state, age / 50)
    return Result(0, out)


def row(name: str, number: int, memory: int, vcpus: int, state: str, seconds: float) -> str:
    return f"{name:<40} {number:>5} {memory:>5} {vcpus:>5}     {state}  {seconds:>8.1f}\n"


def dom0(host: SimHost) -> dict[str, Any]:
    return {
        "domid": 0,
        "config": {
            "c_info": {"type": "pv", "name": "Domain-0"},
            "b_info": {
                "max_memkb": 655360,
                "target_memkb": 655359,
                "sched_params": {"sched": "credit2", "weight": 256, "cap": 0},
                "type.pv": {},
                "arch_arm": {},
                "arch_x86": {},
            },
        },
    }


def found(host: SimHost, name: str) -> Domain:
    domain = host.domain(name)
    if domain is None:
        raise Fail(1, f"{name} is an invalid domain identifier (rc=-6)")
    return domain


def create(host: SimHost, args: list[str]) -> Steps:
    paths = [arg for arg in args if not arg.startswith("-")]
    yield 0.1
    if len(paths) != 1:
        raise Fail(2, "'xl create' requires at least 1 argument.")
    try:
        text = host.files.read(paths[0])
    except FileError as error:
        raise Fail(1, f"Failed to read config file: {paths[0]}: {error}") from error
    parsed = xlconfig.parse(text, paths[0])
    config = xlconfig.to_json(parsed, host.world.uuid())
    yield CREATE_S
    try:
        domain = build(host, config, Guest(config["c_info"]["name"]))
    except Fail as fail:
        raise Fail(fail.result.exit, f"Parsing config from {paths[0]}\n{fail.result.stderr}") from fail
    domain.guest.boot(domain.vbds[0].device if domain.vbds else None)
    domain.paused = "-p" in args
    return Result(0, "", f"Parsing config from {paths[0]}\n")


def build(host: SimHost, config: dict[str, Any], guest: Guest) -> Domain:
    """Create the domain, paused, with its disks attached; on any failure nothing is left."""
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
    for disk in config.get("disks", []):
        try:
            plug(host, domain, disk)
        except Fail:
            host.destroy(domain)
            raise
    return domain


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


def save(host: SimHost, args: list[str]) -> Steps:
    """Suspends, writes the image, destroys. On failure the guest runs on, as the real one does."""
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.15
    if len(words) < 2:
        raise Fail(2, "'xl save' requires at least 2 arguments.")
    domain, path = found(host, words[0]), words[1]
    image = Image(copy.deepcopy(domain.config), domain.memory_mib, copy.copy(domain.guest), complete=False)
    file = File(thing=image, bulk=0)
    try:
        file_path = host.files.put(path, file)
    except FileError as error:
        raise Fail(2, f"Failed to open temp file {path} for writing: {error}") from error
    head = f"Saving to {path} new xl format (info 0x3/0x0/1458)\n"
    domain.suspended = True
    image.guest.last = domain.guest.last
    size = domain.memory_mib << 20
    for _ in range(8):
        yield size / IMAGE_BYTES_PER_S / 8
        if host.domains.get(domain.domid) is not domain:
            raise Fail(1, head + "Failed to save domain, resuming domain")
        if size // 8 > host.files.available or host.files.nodes.get(file_path) is not file:
            domain.suspended = False
            raise Fail(1, head + no_space(domain))
        file.bulk += size // 8
    image.complete = True
    host.destroy(domain)
    frames = domain.memory_mib * 256
    said = f"{head}xc: info: Saving domain {domain.domid}, type x86 PV\n"
    said += f"xc: progress: Frames: {frames}/{frames}  100%\nxc: progress: End of stream: 0/0    0%\n"
    return Result(0, "", said)


def no_space(domain: Domain) -> str:
    error = "(28 = No space left on device): Internal error"
    return (
        f"xc: info: Saving domain {domain.domid}, type x86 PV\n"
        f"xc: error: Failed to write page data to stream {error}\n"
        f"xc: error: Save failed {error}\n"
        f"{FATAL}libxl_stream_write.c:347:libxl__xc_domain_save_done: Domain {domain.domid}:saving domain: "
        "domain responded to suspend request: No space left on device\n"
        "Failed to save domain, resuming domain\n"
    )


def restore(host: SimHost, args: list[str]) -> Steps:
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.15
    if len(words) != 1:
        raise Fail(2, "'xl restore' requires at least 1 argument.")
    try:
        node = host.files.get(words[0])
    except FileError as error:
        raise Fail(1, f"Can't open restore file: {error}") from error
    image = node.thing if isinstance(node, File) else None
    if not isinstance(image, Image):
        raise Fail(1, f"File has wrong magic number - corrupt or truncated?: {words[0]}")
    head = (
        f"Loading new save file {words[0]} (new xl fmt info 0x3/0x0/1458)\n"
        " Savefile contains xl domain config in JSON format\nParsing config from <saved>\n"
    )
    name = image.config["c_info"]["name"]
    try:
        domain = build(host, image.config, copy.copy(image.guest))
    except Fail as fail:
        raise Fail(1, head + fail.result.stderr) from fail
    yield (image.memory_mib << 20) / IMAGE_BYTES_PER_S
    if not image.complete or host.domains.get(domain.domid) is not domain:
        host.destroy(domain)
        said = f"domcreate_rebuild_done: Domain {domain.domid}:cannot (re-)build domain: -3\n"
        stream = "xc: error: Failed to read from stream: Internal error\n"
        raise Fail(3, f"{head}{stream}{FATAL}libxl_create.c:1295:{said}")
    domain.paused = "-p" in args
    return Result(
        0,
        "",
        f"{head}xc: info: Found x86 PV domain from Xen 4.17\nxc: info: Restoring domain\n"
        f"xc: info: Restore successful\nxc: info: {name}\n",
    )


def pause(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "pause")
    found(host, args[0]).paused = True
    return Result()


def unpause(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "unpause")
    found(host, args[0]).paused = False
    return Result()


def destroy(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "destroy")
    domain = found(host, args[0])
    yield 0.3
    host.destroy(domain)
    return Result()


def domid(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "domid")
    domain = host.domain(args[0])
    if domain is None:
        raise Fail(1, f"Can't get domid of domain name '{args[0]}', maybe this domain does not exist.")
    return Result(0, f"{domain.domid}\n")


def one(args: list[str], command: str) -> None:
    if len(args) != 1:
        raise Fail(2, f"'xl {command}' requires 1 argument.")
