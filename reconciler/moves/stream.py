"""Cutover by stream or live: the guest's memory goes straight into a paused copy on the target.

By stream the guest is suspended first; live, most of its memory goes while it runs, and it is suspended for
what it has changed meanwhile. In the end both copies are paused, and the source's is the authority: going
back only lets it run again. The target's copy opens its volumes, which fail every request until DRBD has
changed sides. By stream that comes after; live, it comes about while they are being opened:

    paused copy -> /dev/VG/NAME -> stand-in        DRBD -> lower -> extents

Then the source's volumes get a table that fails every request, which drains what the guest had under way;
DRBD is demoted there, proven quiet on both sides and taken down at the target, whose volumes get their
extents back. GO lets the target's copy run. A copy on the source that somebody lets run after that can
write nothing.
"""

from __future__ import annotations

from reconciler.commands import dm, drbd, files, xl
from reconciler.model.command import Command
from reconciler.model.facts import DomainSeen, DomainState, Role, View
from reconciler.model.move import MoveDisk, Order, Phase, Progress, Side
from reconciler.model.placement import Compression
from reconciler.moves import guards, look, pivot
from reconciler.moves.step import DONE, READY, Action, Looks, Mark, Step, Verdict, Views, wait, wrong

STREAM = "cutover-stream"
LIVE = "cutover-live"


def extents(disk: MoveDisk, view: View) -> dm.Lines:
    """Where the target's volume lies, as the lower device tells, or the volume; nothing if neither does."""
    tables = view.get(dm.TABLES)
    for name in (disk.lower_name(Side.TARGET), disk.mapped(Side.TARGET)):
        lines = tables.get(name, ())
        if dm.plain(lines) and dm.covers(lines, dm.length(lines)) and dm.length(lines) >= disk.size_bytes:
            return lines
    return ()


def stand_in(disk: MoveDisk, view: View) -> dm.Lines:
    """What the target's volume stands on while DRBD has its extents; nothing if that cannot be told.

    The end of its metadata's volume is what DRBD never uses (drbd.metadata_bytes).
    """
    lines = extents(disk, view)
    place = dm.last_place(view.get(dm.TABLES).get(disk.mapped_metadata(Side.TARGET), ()))
    return dm.stand_in(dm.length(lines), place) if lines and place else ()


def shut(disk: MoveDisk, view: View) -> bool:
    """Whether whoever opens the target's volume can neither read nor write what is in it."""
    lines = stand_in(disk, view)
    return bool(lines) and view.get(dm.TABLES).get(disk.mapped(Side.TARGET)) == lines


class TargetLower(Step):
    """On the target DRBD will stand on lower devices; the volumes over their extents fail every request."""

    name = "target-lower"
    phase = Phase.MIRROR

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (dm.TABLES,)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view, tables = views.target, views.target.get(dm.TABLES)
        for disk in order.disks:
            lower, own = disk.lower_name(Side.TARGET), tables.get(disk.mapped(Side.TARGET))
            if not extents(disk, view) or not (shut(disk, view) or own == extents(disk, view)):
                return wrong(pivot.over(disk, view, Side.TARGET))
            if lower in tables and tables[lower] != extents(disk, view):
                return wrong(f"{view.host}: {disk.lower(Side.TARGET)} is there and stands on something else")
            if not stand_in(disk, view):
                return wrong(f"{view.host}: {disk.metadata_path(Side.TARGET)} does not end in one place")
        done = all(disk.lower_name(Side.TARGET) in tables and shut(disk, view) for disk in order.disks)
        return DONE if done else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        view = views.target
        commands: list[Command] = []
        for disk in order.disks:
            if disk.lower_name(Side.TARGET) not in view.get(dm.TABLES):
                commands.append(dm.create(disk.lower_name(Side.TARGET), extents(disk, view)))
            if not shut(disk, view):
                commands += dm.swap(disk.mapped(Side.TARGET), stand_in(disk, view))
        return (Action(Side.TARGET, tuple(commands)),)


