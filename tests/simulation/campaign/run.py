"""One run: a scenario with chosen faults, watched after every command, to a definite end."""

from __future__ import annotations

import traceback
from dataclasses import replace

from reconciler.execution.executor import Executor
from reconciler.model.command import Script
from reconciler.model.move import Direction, Progress, Reason, Status
from reconciler.model.placement import Policy
from reconciler.moves import machine
from reconciler.moves.journal import EventKind
from reconciler.simulator import checkers
from reconciler.simulator.domain import SLOTS
from reconciler.simulator.runner import Point
from reconciler.simulator.simclock import SimClock
from tests.simulation.campaign import ends, stage, strangers
from tests.simulation.campaign.asking import Operator
from tests.simulation.campaign.faults import reads
from tests.simulation.campaign.outcome import Met, Outcome, Violation
from tests.simulation.campaign.stage import SCENARIOS, build, order_for
from tests.simulation.campaign.stand import Choose, Killed, Stand
from tests.simulation.campaign.watched import WatchedJournal

ROUNDS, LONGEST_S, CALM_S, DEFINITE_S = 1500, 4 * 3600.0, 900.0, 400.0
MOST = 6000
JUST_NOW_S = 0.7
PAUSED_S = 30.0
PAUSING = "sync"
GATE = "cutover-ready"
BY_LVM = ("refresh@", "extend@")
AFTER_GO = ("@go", "@target-runs", "@target-autostart", "@target-runs-on", "@source-destroyed")


