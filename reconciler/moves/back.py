"""Going back: the domain runs on the source, the target keeps nothing. Only before GO, or when it never ran.

Order: first make sure the target's copy can't run, then bring the source back, then clean up. What the
target has to answer for depends on how far the move was: a target where no restore was ever tried holds
no copy of the domain, so the source need not wait for it.
"""

from __future__ import annotations

import enum

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DiskState, DomainSeen, DomainState, DrbdResource
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves import guards, look
from reconciler.moves.attach import ATTACH_SUSPEND, ATTACH_UNPAUSE
from reconciler.moves.common import flip_commands, remove_images, resource_path, start_afresh
from reconciler.moves.cutover import CUTOVER_SUSPEND, GO, TARGET_RESTORE
from reconciler.moves.fence import Fence, ran_there
from reconciler.moves.mirror import TARGET_UP
from reconciler.moves.step import (
    DONE,
    READY,
    Action,
    Looks,
    Mark,
    Step,
    Verdict,
    Views,
    in_doubt,
    wait,
    wrong,
)

SOURCE_LOOKS = (xl.DOMAINS, xl.VBDS)


def uses_drbd(order: Order, views: Views) -> bool:
    """Whether the domain, as the source shows it, has its disks open on DRBD."""
    seen = look.domain(views.source, order)
    return seen is not None and look.on_drbd(views.source, order, seen)


class TargetDestroyed(Step):
    """The target holds no copy of the domain; a paused one that never ran was destroyed.

    A copy that runs there, or that is gone though the start was tried, ends the way back instead.
    """

    name = "back-target-destroyed"
    phase = Phase.BACK
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (xl.DOMAINS, xl.VBDS)} if TARGET_RESTORE in progress.tried else {}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if TARGET_RESTORE not in progress.tried:
            return DONE
        seen = look.domain(views.target, order)
        if seen is None:
            provably = GO not in progress.tried or self.name in progress.tried
            return DONE if guards.passed("back-ran-there", provably) else ran_there(order)
        if look.never_ran(views.target, seen):
            return READY if guards.on("back-target-gone") else DONE
        if seen.state is DomainState.RUNNING:
            return ran_there(order)
        return wrong(f"{order.domain} is {seen.state.value} on {order.target.name} and may have run there")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, (xl.destroy(order.domain),)),)


class Home(enum.Enum):
    """How a domain that is not on the source comes back there."""

    IMAGE = "from its saved image"
    CONFIG = "from its configuration, after a reboot of its host"
    DOWN = "not at all: it stopped by itself, or its host rebooted and does not start it"
    LOST = "unknown: it was to be suspended, and there is no whole image"


HOME_LOOKS = (files.BOOT_ID, files.IMAGES)


def way_home(order: Order, progress: Progress, views: Views) -> Home:
    """What brings a domain back that is not on the source, once the target can't run it.

    An image is good for one start, on the boot it was saved on: after that the disks have gone on, and
    memory that does not know about it would destroy them.
    """
    if not guards.passed("image-this-boot", look.same_boot(views.source, order, Side.SOURCE)):
        return Home.CONFIG if order.autostart else Home.DOWN
    name = saved_image(progress)
    if name is None:
        return Home.DOWN
    if look.image_size(views.source, order, name) > 0:
        return Home.IMAGE
    unfinished = views.source.get(files.IMAGES).get(f"{look.image(order, name)}.part", 0)
    return Home.LOST if unfinished else Home.DOWN


def saved_image(progress: Progress) -> str | None:
    """The image to go back to; None when the domain may have run since it was saved, or never was."""
    if not guards.passed("image-once", SourceRuns.name not in progress.tried):
        return None
    if CUTOVER_SUSPEND in progress.tried:
        return look.CUTOVER_IMAGE
    used = ATTACH_UNPAUSE in progress.tried
    if ATTACH_SUSPEND in progress.tried and guards.passed("image-once", not used):
        return look.ATTACH_IMAGE
    return None