class TargetTables(Step):
    """What the target's volumes will stand on is loaded beside what stands in for it.

    Putting it in its place then takes one command for all of them, while the domain stands still.
    """

    name = "target-tables"
    phase = Phase.CUTOVER

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (dm.TABLES, dm.LOADED)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        for disk in order.disks:
            if not shut(disk, views.target):
                return wrong(pivot.over(disk, views.target, Side.TARGET))
        return READY if self._missing(order, views.target) else DONE

    def _missing(self, order: Order, view: View) -> tuple[Command, ...]:
        loaded = view.get(dm.LOADED)
        wanted = {disk.mapped(Side.TARGET): extents(disk, view) for disk in order.disks}
        return tuple(dm.load(name, lines) for name, lines in wanted.items() if loaded.get(name) != lines)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, self._missing(order, views.target)),)


class Stream(Step):
    """The domain is paused on both sides, with the same memory; the target's copy has never run."""

    name = STREAM
    phase = Phase.CUTOVER
    max_attempts = 1
    fresh = True
    freeze_begins = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {
            Side.SOURCE: (files.lock_of(order.domain), files.BOOT_ID, xl.DOMAINS, xl.CONFIGS),
            Side.TARGET: (files.BOOT_ID, xl.DOMAINS, xl.VBDS, dm.TABLES, dm.NUMBERS),
        }

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        for side in self.looks(order, progress):
            if not guards.passed("image-this-boot", look.same_boot(views[side], order, side)):
                return wrong(look.rebooted_text(order, side))
        here = look.domain(views.source, order)
        where = f"{order.domain} on {views.source.host}"
        if here is None:
            return wrong(f"{where} is not there any more")
        match here.state:
            case DomainState.RUNNING:
                return self._before(order, progress, views, here)
            case DomainState.PAUSED if self.name in progress.tried:
                return self._after(order, progress, views)
            case DomainState.SHUTDOWN | DomainState.DYING:
                return wait(f"{where} is {here.state.value}")
        return wrong(f"{where} is {here.state.value}; only a running domain is suspended")

    def _before(self, order: Order, progress: Progress, views: Views, here: DomainSeen) -> Verdict:
        if self.name in progress.tried and views.source.get(files.lock_of(order.domain)):
            return on_its_way(order)
        if look.copy(views.target, order) is not None:
            return wrong(
                f"{order.domain} runs on {views.source.host}, and {views.target.host} has a copy of it"
            )
        for disk in order.disks:
            if not shut(disk, views.target):
                return wrong(pivot.over(disk, views.target, Side.TARGET))
        if used := look.in_use(views.target, order, Side.TARGET, None):
            return wrong(used)
        swollen = look.swollen(views.source, here)
        return READY if guards.passed("restorable", not swollen) else wrong(swollen)

    def _after(self, order: Order, progress: Progress, views: Views) -> Verdict:
        """A copy whose disks are open has its memory: xl adds them last.

        The stream may run on though its answer was lost or the daemon started anew: then nothing is judged.
        """
        if views.source.get(files.lock_of(order.domain)):
            return on_its_way(order)
        there = look.domain(views.target, order)
        if there is None:
            return wrong(f"{order.target.name} did not take the memory of {order.domain}")
        if there.state is not DomainState.PAUSED:
            return wrong(f"{order.domain} is {there.state.value} on {order.target.name}")
        if guards.passed("devices-proven", look.on_volumes(views.target, order, Side.TARGET, there)):
            return DONE
        devices = look.devices_text(views.target, there)
        return wrong(f"{order.domain} on {order.target.name} has other devices open: {devices}")

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        target, policy = order.target, order.policy
        send = xl.stream(
            order.domain,
            target.user,
            target.replication_address,
            self.deadline_s(order),
            compressed=policy.compression is Compression.ZSTD,
            transport=policy.transport,
        )
        return (Action(Side.SOURCE, (send,)),)

    def deadline_s(self, order: Order) -> float:
        return order.policy.suspend_timeout_s + order.policy.ship_timeout_s


