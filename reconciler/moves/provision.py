"""Provision: volumes, symlinks, contents, configuration and start of a domain that exists nowhere."""

from __future__ import annotations

from reconciler.commands import dm, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainState
from reconciler.model.move import MoveDisk, Order, Phase, Progress, Side
from reconciler.model.placement import NewDisk, Provision
from reconciler.moves import guards, look
from reconciler.moves.common import Unpause, flip_commands, start_afresh, unfinished
from reconciler.moves.cutover import target_devices
from reconciler.moves.fence import Fence, ran_there
from reconciler.moves.step import DONE, READY, Action, Looks, Mark, Step, Verdict, Views, wait, wrong

POPULATED = "xr.populated"
START = "start"


def config_text(name: str, uuid: str, provision: Provision, disks: tuple[MoveDisk, ...]) -> str:
    """The xl.cfg(5) of a new domain. Values are quoted; the schema lets no quote or line end through."""
    lines = [
        "# Written by xen-reconciler when it created the domain; it is yours to edit.",
        f'name = "{name}"',
        f'uuid = "{uuid}"',
        'type = "pv"',
        f"memory = {provision.memory_mb}",
        f"vcpus = {provision.vcpus}",
    ]
    for key in ("kernel", "ramdisk", "extra", "bootloader"):
        value = getattr(provision, key)
        if value is not None:
            lines.append(f'{key} = "{value}"')
    rows = ", ".join(f'"phy:{disk.link},{disk.device},w"' for disk in disks)
    lines.append(f"disk = [ {rows} ]")
    vifs = ", ".join(f'"{vif}"' for vif in provision.vifs)
    lines.append(f"vif = [ {vifs} ]")
    return "\n".join([*lines, ""])


def _wanted(order: Order) -> Provision:
    assert order.provision is not None
    return order.provision


class NewVolumes(Step):
    """Every disk of the new domain has a volume made by this order."""

    name = "new-volumes"
    phase = Phase.PROVISION

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (lvm.VOLUMES, lvm.GROUPS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        missing = []
        for disk in order.disks:
            found = look.volume(views.target, disk.target_group, disk.volume)
            if found is None:
                missing.append(disk)
            elif order.tag not in found.tags:
                return wrong(f"{order.target.name}: {found.path} exists already; it is never reused")
        if not missing:
            return DONE
        for group in views.target.get(lvm.GROUPS):
            need = sum(
                lvm.rounded(disk.size_bytes, group.extent_bytes)
                for disk in missing
                if disk.target_group == group.name
            )
            if need > group.free_bytes:
                return wrong(
                    f"{order.target.name}: {need} bytes needed in volume group {group.name}, "
                    f"{group.free_bytes} free"
                )
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = [
            lvm.create(disk.target_group, disk.volume, disk.size_bytes, order.tag)
            for disk in order.disks
            if look.volume(views.target, disk.target_group, disk.volume) is None
        ]
        return (Action(Side.TARGET, tuple(commands)),)


class NewLinks(Step):
    """Every disk has its symlink."""

    name = "new-links"
    phase = Phase.PROVISION
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.LINKS,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        for disk in order.disks:
            found = look.link_to(views.target, disk)
            if found not in (None, disk.backing(Side.TARGET)):
                return wrong(f"{order.target.name}: {disk.link} already points to {found}")
        return DONE if look.links_all(views.target, order, Side.TARGET, drbd_side=False) else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, flip_commands(order, views.target, Side.TARGET, to_drbd=False)),)


class Populate(Step):
    """Every disk holds what was asked for; a tag on the volume says so."""

    name = "populate"
    phase = Phase.PROVISION
    max_attempts = 2

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (lvm.VOLUMES, xl.DOMAINS)}

    def _empty(self, order: Order, views: Views) -> list[tuple[MoveDisk, NewDisk]]:
        pairs = []
        for disk, new in zip(order.disks, _wanted(order).disks, strict=True):
            found = look.volume(views.target, disk.target_group, disk.volume)
            if found is None or POPULATED not in found.tags:
                pairs.append((disk, new))
        return pairs

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not self._empty(order, views):
            return DONE
        if look.domain(views.target, order) is not None:
            return wrong(f"{order.domain} is on {order.target.name} already; its disks are not written")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        actions = []
        for disk, new in self._empty(order, views):
            tag = lvm.add_tag(disk.target_group, disk.volume, POPULATED)
            actions.append(Action(Side.TARGET, (*_fill(order, disk, new), tag)))
        return tuple(actions)


