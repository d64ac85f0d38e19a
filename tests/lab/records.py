"""What guests say, as values, and what follows from it: gaps, repeats, losses. Pure.

Times are seconds of CLOCK_MONOTONIC: the machine's for `arrived_s`, the guest's own for `monotonic_s`
(which stands still while the guest is saved) and `uptime_s` (CLOCK_BOOTTIME, which runs on).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MASK = 2**64 - 1
BLOCK_BYTES = 16384


@dataclass(frozen=True)
class Line:
    """One report of a guest as it came in: when, from which host's port, what it said."""

    arrived_s: float
    side: str
    kind: str
    fields: Mapping[str, str]

    @classmethod
    def parse(cls, arrived_s: float, side: str, text: str) -> Line:
        """`kind key=value key=value ...`."""
        kind, _, rest = text.partition(" ")
        return cls(arrived_s, side, kind, dict(word.split("=", 1) for word in rest.split(" ") if "=" in word))

    @property
    def name(self) -> str:
        """The guest's name."""
        return self.fields.get("name", "")


@dataclass(frozen=True)
class Heartbeat:
    """A numbered record that is on the guest's disk, as an outsider learnt of it."""

    arrived_s: float
    side: str
    boot: str
    number: int
    uptime_s: float
    monotonic_s: float
    gap_s: float
    """The longest time between two of the last hundred heartbeats, by the guest's own uptime."""
    gap_number: int
    """The heartbeat that ended that gap."""

    @classmethod
    def of(cls, line: Line) -> Heartbeat:
        """Read it from a report."""
        f = line.fields
        uptime, monotonic, gap = (int(f[key]) / 1e9 for key in ("uptime", "monotonic", "gap"))
        number, gap_number = int(f["number"]), int(f["gap_at"])
        return cls(line.arrived_s, line.side, f["boot"], number, uptime, monotonic, gap, gap_number)


@dataclass(frozen=True)
class Block:
    """A block the guest's disk has acknowledged."""

    number: int
    generation: int
    offset: int
    crc: str

    @classmethod
    def of(cls, line: Line) -> Block:
        """Read it from a report."""
        f = line.fields
        return cls(int(f["block"]), int(f["generation"]), int(f["offset"]), f["crc"])


@dataclass(frozen=True)
class Found:
    """A block as it was read back: its generation, checksum, and whether its content fits its own header."""

    generation: int
    crc: str
    sound: bool


@dataclass(frozen=True)
class Gap:
    """The longest silence between two heartbeats that follow each other."""

    length_s: float
    before: Heartbeat
    after: Heartbeat


def longest_gap(beats: Sequence[Heartbeat]) -> Gap:
    """The freeze as the guest's clients saw it: the longest silence at the observer."""
    if len(beats) < 2:
        raise ValueError(f"a gap needs two heartbeats, there are {len(beats)}")
    pairs = itertools.pairwise(beats)
    before, after = max(pairs, key=lambda pair: pair[1].arrived_s - pair[0].arrived_s)
    return Gap(after.arrived_s - before.arrived_s, before, after)


def longest_lived_gap_s(beats: Sequence[Heartbeat]) -> float:
    """The freeze as the guest lived it, by its own uptime, whether or not each frame was heard."""
    if not beats:
        raise ValueError("no heartbeat was heard")
    first = beats[0].number
    return max((beat.gap_s for beat in beats if beat.gap_number > first), default=0.0)


def repeated(beats: Iterable[Heartbeat]) -> list[int]:
    """Numbers heard more than once: an acknowledged record was lost, or two copies of the guest ran."""
    seen: set[int] = set()
    again = []
    for beat in beats:
        if beat.number in seen:
            again.append(beat.number)
        seen.add(beat.number)
    return again


def unheard(beats: Sequence[Heartbeat]) -> list[int]:
    """Numbers never heard between the first and the last.

    They are on the disk (a number is only given out after its predecessor was acknowledged): the frame
    was lost, as it is while the guest's network card changes host.
    """
    numbers = {beat.number for beat in beats}
    return [n for n in range(min(numbers), max(numbers)) if n not in numbers] if numbers else []


def changes_of_side(beats: Iterable[Heartbeat]) -> list[str]:
    """The sides in the order heard, each named once per stay; a move gives two, two writers many."""
    sides: list[str] = []
    for beat in beats:
        if not sides or sides[-1] != beat.side:
            sides.append(beat.side)
    return sides


def content_crc(seed: int, block: int, generation: int) -> str:
    """The checksum a block must have: its whole content follows from these three numbers."""
    state = (seed ^ block * 0xD1342543DE82EF95 ^ generation * 0xAF251AF3B0F025B5) & MASK
    words = [int.from_bytes(b"XRBLOCK1", "little"), seed, block, generation]
    for _ in range(BLOCK_BYTES // 8 - 4):
        z = state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        words.append(z ^ z >> 31)
    return f"{zlib.crc32(b''.join(word.to_bytes(8, 'little') for word in words)):08x}"


def compare(acknowledged: Mapping[int, Block], found: Mapping[int, Found]) -> list[str]:
    """What is wrong with the blocks read back: nothing acknowledged may be missing, older or torn."""
    problems = []
    for number, block in sorted(acknowledged.items()):
        read = found.get(number)
        if read is None:
            problems.append(f"block {number}: not read back")
        elif read.generation < block.generation:
            problems.append(
                f"block {number}: generation {read.generation}, acknowledged was {block.generation}"
            )
        elif read.generation == block.generation and read.crc != block.crc:
            problems.append(f"block {number}: checksum {read.crc}, acknowledged was {block.crc}")
    problems += [
        f"block {number}: torn or foreign content" for number, f in sorted(found.items()) if not f.sound
    ]
    return problems