class Live(Stream):
    """The domain, which ran while most of its memory was sent, is paused; nothing can write on the source.

    Its copy may still be without disks: to open them takes long, and what there is to do goes on meanwhile.
    """

    name = LIVE

    def looks(self, order: Order, progress: Progress) -> Looks:
        if self._answered(progress):
            lock = files.lock_of(order.domain)
            return {Side.SOURCE: (lock, files.BOOT_ID, xl.DOMAINS, dm.TABLES, drbd.RESOURCES)}
        both = super().looks(order, progress)
        return {**both, Side.SOURCE: (*both[Side.SOURCE], dm.TABLES, drbd.RESOURCES)}

    def _answered(self, progress: Progress) -> bool:
        """Whether the command is known to have ended well, or to be as good as over.

        Then the target has better to do than to tell what it has: the domain stands still until it has opened
        the disks. Whether the copy is there, and is the right one, is asked before it is started.
        """
        return self.name in progress.tried and progress.answered

    def _before(self, order: Order, progress: Progress, views: Views, here: DomainSeen) -> Verdict:
        if self._answered(progress):
            return wrong(f"{order.domain} was suspended on {views.source.host} and runs there again")
        return super()._before(order, progress, views, here)

    def _after(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not views.source.get(files.lock_of(order.domain)):
            return DONE if self._answered(progress) else super()._after(order, progress, views)
        return DONE if _at_rest(order, views.source) else on_its_way(order)

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        target, limit_s = order.target, self.deadline_s(order)
        send = xl.migrate(
            order.domain,
            target.user,
            target.replication_address,
            limit_s,
            at_rest(order),
            disks=[disk.link for disk in order.disks],
            transport=order.policy.transport,
        )
        return (Action(Side.SOURCE, (send,)),)


def at_rest(order: Order) -> tuple[xl.Then, ...]:
    """What lets nothing write on the source any more.

    If a volume stands on anything else than DRBD all stay as they are: that is what shows that the guest may
    have written beside DRBD.
    """
    then: list[xl.Then] = []
    for disk in order.disks:
        lines = dm.over_drbd(disk.size_bytes, disk.minor)
        expected = dm.text(lines) if guards.on("on-drbd-live") else None
        then.append((dm.table_of(disk.mapped(Side.SOURCE)), expected))
    volumes = {disk.mapped(Side.SOURCE): dm.failing(disk.size_bytes) for disk in order.disks}
    then += [(dm.load(name, lines), None) for name, lines in volumes.items()]
    return (*then, (dm.resume(*volumes), None), (drbd.secondary(order.resource), None))


def _at_rest(order: Order, view: View) -> bool:
    """Whether `at_rest` has come about."""
    found = look.resource(view, order)
    return pivot.is_cut_off(order, view) and found is not None and found.role is Role.SECONDARY


class Received(Step):
    """The memory's way to the target has ended: the domain's copy has its disks open, or will never have."""

    name = "target-received"
    phase = Phase.CUTOVER
    fresh = True

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (files.lock_after(order.domain),)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if views.source.get(files.lock_after(order.domain)):
            return wait(f"{order.target.name} still opens the disks of {order.domain}")
        return DONE

    def deadline_s(self, order: Order) -> float:
        return order.policy.suspend_timeout_s


def on_its_way(order: Order) -> Verdict:
    return wait(f"the memory of {order.domain} is on its way to {order.target.name}")


def opening(order: Order, view: View) -> tuple[Command, ...]:
    """Loads the tables of the target's volumes that are on something else than their extents."""
    tables, loads = view.get(dm.TABLES), list[Command]()
    for disk in order.disks:
        name, lines = disk.mapped(Side.TARGET), extents(disk, view)
        if lines and tables.get(name) != lines:
            loads.append(dm.load(name, lines))
    return tuple(loads)


def opened(order: Order) -> Command:
    """Puts the target's volumes on the tables that are loaded."""
    return dm.resume(*(disk.mapped(Side.TARGET) for disk in order.disks))


def reopened(order: Order, view: View) -> tuple[Command, ...]:
    """What leaves the target's volumes on their extents, with nothing else loaded, whatever was begun."""
    tables, loaded = view.get(dm.TABLES), view.get(dm.LOADED)
    names = (disk.mapped(Side.TARGET) for disk in order.disks if extents(disk, view))
    clear = [dm.clear(name) for name in names if loaded.get(name) and dm.plain(tables.get(name, ()))]
    loads = opening(order, view)
    return (*clear, *loads, opened(order)) if loads else tuple(clear)


class TargetOpen(Step):
    """The target's volumes are their extents again, which hold every write; none of them waits."""

    name = "target-open"
    phase = Phase.CUTOVER
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.TARGET: (drbd.RESOURCES, dm.TABLES, dm.SUSPENDED)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        view = views.target
        if look.resource(view, order) is not None:
            return wrong(f"{view.host}: DRBD still stands on the volumes of {order.domain}")
        for disk in order.disks:
            if not extents(disk, view):
                return wrong(pivot.over(disk, view, Side.TARGET))
        return READY if self._commands(order, view) else DONE

    def _commands(self, order: Order, view: View) -> tuple[Command, ...]:
        waits = any(disk.mapped(Side.TARGET) in view.get(dm.SUSPENDED) for disk in order.disks)
        loads = opening(order, view)
        return (*loads, opened(order)) if loads or waits else ()

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.TARGET, self._commands(order, views.target)),)