def _fill(order: Order, disk: MoveDisk, new: NewDisk) -> tuple[Command, ...]:
    device = disk.backing(Side.TARGET)
    if new.source.image is not None:
        return (files.copy_image(new.source.image, device),)
    if new.source.tarball is not None:
        return files.unpack(new.source.tarball, device, f"{look.images_folder(order)}/{disk.volume}.mnt")
    return ()


class NewConfig(Step):
    """The configuration file is there and names the symlinks."""

    name = "new-config"
    phase = Phase.PROVISION
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.text_of(order.config_path),)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        text = views.target.get(files.text_of(order.config_path))
        if text is None:
            return READY
        if text == order.config_text:
            return DONE
        return wrong(f"{order.target.name}: {order.config_path} already exists with other content")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        assert order.config_text is not None
        found = views.target.get(files.text_of(order.config_path))
        return (Action(Side.TARGET, files.keep(order.config_path, order.config_text, found)),)


class CreatePaused(Step):
    """The domain is there with the devices meant."""

    name = "create"
    phase = Phase.PROVISION

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (xl.DOMAINS, xl.VBDS, dm.NUMBERS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.target, order)
        if seen is None:
            return READY
        if look.on_volumes(views.target, order, Side.TARGET, seen):
            return DONE
        devices = look.devices_text(views.target, seen)
        return wrong(f"{order.domain} on {order.target.name} has other devices open: {devices}")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, start_afresh(order)),)


class Start(Unpause):
    """The new domain runs; if its host has rebooted since it was created, it is created again first."""

    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.BOOT_ID, xl.DOMAINS, xl.VBDS, dm.NUMBERS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.target
        seen = look.domain(view, order)
        if seen is None and not look.same_boot(view, order, Side.TARGET):
            return READY
        if seen is None or seen.state is not DomainState.PAUSED:
            return super().judge(order, progress, views)
        trouble = target_devices(order, views, seen)
        if trouble and look.being_started(view, order, Side.TARGET, seen):
            return wait(f"{order.domain} is being started by {order.target.name}, which has just rebooted")
        never_ran = look.same_boot(view, order, Side.TARGET) and look.never_ran(view, seen)
        return Verdict(Mark.WRONG if trouble else Mark.READY, trouble, never_ran=never_ran)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        if look.domain(views.target, order) is None:
            return (Action(Side.TARGET, start_afresh(order)),)
        return super().act(order, progress, views)


class NewAutostart(Step):
    """The domain starts with its host, if asked for. It exists nowhere else, so this may come before GO."""

    name = "new-autostart"
    phase = Phase.PROVISION
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.CONFIG_FILES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        there = order.auto_path in views.target.get(files.CONFIG_FILES).autostart
        return DONE if there or not order.autostart else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = files.start_with_host(order.auto_path, f"../{order.domain}.cfg")
        return (Action(Side.TARGET, commands),)


class NewUntagged(Step):
    """The marks that this order left on its volumes are gone, and files that it began and did not end."""

    name = "new-untagged"
    phase = Phase.PROVISION
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (lvm.VOLUMES, files.UNFINISHED)}

    def _tags(self, order: Order, views: Views) -> list[Command]:
        commands = []
        for disk in order.disks:
            found = look.volume(views.target, disk.target_group, disk.volume)
            for tag in (order.tag, POPULATED):
                if found is not None and tag in found.tags:
                    commands.append(lvm.drop_tag(disk.target_group, disk.volume, tag))
        return commands

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        return READY if self._tags(order, views) or unfinished(order, views.target) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        tags, drop = self._tags(order, views), unfinished(order, views.target)
        commands = [files.remove(*drop)] if drop else []
        if drop or progress.unsure:
            commands.append(files.sync_folder("/etc/xen"))
        commands += tags
        if tags or progress.unsure:
            commands += lvm.flush(*(disk.target_group for disk in order.disks))
        return (Action(Side.TARGET, tuple(commands)),)


