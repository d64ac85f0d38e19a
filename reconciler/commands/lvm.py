"""LVM 2.03: volumes and groups."""

from __future__ import annotations

from reconciler.commands import read
from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command
from reconciler.model.facts import Query, Volume, VolumeGroup

_REPORT = ("--reportformat", "json", "--units", "b", "--nosuffix")
_LV_FIELDS = (
    "vg_name,lv_name,lv_uuid,lv_size,lv_attr,lv_tags,lv_kernel_major,lv_kernel_minor,"
    "lv_device_open,lv_active,origin,pool_lv"
)


def _rows(answer: Answer, tool: str, key: str) -> list[read.Row]:
    if not answer.ok:
        raise ParseError(f"{tool} exited {answer.exit}: {answer.stderr.strip()[:200]}")
    whole = read.Row(read.document(answer.stdout, tool), tool)
    return [row for report in whole.rows("report") for row in report.rows(key)]


def parse_lvs(answer: Answer) -> tuple[Volume, ...]:
    """Read the JSON report of `lvs`. `plain` means a linear or striped volume, without snapshots."""
    return tuple(
        Volume(
            group=row.text("vg_name"),
            name=row.text("lv_name"),
            uuid=row.text("lv_uuid"),
            size_bytes=row.number("lv_size"),
            tags=frozenset(filter(None, row.text("lv_tags").split(","))),
            major_minor=_device(row),
            is_open=row.text("lv_device_open") == "open",
            plain=row.text("lv_attr")[:1] == "-" and not row.text("origin") and not row.text("pool_lv"),
        )
        for row in _rows(answer, "lvs", "lv")
    )


def _device(row: read.Row) -> tuple[int, int] | None:
    """Both are -1 while the volume is not active."""
    if row.text("lv_kernel_major") == "-1":
        return None
    return row.number("lv_kernel_major"), row.number("lv_kernel_minor")


def parse_vgs(answer: Answer) -> tuple[VolumeGroup, ...]:
    """Read the JSON report of `vgs`."""
    return tuple(
        VolumeGroup(
            row.text("vg_name"), row.number("vg_size"), row.number("vg_free"), row.number("vg_extent_size")
        )
        for row in _rows(answer, "vgs", "vg")
    )


VOLUMES: Query[tuple[Volume, ...]] = Query(
    "the list of volumes", Command(("lvs", *_REPORT, "-a", "-o", _LV_FIELDS)), parse_lvs
)
GROUPS: Query[tuple[VolumeGroup, ...]] = Query(
    "the volume groups", Command(("vgs", *_REPORT, "-o", "vg_name,vg_size,vg_free,vg_extent_size")), parse_vgs
)


def create(group: str, name: str, size_bytes: int, tag: str) -> Command:
    """A new volume, its signatures wiped and its start zeroed; LVM rounds the size up to an extent."""
    return Command(
        ("lvcreate", "-y", "-Wy", "-Zy", "-n", name, "-L", f"{size_bytes}b", "--addtag", tag, group),
        timeout_s=120,
    )


def remove(group: str, name: str) -> Command:
    return Command(("lvremove", "-y", f"{group}/{name}"), timeout_s=120)


FLUSH = 'set -e; pvs=$(pvs --noheadings -o pv_name -S "vg_name=$1"); for pv in $pvs; do sync "$pv"; done'


def flush(*groups: str) -> tuple[Command, ...]:
    """What LVM has written of these groups outlives a loss of power: it flushes no disk's cache itself.

    Seen in the lab: volumes that had been removed a second before were there again after a power-off.
    """
    return tuple(Command(("sh", "-c", FLUSH, "flush", group)) for group in sorted(set(groups)))


def add_tag(group: str, name: str, tag: str) -> Command:
    return Command(("lvchange", "--addtag", tag, f"{group}/{name}"))


def other_tag(group: str, name: str, drop: str, tag: str) -> Command:
    """One tag in place of another, in one change of LVM's metadata."""
    return Command(("lvchange", "--addtag", tag, "--deltag", drop, f"{group}/{name}"))


def drop_tag(group: str, name: str, tag: str) -> Command:
    return Command(("lvchange", "--deltag", tag, f"{group}/{name}"))


def rounded(size_bytes: int, extent_bytes: int) -> int:
    """The size LVM gives a volume asked for with this many bytes."""
    return -(-size_bytes // extent_bytes) * extent_bytes
