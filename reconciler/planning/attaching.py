"""Which way DRBD gets under a domain: the one without a suspension wherever the source allows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.commands import dm
from reconciler.model.facts import View
from reconciler.model.move import MoveDisk
from reconciler.model.placement import Attach
from reconciler.planning.whereabouts import Found


def no_pivot(found: Found, disks: Sequence[MoveDisk], view: View) -> str:
    """Why DRBD cannot slide under the domain as it runs; empty when it can."""
    tables = view.get(dm.TABLES)
    for disk in disks:
        if disk.minor >= 0:
            return f"{found.seen.name} on {found.host} has {disk.drbd} open, not the volume under it"
        if len(disk.lower_name) > dm.NAME_MAX:
            return f"{found.host}: {disk.lower_name} is too long for a name in device-mapper"
        if disk.lower_name in tables:
            return f"{found.host}: {disk.lower} exists already"
    return ""


def check_tables(found: Found, disks: Sequence[MoveDisk], view: View) -> list[str]:
    """A volume must stand on what LVM gave it: an earlier move's DRBD under it would be passed by."""
    tables = view.get(dm.TABLES)
    problems = []
    for disk in disks:
        lines = tables.get(disk.mapped)
        if lines is not None and not dm.plain(lines):
            problems.append(
                f"{found.host}: /dev/{disk.source_group}/{disk.volume} stands on «{'; '.join(lines)}», "
                "not on the extents that LVM gave it; see docs/how-to/held.md#journal-lost"
            )
    return problems


def choose(wanted: Attach, why_not: str) -> Attach:
    """What is wanted; left to the tool, the pivot if nothing speaks against it."""
    if wanted is not Attach.AUTO:
        return wanted
    return Attach.SUSPEND if why_not else Attach.PIVOT
