"""One pass: read the commit, look at the hosts, plan, start and advance journeys, write the report.

A pass starts from nothing but the repository, the hosts and the journal. Whatever woke it carries no
content, so a wake-up that is lost or doubled changes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from reconciler import __version__, mailbox, rewinds
from reconciler.background import Background
from reconciler.clock import Clock
from reconciler.commands import files
from reconciler.config import Config
from reconciler.desk import Desk
from reconciler.errors import SourceError, UnknownFact
from reconciler.execution.executor import Executor
from reconciler.model.command import Runner
from reconciler.model.facts import View
from reconciler.model.move import Kind, Order, Progress, Reason, Side, Status
from reconciler.model.placement import Desired, Host, Problem
from reconciler.model.plan import BEGUN, Item, Plan
from reconciler.moves import machine
from reconciler.moves.authority import may_rest, untouchable
from reconciler.moves.journal import EventKind, Journal, Record
from reconciler.observed.survey import ask, survey
from reconciler.planning import mirrors
from reconciler.planning.planner import plan
from reconciler.planning.predict import Rates
from reconciler.planning.rates import sync_rate_mb_s
from reconciler.planning.situation import Limits, Past, Situation
from reconciler.report.build import HISTORY, EventsOnce, Source, Standing, build
from reconciler.report.timings import sample
from reconciler.report.write import write
from reconciler.source import admission, git, load

LAST_GOOD = "last-good-commit"
ATTEND_S = 1.0
log = logging.getLogger("reconciler")


@dataclass(frozen=True)
class Intent:
    """What the repository asks for: the commit in force, and why a newer one is not."""

    desired: Desired | None
    head: str | None
    problems: tuple[Problem, ...] = ()
    trouble: str = ""


class Fleet(Runner, Protocol):
    """A runner that can be told which hosts there are."""

    def use(self, hosts: Mapping[str, Host]) -> None: ...


class Cycle:
    """What passes share: connections, journal, the last plan. Only `advance` changes anything on a host."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        fleet: Fleet,
        clock: Clock,
    ) -> None:
        self.config = config
        self.journal = journal
        self.clock = clock
        self.intent = Intent(None, None)
        self.plan: Plan | None = None
        self._fleet = fleet
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="host")
        self._movers = ThreadPoolExecutor(max(32, config.max_moves), thread_name_prefix="move")
        self._called: frozenset[str] = frozenset()
        self._events = EventsOnce(journal.events)
        self._reporter = Background(self._write_report)
        self._executor = Executor(fleet, journal, clock, self._pool, self._reporter.request)
        self._salt = os.urandom(16).hex()
        self.desk = Desk(journal, clock, mailbox.folder_of(config.state_dir))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._movers.shutdown(wait=True)
        self._reporter.close()

    def take_over(self) -> None:
        """What an earlier process left: stamps of its clock mean nothing to this one."""
        now = self.clock.now()
        self.journal.not_after(now)
        for record in self.journal.active():
            self.journal.record(record.order, machine.taken_over(record.progress, now), now)

    def _set_clock(self) -> None:
        """Follow the time of day, but only while no journey waits by it: a mirror in step does not."""
        off_s = self.clock.set_by_wall()
        if abs(off_s) > 1.0:
            log.warning("the time of day was set by %+.0f s", off_s)
            self.journal.not_after(self.clock.now())

    def meet(self) -> None:
        """Know the hosts of the journeys under way, without a look at any."""
        self._fleet.use(self._hosts(self.journal.active()))

    def read(self) -> Intent:
        """The commit at the ref; if it may not come into force or holds an error, the last good one stays."""
        config, in_force = self.config, self.journal.recall(LAST_GOOD)
        try:
            commit = git.resolve(config.repository, config.ref)
            refused = admission.refusal(
                config.repository,
                config.ref,
                commit,
                in_force,
                admission.noted(config.state_dir),
                config.signatures,
            )
            if refused is not None:
                return Intent(self._last_good(), commit, (refused,))
            if self.intent.desired is not None and self.intent.desired.commit == commit == in_force:
                return Intent(self.intent.desired, commit)  # a commit never changes
            loaded = load(config.repository, commit, config.folder)
        except SourceError as error:
            return Intent(self._last_good(), None, trouble=str(error))
        if loaded.desired is not None:
            if loaded.desired.commit != in_force:
                self.journal.remember(LAST_GOOD, loaded.desired.commit)
            return Intent(loaded.desired, loaded.desired.commit)
        return Intent(self._last_good(), loaded.commit, loaded.problems)

    def _last_good(self) -> Desired | None:
        commit = self.journal.recall(LAST_GOOD)
        if commit is None:
            return None
        if self.intent.desired is not None and self.intent.desired.commit == commit:
            return self.intent.desired
        try:
            return load(self.config.repository, commit, self.config.folder).desired
        except SourceError:
            return None

    def attend(self, only: str | None = None, driven: Collection[str] = ()) -> bool:
        """Answer what people have asked for; `driven` are domains whose journey other threads drive."""
        if not self.desk.calls(only):
            return False
        if self.intent.desired is None:
            self.intent = self.read()
        desired = self.intent.desired
        known = {*desired.domains, *desired.refused} if desired else None
        answered = self.desk.attend(known, desired.commit if desired else None, only, driven)
        if answered:
            self._reporter.request()
        return answered > 0

    def look(self) -> Plan | None:
        """Read-only: the repository, every host, and the plan that follows. None without a good commit."""
        self.intent = self.read()
        for problem in self.intent.problems:
            log.error("commit refused: %s", problem)
        if self.intent.trouble:
            log.error("the repository cannot be read: %s", self.intent.trouble)
        rewinds.apply(self.config.state_dir, self.journal)
        active = self.journal.active()
        if all(self._stands_by(record) and record.progress.unknown_since is None for record in active):
            self._set_clock()
        hosts = self._hosts(active)
        self._fleet.use(hosts)
        if self.intent.desired is None:
            self.plan = None
            return None
        views = survey(self._fleet, list(hosts), self._pool)
        self.plan = plan(self._situation(self.intent.desired, views, active))
        return self.plan

    def _hosts(self, active: list[Record]) -> Mapping[str, Host]:
        """The committed hosts, and those of journeys under way as they were when these were planned.

        A commit that drops a host, or gives its name another address, must not put another machine in its
        place in the middle of a journey.
        """
        hosts = dict(self.intent.desired.hosts if self.intent.desired else {})
        for record in active:
            hosts |= {record.order.host(side).name: record.order.host(side) for side in record.order.sides}
        return hosts

    def _situation(self, desired: Desired, views: Mapping[str, View], active: list[Record]) -> Situation:
        finished = self.journal.finished(HISTORY)
        config = self.config
        moved = [record for record in finished if record.order.kind is Kind.MOVE][:10]
        measured = [sample(record, self.journal.events(record.order)) for record in moved]
        return Situation(
            desired=desired,
            views=views,
            active=[(record.order, record.progress) for record in active],
            past=[Past(r.order, r.progress, r.ended) for r in finished if r.ended is not None],
            samples=[one for one in measured if one is not None],
            epochs={name: self.journal.newest_epoch(name) for name in desired.domains},
            limits=Limits(
                max_moves=config.max_moves,
                retry_s=config.domain_retry_s,
                max_attempts=config.max_attempts,
                ports=range(config.ports.first, config.ports.last + 1),
                minors=range(config.minors.first, config.minors.last + 1),
                rates=Rates(float(config.link_rate_mb_s), float(config.disk_rate_mb_s)),
            ),
            now=self.clock.now(),
            salt=self._salt,
            held=self._kept_back(desired),
            accepted=self.journal.accepted(),
            came_from=self._came_from(desired),
        )

    def _came_from(self, desired: Desired) -> dict[str, str]:
        """Where mirrors are to be kept, by domain."""
        found = {}
        for domain in desired.domains.values():
            source, target = (domain.policy.keep_mirror and self.journal.moved(domain.name)) or (None, "")
            if source is not None and target == domain.host:
                found[domain.name] = source
        return found

    def _kept_back(self, desired: Desired) -> dict[str, str]:
        """Domains for which no new journey may begin, and why."""
        full = self.journal.room()
        if full is not None:
            log.error("no new move is begun: %s", full)
        everybody = dict.fromkeys(desired.domains, f"no new move is begun: {full}") if full else {}
        return everybody | {name: hold.text for name, hold in self.desk.holds(desired.commit).items()}

    def start(self) -> int:
        """Turn back what is not wanted any more, begin what the plan asks for; how many were begun."""
        if self.plan is None or self.intent.desired is None:
            return 0
        self.desk.prune(self.intent.desired.commit)
        for record in self.journal.active():
            self._heed_placement(record, self.intent.desired)
        active = [(record.order, record.progress) for record in self.journal.active()]
        self._called = mirrors.called(active, self.intent.desired, self.config.max_moves, self.clock.day())
        begun = 0
        for item in self.plan.items:
            if item.kind in BEGUN and item.order is not None:
                begun += self._begin(item, item.order)
        return begun

    def _heed_placement(self, record: Record, desired: Desired) -> None:
        order, progress = record.order, record.progress
        why = mirrors.unwanted(order, desired)
        if not why or self.desk.stops(order.domain) or untouchable(progress):
            return
        if not machine.before_stop(order, progress):
            return
        back = machine.turn_back(order, progress, Reason.PLACEMENT_CHANGED, why, self.clock.now())
        if back is not None:
            log.warning("%s goes back: %s", order.move_id, why)
            self.journal.record(order, back, self.clock.now(), EventKind.TURNED_BACK, step=progress.step)

    def _begin(self, item: Item, order: Order) -> int:
        if order.kind is Kind.MOVE:
            query = files.text_of(order.config_path)
            try:
                text = ask(self._fleet, order.host(Side.SOURCE).name, [query]).get(query)
            except UnknownFact as unknown:
                log.warning("%s is not begun: %s", order.move_id, unknown)
                return 0
            order = replace(order, config_text=text)
        now = self.clock.now()
        self.journal.begin(order, machine.begin(order, now), now)
        log.info("%s begins: %s %s -> %s", order.move_id, item.kind.value, item.found, order.target.name)
        self._reporter.request()
        return 1

    def advance(self, stop: Callable[[], bool]) -> float | None:
        """Take every journey as far as it goes; seconds until the next is due, None when none is under way.

        0.0 means that one has ended and a new look is due. A mirror in step is due with the next pass. While
        one is driven, the others that are due are driven again: none waits for another one's long command.
        """
        waiting = {r.order.move_id: 0.0 for r in self.journal.active() if not self._rests(r)}
        if not waiting:
            return None
        began_s = self.clock.monotonic_s()
        driven: dict[Future[tuple[Progress, float]], Order] = {}
        over = False
        try:
            self._drive(waiting, driven, stop)
            while driven:
                for one in wait(driven, self._tick(waiting), FIRST_COMPLETED).done:
                    order = driven.pop(one)
                    progress, seconds = one.result()
                    if progress.ended or not seconds:
                        over = True
                    else:
                        waiting[order.move_id] = self.clock.monotonic_s() + seconds
                over = self.attend(driven={order.domain for order in driven.values()}) or over
                late = self.clock.monotonic_s() - began_s > self.config.interval_s
                if driven and not stop() and (not (over or late) or self.stands_still()):
                    self._drive(waiting, driven, stop)
        finally:
            wait(driven)  # no thread drives a journey any more when this is left
        if over or not waiting:
            return 0.0
        for record in self.journal.active():
            if record.order.move_id in waiting and self._stands_by(record):
                del waiting[record.order.move_id]
        return max(0.01, min(waiting.values()) - self.clock.monotonic_s()) if waiting else None

    def _stands_by(self, record: Record) -> bool:
        """Whether a journey is a mirror in step, which waits for a commit."""
        order = self._in_force(record.order)
        return order.standby and machine.waits_at_gate(order, record.progress, self.clock.day())

    def _drive(
        self,
        waiting: dict[str, float],
        driven: dict[Future[tuple[Progress, float]], Order],
        stop: Callable[[], bool],
    ) -> None:
        """Hand those that are due to the movers, each as the journal has it now."""
        due = {move_id for move_id, at_s in waiting.items() if at_s <= self.clock.monotonic_s()}
        if not due:
            return
        for record in self.journal.active():
            if record.order.move_id in due and not self._rests(record):
                driven[self._movers.submit(self._advance, record, stop)] = record.order
        for move_id in due:
            del waiting[move_id]

    def _tick(self, waiting: Mapping[str, float]) -> float:
        """How long to wait for a mover before something else has to be seen to."""
        return min([ATTEND_S, *(max(0.01, at_s - self.clock.monotonic_s()) for at_s in waiting.values())])

    def stands_still(self) -> bool:
        """Whether a journey's domain is suspended, or may be, and the journey is not held.

        A look at every host could take minutes then, if one hangs, and nothing would bring the domain back.
        """
        return any(
            record.progress.status is not Status.HELD and not may_rest(record.order, record.progress)
            for record in self.journal.active()
        )

    def _rests(self, record: Record) -> bool:
        """Whether an operator's hold stops a journey where it is: never while its domain is suspended."""
        return self.desk.stops(record.order.domain) and may_rest(record.order, record.progress)

    def _under_way(self, order: Order) -> Record | None:
        active = self.journal.active()
        return next((record for record in active if record.order.move_id == order.move_id), None)

    def _advance(self, record: Record, stop: Callable[[], bool]) -> tuple[Progress, float]:
        order, progress = record.order, record.progress

        def pauses() -> bool:
            """Asked between steps: a request for the domain is answered there, and a hold is heeded."""
            if stop() or self.desk.calls(order.domain):
                return True
            if not self.desk.stops(order.domain):
                return False
            now = self._under_way(order)
            return now is not None and self._rests(now)

        while True:
            progress, seconds = self._executor.advance(self._as_committed(order), progress, pauses)
            if progress.ended or stop() or not self.desk.calls(order.domain):
                break
            self.attend(only=order.domain)
            found = self._under_way(order)
            if found is None:
                return progress, 0.0
            progress = found.progress
        self._tell(order, progress)
        return progress, seconds

    def _as_committed(self, order: Order) -> Order:
        """The order with all that the commit in force says of it; its rate depends on the other journeys."""
        active = [(record.order, record.progress) for record in self.journal.active()]
        now = self._in_force(order)
        rate = sync_rate_mb_s(order, self.intent.desired, active)
        return replace(now, policy=replace(now.policy, resync_rate_mb_s=rate))

    def _in_force(self, order: Order) -> Order:
        """The order by the commit in force, but for its rate; a mirror is one until it is called to move."""
        standby = order.standby and order.move_id not in self._called
        return replace(mirrors.as_committed(order, self.intent.desired), standby=standby)

    def _tell(self, order: Order, progress: Progress) -> None:
        if progress.status is Status.MOVED:
            log.info("%s: %s is on %s, on its own volumes", order.move_id, order.domain, order.target.name)
        elif progress.status is Status.BACK:
            log.error("%s went back: %s", order.move_id, progress.detail)
        elif progress.status is Status.HELD and progress.reason is not None:
            log.error("%s is held (%s): %s", order.move_id, progress.reason.value, progress.detail)

    def stuck(self) -> bool:
        """Whether journeys are under way and every one of them is held, but for mirrors in step."""
        active = [record for record in self.journal.active() if not self._stands_by(record)]
        held = [record.progress.status is Status.HELD or self._rests(record) for record in active]
        return bool(active) and all(held)

    def report(self) -> None:
        """Write the report as things stand, and wait for it."""
        self._reporter.request()
        self._reporter.flush()

    def _write_report(self) -> None:
        """A report that cannot be written stops nothing."""
        source = Source(
            repository=str(self.config.repository),
            ref=self.config.ref,
            head=self.intent.head,
            problems=self.intent.problems,
            error=self.intent.trouble or None,
        )
        standing = Standing(
            source=source,
            desired=self.intent.desired,
            plan=self.plan,
            active=self.journal.active(),
            finished=self.journal.finished(HISTORY),
            events=self._events,
            holds=self.desk.holds(self.intent.desired.commit if self.intent.desired else None),
            answered=self.desk.answered,
        )
        trouble = write(self.config.report_file, build(standing, self.clock.now(), __version__))
        if trouble:
            log.error("%s", trouble)
