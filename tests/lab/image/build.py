"""Build the artefacts of a lab host, step by step; a step that fails says its name and why.

Everything is made in a temporary directory and renamed into place at the end, so a cache directory that
exists is whole. Only four commands need root: debootstrap, unpacking into the new root, running setup.sh
in it, and making the image out of it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import archive
from .recipe import (
    HERE,
    HOSTS_MAX,
    MIRROR,
    ROOT_SIZE,
    SUITE,
    XEN_HYPERVISOR,
    Artefacts,
    LabError,
    artefacts,
    cache_root,
    host_names,
    locked,
    replication_address,
)
from .tools import ensure_tools, find, privileged

Say = Callable[[str], None]
XZ_MAGIC = b"\xfd7zXZ\0"
GUEST_MODULES = {
    "xen-blkfront": "drivers/block/xen-blkfront.ko",
    "xen-netfront": "drivers/net/xen-netfront.ko",
    "crc16": "lib/crc16.ko",
    "libcrc32c": "lib/libcrc32c.ko",
    "crc32c_generic": "crypto/crc32c_generic.ko",
    "mbcache": "fs/mbcache.ko",
    "jbd2": "fs/jbd2/jbd2.ko",
    "ext4": "fs/ext4/ext4.ko",
}


class Build:
    """One build in a temporary directory."""

    def __init__(self, directory: Path, say: Say) -> None:
        self.out = Artefacts(directory)
        self.root = directory / "root"
        self.log = directory / "build.log"
        self.say = say
        self.step = "start"

    def command(
        self, argv: Sequence[str], *, root: bool = False, feed: bytes = b"", timeout_s: float = 900
    ) -> None:
        """Run one command of the current step; its output goes to build.log."""
        full = privileged(argv) if root else list(argv)
        full[0] = find(full[0]) or full[0]
        with self.log.open("ab") as log:
            log.write(f"\n# {self.step}: {' '.join(full)}\n".encode())
            log.flush()
            try:
                done = subprocess.run(
                    full, input=feed, stdout=log, stderr=subprocess.STDOUT, timeout=timeout_s, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise LabError(f"lab build, step {self.step}: {argv[0]}: {error}") from error
        if done.returncode:
            tail = self.log.read_text(errors="replace")[-1500:]
            raise LabError(f"lab build, step {self.step}: {argv[0]} exited {done.returncode}:\n{tail}")

    def run(self) -> None:
        """All steps in order."""
        for step in (self.keys, self.debootstrap, self.guest, self.overlay, self.setup, self.image):
            self.step = step.__name__
            began = time.monotonic()
            try:
                step()
            except OSError as error:
                raise LabError(f"lab build, step {self.step}: {error}") from error
            self.say(f"lab build: {self.step} {time.monotonic() - began:.0f} s")

    def keys(self) -> None:
        """The key that opens the hosts, and each host's host key and own key."""
        keys = self.out.directory / "keys"
        keys.mkdir()
        self.command(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.out.key_file)]
        )
        for name in host_names():
            (keys / name).mkdir()
            for key in ("ssh_host_ed25519_key", "id_ed25519"):
                path = str(keys / name / key)
                self.command(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{name}", "-f", path]
                )

    def debootstrap(self) -> None:
        """dom0's root file system with all its packages."""
        lines = (HERE / "dom0" / "packages.txt").read_text().splitlines()
        packages = ",".join(line for line in lines if line and not line.startswith("#"))
        self.root.mkdir(mode=0o755)
        # In name spaces of its own: what it mounts and starts ends with it, however it ends.
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap"]
        argv += ["--variant=minbase", f"--include={packages}", SUITE, str(self.root), MIRROR]
        self.command(argv, root=True, timeout_s=1800)

    def guest(self) -> None:
        """The PV guest: dom0's kernel, an initramfs with the agent, a small tarball for provisioning."""
        source, agent = HERE / "guest" / "agent.c", self.out.directory / "agent"
        self.command(["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", str(agent), str(source)])
        version = self.kernel_version()
        entries = [archive.directory(name) for name in ("bin", "sbin", "modules", "dev")]
        busybox = next(
            path for path in (self.root / "bin/busybox", self.root / "usr/bin/busybox") if path.exists()
        )
        entries.append(archive.file("bin/busybox", busybox.read_bytes(), 0o755))
        entries.append(archive.file("bin/agent", agent.read_bytes(), 0o755))
        entries.append(archive.file("init", (HERE / "guest" / "init").read_bytes(), 0o755))
        for action in ("poweroff", "reboot"):
            script = f"#!/bin/busybox sh\nexec /bin/busybox {action} -f\n"
            entries.append(archive.file(f"sbin/{action}", script.encode(), 0o755))
        for name, path in GUEST_MODULES.items():
            module = self.root / "lib/modules" / version / "kernel" / path
            if module.exists():
                entries.append(archive.file(f"modules/{name}.ko", module.read_bytes()))
        (self.out.directory / "guest.img").write_bytes(archive.cpio(entries))
        agent.unlink()

    def kernel_version(self) -> str:
        """The version of the one kernel in dom0's root."""
        return (next((self.root / "boot").glob("vmlinuz-*"))).name.removeprefix("vmlinuz-")

    def unpacked_kernel(self) -> bytes:
        """Xen and xl take the ELF file, too; unpacking it takes an emulated processor half a minute."""
        packed = (self.root / "boot" / f"vmlinuz-{self.kernel_version()}").read_bytes()
        start = packed.find(XZ_MAGIC)
        if start < 0:
            raise LabError(f"lab build, step {self.step}: the kernel is not packed with xz")
        return lzma.LZMADecompressor().decompress(packed[start:])

    def overlay(self) -> None:
        """The lab's own files in the root: configuration, identities of all hosts, the guest."""
        keys = self.out.directory / "keys"
        entries = archive.tree(HERE / "dom0" / "overlay")
        entries += [archive.directory(name) for name in ("etc/lab", "etc/lab/identity", "srv/guest")]
        hosts, known, allowed = "127.0.0.1 localhost\n", "", (keys / "lab_ed25519.pub").read_text()
        for name in host_names():
            address = replication_address(name)
            hosts += f"{address} {name}\n"
            known += f"{name},{address} {self.out.host_key(name)}\n"
            allowed += (keys / name / "id_ed25519.pub").read_text()
            entries.append(archive.directory(f"etc/lab/identity/{name}"))
            entries += [(f"etc/lab/identity/{entry[0]}", 0o600, entry[2]) for entry in _named(keys, name)]
        entries.append(archive.file("etc/hosts", hosts.encode()))
        entries.append(("root/.ssh", archive.directory("")[1] & ~0o077, b""))
        entries.append(archive.file("root/.ssh/known_hosts", known.encode(), 0o600))
        entries.append(archive.file("root/.ssh/authorized_keys", allowed.encode(), 0o600))
        entries.append(archive.file("srv/guest/vmlinux", self.unpacked_kernel()))
        entries.append(archive.file("srv/guest/initrd.img", (self.out.directory / "guest.img").read_bytes()))
        entries.append(archive.file("srv/guest/root.tar", archive.tar(archive.tree(HERE / "guest" / "root"))))
        argv = ["tar", "--extract", "--no-same-owner", "--preserve-permissions", "--no-overwrite-dir"]
        self.command([*argv, "--directory", str(self.root)], root=True, feed=archive.tar(entries))

    def setup(self) -> None:
        """Run setup.sh inside the root."""
        script = (HERE / "dom0" / "setup.sh").read_bytes()
        self.command(["chroot", str(self.root), "/bin/bash", "-s"], root=True, feed=script)

    def image(self) -> None:
        """The root image, the unpacked hypervisor, the kernel and the initramfs."""
        version, boot = self.kernel_version(), self.root / "boot"
        self.out.xen.write_bytes(gzip.decompress((boot / f"{XEN_HYPERVISOR}.gz").read_bytes()))
        self.out.kernel.write_bytes(self.unpacked_kernel())
        shutil.copyfile(boot / f"initrd.img-{version}", self.out.initrd)
        image = str(self.out.root_image)
        self.command(
            ["mke2fs", "-q", "-t", "ext4", "-L", "lab", "-d", str(self.root), image, ROOT_SIZE], root=True
        )
        self.command(["chown", str(os.getuid()), image], root=True)
        facts = {"kernel": version, "suite": SUITE, "mirror": MIRROR, "hosts_max": HOSTS_MAX}
        (self.out.directory / "manifest.json").write_text(json.dumps(facts, indent=2) + "\n")