class SourceWrongDestroyed(Step):
    """A paused copy on the source that opened other devices than meant is gone; its image is still there."""

    name = "back-source-wrong-destroyed"
    phase = Phase.BACK

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (*SOURCE_LOOKS, *HOME_LOOKS, lvm.VOLUMES)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        seen = look.domain(view, order)
        if seen is None or seen.state is DomainState.RUNNING:
            return DONE
        if seen.state is not DomainState.PAUSED:
            return wait(f"{order.domain} is {seen.state.value} on {view.host}")
        if look.on_drbd(view, order, seen) or look.on_volumes(view, order, Side.SOURCE, seen):
            return DONE
        if look.being_started(view, order, Side.SOURCE, seen):
            return wait(f"{order.domain} is being started by {view.host}, which has just rebooted")
        if way_home(order, progress, views) is not Home.IMAGE:
            return wrong(f"{order.domain} is paused on {view.host} with wrong devices and has no saved image")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (xl.destroy(order.domain),)),)


class SourceDetached(Step):
    """DRBD is gone from the source, unless the domain runs on it."""

    name = "back-source-drbd-down"
    phase = Phase.BACK
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (*SOURCE_LOOKS, drbd.RESOURCES, files.LINKS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        found = look.resource(views.source, order)
        if found is None:
            return DONE
        if uses_drbd(order, views):
            if look.disk_lost(found):
                why = f"{order.domain} has lost a disk on {views.source.host} and lives on the target's"
                return in_doubt(f"{why}: {look.describe(found)}")
            return DONE
        wrote_through_drbd = look.links_all(views.source, order, Side.SOURCE, drbd_side=True)
        if wrote_through_drbd and any(v.disk is not DiskState.UP_TO_DATE for v in found.volumes):
            return wrong(f"the source's own disk is not good: {look.describe(found)}")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (files.SETTLE, drbd.down(order.resource))),)


def target_resource(order: Order, views: Views) -> DrbdResource | None:
    """DRBD on the target if that host says anything: going back does not wait for it here."""
    other = views.by_side.get(Side.TARGET)
    return look.resource(other, order) if other is not None and other.knows(drbd.RESOURCES) else None


class SourceFlipped(Step):
    """The source's symlinks point to the volumes, unless the domain runs on DRBD."""

    name = "back-source-flip"
    phase = Phase.BACK

    def looks(self, order: Order, progress: Progress) -> Looks:
        source = {Side.SOURCE: (*SOURCE_LOOKS, files.LINKS)}
        return {**source, Side.TARGET: (drbd.RESOURCES,)} if TARGET_UP in progress.tried else source

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        stray = look.stray_link(views.source, order, Side.SOURCE)
        if stray:
            return wrong(f"{views.source.host}: {stray}")
        if uses_drbd(order, views) or look.links_all(views.source, order, Side.SOURCE, drbd_side=False):
            return DONE
        if (other := target_resource(order, views)) is not None and look.may_be_newer(other):
            why = f"{order.target.name} may hold writes that the volumes on {views.source.host} lack"
            return in_doubt(f"{why}: {look.describe(other)}")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, flip_commands(order, Side.SOURCE, to_drbd=False)),)


class SourceRestored(Step):
    """The domain is on the source on its own volumes or on DRBD, unless it stopped by itself."""

    name = "back-source-restore"
    phase = Phase.BACK
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (*SOURCE_LOOKS, *HOME_LOOKS, lvm.VOLUMES)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        seen = look.domain(view, order)
        if seen is not None:
            if look.on_drbd(view, order, seen) or look.on_volumes(view, order, Side.SOURCE, seen):
                return DONE
            if seen.state is DomainState.RUNNING and ATTACH_SUSPEND not in progress.tried:
                return DONE  # it was never stopped: whatever it has open it had before the move
            if look.being_started(view, order, Side.SOURCE, seen):
                return wait(f"{order.domain} is being started by {view.host}, which has just rebooted")
            return wrong(
                f"{order.domain} on {view.host} has wrong devices open: {look.devices_text(view, seen)}"
            )
        home = way_home(order, progress, views)
        if home is Home.LOST:
            folder = look.images_folder(order)
            return wrong(
                f"{order.domain} is not on {view.host} and its image in {folder} is not whole; its disks "
                f"are: start it there with «xl create {order.config_path}»"
            )
        return DONE if home is Home.DOWN else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        name = saved_image(progress)
        if name is None or way_home(order, progress, views) is Home.CONFIG:
            return (Action(Side.SOURCE, start_afresh(order)),)
        command = xl.restore_paused(look.image(order, name), order.policy.suspend_timeout_s)
        return (Action(Side.SOURCE, (command,)),)


