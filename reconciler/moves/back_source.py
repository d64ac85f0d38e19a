"""The way back, at the source: off DRBD unless the domain runs on it, running again, cleared up."""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DiskState, DomainState, View
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves import guards, look, pivot
from reconciler.moves.attach import ATTACH_SUSPEND
from reconciler.moves.common import (
    flip_commands,
    lift_pause,
    remove_images,
    resource_path,
    start_afresh,
    text_of,
    unfinished,
)
from reconciler.moves.cutover import COPIES
from reconciler.moves.home import (
    HOME_LOOKS,
    SOURCE_LOOKS,
    SOURCE_RUNS,
    Home,
    as_it_wants,
    gone_again,
    saved_image,
    target_resource,
    uses_drbd,
    way_home,
)
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


class SourceWrongDestroyed(Step):
    """A paused copy on the source that opened other devices than meant is gone; its image is still there."""

    name = "back-source-wrong-destroyed"
    phase = Phase.BACK

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (*SOURCE_LOOKS, *HOME_LOOKS, dm.NUMBERS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        seen = look.domain(view, order)
        if seen is None or seen.state is DomainState.RUNNING:
            return DONE
        if seen.state is not DomainState.PAUSED:
            return wait(f"{order.domain} is {seen.state.value} on {view.host}")
        if look.at_home(view, order, seen):
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


class SourceFlipped(Step):
    """The source's symlinks point to the volumes, unless the domain runs on DRBD."""

    name = "back-source-flip"
    phase = Phase.BACK
    lasting = True

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
        if uses_drbd(order, views):
            return ()
        return (Action(Side.SOURCE, flip_commands(order, views.source, Side.SOURCE, to_drbd=False)),)


class SourceRestored(Step):
    """The domain is on the source on its own volumes or on DRBD, unless it stopped by itself."""

    name = "back-source-restore"
    phase = Phase.BACK
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (*SOURCE_LOOKS, *HOME_LOOKS, dm.NUMBERS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.source
        seen = look.domain(view, order)
        if seen is not None:
            if look.at_home(view, order, seen):
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


class SourceRuns(Step):
    """The domain runs on the source, unless it stopped by itself."""

    name = SOURCE_RUNS
    phase = Phase.BACK
    max_attempts = 3
    freeze_ends = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        source = {Side.SOURCE: (xl.DOMAINS, *HOME_LOOKS)}
        return {**source, Side.TARGET: (xl.DOMAINS,)} if COPIES & progress.tried else source

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if COPIES & progress.tried:
            other = look.copy(views.target, order)
            if not guards.passed("back-target-gone", other is None):
                assert other is not None
                both = other.state is DomainState.RUNNING
                text = f"{order.domain} is {other.state.value} on {order.target.name}"
                late = order.streams and other.state is DomainState.PAUSED  # sent before the source's fence
                return Verdict(Mark.WRONG, text, two_runners=both, start_over=late)
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
    """No image is left on the source, and no DRBD metadata unless the domain runs on DRBD: then no pause."""

    name = "back-source-leftovers"
    phase = Phase.BACK
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        asked = (
            *SOURCE_LOOKS,
            *HOME_LOOKS,
            lvm.VOLUMES,
            files.RESOURCE_FILES,
            files.UNFINISHED,
            drbd.RESOURCES,
        )
        return {Side.SOURCE: (*asked, dm.TABLES if order.pivots else text_of(order))}

    def _commands(self, order: Order, views: Views, *, again: bool = False) -> tuple[Command, ...]:
        """What is to be done; `again`: what makes it last as well, though nothing else is left to be done."""
        view = views.source
        commands: list[Command] = []
        folder = look.images_folder(order) + "/"
        if any(path.startswith(folder) for path in view.get(files.IMAGES)):
            commands += remove_images(order)
        drop = unfinished(order, view)
        if look.resource(view, order) is None:
            commands += pivot.remove_lower(order, view) if order.pivots else ()
            metadata = self._metadata(order, view)
            commands += metadata
            if metadata or again:
                commands += lvm.flush(*(disk.source_group for disk in order.disks))
            if resource_path(order) in view.get(files.RESOURCE_FILES):
                drop = (resource_path(order), *drop)
        elif not order.pivots:
            commands += lift_pause(order, view)
        if drop:
            commands.append(files.remove(*drop))
        if drop or again:
            commands.append(files.sync_folder(drbd.FOLDER))
        return tuple(commands)

    def _metadata(self, order: Order, view: View) -> list[Command]:
        commands = []
        for disk in order.disks:
            found = look.volume(view, disk.source_group, disk.metadata)
            if found is not None and any(tag.startswith(f"xr.move.{order.domain}-") for tag in found.tags):
                commands.append(lvm.remove(disk.source_group, disk.metadata))
        return commands

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.source, order)
        if seen is None and (home := way_home(order, progress, views)) is not Home.DOWN:
            return gone_again(order, views, home)
        if seen is not None and not as_it_wants(seen):
            return wrong(f"{order.domain} does not run on {views.source.host}; nothing is removed")
        return READY if self._commands(order, views) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, self._commands(order, views, again=progress.unsure)),)


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