class NothingLeft(Step):
    """Going back: nothing that this order made is left, because the domain never ran."""

    name = "back-provision-removed"
    phase = Phase.BACK
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        text = files.text_of(order.config_path)
        asked = (files.BOOT_ID, xl.DOMAINS, xl.VBDS, lvm.VOLUMES, files.LINKS, files.CONFIG_FILES, text)
        return {Side.TARGET: (*asked, files.UNFINISHED)}

    def _may_have_run(self, order: Order, progress: Progress, views: Views) -> bool:
        """A host that has rebooted starts what has an autostart entry, and that may have stopped since.

        Once the way back has taken the entry away, no reboot starts anything.
        """
        entry = order.auto_path in views.target.get(files.CONFIG_FILES).autostart
        mine = entry and NewAutostart.name in progress.tried
        return mine and not look.same_boot(views.target, order, Side.TARGET)

    def _commands(
        self, order: Order, progress: Progress, views: Views, *, again: bool = False
    ) -> tuple[Command, ...]:
        """What is to be done; `again`: what makes it last as well, though nothing else is left to be done."""
        commands: list[Command] = []
        view = views.target
        if CreatePaused.name in progress.tried and look.domain(view, order) is not None:
            commands.append(xl.destroy(order.domain))
        ours = [
            disk
            for disk in order.disks
            if (found := look.volume(view, disk.target_group, disk.volume)) is not None
            and order.tag in found.tags
        ]
        links = []
        for disk in order.disks:
            linked = look.link_to(view, disk) == disk.backing(Side.TARGET)
            empty = look.volume(view, disk.target_group, disk.volume) is None
            if linked and (disk in ours or (empty and NewLinks.name in progress.tried)):
                links.append(disk.link)
        if (
            NewConfig.name in progress.tried
            and view.get(files.text_of(order.config_path)) == order.config_text
        ):
            links.append(order.config_path)
        if order.auto_path in view.get(files.CONFIG_FILES).autostart and NewAutostart.name in progress.tried:
            links.insert(0, order.auto_path)
        links += unfinished(order, view)
        if links:
            commands.append(files.remove(*links))
        if links or ours or again:  # what could start the domain stays gone before any volume goes
            commands.append(files.sync_folder("/etc/xen"))
        commands += [lvm.remove(disk.target_group, disk.volume) for disk in ours]
        if ours or again:
            commands += lvm.flush(*(disk.target_group for disk in order.disks))
        return tuple(commands)

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.target, order)
        if seen is not None and seen.state is DomainState.RUNNING:
            return ran_there(order)
        if seen is None and not guards.passed(
            "back-ran-there", not self._may_have_run(order, progress, views)
        ):
            return ran_there(order)
        if seen is not None and look.being_started(views.target, order, Side.TARGET, seen):
            return wait(f"{order.domain} is being started by {order.target.name}, which has just rebooted")
        if seen is not None and not look.never_ran(views.target, seen):
            return wrong(f"{order.domain} is {seen.state.value} on {order.target.name}; nothing is removed")
        return READY if self._commands(order, progress, views) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, self._commands(order, progress, views, again=progress.unsure)),)


STEPS: tuple[Step, ...] = (
    NewVolumes(),
    NewLinks(),
    Populate(),
    NewConfig(),
    CreatePaused(),
    NewAutostart(),
    Start(START, Phase.PROVISION, Side.TARGET),
    NewUntagged(),
)
BACK_STEPS: tuple[Step, ...] = (
    Fence("back-target-fence", Side.TARGET, always=True),
    NothingLeft(),
)
