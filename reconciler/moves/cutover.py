"""Cutover by store: save, ship, quiesce, DRBD down at the target, restore there, and the one GO.

Up to GO the source is the authority and going back is safe. GO is the unpause on the target: its
intent is durable before it is sent, and from then on only the target's own word decides.
"""

from __future__ import annotations

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainState, Role
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves import look
from reconciler.moves.common import MIB, Flip, RestorePaused, Suspend
from reconciler.moves.step import DONE, READY, Action, Looks, Mark, Step, Verdict, Views, wait, wrong

GO = "go"
TARGET_RESTORE = "target-restore"


class Ready(Step):
    """Nothing stands against stopping the domain now: in step, and the target has room for it."""

    name = "cutover-ready"
    phase = Phase.CUTOVER

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {
            Side.SOURCE: (drbd.RESOURCES, xl.DOMAINS, xl.VBDS),
            Side.TARGET: (drbd.RESOURCES, xl.DOMAINS, xl.INFO, files.SPACE),
        }

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.source, order)
        source, target = look.resource(views.source, order), look.resource(views.target, order)
        if seen is None or not look.on_drbd(views.source, order, seen):
            return wrong(f"{order.domain} does not run on DRBD on {order.host(Side.SOURCE).name}")
        for other in views.target.get(xl.DOMAINS):
            if other.name.startswith(order.domain) and other.name.removeprefix(order.domain) in (
                "",
                "--incoming",
                "--migratedaway",
            ):
                return wrong(f"{order.target.name} already has a domain {other.name}")
        if (
            source is None
            or target is None
            or not (look.in_step(source, order) and look.in_step(target, order))
        ):
            return wait(f"not in step; source: {look.describe(source)}; target: {look.describe(target)}")
        free = views.target.get(xl.INFO).free_memory_mb - order.target.reserve_memory_mb
        if free < order.memory_mb:
            return wrong(f"{order.target.name} has {free} MiB free, {order.domain} needs {order.memory_mb}")
        if views.target.get(files.SPACE) < order.memory_mb * MIB + 64 * MIB:
            return wrong(
                f"{order.target.name} has no room below {files.STATE} for the image of {order.domain}"
            )
        return DONE

    def deadline_s(self, order: Order) -> float:
        return order.policy.sync_deadline_s


class SourceAutostartOff(Step):
    """The source will not start the domain by itself after a reboot."""

    name = "source-autostart-off"
    phase = Phase.CUTOVER

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (files.CONFIG_FILES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        return READY if order.auto_path in views.source.get(files.CONFIG_FILES).autostart else DONE

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (files.remove(order.auto_path), files.sync_folder(files.AUTO_DIR))),)


class Ship(Step):
    """The whole image is on the target, under its final name, as long as the source's."""

    name = "ship"
    phase = Phase.CUTOVER

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (files.IMAGES,), Side.TARGET: (files.IMAGES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        size = look.image_size(views.source, order, look.CUTOVER_IMAGE)
        if size == 0:
            return wrong(f"the image of {order.domain} is not on {order.host(Side.SOURCE).name}")
        return DONE if look.image_size(views.target, order, look.CUTOVER_IMAGE) == size else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        image = look.image(order, look.CUTOVER_IMAGE)
        copy = files.copy_to(
            image,
            order.target.user,
            order.target.replication_address,
            f"{image}.part",
            order.policy.ship_timeout_s,
        )
        move = Command(("mv", "-T", f"{image}.part", image))
        return (
            Action(Side.TARGET, (files.make_private_folder(look.images_folder(order)),)),
            Action(Side.SOURCE, (copy,)),
            Action(Side.TARGET, (move,)),
        )


class Demote(Step):
    """The source no longer writes: both sides Secondary, in step, nothing in flight."""

    name = "source-demote"
    phase = Phase.CUTOVER
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (drbd.RESOURCES, xl.DOMAINS), Side.TARGET: (drbd.RESOURCES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if look.domain(views.source, order) is not None:
            return wrong(f"{order.domain} is still on {order.host(Side.SOURCE).name}")
        return gate(order, views)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (drbd.secondary(order.resource),)),)


