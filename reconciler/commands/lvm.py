"""LVM 2.03: volumes and groups."""

from __future__ import annotations

import json
from typing import Any

from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command
from reconciler.model.facts import Query, Volume, VolumeGroup

_REPORT = ("--reportformat", "json", "--units", "b", "--nosuffix")
_LV_FIELDS = (
    "vg_name,lv_name,lv_uuid,lv_size,lv_attr,lv_tags,lv_kernel_major,lv_kernel_minor,"
    "lv_device_open,lv_active,origin,pool_lv"
)


def _rows(answer: Answer, tool: str, key: str) -> list[dict[str, Any]]:
    if not answer.ok:
        raise ParseError(f"{tool} exited {answer.exit}: {answer.stderr.strip()[:200]}")
    try:
        return [row for report in json.loads(answer.stdout)["report"] for row in report[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise ParseError(f"{tool}: {type(error).__name__}: {error}") from None


def parse_lvs(answer: Answer) -> tuple[Volume, ...]:
    """Read the JSON report of `lvs`. `plain` means a linear or striped volume, without snapshots."""
    try:
        return tuple(
            Volume(
                group=row["vg_name"],
                name=row["lv_name"],
                uuid=row["lv_uuid"],
                size_bytes=int(row["lv_size"]),
                tags=frozenset(filter(None, row["lv_tags"].split(","))),
                major_minor=_numbers(row["lv_kernel_major"], row["lv_kernel_minor"]),
                is_open=row["lv_device_open"] == "open",
                plain=row["lv_attr"][:1] == "-" and not row["origin"] and not row["pool_lv"],
            )
            for row in _rows(answer, "lvs", "lv")
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise ParseError(f"lvs: {type(error).__name__}: {error}") from None


def _numbers(major: str, minor: str) -> tuple[int, int] | None:
    numbers = int(major), int(minor)
    return numbers if numbers[0] >= 0 else None


def parse_vgs(answer: Answer) -> tuple[VolumeGroup, ...]:
    """Read the JSON report of `vgs`."""
    try:
        return tuple(
            VolumeGroup(row["vg_name"], int(row["vg_size"]), int(row["vg_free"]), int(row["vg_extent_size"]))
            for row in _rows(answer, "vgs", "vg")
        )
    except (KeyError, ValueError) as error:
        raise ParseError(f"vgs: {type(error).__name__}: {error}") from None


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


def add_tag(group: str, name: str, tag: str) -> Command:
    return Command(("lvchange", "--addtag", tag, f"{group}/{name}"))


def drop_tag(group: str, name: str, tag: str) -> Command:
    return Command(("lvchange", "--deltag", tag, f"{group}/{name}"))


def rounded(size_bytes: int, extent_bytes: int) -> int:
    """The size LVM gives a volume asked for with this many bytes."""
    return -(-size_bytes // extent_bytes) * extent_bytes
