"""Cutover by store: save, ship, quiesce, DRBD down at the target, restore there, and the one GO.

Up to GO the source is the authority and going back is safe. GO is the unpause on the target: its
intent is durable before it is sent, and from then on only the target's own word decides.
"""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainSeen, DomainState, Role, View
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.model.names import whole
from reconciler.moves import guards, look, pivot, stream
from reconciler.moves.common import MIB, Flip, RestorePaused, Suspend, start_afresh
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

GO = "go"
AUTOSTART_OFF = "source-autostart-off"
CUTOVER_SUSPEND = "cutover-suspend"
TARGET_RESTORE = "target-restore"
_STOPPED = (DomainState.SHUTDOWN, DomainState.CRASHED)
COPIES = frozenset({TARGET_RESTORE, stream.STREAM, stream.LIVE})
"""Steps that make the target's copy: before they were tried there is none."""


def stops(order: Order) -> str:
    """The step of the cutover in which the domain is suspended."""
    if order.streams:
        return stream.LIVE if order.live else stream.STREAM
    return CUTOVER_SUSPEND


class Ready(Step):
    """Nothing stands against stopping the domain now: in step, and the target has room for it."""

    name = "cutover-ready"
    phase = Phase.CUTOVER
    gated = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        through = (lvm.VOLUMES, dm.NUMBERS, dm.TABLES) if order.pivots else ()
        room = () if order.streams else (files.SPACE,)
        configured = (files.text_of(order.config_path), files.CONFIG_FILES)
        return {
            Side.SOURCE: (files.BOOT_ID, drbd.RESOURCES, xl.DOMAINS, xl.VBDS, *through, *configured),
            Side.TARGET: (files.BOOT_ID, drbd.RESOURCES, xl.DOMAINS, xl.INFO, *room),
        }

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        for side in order.sides:
            if not guards.passed("image-this-boot", look.same_boot(views[side], order, side)):
                return wrong(look.rebooted_text(order, side))
        seen = look.domain(views.source, order)
        source, target = look.resource(views.source, order), look.resource(views.target, order)
        if seen is None or not _through_drbd(order, views.source, seen):
            return wrong(f"{order.domain} does not run on DRBD on {order.host(Side.SOURCE).name}")
        if order.pivots and (beside := pivot.not_on_drbd(order, views.source)):
            return wrong(beside)
        if order.pivots and (resized := look.resized(views.source, order, Side.SOURCE)):
            return wrong(resized)
        for other in views.target.get(xl.DOMAINS):
            if whole(other.name) == order.domain:
                return wrong(f"{order.target.name} already has a domain {other.name}")
        if source is None or target is None:
            return wrong(f"source: {look.describe(source)}; target: {look.describe(target)}")
        if look.disk_lost(source):
            return in_doubt(
                f"a disk of {order.domain} on {views.source.host} has failed: {look.describe(source)}"
            )
        if not (look.in_step(source, order) and look.in_step(target, order)):
            return wait(f"not in step; source: {look.describe(source)}; target: {look.describe(target)}")
        if edited := _edited(order, progress, views.source):
            return wrong(f"{edited} since this was planned, so that it has to be planned anew")
        if order.standby:
            return DONE
        free = views.target.get(xl.INFO).free_memory_mb - order.target.reserve_memory_mb
        if free < seen.memory_mb:
            return wrong(f"{order.target.name} has {free} MiB free, {order.domain} needs {seen.memory_mb}")
        if not order.streams and views.target.get(files.SPACE) < order.memory_mb * MIB + 64 * MIB:
            return wrong(
                f"{order.target.name} has no room below {files.STATE} for the image of {order.domain}"
            )
        return DONE

    def deadline_s(self, order: Order) -> float:
        return order.policy.sync_deadline_s


def _edited(order: Order, progress: Progress, view: View) -> str:
    """What somebody has changed on the source that the target would not have; empty when nothing."""
    if view.get(files.text_of(order.config_path)) != order.config_text:
        return f"{order.config_path} on {view.host} was edited"
    starts = order.auto_path in view.get(files.CONFIG_FILES).autostart
    if starts != order.autostart and AUTOSTART_OFF not in progress.tried:
        return f"{order.auto_path} on {view.host} was {'made' if starts else 'removed'}"
    return ""


