"""How DRBD gets under a domain, and its memory to the target: the fastest that the hosts allow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.commands import dm, files
from reconciler.model.facts import View
from reconciler.model.move import MoveDisk, Side
from reconciler.model.placement import Attach, Compression, Cutover, Policy, Transport
from reconciler.planning.index import Found


def no_pivot(found: Found, disks: Sequence[MoveDisk], view: View) -> str:
    """Why DRBD cannot slide under the domain as it runs; empty when it can."""
    for disk in disks:
        if disk.minor >= 0:
            return f"{found.seen.name} on {found.host} has {disk.drbd} open, not the volume under it"
        if why_not := _no_lower(disk, Side.SOURCE, view):
            return why_not
    return ""


def _no_lower(disk: MoveDisk, side: Side, view: View) -> str:
    """Why there can be no second device over a volume; empty when there can."""
    if len(disk.lower_name(side)) > dm.NAME_MAX:
        return f"{view.host}: {disk.lower_name(side)} is too long for a name in device-mapper"
    if disk.lower_name(side) in view.get(dm.TABLES):
        return f"{view.host}: {disk.lower(side)} exists already"
    return ""


def check_tables(found: Found, disks: Sequence[MoveDisk], view: View) -> list[str]:
    """A volume must stand on what LVM gave it: an earlier move's DRBD under it would be passed by."""
    tables = view.get(dm.TABLES)
    problems = []
    for disk in disks:
        lines = tables.get(disk.mapped(Side.SOURCE))
        if lines is not None and not dm.plain(lines):
            problems.append(
                f"{found.host}: /dev/{disk.source_group}/{disk.volume} stands on «{'; '.join(lines)}», "
                "not on the extents that LVM gave it; see docs/how-to/held.md#journal-lost"
            )
    return problems


def no_stream(attach: Attach, disks: Sequence[MoveDisk], view: View) -> str:
    """Why memory cannot go straight into a copy on the target; empty when it can.

    The source's copy keeps its disks open then: only from under a pivot can DRBD be taken away from it.
    """
    if attach is not Attach.PIVOT:
        return "it is suspended to attach"
    return next((why_not for disk in disks if (why_not := _no_lower(disk, Side.TARGET, view))), "")


NOT_COMPRESSED = "what is sent while the domain runs is not compressed"


@dataclass(frozen=True)
class Ways:
    """What was chosen, what a policy asks for in vain, and why it is not a faster one where that was free."""

    attach: Attach
    cutover: Cutover
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def choose(policy: Policy, found: Found, disks: Sequence[MoveDisk], source: View, target: View) -> Ways:
    """What the policy wants; left to the tool, the faster way if nothing speaks against it."""
    problems, remarks = [], []
    attach, why_not = policy.attach, no_pivot(found, disks, source)
    if attach is Attach.AUTO:
        attach = Attach.SUSPEND if why_not else Attach.PIVOT
        remarks += [f"is suspended to attach, as {why_not}"] if why_not else []
    elif attach is Attach.PIVOT and why_not:
        problems.append(f"policy wants attach: pivot, but {why_not}")
    cutover, why_not = policy.cutover, no_stream(attach, disks, target)
    compressed = policy.compression is not Compression.NONE
    if cutover is Cutover.AUTO and why_not:
        cutover = Cutover.STORE
        remarks.append(f"changes hosts through a saved image, as {why_not}")
    elif cutover is Cutover.AUTO:
        cutover = Cutover.STREAM if compressed else Cutover.LIVE
        remarks += [f"is suspended while its memory is sent, as {NOT_COMPRESSED}"] if compressed else []
    elif cutover is not Cutover.STORE and why_not:
        problems.append(f"policy wants cutover: {cutover.value}, but {why_not}")
    if cutover is Cutover.LIVE and compressed:
        wanted = f"cutover: live and compression: {policy.compression.value}"
        problems.append(f"policy wants {wanted}, but {NOT_COMPRESSED}")
    if cutover is Cutover.STREAM and policy.compression is Compression.ZSTD:
        without = [view.host for view in (source, target) if "zstd" not in view.get(files.PROGRAMS)]
        problems += [f"policy wants compression: zstd, but {host} has no /usr/bin/zstd" for host in without]
    if cutover is not Cutover.STORE and policy.transport is Transport.TLS:
        lacks = "openssl" not in target.get(files.PROGRAMS)
        problems += [f"policy wants transport: tls, but {target.host} has no /usr/bin/openssl"] * lacks
    if cutover is Cutover.STORE and policy.transport is not Transport.SSH:
        remarks.append("its memory goes by ssh, as it is sent as a file")
    return Ways(attach, cutover, tuple(problems), tuple(remarks))
