"""A ready-made start: hosts with a running domain, as a user's site would look before the first move."""

from __future__ import annotations

from reconciler.simulator.domain import Domain
from reconciler.simulator.filesystem import Directory, File, Link
from reconciler.simulator.host import SimHost
from reconciler.simulator.process import Result
from reconciler.simulator.world import World

MIB = 1 << 20


def site(hosts: int = 2, seed: int = 0, beat_s: float = 0.1) -> World:
    """A world of xen1, xen2, … with nothing on them."""
    world = World(seed, beat_s)
    for number in range(1, hosts + 1):
        host = world.add_host(f"xen{number}")
        for folder in ("/etc/xen/disks", "/var/lib/xen-reconciler", "/srv/guest"):
            host.files.nodes[folder] = Directory()
        for file in ("vmlinuz", "initrd.img"):
            host.files.nodes[f"/srv/guest/{file}"] = File(thing="boot file", bulk=8 * MIB)
        host.files.nodes["/usr/bin"] = Directory()
        for program in ("openssl", "zstd"):
            host.files.nodes[f"/usr/bin/{program}"] = File("a program")
    return world


def shell(host: SimHost, *argv: str, stdin: str = "") -> Result:
    """Run one command to its end and let the world's clock go on by as long as it takes."""
    job = host.world.start(host, host.run(argv, stdin))
    host.world.advance_to(host.world.now_s + 3600.0, lambda: job.over)
    assert job.result is not None, argv
    return job.result


def must(host: SimHost, *argv: str, stdin: str = "") -> str:
    """As `shell`, for what may not fail."""
    result = shell(host, *argv, stdin=stdin)
    if result.exit:
        raise RuntimeError(f"{host.name}: {' '.join(argv)} exited {result.exit}: {result.stderr}")
    return result.stdout


def config(name: str, memory_mib: int, volumes: list[str], uuid: str) -> str:
    """An ordinary domain configuration that names its disks through symlinks."""
    disks = ", ".join(
        f"'phy:/etc/xen/disks/{volume},xvd{letter},w'"
        for volume, letter in zip(volumes, "abcdefgh", strict=False)
    )
    return (
        f"name = '{name}'\nuuid = '{uuid}'\nmemory = {memory_mib}\nvcpus = 1\n"
        "kernel = '/srv/guest/vmlinuz'\nramdisk = '/srv/guest/initrd.img'\n"
        f"extra = 'console=hvc0 name={name}'\ndisk = [{disks}]\n"
        "vif = ['mac=00:16:3e:00:00:01,bridge=xenbr0']\n"
    )


def place(
    host: SimHost, name: str = "web1", memory_mib: int = 256, sizes_mib: tuple[int, ...] = (512, 260)
) -> Domain:
    """Put a running domain on a host: volumes, symlinks, configuration, autostart entry."""
    volumes = [f"{name}-{part}" for part in ("root", "data", "log", "srv")[: len(sizes_mib)]]
    for volume, size in zip(volumes, sizes_mib, strict=True):
        must(host, "lvcreate", "-y", "-Wy", "-Zy", "-n", volume, "-L", f"{size * MIB}b", "vg")
        host.files.nodes[f"/etc/xen/disks/{volume}"] = Link(f"/dev/vg/{volume}")
    text = config(name, memory_mib, volumes, host.world.uuid())
    host.files.nodes[f"/etc/xen/{name}.cfg"] = File(text)
    host.files.nodes[f"/etc/xen/auto/{name}.cfg"] = Link(f"../{name}.cfg")
    must(host, "xl", "create", f"/etc/xen/{name}.cfg")
    domain = host.domain(name)
    assert domain is not None
    return domain