def _through_drbd(order: Order, view: View, seen: DomainSeen) -> bool:
    """Whether the domain has those devices open that lead to DRBD."""
    if order.pivots:
        return look.on_volumes(view, order, Side.SOURCE, seen)
    return look.on_drbd(view, order, seen)


class SourceAutostartOff(Step):
    """The source will not start the domain by itself after a reboot."""

    name = AUTOSTART_OFF
    phase = Phase.CUTOVER
    lasting = True

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
        return {Side.SOURCE: (files.IMAGES, files.BOOT_ID), Side.TARGET: (files.IMAGES, files.BOOT_ID)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        for side in order.sides:
            if not guards.passed("image-this-boot", look.same_boot(views[side], order, side)):
                return wrong(look.rebooted_text(order, side))
        size = look.image_size(views.source, order, look.CUTOVER_IMAGE)
        if size == 0:
            return wrong(f"the image of {order.domain} is not on {order.host(Side.SOURCE).name}")
        arrived = look.image_size(views.target, order, look.CUTOVER_IMAGE)
        return DONE if arrived == size else READY

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
        over = (dm.TABLES,) if order.pivots else ()
        return {Side.SOURCE: (drbd.RESOURCES, xl.DOMAINS, *over), Side.TARGET: (drbd.RESOURCES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        still = look.domain(views.source, order)
        if still is not None and not (order.streams and still.state is DomainState.PAUSED):
            return wrong(f"{order.domain} is still on {order.host(Side.SOURCE).name}")
        if order.pivots and (beside := pivot.not_on_drbd(order, views.source)):
            return wrong(beside)
        return gate(order, views)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        cut = pivot.cut_off(order, views.source) if order.pivots else ()
        return (Action(Side.SOURCE, (*cut, drbd.secondary(order.resource))),)


def gate(order: Order, views: Views) -> Verdict:
    """DONE once both sides are quiet; READY while the source only has to be demoted for that."""
    source, target = look.resource(views.source, order), look.resource(views.target, order)
    both = f"source: {look.describe(source)}; target: {look.describe(target)}"
    if source is None or target is None:
        return wrong(both)
    quiet = look.quiet(source, order) and look.quiet(target, order)
    if guards.passed("gate", quiet):
        return DONE
    if source.role is Role.PRIMARY and look.in_step(source, order) and look.in_step(target, order):
        return READY
    return wait(both)


class TargetDown(Step):
    """DRBD is gone from the target, taken down while both sides were quiet; its volumes hold every write.

    Live and by stream their extents are put back under them in the same round trip.
    """

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
        if verdict is READY:
            source = look.describe(look.resource(views.source, order))
            return wrong(f"{order.host(Side.SOURCE).name} can write again: {source}")
        return verdict

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        opened = (stream.opened(order),) if order.streams else ()
        # Nobody can have a Secondary open, not even udev: to wait for it is for a second try, out of caution.
        settled = (files.SETTLE,) if progress.attempts > 1 else ()
        return (Action(Side.TARGET, (*settled, drbd.down_at_once(order.resource), *opened)),)


class Go(Step):
    """The domain runs on the target, on its own volumes. This is the commit point.

    Once it was tried, a target that has rebooted since stays the authority: its volumes hold every write
    there ever was. So the domain is started there from its configuration, as after any other reboot, if
    it is one that starts with its host.
    """

    name = GO
    phase = Phase.CUTOVER
    fresh = True
    freeze_ends = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        tables = (dm.TABLES,) if order.streams else ()
        return {
            Side.SOURCE: (xl.DOMAINS, drbd.RESOURCES, *tables),
            Side.TARGET: (files.BOOT_ID, xl.DOMAINS, xl.VBDS, dm.NUMBERS, *tables),
        }

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        seen = look.domain(views.target, order)
        same_boot = look.same_boot(views.target, order, Side.TARGET)
        if seen is not None and seen.state is DomainState.RUNNING:
            return both_run(order, views) or DONE
        if GO in progress.tried and same_boot and self._ran(progress, seen):
            trouble = source_in_the_way(order, views)
            return wrong(trouble) if trouble else DONE
        if seen is None:
            trouble = self._gone(order, progress, same_boot) or source_in_the_way(order, views)
            return wrong(trouble) if trouble else READY
        if seen.state is not DomainState.PAUSED:
            return wrong(f"{order.domain} is {seen.state.value} on {order.target.name}")
        trouble = source_in_the_way(order, views) or target_devices(order, views, seen)
        never_ran = same_boot and look.never_ran(views.target, seen)
        return Verdict(Mark.WRONG if trouble else Mark.READY, trouble, never_ran=never_ran)

    def _ran(self, progress: Progress, seen: DomainSeen | None) -> bool:
        """Whether one that does not run there has, and stopped at once: its disks there are the right ones.

        One that is gone has if the command said that it did what it is for.
        """
        return progress.answered if seen is None else seen.state in _STOPPED

    def _gone(self, order: Order, progress: Progress, same_boot: bool) -> str:
        """Why a domain that is not on the target is not started there from its configuration."""
        where = f"{order.domain} is not on {order.target.name} any more"
        if GO not in progress.tried:
            return where
        if same_boot:
            return f"{where} though that host has not rebooted; whether it ran there is not known"
        if not order.autostart or order.config_text is None:
            return f"{where}: that host has rebooted, and the domain is not one that starts with its host"
        return ""

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        if look.domain(views.target, order) is None:
            return (Action(Side.TARGET, start_afresh(order)),)
        return (Action(Side.TARGET, (xl.unpause(order.domain),)),)


def both_run(order: Order, views: Views) -> Verdict | None:
    """An alarm when the domain, seen running on the target, is seen running on the source too."""
    if not views.by_side[Side.SOURCE].knows(xl.DOMAINS):
        return None
    still = look.domain(views.source, order)
    if still is None or still.state is not DomainState.RUNNING:
        return None
    return Verdict(Mark.WRONG, f"{order.domain} runs on both hosts", two_runners=True)


def source_in_the_way(order: Order, views: Views) -> str:
    """Why the domain must not be started on the target, as the source shows it; empty when nothing is."""
    source = look.resource(views.source, order)
    still = look.domain(views.source, order)
    if still is not None and not stream.harmless(order, views.source, still):
        return f"{order.domain} is on {views.source.host} as well"
    if not guards.passed("go-source-secondary", source is None or source.role is Role.SECONDARY):
        return f"{views.source.host} could still write: {look.describe(source)}"
    return ""


def target_devices(order: Order, views: Views, seen: DomainSeen) -> str:
    """Why the paused copy's disks are not those it must have; empty when they are."""
    if order.streams and (closed := stream.closed(order, views.target)):
        return closed
    if used := look.in_use(views.target, order, Side.TARGET, seen):
        return used
    if guards.passed("devices-proven", look.on_volumes(views.target, order, Side.TARGET, seen)):
        return ""
    devices = look.devices_text(views.target, seen)
    return f"{order.domain} on {order.target.name} has other devices open: {devices}"


STEPS: tuple[Step, ...] = (
    Ready(),
    SourceAutostartOff(),
    Suspend(CUTOVER_SUSPEND, Phase.CUTOVER, look.CUTOVER_IMAGE),
    Ship(),
    Demote(),
    TargetDown(),
    Flip("target-flip", Phase.CUTOVER, Side.TARGET, to_drbd=False),
    RestorePaused(TARGET_RESTORE, Phase.CUTOVER, Side.TARGET, look.CUTOVER_IMAGE, on_drbd=False),
    Go(),
)
_TO_STREAM: tuple[Step, ...] = (
    Ready(),
    SourceAutostartOff(),
    Flip("target-flip", Phase.CUTOVER, Side.TARGET, to_drbd=False),
    stream.TargetTables(),
)
_CHANGE_SIDES: tuple[Step, ...] = (Demote(), TargetDown(), stream.TargetOpen())
STREAM_STEPS: tuple[Step, ...] = (*_TO_STREAM, stream.Stream(), *_CHANGE_SIDES, Go())
LIVE_STEPS: tuple[Step, ...] = (*_TO_STREAM, stream.Live(), *_CHANGE_SIDES, stream.Received(), Go())