def remove_lower(order: Order, view: View) -> tuple[Command, ...]:
    """The target's lower devices that are still there."""
    names = [disk.lower_name(Side.TARGET) for disk in order.disks]
    return tuple(dm.remove(name) for name in names if name in view.get(dm.TABLES))


def closed(order: Order, view: View) -> str:
    """The target's volume that does not lead to extents; empty when all do."""
    for disk in order.disks:
        lines = view.get(dm.TABLES).get(disk.mapped(Side.TARGET), ())
        whole = dm.covers(lines, dm.length(lines)) and dm.length(lines) >= disk.size_bytes
        if not (dm.plain(lines) and whole):
            return pivot.over(disk, view, Side.TARGET)
    return ""


def harmless(order: Order, view: View, still: DomainSeen) -> bool:
    """Whether what is left on the source is the paused copy, over volumes that it cannot write."""
    if not order.streams or still.state is not DomainState.PAUSED:
        return False
    return guards.passed("cut-off", pivot.is_cut_off(order, view))


class SourceDestroyed(Step):
    """The source's paused copy is gone; only once the target's is seen running on its own volumes."""

    name = "source-destroyed"
    phase = Phase.SETTLE
    max_attempts = 3

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {Side.SOURCE: (xl.DOMAINS,), Side.TARGET: (xl.DOMAINS, xl.VBDS, dm.NUMBERS)}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        still, seen = look.domain(views.source, order), look.domain(views.target, order)
        if still is None:
            return DONE
        running = seen is not None and seen.state is DomainState.RUNNING
        if still.state is DomainState.RUNNING:
            where = "as well" if running else f"again, and not on {views.target.host}"
            text = f"{order.domain} is running on {views.source.host} {where}"
            return Verdict(Mark.WRONG, text, two_runners=running)
        if still.state is not DomainState.PAUSED:
            return wait(f"{order.domain} is {still.state.value} on {views.source.host}")
        settled = seen is not None and running and look.on_volumes(views.target, order, Side.TARGET, seen)
        if not guards.passed("settled", settled):
            return wrong(f"{order.domain} is not seen running on its own volumes on {order.target.name}")
        return READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(Side.SOURCE, (xl.destroy(order.domain),)),)
