"""Steps that more than one phase needs, each with a side, a direction or an image of its own."""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainState, Query, View
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves import guards, look
from reconciler.moves.step import DONE, READY, Action, Looks, Step, Verdict, Views, wait, wrong

MIB = 1024**2


def resource_text(order: Order) -> str:
    """The same resource file for both hosts."""
    sides = [
        drbd.ResourceSide(
            node=order.node(side),
            address=order.host(side).replication_address,
            port=order.port,
            volumes=tuple(
                drbd.ResourceVolume(disk.minor, order.under_drbd(disk, side), disk.metadata_path(side))
                for disk in order.disks
            ),
        )
        for side in (Side.SOURCE, Side.TARGET)
    ]
    rate, compare = order.policy.resync_rate_mb_s, order.seeded
    return drbd.resource_file(order.resource, order.secret, rate, sides, compare=compare)


def resource_path(order: Order) -> str:
    return f"/etc/drbd.d/{order.resource}.res"


def text_of(order: Order) -> Query[str | None]:
    """What a host's resource file of this domain says."""
    return files.text_of(resource_path(order))


def lift_pause(order: Order, view: View) -> tuple[Command, ...]:
    """What lets a host's sync go on that a move has paused there; one that a person paused stays."""
    found = look.resource(view, order)
    paused = [v.minor for v in found.volumes if v.paused_here] if found is not None else []
    ours = paused and drbd.pauses(view.get(text_of(order)) or "")
    return tuple(drbd.resume_sync(minor) for minor in paused) if ours else ()


def unfinished(order: Order, view: View) -> tuple[str, ...]:
    """What is left of files and symlinks of the domain that a step was to write."""
    links = (disk.link for disk in order.disks)
    return files.unfinished(view, resource_path(order), order.config_path, *links)


def start_afresh(order: Order) -> tuple[Command, ...]:
    """Start from the configuration, paused. An image that a shutdown saved is void from then on.

    Left there it would be restored at the next boot, beside or instead of what has run since.
    """
    saved = f"{files.SAVE_DIR}/{order.domain}"
    return (files.remove(saved), files.sync_folder("/var/lib"), xl.create_paused(order.config_path))


