"""Block devices and what is on them.

Content is a sparse map from byte offset to a value (a guest's numbered heartbeat, a file system,
DRBD's metadata); what is not in the map reads as zeros. The map lives in the physical volume, and
every device above it is a window: so two devices over the same extents see the same bytes, and what
one logical volume leaves behind is found by the next one that gets its extents.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

SECTOR = 512
Value = Hashable


class IOFault(Exception):
    """A read or write that a real device would fail or hold up: it was not acknowledged."""


@dataclass(eq=False)
class BlockDevice:
    """One block device of a host. `opens` says who has it open, `claim` who has it exclusively."""

    major: int
    minor: int
    size: int
    opens: list[str] = field(default_factory=list)
    claim: str | None = None

    @property
    def number(self) -> str:
        """MAJOR:MINOR as `dmsetup` prints it."""
        return f"{self.major}:{self.minor}"

    @property
    def hex_number(self) -> str:
        """MAJOR:MINOR as blkback's `physical-device` has it."""
        return f"{self.major:x}:{self.minor:x}"

    def check_open(self, write: bool) -> None:
        """Raise IOFault when the driver would refuse the open."""

    def flushes(self) -> bool:
        """Whether it says that it has a write cache to flush: what holds data does, `error` does not."""
        return True

    def open(self, who: str, write: bool = True) -> None:
        self.check_open(write)
        self.opens.append(who)

    def close(self, who: str) -> None:
        self.opens.remove(who)

    def read(self, offset: int) -> Value | None:
        """The value that begins at `offset`, None for zeros."""
        return self.items(offset, offset + 1).get(offset)

    def write(self, offset: int, value: Value) -> None:
        self.replace(offset, offset + 1, {offset: value})

    def items(self, low: int, high: int) -> dict[int, Value]:
        """What is not zero from byte `low` up to `high`."""
        raise NotImplementedError

    def replace(self, low: int, high: int, items: dict[int, Value]) -> None:
        """Overwrite all bytes from `low` up to `high`."""
        raise NotImplementedError

    def everything(self) -> dict[int, Value]:
        return self.items(0, self.size)


@dataclass(eq=False)
class Disk(BlockDevice):
    """A physical disk: keeps its content through every crash."""

    content: dict[int, Value] = field(default_factory=dict)
    writes: int = 0

    def write(self, offset: int, value: Value) -> None:
        self.writes += 1
        self.content[offset] = value

    def items(self, low: int, high: int) -> dict[int, Value]:
        if high - low == 1:
            return {low: self.content[low]} if low in self.content else {}
        return {at: value for at, value in self.content.items() if low <= at < high}

    def replace(self, low: int, high: int, items: dict[int, Value]) -> None:
        self.writes += 1
        for at in self.items(low, high):
            del self.content[at]
        self.content.update(items)


@dataclass(frozen=True)
class Segment:
    """One line of a device-mapper table, in bytes. `device` is None for the error target."""

    start: int
    length: int
    device: BlockDevice | None
    offset: int

    def line(self) -> str:
        where = f"linear {self.device.number} {self.offset // SECTOR}" if self.device else "error "
        return f"{self.start // SECTOR} {self.length // SECTOR} {where}"


@dataclass(eq=False)
class Mapped(BlockDevice):
    """A device-mapper device: an active logical volume, or one made with `dmsetup create`."""

    name: str = ""
    table: tuple[Segment, ...] = ()
    loaded: tuple[Segment, ...] | None = None
    suspended: bool = False

    def flushes(self) -> bool:
        return any(segment.device is not None and segment.device.flushes() for segment in self.table)

    def pieces(self, low: int, high: int) -> list[tuple[BlockDevice, int, int, int]]:
        """(device below, its first byte, its end, what to subtract to come back here) for a range."""
        found = []
        for segment in self.table:
            begin, end = max(low, segment.start), min(high, segment.start + segment.length)
            if begin < end:
                if segment.device is None:
                    raise IOFault(f"{self.name}: error target")
                shift = segment.offset - segment.start
                found.append((segment.device, begin + shift, end + shift, shift))
        return found

    def items(self, low: int, high: int) -> dict[int, Value]:
        if self.suspended:
            raise IOFault(f"{self.name} is suspended")
        return {
            at - shift: value
            for device, begin, end, shift in self.pieces(low, high)
            for at, value in device.items(begin, end).items()
        }

    def write(self, offset: int, value: Value) -> None:
        if not self.suspended and offset < self.size:
            for segment in self.table:
                if segment.start <= offset < segment.start + segment.length and segment.device is not None:
                    segment.device.write(offset + segment.offset - segment.start, value)
                    return
        super().write(offset, value)

    def replace(self, low: int, high: int, items: dict[int, Value]) -> None:
        if self.suspended:
            raise IOFault(f"{self.name} is suspended")
        if high > self.size:
            raise IOFault(f"{self.name}: beyond the end")
        for device, begin, end, shift in self.pieces(low, high):
            below = {at + shift: value for at, value in items.items() if begin <= at + shift < end}
            device.replace(begin, end, below)
