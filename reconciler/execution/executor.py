"""Drives one journey: look, judge, decide, record the intent, act, record the outcome, look again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from reconciler.clock import Clock
from reconciler.errors import UnknownFact
from reconciler.execution.knowing import Knowing
from reconciler.model.command import Answer, Claim, Command, NoAnswer, Outcome, Runner, Skipped
from reconciler.model.facts import View
from reconciler.model.move import Direction, Order, Progress, Side, Status
from reconciler.moves import guards, machine, recipe
from reconciler.moves.journal import EventKind, Journal
from reconciler.moves.step import Looks, Mark, Step, Verdict, Views
from reconciler.observed.survey import ask_all

FRESH_S = 5.0
Ran = list[tuple[str, Command, Outcome]]


class Executor:
    """Runs journeys over a Runner and a Journal. `changed` is called after every recorded change."""

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        clock: Clock,
        pool: ThreadPoolExecutor | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self._clock = clock
        self._pool = pool
        self._changed = changed
        self._undisturbed: dict[str, float] = {}
        """Until when nothing is asked of a journey's hosts: its guest has just been set going again."""

    def advance(
        self, order: Order, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> tuple[Progress, float]:
        """Take a journey as far as it goes without waiting.

        Returns where it is then and in how many seconds to call again; 0.0 once it has ended.
        `stop` is asked between steps: a step that has begun is always seen through, but for the pause behind
        a command that has set the domain going again.
        """
        left_s = self._undisturbed.get(order.move_id, 0.0) - self._clock.monotonic_s()
        if left_s > 0:
            return progress, left_s
        self._undisturbed.pop(order.move_id, None)
        seen = Seen(self._clock, Knowing(self._runner, self._journal, order.domain))
        progress = machine.recovered(progress)
        while not progress.ended and not stop():
            step = recipe.find(order, progress.direction, progress.step)
            verdict = self._judge(order, progress, step, seen)
            now = self._clock.now()
            decision: machine.Decision
            if seen.runner.denied:
                decision = machine.hold_rewound(progress, seen.runner.denied, now)
            else:
                decision = machine.decide(order, progress, verdict, now, self._clock.day())
            match decision:
                case machine.Act():
                    progress, pause_s = self._act(order, decision.progress, step, seen)
                    if pause_s:
                        return progress, pause_s
                case machine.Pause():
                    self._record(order, progress, decision.progress)
                    return decision.progress, decision.seconds
                case machine.GoOn() | machine.End():
                    self._record(order, progress, decision.progress)
                    progress = decision.progress
        return progress, 0.0

    def _judge(self, order: Order, progress: Progress, step: Step, seen: Seen) -> Verdict | str:
        """What was read right behind a fresh step's commands may show that it is done, and no more."""
        seen.runner.denied = ""
        ahead, seen.after = seen.after == step.name, ""
        if step.fresh and not ahead:
            seen.forget()
        verdict = self._verdict(order, progress, step, seen)
        if step.fresh and ahead and (isinstance(verdict, str) or verdict.mark is not Mark.DONE):
            seen.forget()
            verdict = self._verdict(order, progress, step, seen)
        return verdict

    def _verdict(self, order: Order, progress: Progress, step: Step, seen: Seen) -> Verdict | str:
        self._look(order, step.looks(order, progress), seen)
        try:
            verdict = step.judge(order, progress, seen.views(order))
            if verdict.mark is Mark.READY or (verdict.mark is Mark.DONE and step.lasting):
                step.act(order, progress, seen.views(order))  # it may need facts that its judgement did not
        except UnknownFact as unknown:
            return str(unknown)
        return verdict

    def _look(self, order: Order, looks: Looks, seen: Seen) -> None:
        wanted = {
            order.host(side).name: missing
            for side, queries in looks.items()
            if (missing := seen.missing(side, queries))
        }
        if not wanted:
            return
        answers = ask_all(seen.runner, wanted, self._pool)
        for side in looks:
            if order.host(side).name in answers:
                seen.add(side, answers[order.host(side).name])

    def _act(self, order: Order, progress: Progress, step: Step, seen: Seen) -> tuple[Progress, float]:
        actions = step.act(order, progress, seen.views(order))
        progress = machine.acting(progress, step)
        planned = [
            {"host": order.host(action.side).name, "argv": list(command.argv)}
            for action in actions
            for command in action.commands
        ]
        if guards.on("intent-first"):
            self._journal.record(
                order, progress, self._clock.now(), EventKind.INTENT, detail={"commands": planned}
            )
            self._changed()
        seen.forget()
        ran: Ran = []
        accepted: dict[str, Claim] = {}
        for action in actions:
            host, script = order.host(action.side).name, action.script(order, progress)
            outcomes = without(order.secret, seen.runner.run(host, script))
            if script.claim and any(isinstance(outcome, Answer) for outcome in outcomes):
                accepted[host] = script.claim
            ran += [
                (host, command, outcome) for command, outcome in zip(action.commands, outcomes, strict=True)
            ]
            if not all(isinstance(outcome, Answer) and outcome.ok for outcome in outcomes):
                break
        now = self._clock.now()
        busy_since, progress = progress.busy_since, machine.after(progress, ran)
        told = {"commands": [_told(*row) for row in ran]}
        self._journal.record(order, progress, now, EventKind.OUTCOME, detail=told, accepted=accepted)
        self._changed()
        if (refusal := machine.stale(ran)) is not None:
            paused = machine.hold_stale(progress, refusal, now)
        elif (refusal := machine.rewound(ran)) is not None:
            paused = machine.hold_rewound(progress, refusal, now)
        elif (why := machine.still_busy(ran)) is not None:
            paused = machine.busy(order, replace(progress, busy_since=busy_since), why, now)
        elif machine.resumed(step, progress, ran):
            self._undisturbed[order.move_id] = self._clock.monotonic_s() + machine.RESUME_S
            return progress, machine.RESUME_S
        else:
            self._look_ahead(order, progress, step, seen)
            return progress, 0.0
        self._record(order, progress, paused.progress)
        return paused.progress, paused.seconds

    def _look_ahead(self, order: Order, progress: Progress, step: Step, seen: Seen) -> None:
        """What this step's second look and the next step's first need, in one round trip."""
        following = recipe.following(order, progress.direction, step.name)
        if following is not None and not following.fresh:
            self._look(order, _both(step.looks(order, progress), following.looks(order, progress)), seen)
            seen.after = step.name

    def _record(self, order: Order, before: Progress, after: Progress) -> None:
        if after == before:
            return
        kind = None
        if after.ended:
            kind = EventKind.ENDED
        elif after.status is Status.HELD and (
            before.status is not Status.HELD or before.detail != after.detail
        ):
            kind = EventKind.HELD
        elif after.direction is Direction.BACK and before.direction is Direction.FORWARD:
            kind = EventKind.TURNED_BACK
        elif after.step != before.step:
            kind = EventKind.DONE
        detail = {"reason": after.reason.value if after.reason else None, "detail": after.detail}
        self._journal.record(order, after, self._clock.now(), kind, step=before.step, detail=detail)
        self._changed()


class Seen:
    """Facts read for the step at hand, kept for the next one while nothing was changed and they are young."""

    def __init__(self, clock: Clock, runner: Knowing) -> None:
        self._clock = clock
        self.runner = runner
        self._views: dict[Side, View] = {}
        self._since = clock.monotonic_s()
        self.after = ""
        """The step behind whose commands the facts were read; see `Executor._judge`."""

    def forget(self) -> None:
        self._views = {}
        self._since = self._clock.monotonic_s()

    def missing(self, side: Side, queries: tuple[Any, ...]) -> list[Any]:
        if self._clock.monotonic_s() - self._since > FRESH_S:
            self.forget()
        view = self._views.get(side)
        return [query for query in queries if view is None or not view.knows(query)]

    def add(self, side: Side, view: View) -> None:
        old = self._views.get(side)
        self._views[side] = old.merged(view) if old else view

    def views(self, order: Order) -> Views:
        return Views({side: self._views.get(side, View(order.host(side).name)) for side in order.sides})


def without(secret: str, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """The outcomes with a secret cut out: drbdadm prints whole command lines when one of them fails."""
    if not secret:
        return outcomes
    return tuple(
        replace(o, stdout=o.stdout.replace(secret, "…"), stderr=o.stderr.replace(secret, "…"))
        if isinstance(o, Answer)
        else o
        for o in outcomes
    )


def _both(one: Looks, other: Looks) -> Looks:
    sides = {**one, **other}  # a set's order would differ from process to process
    return {
        side: tuple({query.name: query for query in (*one.get(side, ()), *other.get(side, ()))}.values())
        for side in sides
    }


def _told(host: str, command: Command, outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {"host": host, "argv": list(command.argv)}
    match outcome:
        case Answer():
            row |= {"exit": outcome.exit, "duration_s": outcome.duration_s, "stderr": outcome.stderr[-2000:]}
            row |= {"stdout": outcome.stdout[-200:]} if outcome.stdout else {}
        case NoAnswer(reason=reason):
            row |= {"no_answer": reason}
        case Skipped():
            row |= {"skipped": outcome.reason}
    return row
