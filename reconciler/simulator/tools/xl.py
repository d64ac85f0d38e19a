"""`xl` of Xen 4.17: info, list, create, save, restore, pause, unpause, destroy, domid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from reconciler.simulator.domain import Domain, Guest
from reconciler.simulator.filesystem import FileError
from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.tools import xlconfig
from reconciler.simulator.tools.hotplug import check_memory, named, new_domain, plug_all, rebuild_failed
from reconciler.simulator.tools.saving import restore, save

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

QUERY_S = 0.1
CREATE_S = 1.2


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
    chosen = [named(host, name) for name in names] or [host.domains[n] for n in sorted(host.domains)]
    if long:
        shown = [{"domid": domain.domid, "config": domain.config} for domain in chosen]
        return Result(0, json.dumps(shown if names else [dom0(host), *shown], indent=4) + "\n")
    out = "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
    if not names:
        out += row("Domain-0", 0, 640, 1, "r-----", host.world.now_s / 20)
    for domain in chosen:
        state = "---s--" if domain.suspended else "--p---" if domain.paused else "-b----"
        used = (host.world.now_s - domain.started_s) / 50 if domain.connected else 0.0
        out += row(domain.name, domain.domid, domain.memory_mib, domain.vcpus, state, used)
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
    try:
        domain = new_domain(host, config, Guest(config["c_info"]["name"]))
        load_kernel(host, domain)
        yield from check_memory(host, domain)
        yield CREATE_S
        yield from plug_all(host, domain)
    except Fail as fail:
        raise Fail(fail.result.exit, f"Parsing config from {paths[0]}\n{fail.result.stderr}") from fail
    domain.guest.boot(domain.vbds[0].device if domain.vbds else None)
    domain.pauses, domain.connected = int("-p" in args), "-p" not in args
    return Result(0, "", f"Parsing config from {paths[0]}\n")


def load_kernel(host: SimHost, domain: Domain) -> None:
    """The domain builder opens the files that the configuration names, on this host."""
    for key in ("kernel", "ramdisk"):
        path = domain.config["b_info"].get(key)
        if path and not host.files.exists(path):
            said = f"failed to open file '{path}': No such file or directory: Internal error"
            why = f"libxl_dom.c:646:libxl__build_pv: xc_dom_{key}_file failed: No such file or directory"
            raise rebuild_failed(host, domain, f"xc: error: panic: xg_dom_core.c:205: {said}", why)


def pause(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "pause")
    named(host, args[0]).pauses += 1
    return Result()


def unpause(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "unpause")
    domain = named(host, args[0])
    domain.pauses = max(0, domain.pauses - 1)
    domain.connected = domain.connected or not domain.paused
    return Result()


def destroy(host: SimHost, args: list[str]) -> Steps:
    yield QUERY_S
    one(args, "destroy")
    domain = named(host, args[0])
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
