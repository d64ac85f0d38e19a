"""Settle: only forward. The source's copy goes once the target is seen running on its own volumes."""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainState
from reconciler.model.move import MoveDisk, Order, Phase, Progress, Side
from reconciler.moves import guards, look, pivot
from reconciler.moves.common import DropFolder, resource_path, start_afresh, unfinished
from reconciler.moves.cutover import target_devices
from reconciler.moves.step import DONE, READY, Action, Looks, Mark, Step, Verdict, Views, wait, wrong
from reconciler.moves.stream import SourceDestroyed, remove_lower

RUNNING_LOOKS = (xl.DOMAINS, xl.VBDS, dm.NUMBERS)


def not_settled(order: Order, views: Views) -> Verdict | None:
    """I8: None only while the target is seen running on its own volumes and the source is seen without it."""
    verdict = _not_settled(order, views)
    return verdict if verdict is not None and guards.on("settled") else None


def _not_settled(order: Order, views: Views) -> Verdict | None:
    seen = look.domain(views.target, order)
    if seen is None or seen.state is not DomainState.RUNNING:
        return wrong(not_running(order))
    if not look.on_volumes(views.target, order, Side.TARGET, seen):
        devices = look.devices_text(views.target, seen)
        return wrong(f"{order.domain} on {order.target.name} is not on its own volumes: {devices}")
    still = look.domain(views.source, order)
    if still is not None:
        both = still.state is DomainState.RUNNING
        text = f"{order.domain} is {still.state.value} on {order.host(Side.SOURCE).name} as well"
        return Verdict(Mark.WRONG, text, two_runners=both)
    return None


def not_running(order: Order) -> str:
    return (
        f"{order.domain} ran on {order.target.name} and is not seen running there now; its disks there are "
        f"the right ones, nothing of the source is removed before it runs again: «xl create "
        f"{order.config_path}» on {order.target.name}"
    )


class TargetRuns(Step):
    """The domain runs on the target; if that host has rebooted since GO, started from its configuration.

    Asked before and after the autostart entry is written: from then on the host does it by itself.
    """

    phase = Phase.SETTLE
    max_attempts = 3

    def __init__(self, name: str) -> None:
        self.name = name

    def looks(self, order: Order, progress: Progress) -> Looks:
        tables = (dm.TABLES,) if order.streams else ()
        return {Side.TARGET: (files.BOOT_ID, *RUNNING_LOOKS, *tables)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.target, order)
        if seen is not None and seen.state is DomainState.RUNNING:
            return DONE
        text = not_running(order)
        again = not look.same_boot(views.target, order, Side.TARGET) and order.autostart
        if not again or order.config_text is None:
            return wrong(text)
        if seen is None:
            return READY
        if seen.state is not DomainState.PAUSED:
            return wait(f"{order.domain} is {seen.state.value} on {order.target.name}")
        trouble = target_devices(order, views, seen)
        return wait(trouble) if trouble else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        if look.domain(views.target, order) is None:
            return (Action(Side.TARGET, start_afresh(order)),)
        return (Action(Side.TARGET, (xl.unpause(order.domain),)),)


class TargetAutostart(Step):
    """The target starts the domain after a reboot, if the source did."""

    name = "target-autostart"
    phase = Phase.SETTLE
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.CONFIG_FILES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not order.autostart or order.auto_path in views.target.get(files.CONFIG_FILES).autostart:
            return DONE
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = files.start_with_host(order.auto_path, f"../{order.domain}.cfg")
        return (Action(Side.TARGET, commands),)


class SourceDown(Step):
    """DRBD is gone from the source."""

    name = "source-drbd-down"
    phase = Phase.SETTLE
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (drbd.RESOURCES, xl.DOMAINS), Side.TARGET: RUNNING_LOOKS}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if look.resource(views.source, order) is None:
            return DONE
        return not_settled(order, views) or READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (files.SETTLE, drbd.down(order.resource))),)


class SourceLinksRemoved(Step):
    """Nothing on the source can start the domain: no symlink, no configuration, no autostart entry."""

    name = "source-links-removed"
    phase = Phase.SETTLE
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {
            Side.SOURCE: (
                files.LINKS,
                files.CONFIG_FILES,
                files.RESOURCE_FILES,
                files.UNFINISHED,
                xl.DOMAINS,
            ),
            Side.TARGET: RUNNING_LOOKS,
        }

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        found = view.get(files.CONFIG_FILES)
        left = (
            any(look.link_to(view, disk) is not None for disk in order.disks)
            or order.config_path in found.configs
            or order.auto_path in found.autostart
            or resource_path(order) in view.get(files.RESOURCE_FILES)
            or bool(unfinished(order, view))
        )
        return (not_settled(order, views) or READY) if left else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        links = tuple(disk.link for disk in order.disks)
        commands = (
            files.remove(
                order.auto_path,
                *links,
                order.config_path,
                resource_path(order),
                *unfinished(order, views.source),
            ),
            files.sync_folder("/etc/xen"),
        )
        return (Action(Side.SOURCE, commands),)