def nothing(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
    return None


class Run:
    """Holds the parts of one run, so that a fork can take it over in the middle."""

    def __init__(self, scenario: str, choose: Choose = nothing) -> None:
        self.scenario = SCENARIOS[scenario]
        self.case = scenario
        self.choose = choose
        self.faults: list[str] = []
        self.world = build(self.scenario)
        self.clock = SimClock(self.world)
        self.journal = WatchedJournal()
        self.watch = checkers.Watch()
        self.stand = Stand(self.world, nothing, lambda point: None)
        self.order = order_for(self.scenario, self.world, self.stand, self.journal)
        self.stand.sim.count = 0
        self.stand.choose = self._choose
        self.stand.watch = self._watch
        self.stand.sent = self._sent
        self.stand.unpause_fails = self.scenario.unpause_fails
        self.operator = Operator(self.journal, self.clock, self.order)
        self.ran_s = float("-inf")
        self.turned = False
        self.disturbed = False
        self.arrived = self.scenario.begins_at is None
        self.paused_until_s: float | None = None
        self.begins_to_wait = self.scenario.paused
        self.wanted_there_at_s: float | None = None
        self.offered: set[tuple[Direction, str, bool]] = set()

    # -- what is watched ------------------------------------------------------------------------

    def _choose(self, number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        fault = self.choose(number, place, host, argv)
        if fault is not None:
            self.disturbed = self.disturbed or place != "step"
            self.faults.append(f"{fault} at {number} on {host}: {' '.join(argv)[:100]}")
        return fault

    def _watch(self, point: Point) -> None:
        self.check()
        if point.number > MOST:
            raise Violation(f"I6: no definite end after {point.number} commands")
        if not reads(point.command.argv) and point.script.claim is None:
            raise Violation(f"I4: {' '.join(point.command.argv)} was sent without a claim")

    def _sent(self, host: str, script: Script) -> None:
        """I5: what is about to be sent is in the journal, as the last thing it holds."""
        intended = self.journal.planned if self.journal.kind is EventKind.INTENT else []
        for command in script.commands:
            if (host, command.argv) not in intended:
                raise Violation(f"I5: {' '.join(command.argv)} is sent to {host} without a recorded intent")
            if command.argv[0] == "lvremove" and not self._runs_elsewhere(host):
                raise Violation(f"I8: {' '.join(command.argv)} on {host} though the domain runs nowhere else")

    def _runs_elsewhere(self, host: str) -> bool:
        """Whether the source's copy may go: asked only for its data volumes, on the way forward."""
        order = self.order
        if order.source is None or host != order.source.name or self._journaled().direction is Direction.BACK:
            return True
        return self.world.now_s - self.ran_s < JUST_NOW_S

    def check(self) -> None:
        domain = self.world.hosts[self.order.target.name].domain(self.order.domain)
        if domain is not None and domain.running:
            self.ran_s = self.world.now_s
        found = self.watch.violations(self.world)
        found = [text for text in found if not self._done_by_a_person(text)]
        if found:
            raise Violation("; ".join(found[:3]))

    def _done_by_a_person(self, text: str) -> bool:
        """Whether LVM was told to put its tables back; after GO that gives the source's copy its disks."""
        by_lvm = [fault.partition(" at ")[0] for fault in self.faults if fault.startswith(BY_LVM)]
        after_go = any(fault.endswith(AFTER_GO) for fault in by_lvm)
        return bool(by_lvm) and (
            " beside connected " in text or (after_go and " its disks are open on " in text)
        )

    # -- the run --------------------------------------------------------------------------------

    def go(self) -> Outcome:
        """To the end, whatever happens; a broken rule or an indefinite end is in `trouble`."""
        progress = machine.begin(self.order, self.clock.now())
        self.journal.begin(self.order, progress, self.clock.now())
        trouble = ""
        try:
            progress = self._drive()
            self._calm_down()
            if progress.status is Status.HELD:
                trouble = ends.held_badly(progress, self.faults)
            self.check()
            found = ends.problems(self.world, self.order, progress, self.faults)
            if self.operator.aborted and progress.status is Status.MOVED and not self.journal.ran_there:
                found.append("I6: moved, though the desk had said that it goes back")
            trouble = trouble or "; ".join(found + strangers.lost(self.world, self.stand.strangers))
        except Violation as violation:
            trouble = str(violation)
            progress = self._journaled()
        reason = progress.reason.value if progress.reason else ""
        return Outcome(
            self.case,
            trouble,
            progress.status.value,
            reason,
            progress.detail,
            progress.step,
            self.stand.sim.count,
            self.world.now_s,
            self.faults,
        )

    def _journaled(self) -> Progress:
        """What the journal holds, as it was given; only a restart reads it."""
        assert self.journal.latest is not None
        return self.journal.latest

    def _restarted(self) -> Progress:
        """What a daemon that starts now reads in the journal."""
        records = self.journal.active() or self.journal.finished(1)
        self.journal.latest = records[0].progress
        return records[0].progress

    def _drive(self) -> Progress:
        executor = self._executor()
        calm_s = 0.0
        for _ in range(ROUNDS):
            progress = self._journaled()
            if progress.ended:
                return progress
            try:
                progress, pause_s = self._advance(executor, progress)
            except Killed:
                executor, pause_s = self._executor(), 3.0
                progress = self._restarted()
                self.operator.restart()
            if progress.ended:
                return progress
            self.world.advance(max(pause_s, 0.01))
            self.check()
            if self.world.now_s > CALM_S:
                self.stand.heal()
            calm = self.stand.whole and self.operator.resume_at_s is None
            calm_s = calm_s + pause_s if calm and progress.status is Status.HELD else 0.0
            if calm_s > DEFINITE_S:
                return progress
            if self.world.now_s > LONGEST_S:
                break
        raise Violation(
            f"I6: no definite end after {self.world.now_s:.0f} s: step {progress.step} "
            f"{progress.status.value} {progress.reason} {progress.detail[:200]}"
        )

    def _advance(self, executor: Executor, progress: Progress) -> tuple[Progress, float]:
        """As the daemon does it: requests are answered between steps, and a hold stops a journey there."""
        self._pausing(progress)
        if self.operator.calls():
            self.operator.attend()
            return self._journaled(), 0.0
        if self.operator.rests(progress):
            self._rested()
            return progress, machine.POLL_S
        return executor.advance(self.order, self._turned(progress), self._stop)

    def _rested(self) -> None:
        """A hold never keeps a domain from running."""
        runs = any(domain.running for _, domain in checkers.domains(self.world))
        if not (runs or self.disturbed or self.order.source is None):
            raise Violation(f"a hold stops the move at {self._journaled().step}, and the domain does not run")

    def _calm_down(self) -> None:
        """Let hosts come back and boots finish before the end is judged."""
        self.stand.heal()
        for _ in range(20):
            self.world.advance(60.0)
            self.check()
            if self.stand.whole:
                return

    def _executor(self) -> Executor:
        return Executor(self.stand, self.journal, self.clock)

    def _stop(self) -> bool:
        progress = self._journaled()
        place = (progress.direction, progress.step, progress.step in progress.tried)
        if place not in self.offered:
            self.offered.add(place)
            asked = self._choose(self.stand.sim.count + 1, "step", "the desk", ("step", progress.step))
            if asked is not None:
                self._done_by_hand(asked.partition("@")[0])
        if self.operator.calls() or self.operator.rests(progress):
            return True
        if self.turned or self.scenario.turn_at is None:
            return False
        return self._turns_at(self._journaled())

    def _done_by_hand(self, what: str) -> None:
        """What a person does: asks the daemon for something, or does it on the hosts."""
        match what:
            case "mem-set":
                for _, domain in checkers.domains(self.world):
                    domain.config["b_info"]["target_memkb"] = domain.memory_mib << 9
            case "refresh":
                for host in self.world.hosts.values():
                    strangers.refresh(host)
            case "rate":
                self._allow(max(1, self.order.policy.resync_rate_mb_s // 2))
            case "pause":
                self._allow(0)
                self.paused_until_s = self.world.now_s + PAUSED_S
            case "extend":
                for host in self.world.hosts.values():
                    strangers.extend(host)
                for _ in range(SLOTS):
                    self.world.beat()
            case _:
                self.operator.ask(what)

    def _allow(self, mb_s: int) -> None:
        """A commit says how fast the sync may be."""
        self.order = replace(self.order, policy=replace(self.order.policy, resync_rate_mb_s=mb_s))

    def _pausing(self, progress: Progress) -> None:
        """A commit lets a paused sync go on, or a mirror become a move, some time after it was there."""
        if self.begins_to_wait and progress.step == PAUSING:
            self.begins_to_wait = False
            self._done_by_hand("pause")
        if self.order.standby and progress.step == GATE and self.wanted_there_at_s is None:
            self.wanted_there_at_s = self.world.now_s + PAUSED_S
        if self.wanted_there_at_s is not None and self.world.now_s >= self.wanted_there_at_s:
            self.order = replace(self.order, standby=False)
        if self.paused_until_s is not None and self.world.now_s >= self.paused_until_s:
            self.paused_until_s = None
            self._allow(Policy().resync_rate_mb_s)

    @property
    def begun(self) -> bool:
        """Whether the run has come to what its scenario is about: before that it is like a plain move."""
        if self.scenario.turn_at is not None:
            return self.turned
        now = self._journaled()
        if self.scenario.paused:
            return now.step == PAUSING
        if self.scenario.standby and self.scenario.begins_at is None:
            return now.step == GATE and self.order.standby
        self.arrived = self.arrived or now.step == self.scenario.begins_at
        if not self.arrived:
            return False
        return not self.scenario.unpause_fails or now.direction is Direction.BACK or now.step == "go"

    def _turns_at(self, progress: Progress) -> bool:
        """Whether it is the scenario's step; a sync that is paused in it has to be seen so."""
        if progress.step != self.scenario.turn_at:
            return False
        return not self.scenario.paused or ends.paused(self.world.hosts[stage.SOURCE])

    def _turned(self, progress: Progress) -> Progress:
        """Somebody asks for going back when the scenario's step is reached."""
        if self.turned or not self._turns_at(progress) or progress.direction is Direction.BACK:
            return progress
        self.turned = True
        now = self.clock.now()
        back = machine.turn_back(self.order, progress, Reason.PLACEMENT_CHANGED, "wanted elsewhere", now)
        if back is None:
            return progress
        self.journal.record(self.order, back, now, EventKind.TURNED_BACK, step=progress.step)
        return back


def finished(run: Run) -> Outcome:
    """How a run ends, an error of the campaign itself included."""
    try:
        return run.go()
    except Met as met:
        trouble, status, step, reason = met.end
        count, now_s = run.stand.sim.count, run.world.now_s
        return Outcome(run.case, trouble, status, reason, "as another", step, count, now_s, run.faults)
    except BaseException:
        return Outcome(run.case, "crashed: " + traceback.format_exc()[-1500:], faults=run.faults)
