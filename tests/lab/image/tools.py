"""The programs a build needs from the machine: found, or installed, or asked for by name."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .recipe import LabError

PACKAGES: Mapping[str, str] = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "gcc": "gcc",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "chroot": "coreutils",
    "tar": "tar",
}
"""Each program and the Debian package that brings it."""
LIBC = Path("/usr/include/stdlib.h")


def find(program: str) -> str | None:
    """A program's path; the system directories count even where PATH leaves them out."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def privileged(argv: Sequence[str]) -> list[str]:
    """The same command as root: as it is, or through sudo without a password."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", *argv]


def missing_packages() -> list[str]:
    """The Debian packages that have to be installed before a build."""
    missing = {package for program, package in PACKAGES.items() if find(program) is None}
    if not LIBC.exists():
        missing.add("libc6-dev")
    return sorted(missing)


def ensure_tools() -> None:
    """Install what is missing; raise an error that names the packages where that is not possible."""
    packages = missing_packages()
    if not packages:
        return
    by_hand = f"install them by hand: apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise LabError(f"lab build, step tools: packages are missing and there is no apt-get; {by_hand}")
    environment = [
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"
    ]  # fmt: skip
    for action in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(
                privileged([*environment, *action]), capture_output=True, text=True, timeout=900, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LabError(f"lab build, step tools: apt-get {action[0]}: {error}; {by_hand}") from error
        if done.returncode:
            raise LabError(
                f"lab build, step tools: apt-get {action[0]} exited {done.returncode}:"
                f" {done.stderr.strip()[-500:]}; {by_hand}"
            )