class WriteResourceFile(Step):
    """The host's resource file says exactly what this move wants."""

    lasting = True

    def __init__(self, name: str, phase: Phase, side: Side) -> None:
        self.name, self.phase, self.side = name, phase, side

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {self.side: (files.text_of(resource_path(order)),)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        text = views[self.side].get(files.text_of(resource_path(order)))
        return DONE if text == resource_text(order) else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        path, text = resource_path(order), resource_text(order)
        return (Action(self.side, files.keep(path, text, views[self.side].get(files.text_of(path)))),)


class CreateMetadataVolumes(Step):
    """Every disk has its external metadata volume on this side; on the target its data volume as well.

    A data volume that was kept for a mirror becomes this move's.
    """

    def __init__(self, name: str, phase: Phase, side: Side, *, with_data: bool) -> None:
        self.name, self.phase, self.side, self.with_data = name, phase, side, with_data

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {self.side: (lvm.VOLUMES, lvm.GROUPS)}

    def _wanted(self, order: Order) -> list[tuple[str, str, int]]:
        wanted = []
        for disk in order.disks:
            group = disk.group(self.side)
            if self.with_data:
                wanted.append((group, disk.volume, disk.size_bytes))
            wanted.append((group, disk.metadata, drbd.metadata_bytes(disk.size_bytes)))
        return wanted

    def _missing(self, order: Order, views: Views) -> list[tuple[str, str, int]]:
        view = views[self.side]
        return [row for row in self._wanted(order) if look.volume(view, row[0], row[1]) is None]

    def _kept(self, order: Order, views: Views) -> list[tuple[str, str]]:
        """Data volumes that an earlier move has kept here."""
        disks = [disk for disk in order.disks if disk.seeded] if self.with_data else []
        rows = [(disk.group(self.side), disk.volume) for disk in disks]
        found = [(row, look.volume(views[self.side], *row)) for row in rows]
        return [row for row, volume in found if volume is not None and volume.is_kept_for(order.domain)]

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views[self.side]
        host = order.host(self.side).name
        kept = self._kept(order, views)
        for group, name, size in self._wanted(order):
            found = look.volume(view, group, name)
            # On the source an earlier move of this domain may have left its metadata volume in use.
            ours = order.tag if self.side is Side.TARGET else f"xr.move.{order.domain}-"
            own = (group, name) in kept or (found and any(tag.startswith(ours) for tag in found.tags))
            if found and not guards.passed("own-volumes", bool(own)):
                return wrong(f"{host}: {found.path} exists and is not of this move; it is never reused")
            if found and found.size_bytes < size:
                return wrong(f"{host}: {found.path} has {found.size_bytes} bytes, {size} are needed")
        missing = self._missing(order, views)
        if not missing:
            return READY if kept else DONE
        groups = {group.name: group for group in view.get(lvm.GROUPS)}
        for name in {row[0] for row in missing}:
            if name not in groups:
                return wrong(f"{host} has no volume group {name}")
            extent = groups[name].extent_bytes
            need = sum(lvm.rounded(size, extent) for group, _, size in missing if group == name)
            if need > groups[name].free_bytes:
                return wrong(
                    f"{host}: {need} bytes needed in volume group {name}, {groups[name].free_bytes} free"
                )
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = [
            lvm.create(group, name, size, order.tag) for group, name, size in self._missing(order, views)
        ]
        commands += [
            lvm.other_tag(group, name, order.kept_tag, order.tag) for group, name in self._kept(order, views)
        ]
        return (Action(self.side, tuple(commands)),)


def bring_up(order: Order, side: Side, *, again: bool) -> tuple[Action, ...]:
    """Fresh metadata, then the resource. `again` takes a half-made resource down first."""
    wipe = [
        files.zero(disk.metadata_path(side), drbd.metadata_bytes(disk.size_bytes)) for disk in order.disks
    ]
    down = [drbd.down(order.resource)] if again else []
    return (Action(side, (*down, *wipe, drbd.create_metadata(order.resource), drbd.up(order.resource))),)


class Suspend(Step):
    """The domain is saved to an image on the source and no longer there; its disks are closed."""

    max_attempts = 1
    fresh = True
    freeze_begins = True

    def __init__(self, name: str, phase: Phase, image: str) -> None:
        self.name, self.phase, self.image = name, phase, image

    def looks(self, order: Order, progress: Progress) -> Looks:
        asked = (files.BOOT_ID, xl.DOMAINS, xl.CONFIGS, xl.VBDS, files.IMAGES, files.SPACE)
        over = (lvm.VOLUMES, dm.NUMBERS) if self.phase is Phase.ATTACH else ()
        return {Side.SOURCE: (*asked, *over)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        seen = look.domain(view, order)
        where = f"{order.domain} on {order.host(Side.SOURCE).name}"
        if not guards.passed("image-this-boot", look.same_boot(view, order, Side.SOURCE)):
            return wrong(look.rebooted_text(order, Side.SOURCE))
        if seen is None:
            if self.name in progress.tried and look.image_size(view, order, self.image) > 0:
                return DONE
            return wrong(f"{where} is not running any more and no whole saved image of it is there")
        if seen.state is DomainState.RUNNING:
            if self.phase is Phase.ATTACH and look.on_drbd(view, order, seen):
                return DONE  # attached by an earlier move; nothing to suspend for
            if self.phase is Phase.ATTACH and not look.on_volumes(view, order, Side.SOURCE, seen):
                return wrong(
                    f"{where} has other devices open than its volumes: {look.devices_text(view, seen)}"
                )
            if self.phase is Phase.ATTACH and (resized := look.resized(view, order, Side.SOURCE)):
                return wrong(resized)
            need = order.memory_mb * MIB + 64 * MIB
            if view.get(files.SPACE) < need:
                return wrong(f"{where}: {need} bytes needed below {files.STATE} for its image")
            swollen = look.swollen(view, seen)
            if not guards.passed("restorable", not swollen):
                return wrong(swollen)
            return READY
        if seen.state in (DomainState.SHUTDOWN, DomainState.DYING):
            return wait(f"{where} is {seen.state.value}")
        return wrong(f"{where} is {seen.state.value}; only a running domain is suspended")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        image = look.image(order, self.image)
        return (
            Action(
                Side.SOURCE,
                (
                    files.make_private_folder(look.images_folder(order)),
                    xl.save(order.domain, image, order.policy.suspend_timeout_s),
                ),
            ),
        )

    def deadline_s(self, order: Order) -> float:
        return order.policy.suspend_timeout_s


class Flip(Step):
    """The symlinks point to DRBD, or to the volumes, while no domain has them open.

    `at_once` does it under a running domain, which does not notice: xl resolves them when a domain starts.
    """

    lasting = True

    def __init__(self, name: str, phase: Phase, side: Side, *, to_drbd: bool, at_once: bool = False) -> None:
        self.name, self.phase, self.side, self.to_drbd = name, phase, side, to_drbd
        self.at_once = at_once

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {self.side: (files.LINKS,) if self.at_once else (xl.DOMAINS, files.LINKS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views[self.side]
        stray = look.stray_link(view, order, self.side)
        if stray:
            return wrong(f"{order.host(self.side).name}: {stray}")
        if look.links_all(view, order, self.side, drbd_side=self.to_drbd):
            return DONE
        if not self.at_once and look.domain(view, order) is not None:
            return wrong(
                f"{order.domain} is on {order.host(self.side).name}; its symlinks are not flipped under it"
            )
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(self.side, flip_commands(order, views[self.side], self.side, to_drbd=self.to_drbd)),)


def flip_commands(order: Order, view: View, side: Side, *, to_drbd: bool) -> tuple[Command, ...]:
    """Those that point elsewhere or are not there; all of them last in the end."""
    commands: list[Command] = []
    for disk in order.disks:
        to = disk.drbd if to_drbd else disk.backing(side)
        if look.link_to(view, disk) != to:
            commands += files.link(disk.link, to)
    return (*commands, files.sync_folder(files.LINKS_DIR))


class RestorePaused(Step):
    """The domain is there, paused, and xenstore proves that its disks are the devices meant."""

    def __init__(self, name: str, phase: Phase, side: Side, image: str, *, on_drbd: bool) -> None:
        self.name, self.phase, self.side, self.image, self.on_drbd = name, phase, side, image, on_drbd

    def looks(self, order: Order, progress: Progress) -> Looks:
        which = lvm.VOLUMES if self.on_drbd else dm.NUMBERS
        return {self.side: (files.BOOT_ID, xl.DOMAINS, xl.VBDS, files.IMAGES, which, files.LINKS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views[self.side]
        host = order.host(self.side).name
        seen = look.domain(view, order)
        if seen is not None:
            if self.on_drbd:
                right = look.on_drbd(view, order, seen)
            else:
                right = look.on_volumes(view, order, self.side, seen)
            if guards.passed("devices-proven", right):
                return DONE
            return wrong(
                f"{order.domain} on {host} opened other devices than meant: {look.devices_text(view, seen)}"
            )
        if not guards.passed("image-this-boot", look.same_boot(view, order, self.side)):
            return wrong(look.rebooted_text(order, self.side))
        if not look.links_all(view, order, self.side, drbd_side=self.on_drbd):
            return wrong(f"{host}: the symlinks of {order.domain} do not point where they should")
        if self.on_drbd and (resized := look.resized(view, order, self.side)):
            return wrong(resized)
        if look.image_size(view, order, self.image) == 0:
            return wrong(f"{host}: {look.image(order, self.image)} is not there")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        command = xl.restore_paused(look.image(order, self.image), order.policy.suspend_timeout_s)
        return (Action(self.side, (command,)),)


class Unpause(Step):
    """The domain runs on this side."""

    freeze_ends = True

    def __init__(self, name: str, phase: Phase, side: Side) -> None:
        self.name, self.phase, self.side = name, phase, side

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {self.side: (xl.DOMAINS,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views[self.side], order)
        where = f"{order.domain} on {order.host(self.side).name}"
        if seen is None:
            return wrong(f"{where} is not there")
        if seen.state is DomainState.RUNNING:
            return DONE
        if seen.state is DomainState.PAUSED:
            return READY
        return wrong(f"{where} is {seen.state.value}")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(self.side, (xl.unpause(order.domain),)),)


class DropFolder(Step):
    """No saved image of the domain is left on this side: an image is used once."""

    lasting = True

    def __init__(self, name: str, phase: Phase, side: Side) -> None:
        self.name, self.phase, self.side = name, phase, side

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {self.side: (files.IMAGES, xl.DOMAINS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views[self.side]
        folder = look.images_folder(order) + "/"
        if not any(path.startswith(folder) for path in view.get(files.IMAGES)):
            return DONE
        if look.domain(view, order) is None and self.side is Side.SOURCE and self.phase is not Phase.SETTLE:
            return wrong(f"{order.domain} does not run on {order.host(self.side).name}; its image is kept")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(self.side, remove_images(order)),)


def remove_images(order: Order) -> tuple[Command, ...]:
    """No image comes back after a crash."""
    return files.remove_folder(look.images_folder(order)), files.sync_folder(files.STATE)
