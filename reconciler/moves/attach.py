"""Attach: DRBD goes under the volume; then by pivot, or the symlink is flipped and the domain restored on it.

DRBD is brought up while the guest still writes to the volume beside it. That is safe because no peer
has ever connected: the first full sync, which starts only after the guest writes through DRBD, covers
every block. It keeps all of DRBD's set-up out of the freeze.
"""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, xl
from reconciler.model.facts import Connection, DiskState, Role, View
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves import look, pivot
from reconciler.moves.common import (
    CreateMetadataVolumes,
    DropFolder,
    Flip,
    RestorePaused,
    Suspend,
    Unpause,
    WriteResourceFile,
    bring_up,
)
from reconciler.moves.step import DONE, READY, Action, Looks, Step, Verdict, Views, outdated, wait, wrong

ATTACH_SUSPEND = "attach-suspend"
ATTACH_UNPAUSE = "attach-unpause"


class TakeEpoch(Step):
    """Both hosts know this move's epoch and refuse anything older for the domain."""

    name = "take-epoch"
    phase = Phase.ATTACH

    def looks(self, order: Order, progress: Progress) -> Looks:
        return dict.fromkeys(order.sides, (files.EPOCHS,))

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        stored = {side: views[side].get(files.EPOCHS).get(order.domain, 0) for side in order.sides}
        for side in order.sides:
            if (refused := outdated(order, progress, side, stored[side])) is not None:
                return refused
        mine = order.claim(progress.serial).epoch
        return DONE if all(number == mine for number in stored.values()) else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        """The source first, for everybody: of two journeys that begin at once one takes both hosts."""
        return tuple(Action(side, (files.NOTHING,)) for side in order.sides)


class CopyPages(Step):
    """The source's DRBD copies the guest's pages before it sends them: a dead peer then holds none."""

    name = "source-drbd-copies"
    phase = Phase.ATTACH

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (drbd.COPIES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        return DONE if views.source.get(drbd.COPIES) else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (drbd.copy_pages(),)),)


class SourceUp(Step):
    """The source's DRBD resource is up over the volumes, with fresh metadata and no peer."""

    name = "source-drbd-up"
    phase = Phase.ATTACH

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (drbd.RESOURCES, dm.TABLES if order.pivots else files.LINKS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        found = look.resource(view, order)
        host = order.host(Side.SOURCE).name
        if order.pivots:
            under_guest = any(pivot.under(view, disk) is not pivot.Under.EXTENTS for disk in order.disks)
            elsewhere = f"the volumes of {order.domain} do not stand on their extents"
        else:
            under_guest = not look.links_all(view, order, Side.SOURCE, drbd_side=False)
            elsewhere = f"the symlinks of {order.domain} do not point to its volumes"
        if found is None:
            return wrong(f"{host}: {elsewhere}") if under_guest else READY
        if any(v.disk is DiskState.ATTACHING for v in found.volumes):
            return wait(look.describe(found))
        if look.minors_match(found, order) and not any(v.disk is DiskState.DISKLESS for v in found.volumes):
            return DONE
        return wrong(f"{host}: {look.describe(found)}") if under_guest else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return bring_up(order, Side.SOURCE, again=look.resource(views.source, order) is not None)


class SourcePrimary(Step):
    """The source is Primary on UpToDate disks of the volumes' own size, and no peer has ever connected."""

    name = "source-drbd-primary"
    phase = Phase.ATTACH

    def looks(self, order: Order, progress: Progress) -> Looks:
        used = (dm.TABLES,) if order.pivots else (xl.DOMAINS, xl.VBDS)
        return {Side.SOURCE: (drbd.RESOURCES, *used)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        found = look.resource(view, order)
        host = order.host(Side.SOURCE).name
        if found is None:
            return wrong(f"{host}: DRBD resource {order.resource} is gone")
        for disk, seen in zip(order.disks, found.volumes, strict=False):
            if seen.disk is not DiskState.ATTACHING and seen.size_bytes != disk.size_bytes:
                return wrong(
                    f"{host}: {disk.drbd} has {seen.size_bytes} bytes but {disk.backing(Side.SOURCE)} "
                    f"has {disk.size_bytes}"
                )
        if found.role is Role.PRIMARY and look.disks_up_to_date(found, order):
            return DONE
        if self._used(order, view):
            return wrong(f"{host}: {order.domain} runs on {look.describe(found)}")
        alone = found.connection in (
            None,
            Connection.CONNECTING,
            Connection.UNCONNECTED,
            Connection.STANDALONE,
        )
        if not alone:
            return wrong(
                f"{host}: a peer has connected before the source was made primary: {look.describe(found)}"
            )
        return READY

    def _used(self, order: Order, view: View) -> bool:
        """Whether the guest writes through DRBD already."""
        if order.pivots:
            return any(pivot.under(view, disk) is pivot.Under.DRBD for disk in order.disks)
        running = look.domain(view, order)
        return running is not None and look.on_drbd(view, order, running)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (drbd.force_primary(order.resource),)),)


METADATA = CreateMetadataVolumes("source-metadata", Phase.ATTACH, Side.SOURCE, with_data=False)
RESOURCE_FILE = WriteResourceFile("source-resource-file", Phase.ATTACH, Side.SOURCE)
PIVOT_STEPS: tuple[Step, ...] = (
    TakeEpoch(),
    CopyPages(),
    METADATA,
    pivot.SourceLower(),
    RESOURCE_FILE,
    SourceUp(),
    SourcePrimary(),
    pivot.SourcePivot(),
    Flip("source-flip", Phase.ATTACH, Side.SOURCE, to_drbd=True, at_once=True),
)
"""After the flip nothing on the source starts the domain after a boot, as its symlinks lead nowhere then: if
its disk fails under DRBD, the target's becomes the newer one."""

STEPS: tuple[Step, ...] = (
    TakeEpoch(),
    CopyPages(),
    METADATA,
    RESOURCE_FILE,
    SourceUp(),
    SourcePrimary(),
    Suspend(ATTACH_SUSPEND, Phase.ATTACH, look.ATTACH_IMAGE),
    Flip("attach-flip", Phase.ATTACH, Side.SOURCE, to_drbd=True),
    RestorePaused("attach-restore", Phase.ATTACH, Side.SOURCE, look.ATTACH_IMAGE, on_drbd=True),
    Unpause(ATTACH_UNPAUSE, Phase.ATTACH, Side.SOURCE),
    DropFolder("attach-drop-image", Phase.ATTACH, Side.SOURCE),
)