def gone_again(order: Order, views: Views, home: Home) -> Verdict:
    """The domain was there and is not any more: what brought it back can do so again."""
    why = f"{order.domain} is not on {views.source.host} any more; nothing is removed"
    return Verdict(Mark.WRONG, why, start_over=home in (Home.IMAGE, Home.CONFIG))


def as_it_wants(seen: DomainSeen) -> bool:
    """Running, or crashed by itself and preserved for a look (`on_crash`): nothing the move has to mend."""
    return seen.state in (DomainState.RUNNING, DomainState.CRASHED)


class SourceRuns(Step):
    """The domain runs on the source, unless it stopped by itself."""

    name = "back-source-unpause"
    phase = Phase.BACK
    max_attempts = 3
    freeze_ends = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        source = {Side.SOURCE: (xl.DOMAINS, *HOME_LOOKS)}
        return {**source, Side.TARGET: (xl.DOMAINS,)} if TARGET_RESTORE in progress.tried else source

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if TARGET_RESTORE in progress.tried:
            other = look.domain(views.target, order)
            if not guards.passed("back-target-gone", other is None):
                assert other is not None
                both = other.state is DomainState.RUNNING
                text = f"{order.domain} is {other.state.value} on {order.target.name}"
                return Verdict(Mark.WRONG, text, two_runners=both)
        seen = look.domain(views.source, order)
        if seen is None:
            home = way_home(order, progress, views)
            return DONE if home is Home.DOWN else gone_again(order, views, home)
        if as_it_wants(seen):
            return DONE
        return READY if seen.state is DomainState.PAUSED else wait(f"{order.domain} is {seen.state.value}")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (xl.unpause(order.domain),)),)


class SourceAutostart(Step):
    """The source starts the domain after a reboot again, if it did before."""

    name = "back-source-autostart"
    phase = Phase.BACK
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (files.CONFIG_FILES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not order.autostart or order.auto_path in views.source.get(files.CONFIG_FILES).autostart:
            return DONE
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = files.start_with_host(order.auto_path, f"../{order.domain}.cfg")
        return (Action(Side.SOURCE, commands),)


class SourceLeftovers(Step):
    """No image is left on the source, and no DRBD metadata unless the domain runs on DRBD."""

    name = "back-source-leftovers"
    phase = Phase.BACK

    def looks(self, order: Order, progress: Progress) -> Looks:
        asked = (*SOURCE_LOOKS, *HOME_LOOKS, lvm.VOLUMES, files.RESOURCE_FILES, drbd.RESOURCES)
        return {Side.SOURCE: asked}

    def _commands(self, order: Order, views: Views) -> tuple[Command, ...]:
        view = views.source
        commands: list[Command] = []
        folder = look.images_folder(order) + "/"
        if any(path.startswith(folder) for path in view.get(files.IMAGES)):
            commands += remove_images(order)
        if look.resource(view, order) is None:
            for disk in order.disks:
                found = look.volume(view, disk.source_group, disk.metadata)
                if found is not None and any(
                    tag.startswith(f"xr.move.{order.domain}-") for tag in found.tags
                ):
                    commands.append(lvm.remove(disk.source_group, disk.metadata))
            if resource_path(order) in view.get(files.RESOURCE_FILES):
                commands += [files.remove(resource_path(order)), files.sync_folder(drbd.FOLDER)]
        return tuple(commands)

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.source, order)
        if seen is None and (home := way_home(order, progress, views)) is not Home.DOWN:
            return gone_again(order, views, home)
        if seen is not None and not as_it_wants(seen):
            return wrong(f"{order.domain} does not run on {views.source.host}; nothing is removed")
        return READY if self._commands(order, views) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, self._commands(order, views)),)


