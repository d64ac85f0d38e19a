"""What the artefacts are made of, where they are kept and what they are called.

The cache directory is named by a hash over every file of this package, so a change of the recipe
builds anew and a change of the tests does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
MIRROR = os.environ.get("XEN_RECONCILER_LAB_MIRROR", "http://deb.debian.org/debian")
HOSTS_MAX = 9
"""Identities are built for this many hosts; a lab starts as many as it is asked for."""
ROOT_SIZE = "3G"
XEN_HYPERVISOR = "xen-4.17-amd64"


class LabError(Exception):
    """The lab could not do what it was asked; the message says which step and why."""


def host_names(count: int = HOSTS_MAX) -> list[str]:
    """xen1, xen2 and so on."""
    return [f"xen{number}" for number in range(1, count + 1)]


def replication_address(name: str) -> str:
    """The address of a host on the link between the hosts."""
    return f"10.99.0.{name.removeprefix('xen')}"


def cache_root() -> Path:
    """Where everything the lab keeps lives: outside the checkout."""
    if chosen := os.environ.get("XEN_RECONCILER_LAB_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "xen-reconciler-lab"


def hash_of(paths: list[Path], *extra: str) -> str:
    """A short hash over files' names, modes and contents, and any further words."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.name} {mode} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    digest.update("\0".join(extra).encode())
    return digest.hexdigest()[:16]


def recipe_hash() -> str:
    """The hash of everything that determines the artefacts."""
    files = [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return hash_of(files)


@dataclass(frozen=True)
class Artefacts:
    """The files of one built recipe."""

    directory: Path

    @property
    def xen(self) -> Path:
        """The unpacked hypervisor."""
        return self.directory / "xen"

    @property
    def kernel(self) -> Path:
        """The kernel of dom0, and of the guest: an ELF file."""
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        """dom0's initramfs."""
        return self.directory / "initrd.img"

    @property
    def root_image(self) -> Path:
        """dom0's root file system, the backing file of each host's own."""
        return self.directory / "root.img"

    @property
    def key_file(self) -> Path:
        """The private key that opens every host as root."""
        return self.directory / "keys" / "lab_ed25519"

    def host_key(self, name: str) -> str:
        """A host's public ssh key, as `type base64`."""
        text = (self.directory / "keys" / name / "ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])


def artefacts() -> Artefacts:
    """Where this recipe's artefacts are, built or not."""
    return Artefacts(cache_root() / recipe_hash())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two builders do not do the same work at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
