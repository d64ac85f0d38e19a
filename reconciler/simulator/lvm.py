"""LVM's metadata of one volume group on one physical volume."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.simulator.storage import Disk

DATA_START = 1 << 20  # pe_start of a PV made by pvcreate
CACHED_S = 5.0
"""LVM does not flush a disk's cache: for about so long a loss of power undoes what it wrote (lab)."""


@dataclass(eq=False)
class Volume:
    """A logical volume: a list of (first extent, extents)."""

    name: str
    uuid: str
    runs: list[tuple[int, int]]
    tags: list[str] = field(default_factory=list)
    active: bool = True
    permission: str = "w"

    @property
    def extents(self) -> int:
        return sum(count for _, count in self.runs)

    def each(self) -> set[int]:
        """Its extents, by number."""
        return {extent for first, count in self.runs for extent in range(first, first + count)}


@dataclass(eq=False)
class VolumeGroup:
    """Kept on the physical volume, so it survives crashes."""

    name: str
    disk: Disk
    extent: int = 4 << 20
    volumes: dict[str, Volume] = field(default_factory=dict)
    unflushed: list[tuple[float, Volume]] = field(default_factory=list)
    """What was removed, and when, as long as the disk has that in its cache only."""

    def lose_power(self, now_s: float) -> None:
        """What was removed a moment ago is there again, unless its place was given away."""
        for removed_s, volume in self.unflushed:
            taken = {extent for other in self.volumes.values() for extent in other.each()}
            if (
                now_s - removed_s < CACHED_S
                and volume.name not in self.volumes
                and taken.isdisjoint(volume.each())
            ):
                self.volumes[volume.name] = volume
        self.unflushed.clear()

    @property
    def extents(self) -> int:
        return (self.disk.size - DATA_START) // self.extent

    @property
    def free(self) -> int:
        return self.extents - sum(volume.extents for volume in self.volumes.values())

    def size_of(self, volume: Volume) -> int:
        return volume.extents * self.extent

    def allocate(self, extents: int) -> list[tuple[int, int]] | None:
        """The first free extents, in one or more runs; None when there are too few."""
        taken = sorted(run for volume in self.volumes.values() for run in volume.runs)
        found: list[tuple[int, int]] = []
        cursor = 0
        for start, count in [*taken, (self.extents, 0)]:
            room = min(start - cursor, extents)
            if room > 0:
                found.append((cursor, room))
                extents -= room
            cursor = max(cursor, start + count)
        return found if extents == 0 else None
