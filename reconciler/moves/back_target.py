"""The way back, at the target: its copy can't run any more, then it keeps nothing that this move made."""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainState
from reconciler.model.move import Order, Phase, Progress, Reason, Side
from reconciler.moves import guards, look, stream
from reconciler.moves.common import remove_images, resource_path, unfinished
from reconciler.moves.cutover import COPIES, GO
from reconciler.moves.fence import ran_there
from reconciler.moves.step import DONE, READY, Action, Looks, Step, Verdict, Views, in_doubt, wrong


class TargetDestroyed(Step):
    """The target holds no copy of the domain; a paused one that never ran was destroyed.

    A copy that runs there, or that is gone though the start was tried, ends the way back instead.
    """

    name = "back-target-destroyed"
    phase = Phase.BACK
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (xl.DOMAINS, xl.VBDS)} if COPIES & progress.tried else {}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not COPIES & progress.tried:
            return DONE
        seen = look.copy(views.target, order)
        if seen is None:
            provably = GO not in progress.tried or self.name in progress.tried
            return DONE if guards.passed("back-ran-there", provably) else ran_there(order)
        if look.never_ran(views.target, seen):
            return READY if guards.on("back-target-gone") else DONE
        if seen.state is DomainState.RUNNING:
            return ran_there(order)
        return wrong(f"{order.domain} is {seen.state.value} on {order.target.name} and may have run there")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        seen = look.copy(views.target, order)
        return (Action(Side.TARGET, (xl.destroy(seen.name if seen else order.domain),)),)


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


def _keeps(order: Order, progress: Progress) -> bool:
    """Whether the target's volumes stay for another mirror: not if somebody wants none there."""
    asked = progress.reason in (Reason.PLACEMENT_CHANGED, Reason.ABORTED)
    return order.policy.keep_mirror and (order.standby or order.seeded) and not asked


class TargetCleaned(Step):
    """The target keeps nothing that this move made; volumes of any other origin are never touched.

    What it holds of a mirror that failed is kept for the next one, if a mirror is still wanted there.
    """

    name = "back-target-cleaned"
    phase = Phase.BACK
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        asked = (
            xl.DOMAINS,
            lvm.VOLUMES,
            files.LINKS,
            files.IMAGES,
            files.RESOURCE_FILES,
            files.UNFINISHED,
            files.text_of(order.config_path),
        )
        return {Side.TARGET: (*asked, dm.TABLES, dm.LOADED) if order.streams else asked}

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
        if drop := [*drop, *unfinished(order, view)]:
            commands += [files.remove(*drop), files.sync_folder("/etc/xen")]
        folder = look.images_folder(order) + "/"
        if any(path.startswith(folder) for path in view.get(files.IMAGES)):
            commands += remove_images(order)
        kept = _keeps(order, progress)
        if order.streams:
            commands += stream.reopened(order, view) if kept else ()
            commands += stream.remove_lower(order, view)
        for disk in order.disks:
            for name in (disk.volume, disk.metadata):
                found = look.volume(view, disk.target_group, name)
                if found is None or order.tag not in found.tags:
                    continue
                if kept and name == disk.volume:
                    commands.append(lvm.other_tag(disk.target_group, name, order.tag, order.kept_tag))
                else:
                    commands.append(lvm.remove(disk.target_group, name))
        return tuple(commands)

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.copy(views.target, order)
        if seen is not None:
            return wrong(
                f"{seen.name} is {seen.state.value} on {order.target.name}; nothing is removed there"
            )
        return READY if self._commands(order, progress, views) else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = list(self._commands(order, progress, views))
        if progress.unsure:
            commands.append(files.sync_folder("/etc/xen"))
        if progress.unsure or any(command.argv[0].startswith("lv") for command in commands):
            commands += lvm.flush(*(disk.target_group for disk in order.disks))
        return (Action(Side.TARGET, (files.SETTLE, *commands)),)
