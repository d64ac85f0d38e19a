"""Mirror: an equal volume, DRBD and a symlink of the same name on the target, then a full sync."""

from __future__ import annotations

from reconciler.commands import drbd, files
from reconciler.model.command import Command
from reconciler.model.facts import Connection, DiskState, DrbdResource, Replication, Role
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves import look, stream
from reconciler.moves.common import (
    CreateMetadataVolumes,
    WriteResourceFile,
    bring_up,
    flip_commands,
    lift_pause,
    resource_path,
    resource_text,
    text_of,
)
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

TARGET_UP = "target-drbd-up"
"""Once it was tried the two sides connect by themselves."""


SYNC = "sync"


class TargetUp(Step):
    """The target's resource is up over its fresh volumes and is Secondary."""

    name = TARGET_UP
    phase = Phase.MIRROR

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (drbd.RESOURCES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        found = look.resource(views.target, order)
        if found is None:
            return READY
        if found.role is not Role.SECONDARY:
            return wrong(f"{order.target.name}: {look.describe(found)}; the target must be Secondary")
        if any(v.disk is DiskState.ATTACHING for v in found.volumes):
            return wait(look.describe(found))
        if look.minors_match(found, order) and not any(v.disk is DiskState.DISKLESS for v in found.volumes):
            return DONE
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return bring_up(order, Side.TARGET, again=look.resource(views.target, order) is not None)


class TargetLinks(Step):
    """The same symlink names as on the source, pointing to DRBD: not startable while Secondary."""

    name = "target-links"
    phase = Phase.MIRROR
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.LINKS,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        for disk in order.disks:
            found = look.link_to(views.target, disk)
            if found not in (None, disk.drbd):
                return wrong(f"{order.target.name}: {disk.link} already points to {found}")
        if look.links_all(views.target, order, Side.TARGET, drbd_side=True):
            return DONE
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, flip_commands(order, views.target, Side.TARGET, to_drbd=True)),)


class TargetConfig(Step):
    """The domain's configuration file is on the target, without an autostart entry."""

    name = "target-config"
    phase = Phase.MIRROR
    lasting = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (files.text_of(order.config_path),)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if order.config_text is None:
            return DONE
        text = views.target.get(files.text_of(order.config_path))
        if text is None:
            return READY
        if text == order.config_text:
            return DONE
        return wrong(f"{order.target.name}: {order.config_path} already exists with other content")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        if order.config_text is None:
            return ()
        found = views.target.get(files.text_of(order.config_path))
        return (Action(Side.TARGET, files.keep(order.config_path, order.config_text, found)),)


