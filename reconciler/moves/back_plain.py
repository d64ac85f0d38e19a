"""The way back after a pivot: the source's volumes come off DRBD, under the running domain if it runs."""

from __future__ import annotations

from reconciler.commands import dm, drbd
from reconciler.model.command import Command
from reconciler.model.facts import Connection, View
from reconciler.model.move import MoveDisk, Order, Phase, Progress, Side
from reconciler.moves import look
from reconciler.moves.home import target_resource
from reconciler.moves.mirror import TARGET_UP
from reconciler.moves.pivot import Under, extents, over, under
from reconciler.moves.step import DONE, READY, Action, Looks, Step, Verdict, Views, in_doubt, wrong


class SourcePlain(Step):
    """Going back, the source's volumes stand on their extents again, whether the domain runs or not."""

    name = "back-source-plain"
    phase = Phase.BACK
    max_attempts = 5
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        source = {Side.SOURCE: (drbd.RESOURCES, dm.TABLES, dm.LOADED, dm.SUSPENDED)}
        return {**source, Side.TARGET: (drbd.RESOURCES,)} if TARGET_UP in progress.tried else source

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        for disk in order.disks:
            if under(view, disk) in (Under.OTHER, Under.STAND_IN):
                return wrong(over(disk, view))
        if not self._left(order, view):
            return READY if self._loaded(order, view) else DONE
        found = look.resource(view, order)
        if found is not None and look.disk_lost(found):
            why = f"{order.domain} has lost a disk on {view.host} and lives on the target's"
            return in_doubt(f"{why}: {look.describe(found)}")
        if (other := target_resource(order, views)) is not None and look.may_be_newer(other):
            why = f"{order.target.name} may hold writes that the volumes on {view.host} lack"
            return in_doubt(f"{why}: {look.describe(other)}")
        if found is not None and not look.disks_up_to_date(found, order):
            return wrong(f"the source's own disk is not good: {look.describe(found)}")
        for disk in self._left(order, view):
            if not extents(disk, view):
                return wrong(f"{over(disk, view)}, and {disk.lower(Side.SOURCE)} does not tell its extents")
        return READY

    def _left(self, order: Order, view: View) -> list[MoveDisk]:
        """Volumes that are not on their extents. What LVM has put there since is, and is left alone."""
        waiting = view.get(dm.SUSPENDED)
        off, ours = (Under.DRBD, Under.NOTHING), (Under.EXTENTS, Under.GONE)
        return [
            disk
            for disk in order.disks
            for found in (under(view, disk),)
            if found in off or (found in ours and disk.mapped(Side.SOURCE) in waiting)
        ]

    def _loaded(self, order: Order, view: View) -> tuple[Command, ...]:
        """What a pivot that was cut short has loaded holds DRBD open; and nobody may put it in use later."""
        loaded = view.get(dm.LOADED)
        return tuple(
            dm.clear(disk.mapped(Side.SOURCE))
            for disk in order.disks
            if loaded.get(disk.mapped(Side.SOURCE)) == dm.over_drbd(disk.size_bytes, disk.minor)
            and under(view, disk) is not Under.DRBD
        )

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        """First nobody relies any more on what is written through DRBD; once that is seen, past it."""
        view = views.source
        if not self._left(order, view):
            return (Action(Side.SOURCE, self._loaded(order, view)),)
        found = look.resource(view, order)
        if found is not None and found.connection not in (None, Connection.STANDALONE):
            return (Action(Side.SOURCE, (drbd.disconnect(order.resource),)),)
        commands = list(self._loaded(order, view))
        for disk in self._left(order, view):
            commands += dm.swap(disk.mapped(Side.SOURCE), extents(disk, view))
        return (Action(Side.SOURCE, tuple(commands)),)