class TargetDetached(Step):
    """DRBD is gone from the target."""

    name = "back-target-drbd-down"
    phase = Phase.BACK
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (drbd.RESOURCES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        found = look.resource(views.target, order)
        if look.may_be_newer(found):
            why = f"{order.target.name} may hold writes that the source lacks, nothing is removed there"
            return in_doubt(f"{why}: {look.describe(found)}")
        return DONE if found is None else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, (files.SETTLE, drbd.down(order.resource))),)


class TargetCleaned(Step):
    """The target keeps nothing that this move made; volumes of any other origin are never touched."""

    name = "back-target-cleaned"
    phase = Phase.BACK

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {
            Side.TARGET: (
                xl.DOMAINS,
                lvm.VOLUMES,
                files.LINKS,
                files.IMAGES,
                files.RESOURCE_FILES,
                files.text_of(order.config_path),
            )
        }

    def _commands(self, order: Order, progress: Progress, views: Views) -> tuple[Command, ...]:
        view = views.target
        commands: list[Command] = []
        drop = []
        if "target-links" in progress.tried:
            drop += [disk.link for disk in order.disks if look.link_to(view, disk) is not None]
        if (
            "target-config" in progress.tried
            and order.config_text is not None
            and view.get(files.text_of(order.config_path)) == order.config_text
        ):
            drop.append(order.config_path)
        if resource_path(order) in view.get(files.RESOURCE_FILES):
            drop.append(resource_path(order))
        if drop:
            commands += [files.remove(*drop), files.sync_folder("/etc/xen")]
        folder = look.images_folder(order) + "/"
        if any(path.startswith(folder) for path in view.get(files.IMAGES)):
            commands += remove_images(order)
        for disk in order.disks:
            for name in (disk.volume, disk.metadata):
                found = look.volume(view, disk.target_group, name)
                if found is not None and order.tag in found.tags:
                    commands.append(lvm.remove(disk.target_group, name))
        return tuple(commands)

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.target, order)
        if seen is not None:
            return wrong(
                f"{order.domain} is {seen.state.value} on {order.target.name}; nothing is removed there"
            )
        return READY if self._commands(order, progress, views) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, (files.SETTLE, *self._commands(order, progress, views))),)


class SourceStill(Step):
    """At the end the source is as the way back has left it: the domain runs, or can start from its volumes.

    The source may have rebooted, or the guest stopped, while the target was cleared up; a domain that ran
    on DRBD until then has symlinks that lead nowhere now.
    """

    name = "back-source-still"
    phase = Phase.BACK
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (*HOME_LOOKS, xl.DOMAINS, files.LINKS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.source, order)
        if seen is not None:
            rests = as_it_wants(seen)
            return DONE if rests else wait(f"{order.domain} is {seen.state.value} on {views.source.host}")
        down = way_home(order, progress, views) is Home.DOWN
        if down and look.links_all(views.source, order, Side.SOURCE, drbd_side=False):
            return DONE
        return Verdict(Mark.WRONG, f"{order.domain} is not on {views.source.host} any more", start_over=True)


STEPS: tuple[Step, ...] = (
    Fence("back-target-fence", Side.TARGET, always=False),
    TargetDestroyed(),
    Fence("back-source-fence", Side.SOURCE, always=True),
    SourceWrongDestroyed(),
    SourceDetached(),
    SourceFlipped(),
    SourceRestored(),
    SourceRuns(),
    SourceAutostart(),
    SourceLeftovers(),
    Fence("back-target-fence-late", Side.TARGET, always=True),
    TargetDetached(),
    TargetCleaned(),
    SourceStill(),
)