class Connect(Step):
    """The two sides have found each other; the source knows the target's address."""

    name = "connect"
    phase = Phase.MIRROR
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (drbd.RESOURCES,), Side.TARGET: (drbd.RESOURCES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        source, target = look.resource(views.source, order), look.resource(views.target, order)
        if source is None or target is None:
            return wrong(f"source: {look.describe(source)}; target: {look.describe(target)}")
        if Connection.CONNECTED is source.connection is target.connection:
            return DONE
        if self.name not in progress.tried or Connection.STANDALONE in (source.connection, target.connection):
            return READY
        return wait(f"source: {look.describe(source)}; target: {look.describe(target)}")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        adjust = (drbd.adjust(order.resource),)
        return (Action(Side.SOURCE, adjust), Action(Side.TARGET, adjust))


OVERWRITTEN = (Replication.SYNC_TARGET, Replication.PAUSED_SYNC_T)


class Sync(Step):
    """Every block is on both sides; the source stays Primary, the target Secondary, throughout.

    Acting is for another rate only, as a commit or other moves may want it meanwhile; 0 pauses the sync.
    """

    name = SYNC
    phase = Phase.MIRROR
    patient = True
    max_attempts = 5

    def looks(self, order: Order, progress: Progress) -> Looks:
        return dict.fromkeys(order.sides, (drbd.RESOURCES, text_of(order)))

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        source, target = look.resource(views.source, order), look.resource(views.target, order)
        if source is None or target is None:
            return wrong(f"source: {look.describe(source)}; target: {look.describe(target)}")
        both = f"source: {look.describe(source)}; target: {look.describe(target)}"
        if look.disk_lost(source):
            return in_doubt(f"a disk of {order.domain} on {order.host(Side.SOURCE).name} has failed; {both}")
        if look.may_be_newer(target):
            return in_doubt(f"{order.target.name} may hold writes that the source lacks; {both}")
        if any(v.replication in OVERWRITTEN for v in source.volumes):
            return in_doubt(f"the source is being overwritten by the target; {both}")
        if Connection.STANDALONE in (source.connection, target.connection):
            return in_doubt(f"DRBD gave up the connection; {both}")
        if source.role is not Role.PRIMARY:
            return wrong(f"unexpected roles; {both}")
        if look.disk_lost(target):
            return wrong(f"a disk on {order.target.name} has failed; {both}")
        percent, told = sync_percent(source, order), look.describe(source)
        if look.in_step(source, order) and look.in_step(target, order):
            left = lift_pause(order, views.source)  # it would stop what a cut link makes necessary
            return Verdict(Mark.READY, f"{told}; its pause is to be lifted", percent) if left else DONE
        rate = order.policy.resync_rate_mb_s
        if self._commands(order, progress, views):
            said = f"its rate is to be {rate} MB a second" if rate else "it is to be paused"
            return Verdict(Mark.READY, f"{told}; {said}", sync_percent=percent)
        paused = all(v.paused_here for v in source.volumes if v.out_of_sync_kib)
        if rate == 0 and paused and Connection.CONNECTED is source.connection is target.connection:
            return Verdict(Mark.WAIT, f"paused, as the commit in force says; {told}", percent, at_rest=True)
        return wait(told, percent)

    def _commands(self, order: Order, progress: Progress, views: Views) -> dict[Side, tuple[Command, ...]]:
        """What each side lacks whose resource file is this move's but for the rate.

        One that says all may not be in force yet. To pause a sync one side's word is enough: the source's. A
        pause that somebody made by hand stays.
        """
        source, target = look.resource(views.source, order), look.resource(views.target, order)
        wanted, rate, query = resource_text(order), order.policy.resync_rate_mb_s, text_of(order)
        lift = lift_pause(order, views.source)
        if all(found is not None and look.in_step(found, order) for found in (source, target)):
            return {Side.SOURCE: lift}
        commands: dict[Side, tuple[Command, ...]] = {}
        for side in order.sides:
            text = views[side].get(query) if views[side].knows(query) else None
            if text is None or drbd.rateless(text) != drbd.rateless(wanted):
                continue
            volumes = source.volumes if side is Side.SOURCE and source is not None else ()
            if rate and side is Side.SOURCE and lift:
                commands[side] = lift
                continue  # the file says that it is the tool's pause until none is seen any more
            needed: tuple[Command, ...] = ()
            if text != wanted or progress.unsure:
                needed = files.write(resource_path(order), wanted)
                needed += tuple(drbd.set_rate(disk.minor, rate) for disk in order.disks)
            if not rate:
                going = [v for v in volumes if v.out_of_sync_kib and not v.paused_here]
                needed += tuple(drbd.pause_sync(v.minor) for v in going)
            if needed:
                commands[side] = needed
        return commands

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        commands = self._commands(order, progress, views)
        return tuple(Action(side, needed) for side, needed in commands.items())

    def deadline_s(self, order: Order) -> float:
        return order.policy.sync_deadline_s


def sync_percent(source: DrbdResource, order: Order) -> float:
    """Share of all bytes that both sides hold, 0 to 100."""
    total = sum(disk.size_bytes for disk in order.disks)
    missing = sum(v.out_of_sync_kib * 1024 for v in source.volumes)
    return round(max(0.0, 100.0 * (1 - missing / total)), 2)


VOLUMES = CreateMetadataVolumes("target-volumes", Phase.MIRROR, Side.TARGET, with_data=True)
_REST: tuple[Step, ...] = (
    WriteResourceFile("target-resource-file", Phase.MIRROR, Side.TARGET),
    WriteResourceFile("source-resource-file-again", Phase.MIRROR, Side.SOURCE),
    TargetUp(),
    TargetLinks(),
    TargetConfig(),
    Connect(),
    Sync(),
)
STEPS: tuple[Step, ...] = (VOLUMES, *_REST)
STREAM_STEPS: tuple[Step, ...] = (VOLUMES, stream.TargetLower(), *_REST)
