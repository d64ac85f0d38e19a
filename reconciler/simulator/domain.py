"""Domains, their disks, and the guest inside: a writer of numbered heartbeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reconciler.simulator.storage import BlockDevice, IOFault

SLOTS = 64
FIRST_SLOT = 1 << 20


@dataclass(frozen=True)
class Beat:
    """What a guest writes: its name, a number that never goes back, and where it ran when it wrote."""

    guest: str
    number: int
    host: str


def slot_offset(size: int, number: int) -> int:
    """Where heartbeat `number` goes on a disk of this size: spread from near its start to its last page."""
    slot = number % SLOTS
    if slot == SLOTS - 1:
        return (size - 4096) & ~4095
    return (FIRST_SLOT + slot * (size - FIRST_SLOT - 4096) // (SLOTS - 1)) & ~4095


@dataclass(eq=False)
class Guest:
    """What is in a guest's memory, and so in a saved image: its name and the last heartbeat it made."""

    name: str
    last: int = 0

    def boot(self, first: BlockDevice | None) -> None:
        """Go on from the highest number found on the first disk."""
        try:
            found = first.everything().values() if first else ()
        except IOFault:
            found = ()
        self.last = max((value.number for value in found if isinstance(value, Beat)), default=0)


@dataclass(eq=False)
class Vbd:
    """A disk of a domain. The path was resolved once; I/O goes to `device` whatever the path says later.

    `opened` is False when blkback could not open the device: `xl` does not notice, the guest has no disk.
    `flushes` is False when the device, as blkback opened it, could not flush: every fsync of a guest that
    comes from a disk that could fails then, whatever the device stands on later.
    """

    vdev: str
    path: str
    mode: str
    device: BlockDevice
    real_path: str
    opened: bool = True
    flushes: bool = True

    @property
    def devid(self) -> int:
        """xvda is 51712; each further letter is 16 more, a partition its number more."""
        letter, part = self.vdev[3], self.vdev[4:]
        return 51712 + 16 * (ord(letter) - ord("a")) + int(part or 0)


@dataclass(eq=False)
class Domain:
    """One entry of `xl list`. `config` is the libxl domain config JSON."""

    domid: int
    name: str
    uuid: str
    memory_mib: int
    vcpus: int
    config: dict[str, Any]
    guest: Guest
    building: bool = True
    pauses: int = 1  # Xen counts: two pauses need two unpauses
    suspended: bool = False
    connected: bool = False  # the guest ran at least once: its front ends are connected
    started_s: float = 0.0
    vbds: list[Vbd] = field(default_factory=list)

    @property
    def paused(self) -> bool:
        return self.pauses > 0

    @property
    def running(self) -> bool:
        return not (self.building or self.pauses > 0 or self.suspended)

    @property
    def holder(self) -> str:
        return f"domain {self.domid}"


@dataclass(eq=False)
class Image:
    """A saved domain. Incomplete while it is being written or copied."""

    config: dict[str, Any]
    memory_mib: int
    guest: Guest
    complete: bool = True