def gate(order: Order, views: Views) -> Verdict:
    """DONE once both sides are quiet; READY while the source only has to be demoted for that."""
    source, target = look.resource(views.source, order), look.resource(views.target, order)
    both = f"source: {look.describe(source)}; target: {look.describe(target)}"
    if source is None or target is None:
        return wrong(both)
    if look.quiet(source, order) and look.quiet(target, order):
        return DONE
    if source.role is Role.PRIMARY and look.in_step(source, order) and look.in_step(target, order):
        return READY
    return wait(both)


class TargetDown(Step):
    """DRBD is gone from the target, taken down while both sides were quiet; its volumes hold every write."""

    name = "target-drbd-down"
    phase = Phase.CUTOVER
    max_attempts = 3
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (drbd.RESOURCES,), Side.TARGET: (drbd.RESOURCES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        target = look.resource(views.target, order)
        if target is None:
            if self.name in progress.tried:
                return DONE
            return wrong(f"{order.target.name}: {order.resource} is gone though nobody took it down")
        # The second look at the gate: the first was the demotion's own.
        verdict = gate(order, views)
        if verdict is DONE:
            return READY
        if (
            self.name in progress.tried
            and look.disks_up_to_date(target, order)
            and target.role is Role.SECONDARY
        ):
            return READY  # an earlier, unanswered «down» has already cut the connection
        return wrong(verdict.why) if verdict is READY else verdict

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, (files.SETTLE, drbd.down(order.resource))),)


class Go(Step):
    """The domain runs on the target, on its own volumes. This is the commit point."""

    name = GO
    phase = Phase.CUTOVER
    fresh = True
    freeze_ends = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {
            Side.SOURCE: (xl.DOMAINS, drbd.RESOURCES),
            Side.TARGET: (xl.DOMAINS, xl.VBDS, lvm.VOLUMES),
        }

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.target, order)
        if seen is not None and seen.state is DomainState.RUNNING:
            if views.by_side[Side.SOURCE].knows(xl.DOMAINS):
                still = look.domain(views.source, order)
                if still is not None and still.state is DomainState.RUNNING:
                    return Verdict(Mark.WRONG, f"{order.domain} runs on both hosts", two_runners=True)
            return DONE
        if seen is None:
            return wrong(f"{order.domain} is not on {order.target.name} any more")
        if seen.state is not DomainState.PAUSED:
            return wrong(f"{order.domain} is {seen.state.value} on {order.target.name}")
        never_ran = seen.cpu_s == 0.0
        if look.domain(views.source, order) is not None:
            return Verdict(Mark.WRONG, f"{order.domain} is on the source as well", never_ran=never_ran)
        source = look.resource(views.source, order)
        if source is not None and source.role is not Role.SECONDARY:
            return Verdict(Mark.WRONG, f"the source is {look.describe(source)}", never_ran=never_ran)
        if not look.on_volumes(views.target, order, Side.TARGET, seen):
            devices = look.devices_text(views.target, seen)
            text = f"{order.domain} on {order.target.name} has other devices open: {devices}"
            return Verdict(Mark.WRONG, text, never_ran=never_ran)
        return Verdict(Mark.READY, never_ran=never_ran)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, (xl.unpause(order.domain),)),)


STEPS: tuple[Step, ...] = (
    Ready(),
    SourceAutostartOff(),
    Suspend("cutover-suspend", Phase.CUTOVER, look.CUTOVER_IMAGE),
    Ship(),
    Demote(),
    TargetDown(),
    Flip("target-flip", Phase.CUTOVER, Side.TARGET, to_drbd=False),
    RestorePaused(TARGET_RESTORE, Phase.CUTOVER, Side.TARGET, look.CUTOVER_IMAGE, on_drbd=False),
    Go(),
)
