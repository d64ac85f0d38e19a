"""device-mapper through dmsetup: what a device stands on, and putting it on something else while it is open.

A logical volume is a device-mapper device. With another table the same device, open as it is, stands on
DRBD: whoever has it open notices a pause of its I/O. Seen in the lab; sources in docs/reference/drbd.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.commands import drbd
from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command, whole_lines
from reconciler.model.facts import Query

SECTOR = 512
NAME_MAX = 127
"""Characters of a name (DM_NAME_LEN in linux/dm-ioctl.h, less its end)."""
NONE = "No devices found"
_NUMBER = re.compile("[0-9]{1,9}")
Lines = tuple[str, ...]


def _rows(answer: Answer, tool: str) -> list[str]:
    if not answer.ok:
        raise ParseError(f"{tool} exited {answer.exit}: {answer.stderr.strip()[:200]}")
    lines = whole_lines(answer, tool)
    if not lines:
        raise ParseError(f"{tool} said nothing; without devices it says «{NONE}»")
    return [] if lines == [NONE] else lines


def parse_tables(answer: Answer) -> Mapping[str, Lines]:
    """Read `dmsetup table`: each device's lines, as `dmsetup load` takes them; none if it has no table."""
    found: dict[str, list[str]] = {}
    for row in _rows(answer, "dmsetup table"):
        name, _, line = row.partition(": ")
        words = line.split()
        if row == f"{name}: " and name not in found:
            found[name] = []
            continue
        if len(words) < 3 or not (words[0].isdigit() and words[1].isdigit()):
            raise ParseError(f"dmsetup table: cannot read {row!r}")
        found.setdefault(name, []).append(" ".join(words))
    return {name: tuple(lines) for name, lines in found.items()}


def parse_suspended(answer: Answer) -> frozenset[str]:
    """Read `dmsetup info`: the devices whose I/O waits."""
    found = set()
    for row in _rows(answer, "dmsetup info"):
        name, _, state = row.rpartition(":")
        if not name or state not in ("Active", "Suspended"):
            raise ParseError(f"dmsetup info: cannot read {row!r}")
        if state == "Suspended":
            found.add(name)
    return frozenset(found)


def parse_numbers(answer: Answer) -> Mapping[str, tuple[int, int]]:
    """Read `dmsetup info`: the major and minor number of every device."""
    found = {}
    for row in _rows(answer, "dmsetup info"):
        name, *numbers = row.rsplit(":", 2)
        if not name or len(numbers) != 2 or not all(_NUMBER.fullmatch(word) for word in numbers):
            raise ParseError(f"dmsetup info: cannot read {row!r}")
        found[name] = (int(numbers[0]), int(numbers[1]))
    return found


TABLES: Query[Mapping[str, Lines]] = Query(
    "the tables of device-mapper", Command(("dmsetup", "table")), parse_tables
)
LOADED: Query[Mapping[str, Lines]] = Query(
    "the tables that are loaded beside those in use",
    Command(("dmsetup", "table", "--inactive")),
    parse_tables,
)
SUSPENDED: Query[frozenset[str]] = Query(
    "the suspended devices of device-mapper",
    Command(("dmsetup", "info", "-c", "--noheadings", "--separator", ":", "-o", "name,suspended")),
    parse_suspended,
)

NUMBERS: Query[Mapping[str, tuple[int, int]]] = Query(
    "the numbers of device-mapper's devices",
    Command(("dmsetup", "info", "-c", "--noheadings", "--separator", ":", "-o", "name,major,minor")),
    parse_numbers,
)


def table_of(name: str) -> Command:
    """Prints one device's lines."""
    return Command(("dmsetup", "table", name))


def over_drbd(size_bytes: int, minor: int) -> Lines:
    """The table of a device that is /dev/drbdN, wholly."""
    return (f"0 {size_bytes // SECTOR} linear {drbd.MAJOR}:{minor} 0",)


def failing(size_bytes: int) -> Lines:
    """The table of a device that fails every read and write."""
    return (f"0 {size_bytes // SECTOR} error",)


PLACE = 4096
"""Bytes at the end of a stand-in that are not failing."""


def stand_in(size_bytes: int, place: str) -> Lines:
    """The table of a device that fails nearly every request and has the queue of the disk under `place`.

    A backend asks the device it opens whether it can flush, and tells the guest, once. A device of `error`
    alone can't; a guest that came from one that can has every fsync failing then (lab). So the last 4 KiB
    lead somewhere: to `place`, a device and a sector, where nobody keeps anything.
    """
    end, last = size_bytes // SECTOR, PLACE // SECTOR
    return (f"0 {end - last} error", f"{end - last} {last} linear {place}")


def stands_in(lines: Lines) -> bool:
    """Whether a table is a stand-in, of whatever size and place."""
    return len(lines) == 2 and lines[0].endswith(" error") and plain(lines[1:])


def last_place(lines: Lines) -> str:
    """The device and sector of a plain device's last 4 KiB; empty when they are not in one place."""
    if not lines or not plain(lines[-1:]) or lines[-1].split()[2] != "linear":
        return ""
    _, length, _, device, start = lines[-1].split()
    before = int(length) - PLACE // SECTOR
    return f"{device} {int(start) + before}" if before >= 0 else ""


def plain(lines: Lines) -> bool:
    """Whether a table is one that LVM makes of extents: linear or striped, and not over DRBD."""
    return lines != () and all(
        line.split()[2] in ("linear", "striped")
        and not any(word.startswith(f"{drbd.MAJOR}:") for word in line.split()[3:])
        for line in lines
    )


def snapshotted(lines: Lines) -> bool:
    """Whether a table is the one that LVM gives a volume of which somebody took a snapshot."""
    return lines != () and all(line.split()[2] == "snapshot-origin" for line in lines)


def covers(lines: Lines, size_bytes: int) -> bool:
    """Whether a table is whole: one line begins where the one before ends, from 0 to the size."""
    end = 0
    for line in lines:
        start, length = map(int, line.split()[:2])
        if start != end:
            return False
        end += length
    return end * SECTOR == size_bytes


def length(lines: Lines) -> int:
    """Bytes of a device with this table."""
    return sum(int(line.split()[1]) for line in lines) * SECTOR


def text(lines: Lines) -> str:
    """As `dmsetup load` takes them and `dmsetup table` prints those of one device."""
    return "".join(f"{line}\n" for line in lines)


def create(name: str, lines: Lines) -> Command:
    return Command(("dmsetup", "create", name), stdin=text(lines))


def swap(name: str, lines: Lines) -> tuple[Command, ...]:
    """Put a device, open or not, on another table."""
    return load(name, lines), resume(name)


def load(name: str, lines: Lines) -> Command:
    """A table beside the one that is in use: `resume` puts it in its place."""
    return Command(("dmsetup", "load", name), stdin=text(lines))


def resume(*names: str) -> Command:
    """Put devices, open or not, on the tables that are loaded; one that has none stays on its own.

    With a table loaded, the kernel's resume suspends by itself: it waits for I/O under way and holds back
    what comes, exchanges the tables and lets it go on (dm-ioctl.c, do_resume). So nobody who dies in between
    can leave the device waiting. File systems are not frozen: the one on it, if any, is the guest's.
    """
    return Command(("dmsetup", "resume", "--noudevsync", "--nolockfs", *names), timeout_s=60 * len(names))


def clear(name: str) -> Command:
    """Forget the table that is loaded; the one in use stays."""
    return Command(("dmsetup", "clear", name))


def remove(name: str) -> Command:
    return Command(("dmsetup", "remove", name), timeout_s=60)