def _named(keys: Path, name: str) -> list[archive.Entry]:
    """A host's key files as entries named `host/file`."""
    return [(f"{name}/{path}", mode, content) for path, mode, content in archive.tree(keys / name)]


def ensure_built(say: Say = print) -> Artefacts:
    """The artefacts of the current recipe, built now if they are not in the cache."""
    wanted = artefacts()
    with locked(cache_root() / f"{wanted.directory.name}.lock"):
        if wanted.root_image.exists():
            return wanted
        say(f"lab build: nothing cached for recipe {wanted.directory.name}; this takes about three minutes")
        ensure_tools()
        temporary = Path(tempfile.mkdtemp(prefix="building-", dir=cache_root()))
        build = Build(temporary, say)
        try:
            build.run()
            if artefacts() != wanted:
                raise LabError("lab build: the recipe's files changed during the build; start it again")
            subprocess.run(
                privileged(["rm", "-rf", "--one-file-system", str(build.root)]), check=True, timeout=120
            )
            temporary.rename(wanted.directory)
        except BaseException:
            with contextlib.suppress(OSError):
                shutil.copyfile(build.log, cache_root() / "last-failure.log")
            subprocess.run(
                privileged(["rm", "-rf", "--one-file-system", str(temporary)]), check=False, timeout=120
            )
            raise
    return wanted
