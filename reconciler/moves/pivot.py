"""Attach by pivot: DRBD slides under the running domain. The domain is not suspended for it.

The volume that the domain has open is a device-mapper device over some extents. A second device over the
same extents, the lower one, is what DRBD stands on; then the volume's table is exchanged for one over
DRBD. Until a peer has connected, what the guest writes may go round DRBD: the first full sync covers it.

    domain -> /dev/VG/NAME -> extents          domain -> /dev/VG/NAME -> /dev/drbdN -> lower -> extents

Nothing of this outlives a boot: then the volume is what LVM's metadata says. LVM itself puts its table
back when told to (`lvchange --refresh`, `lvextend`, a snapshot): whatever needs DRBD under the guest looks
for it, and the move goes back.
"""

from __future__ import annotations

import enum

from reconciler.commands import dm, drbd, files
from reconciler.model.command import Command
from reconciler.model.facts import Role, View
from reconciler.model.move import MoveDisk, Order, Phase, Progress, Side
from reconciler.moves import guards, look
from reconciler.moves.step import DONE, READY, Action, Looks, Step, Verdict, Views, wrong


class Under(enum.Enum):
    """What a volume stands on, as its table says."""

    EXTENTS = "its extents"
    DRBD = "DRBD"
    NOTHING = "a table that fails every read and write"
    STAND_IN = "what stands in for its extents until DRBD is taken down"
    LVM = "a table that LVM has put there since"
    OTHER = "a table of somebody else"
    GONE = "no table: it is not active"


def under(view: View, disk: MoveDisk, side: Side = Side.SOURCE) -> Under:
    lines = view.get(dm.TABLES).get(disk.mapped(side))
    if lines is None:
        return Under.GONE
    if lines == dm.over_drbd(disk.size_bytes, disk.minor):
        return Under.DRBD
    if lines == dm.failing(disk.size_bytes):
        return Under.NOTHING
    if dm.stands_in(lines):
        return Under.STAND_IN
    if not dm.plain(lines):
        return Under.LVM if dm.snapshotted(lines) else Under.OTHER
    return Under.EXTENTS if dm.covers(lines, disk.size_bytes) else Under.LVM


def extents(disk: MoveDisk, view: View) -> dm.Lines:
    """Where the source's volume lies: its own table while that tells, else the lower device's; or nothing."""
    tables, found = view.get(dm.TABLES), under(view, disk)
    if found is Under.EXTENTS:
        return tables[disk.mapped(Side.SOURCE)]
    lines = tables.get(disk.lower_name(Side.SOURCE), ())
    told = found in (Under.DRBD, Under.NOTHING) and dm.plain(lines) and dm.covers(lines, disk.size_bytes)
    return lines if told else ()


def over(disk: MoveDisk, view: View, side: Side = Side.SOURCE) -> str:
    return f"{view.host}: {disk.backing(side)} stands on {under(view, disk, side).value}"


class SourceLower(Step):
    """Each volume's extents can be reached by a second device, the lower one, for DRBD to stand on."""

    name = "source-lower"
    phase = Phase.ATTACH

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (dm.TABLES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view, tables = views.source, views.source.get(dm.TABLES)
        for disk in order.disks:
            found, lower = under(view, disk), tables.get(disk.lower_name(Side.SOURCE))
            if found is Under.EXTENTS and lower in (None, tables[disk.mapped(Side.SOURCE)]):
                continue
            if found is Under.EXTENTS:
                return wrong(
                    f"{view.host}: {disk.lower(Side.SOURCE)} is there and does not stand on the same extents"
                )
            if found is not Under.DRBD or lower is None:
                return wrong(over(disk, view))
        return READY if any(disk.lower_name(Side.SOURCE) not in tables for disk in order.disks) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        tables = views.source.get(dm.TABLES)
        missing = [disk for disk in order.disks if disk.lower_name(Side.SOURCE) not in tables]
        return (
            Action(
                Side.SOURCE,
                tuple(
                    dm.create(disk.lower_name(Side.SOURCE), tables[disk.mapped(Side.SOURCE)])
                    for disk in missing
                ),
            ),
        )


class SourcePivot(Step):
    """The volumes that the running domain has open stand on DRBD; none of them waits."""

    name = "source-pivot"
    phase = Phase.ATTACH
    max_attempts = 3
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (files.BOOT_ID, drbd.RESOURCES, dm.TABLES, dm.SUSPENDED)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        if not look.same_boot(view, order, Side.SOURCE):
            return wrong(look.rebooted_text(order, Side.SOURCE))
        for disk in order.disks:
            if under(view, disk) not in (Under.EXTENTS, Under.DRBD):
                return wrong(over(disk, view))
        if not self._left(order, view):
            return DONE
        found = look.resource(view, order)
        if found is None or found.role is not Role.PRIMARY or not look.disks_up_to_date(found, order):
            return wrong(f"{view.host}: {look.describe(found)}")
        return READY

    def _left(self, order: Order, view: View) -> list[MoveDisk]:
        waiting = view.get(dm.SUSPENDED)
        return [
            disk
            for disk in order.disks
            if under(view, disk) is Under.EXTENTS or disk.mapped(Side.SOURCE) in waiting
        ]

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, to_drbd(self._left(order, views.source))),)


def to_drbd(disks: list[MoveDisk]) -> tuple[Command, ...]:
    return tuple(
        command
        for disk in disks
        for command in dm.swap(disk.mapped(Side.SOURCE), dm.over_drbd(disk.size_bytes, disk.minor))
    )


def not_on_drbd(order: Order, view: View) -> str:
    """The volume that a guest has written, or may have, beside DRBD; empty when there is none."""
    for disk in order.disks:
        through = under(view, disk) in (Under.DRBD, Under.NOTHING)
        if not guards.passed("on-drbd", through):
            return f"{over(disk, view)}, so {order.target.name} may lack writes"
    return ""


def is_cut_off(order: Order, view: View) -> bool:
    """Whether whatever is over the source's volumes can't write any more."""
    return all(under(view, disk) is Under.NOTHING for disk in order.disks)


def cut_off(order: Order, view: View) -> tuple[Command, ...]:
    """Whatever is over the source's volumes can't write any more, and DRBD is let go of."""
    return tuple(
        command
        for disk in order.disks
        if under(view, disk) is Under.DRBD
        for command in dm.swap(disk.mapped(Side.SOURCE), dm.failing(disk.size_bytes))
    )


def remove_lower(order: Order, view: View) -> tuple[Command, ...]:
    """The lower devices that are still there."""
    tables = view.get(dm.TABLES)
    return tuple(
        dm.remove(disk.lower_name(Side.SOURCE))
        for disk in order.disks
        if disk.lower_name(Side.SOURCE) in tables
    )