class SourceVolumesRemoved(Step):
    """The source's volumes, known by their LVM uuid, and their metadata are gone.

    With `keep_mirror` the data stay, on their extents and with a tag that says so.
    """

    name = "source-volumes-removed"
    phase = Phase.SETTLE
    max_attempts = 3
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        over = (dm.TABLES,) if order.pivots else ()
        return {Side.SOURCE: (lvm.VOLUMES, drbd.RESOURCES, xl.DOMAINS, *over), Side.TARGET: RUNNING_LOOKS}

    def _lower(self, order: Order, views: Views) -> tuple[Command, ...]:
        return pivot.remove_lower(order, views.source) if order.pivots else ()

    def _kept(self, order: Order, views: Views) -> list[MoveDisk]:
        """Disks whose volume stays: if a mirror could use it, and something tells where its extents are."""
        if not order.policy.keep_mirror:
            return []
        usable = [d for d in order.disks if d.source_group == order.host(Side.SOURCE).volume_group]
        volumes = [(disk, look.volume(views.source, disk.source_group, disk.volume)) for disk in usable]
        ours = [disk for disk, data in volumes if data is not None and data.uuid == disk.source_uuid]
        return [disk for disk in ours if not order.pivots or pivot.extents(disk, views.source)]

    def _keep(self, order: Order, views: Views) -> tuple[Command, ...]:
        """What is to be done about volumes that stay, before their second devices go."""
        commands = list[Command]()
        for disk in self._kept(order, views):
            data = look.volume(views.source, disk.source_group, disk.volume)
            if order.pivots and pivot.under(views.source, disk) is not pivot.Under.EXTENTS:
                commands += dm.swap(disk.mapped(Side.SOURCE), pivot.extents(disk, views.source))
            if data is not None and order.kept_tag not in data.tags:
                commands.append(lvm.add_tag(disk.source_group, disk.volume, order.kept_tag))
        return tuple(commands)

    def _left(self, order: Order, views: Views) -> list[tuple[str, str]]:
        names, kept = [], self._kept(order, views)
        for disk in order.disks:
            group = disk.group(Side.SOURCE)
            data = None if disk in kept else look.volume(views.source, group, disk.volume)
            if data is not None and guards.passed("source-volume-uuid", data.uuid == disk.source_uuid):
                names.append((group, disk.volume))
            if look.volume(views.source, group, disk.metadata) is not None:
                names.append((group, disk.metadata))
        return names

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not (self._left(order, views) or self._keep(order, views) or self._lower(order, views)):
            return DONE
        host = order.host(Side.SOURCE).name
        if look.resource(views.source, order) is not None:
            return wrong(f"{host}: DRBD still holds the volumes of {order.domain}")
        return not_settled(order, views) or READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = tuple(lvm.remove(group, name) for group, name in self._left(order, views))
        kept, lower = self._keep(order, views), self._lower(order, views)
        flush = lvm.flush(*(disk.source_group for disk in order.disks))
        return (Action(Side.SOURCE, (files.SETTLE, *kept, *lower, *commands, *flush)),)


class TargetLeftovers(Step):
    """On the target only the domain's own volumes are left: no second device, metadata, file of DRBD, tag."""

    name = "target-leftovers"
    phase = Phase.SETTLE
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        tables = (dm.TABLES,) if order.streams else ()
        asked = (lvm.VOLUMES, files.RESOURCE_FILES, files.UNFINISHED, drbd.RESOURCES)
        return {Side.TARGET: (*asked, *tables)}

    def _volumes(self, order: Order, views: Views) -> tuple[Command, ...]:
        lower = remove_lower(order, views.target) if order.streams else ()
        commands: list[Command] = [files.SETTLE, *lower] if lower else []
        for disk in order.disks:
            group = disk.group(Side.TARGET)
            if look.volume(views.target, group, disk.metadata) is not None:
                commands.append(lvm.remove(group, disk.metadata))
            data = look.volume(views.target, group, disk.volume)
            if data is not None and order.tag in data.tags:
                commands.append(lvm.drop_tag(group, disk.volume, order.tag))
        return tuple(commands)

    def _files(self, order: Order, views: Views) -> tuple[str, ...]:
        drop = unfinished(order, views.target)
        there = resource_path(order) in views.target.get(files.RESOURCE_FILES)
        return (resource_path(order), *drop) if there else drop

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if look.resource(views.target, order) is not None:
            return wrong(f"{order.target.name}: DRBD still holds the volumes of {order.domain}")
        return READY if self._volumes(order, views) or self._files(order, views) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        volumes, drop = self._volumes(order, views), self._files(order, views)
        commands = list(volumes)
        if volumes or progress.unsure:
            commands += lvm.flush(*(disk.target_group for disk in order.disks))
        if drop:
            commands.append(files.remove(*drop))
        if drop or progress.unsure:
            commands.append(files.sync_folder(drbd.FOLDER))
        return (Action(Side.TARGET, tuple(commands)),)


_RUNS: tuple[Step, ...] = (TargetRuns("target-runs"), TargetAutostart(), TargetRuns("target-runs-on"))
_CLEAR: tuple[Step, ...] = (
    SourceDown(),
    SourceLinksRemoved(),
    SourceVolumesRemoved(),
    DropFolder("source-image-removed", Phase.SETTLE, Side.SOURCE),
    DropFolder("target-image-removed", Phase.SETTLE, Side.TARGET),
    TargetLeftovers(),
)
STEPS: tuple[Step, ...] = (*_RUNS, *_CLEAR)
STREAM_STEPS: tuple[Step, ...] = (*_RUNS, SourceDestroyed(), *_CLEAR)
