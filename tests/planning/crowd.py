"""Many domains on many hosts: what a plan for a large site is made from."""

from __future__ import annotations

from dataclasses import replace

from reconciler.commands import dm, files, lvm, xl
from reconciler.commands.files import ConfigFiles
from reconciler.model.facts import Vbd, View
from reconciler.model.placement import Desired, Domain, Host
from reconciler.planning.situation import Situation

from .site import config, empty, seen, situation, tables, volume

PER_HOST = 50


def crowd(domains: int, misplaced: int = 0) -> Situation:
    """`PER_HOST` domains on each host, all where they should be but the first `misplaced` of them."""
    names = [f"d{number:05}" for number in range(domains)]
    numbers = range(max(2, -(-domains // PER_HOST)))
    hosts = {f"h{n:03}": Host(f"h{n:03}", f"10.0.{n}.1", f"10.9.{n}.1") for n in numbers}
    rows, views, wanted = list(hosts), {}, {}
    for index, host in enumerate(hosts):
        here = names[index * PER_HOST : (index + 1) * PER_HOST]
        views[host] = full(host, here)
        wanted |= {name: Domain(name, host, uuid=uuid(name)) for name in here}
    for number, name in enumerate(names[:misplaced]):
        home = number // PER_HOST
        wanted[name] = replace(wanted[name], host=rows[(home + 1) % len(rows)])
    return replace(situation(), desired=Desired("c" * 40, hosts, wanted), views=views)


def uuid(name: str) -> str:
    return f"6f0c9d3e-1b5a-4c8e-9a77-{int(name[1:]):012}"


def full(host: str, names: list[str]) -> View:
    """A host with running domains of two disks each."""
    volumes = [
        volume(f"{name}-{disk}", 64, 2 * index + number)
        for index, name in enumerate(names)
        for number, disk in enumerate(("root", "data"))
    ]
    facts = {
        xl.INFO: replace(empty("xen1").get(xl.INFO), node=host, free_memory_mb=64 << 10),
        xl.DOMAINS: tuple(seen(name, domid=index + 1) for index, name in enumerate(names)),
        xl.CONFIGS: tuple(config(name, domid=index + 1, uuid=uuid(name)) for index, name in enumerate(names)),
        xl.VBDS: tuple(
            Vbd(index // 2 + 1, "xvda" if index % 2 == 0 else "xvdb", each.major_minor)
            for index, each in enumerate(volumes)
        ),
        lvm.VOLUMES: tuple(volumes),
        dm.TABLES: tables(*volumes),
        files.LINKS: {f"/etc/xen/disks/{each.name}": each.path for each in volumes},
        files.CONFIG_FILES: ConfigFiles(
            frozenset(f"/etc/xen/{name}.cfg" for name in names),
            frozenset(f"/etc/xen/auto/{name}.cfg" for name in names),
        ),
    }
    return View(host, {**empty("xen1").facts, **{query.name: fact for query, fact in facts.items()}})
