"""Decides what a journey does next: (order, progress, verdict, now) -> decision. Pure.

Invariants kept here:
- nothing is concluded from silence: a verdict that could not be given only ever waits or holds;
- after a step that starts the domain was tried, only the target's own word leads anywhere;
- settle goes forward only.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace

from reconciler.model.command import Answer, Command, NoAnswer, Outcome, Skip, Skipped, tell
from reconciler.model.move import Direction, Order, Phase, Progress, Reason, Status
from reconciler.model.window import opens_in_s
from reconciler.moves import guards, recipe
from reconciler.moves.cutover import COPIES, stops
from reconciler.moves.mirror import SYNC
from reconciler.moves.step import Mark, Step, Verdict

POLL_S = 2.0
PATIENCE_S = 60.0
MIRROR_PATIENCE_S = 600.0
"""The domain runs all the while, and a sync given up is lost: no hurry there."""
HOLD_RETRY_S = 60.0
RESUME_S = 2.0
"""A journey asks nothing of its hosts for so long after a domain was set going again: the guest connects its
disks and network, which takes processor time of both the guest and its host (lab, one processor: it is heard
again in a third of the time)."""
WINDOW_POLL_S = 60.0
_HEAL = frozenset({Reason.UNREACHABLE, Reason.OUTCOME_UNKNOWN, Reason.BUSY, Reason.REWOUND})
"""Held for these, a journey goes on as soon as the hosts answer again: the trouble is over then."""
_STAYS = frozenset({Reason.DISKS, Reason.STALE_EPOCH})
"""Held for these, neither silence nor what is found wrong later, as after a reboot, turns a journey back."""


@dataclass(frozen=True)
class GoOn:
    """Look at the (possibly new) current step at once."""

    progress: Progress


@dataclass(frozen=True)
class Act:
    """Record the intent, then run the step's commands."""

    progress: Progress


@dataclass(frozen=True)
class Pause:
    """Nothing to do before `seconds` have passed."""

    progress: Progress
    seconds: float


@dataclass(frozen=True)
class End:
    """The journey is over."""

    progress: Progress


Decision = GoOn | Act | Pause | End


def begin(order: Order, now: datetime.datetime) -> Progress:
    return Progress(Direction.FORWARD, recipe.first(order).name, Status.ACTIVE, 0, now)


def decide(
    order: Order,
    progress: Progress,
    verdict: Verdict | str,
    now: datetime.datetime,
    day: datetime.datetime | None = None,
) -> Decision:
    """What comes next; a verdict that is a text says why none could be given.

    `now` never jumps; `day` is the time of day as the machine has it, for windows.
    """
    step = recipe.find(order, progress.direction, progress.step)
    shut_s = shut_for_s(order, progress, step, day or now)
    if isinstance(verdict, str):
        return _silence(order, progress, step, verdict, now)
    progress = replace(progress, unknown_since=None)
    if verdict.ran_there and progress.direction is Direction.BACK:
        return GoOn(forward_again(order, progress, verdict.why, now))
    if verdict.start_over and progress.direction is Direction.BACK:
        return GoOn(progress.at(recipe.first(order, Direction.BACK).name, now))
    if verdict.two_runners:
        return _hold(progress, Reason.TWO_RUNNERS, verdict.why, now, retry=False)
    if verdict.stale:
        return hold_stale(progress, verdict.why, now)
    if verdict.in_doubt:
        return _hold(progress, Reason.DISKS, verdict.why, now, retry=False)
    mark = Mark.READY if verdict.mark is Mark.DONE and step.lasting and progress.unsure else verdict.mark
    vain = progress.unsure or progress.attempts >= step.max_attempts
    if mark is Mark.READY and step.patient and vain and not _due(progress, now):
        retry_at = progress.retry_at or now + datetime.timedelta(seconds=HOLD_RETRY_S)
        progress, mark = replace(progress, retry_at=retry_at), Mark.WAIT
    match mark:
        case Mark.DONE:
            if shut_s:
                return _shut(order, progress, step, now, day or now, shut_s)
            return _next(order, progress, step, now)
        case Mark.READY:
            if shut_s:
                return _shut(order, progress, step, now, day or now, shut_s)
            if progress.status is Status.HELD and progress.reason not in _HEAL and not _due(progress, now):
                return Pause(progress, HOLD_RETRY_S)
            attempts = 0 if progress.status is Status.HELD else progress.attempts
            if attempts >= step.max_attempts and not step.patient:
                return _fail(order, progress, step, Reason.STEP_FAILED, progress.detail, verdict, now)
            return Act(replace(progress, status=Status.ACTIVE, attempts=attempts + 1, retry_at=None))
        case Mark.WAIT if order.standby and step.gated:
            return GoOn(progress.at(SYNC, now))  # out of step: for that step, however long it takes
        case Mark.WAIT:
            waited_s = (now - progress.step_began).total_seconds()
            progress = replace(progress, sync_percent=_sync(verdict, progress), detail=verdict.why)
            if step.patient and verdict.mark is Mark.WAIT:
                progress = replace(progress, attempts=0)
            if verdict.at_rest:
                progress, waited_s = replace(progress, step_began=now), 0.0
            if waited_s > step.deadline_s(order) and progress.status is not Status.HELD:
                why = f"after {waited_s:.0f} s: {verdict.why}"
                return _fail(order, progress, step, Reason.DEADLINE, why, verdict, now)
            return Pause(progress, POLL_S)
    return _fail(order, progress, step, Reason.PRECONDITION, verdict.why, verdict, now)  # WRONG


def _sync(verdict: Verdict, progress: Progress) -> float | None:
    return verdict.sync_percent if verdict.sync_percent is not None else progress.sync_percent


def _due(progress: Progress, now: datetime.datetime) -> bool:
    return progress.retry_at is not None and now >= progress.retry_at


def shut_for_s(order: Order, progress: Progress, step: Step, day: datetime.datetime) -> float:
    """Seconds that a journey at this step has to wait for the domain's window; 0.0 if it has not to.

    A mirror that is kept waits for a commit: nobody knows how long.
    """
    stops = step.phase is Phase.CUTOVER and step.freeze_begins and step.name not in progress.tried
    if progress.direction is Direction.BACK or not (step.gated or stops):
        return 0.0
    if order.standby:
        return math.inf
    return opens_in_s(order.policy.cutover_window, day) if order.policy.cutover_window is not None else 0.0


def before_stop(order: Order, progress: Progress) -> bool:
    """Whether a move has not begun to suspend its domain, so that giving it up costs only its sync."""
    step = recipe.find(order, progress.direction, progress.step)
    if step.phase in (Phase.ATTACH, Phase.MIRROR):
        return True
    return step.phase is Phase.CUTOVER and stops(order) not in progress.tried


def waits_at_gate(order: Order, progress: Progress, day: datetime.datetime) -> bool:
    """Whether a journey does nothing but wait for its window, or for a commit."""
    here = (step for step in recipe.steps(order, progress.direction) if step.name == progress.step)
    return any(shut_for_s(order, progress, step, day) > 0 for step in here)


def _shut(
    order: Order,
    progress: Progress,
    step: Step,
    now: datetime.datetime,
    day: datetime.datetime,
    seconds: float,
) -> Pause | GoOn:
    """All is ready and the domain is not to change hosts yet: looked at again until it is. No trouble.

    Found so behind the gate it waits at the gate, where what has to hold is looked at.
    """
    if not step.gated:
        gate = next(each for each in recipe.steps(order, progress.direction) if each.gated)
        return GoOn(progress.at(gate.name, now))
    if order.standby:
        why = f"in step; {order.domain} changes to {order.target.name} when a commit wants it there"
    else:
        window = (order.policy.cutover_window or "").replace("-", " and ")
        opens = (day + datetime.timedelta(seconds=seconds)).astimezone(datetime.UTC)
        why = f"in step; changes hosts between {window} UTC, next at {opens:%d %b %H:%M}"
    waiting = replace(progress.at(step.name, now), reason=None, detail=why)
    return Pause(waiting, min(seconds, WINDOW_POLL_S))


def _next(order: Order, progress: Progress, step: Step, now: datetime.datetime) -> Decision:
    following = recipe.following(order, progress.direction, step.name)
    back = progress.direction is Direction.BACK
    if following is None:
        status = Status.BACK if back else Status.MOVED
        done = progress.at(step.name, now)
        return End(replace(done, status=status, sync_percent=None if back else 100.0))
    moved = progress.at(following.name, now)
    return GoOn(moved if back else replace(moved, reason=None, detail=""))


def _silence(order: Order, progress: Progress, step: Step, why: str, now: datetime.datetime) -> Decision:
    """A host did not answer, or a fact could not be read. Wait; then go back if that is safe, else hold."""
    if _stays(progress):
        return Pause(progress, HOLD_RETRY_S)
    since = progress.unknown_since or now
    progress = replace(progress, unknown_since=since)
    patience_s = MIRROR_PATIENCE_S if step.phase is Phase.MIRROR or step.gated else PATIENCE_S
    if (now - since).total_seconds() < patience_s:
        return Pause(replace(progress, detail=why), POLL_S)
    if _early(progress, step):
        return _back(order, progress, Reason.UNREACHABLE, why, now)
    started = bool(progress.tried & recipe.START_STEPS) and step.phase is not Phase.SETTLE
    reason = Reason.OUTCOME_UNKNOWN if started else Reason.UNREACHABLE
    return _hold(progress, reason, why, now, retry=True)


def _stays(progress: Progress) -> bool:
    return progress.status is Status.HELD and progress.reason in _STAYS


def _early(progress: Progress, step: Step) -> bool:
    """While no restore was tried on the target it holds no copy that could start: no need to wait for it."""
    forward = progress.direction is Direction.FORWARD and not COPIES & progress.tried
    return forward and recipe.can_turn_back(step.phase, progress.tried)


def busy(order: Order, progress: Progress, why: str, now: datetime.datetime) -> Pause:
    """A command of this domain still runs on a host, so nothing was sent: wait for its end, within a bound.

    What was refused is no attempt. Going back waits for the same lock at the hosts it needs.
    """
    since = progress.busy_since or now
    progress = replace(progress, attempts=progress.attempts - 1, busy_since=since, detail=why)
    if (now - since).total_seconds() < PATIENCE_S:
        return Pause(progress, POLL_S)
    step = recipe.find(order, progress.direction, progress.step)
    if _early(progress, step):
        return Pause(_back(order, progress, Reason.BUSY, why, now).progress, POLL_S)
    return _hold(progress, Reason.BUSY, why, now, retry=True)


def recovered(progress: Progress) -> Progress:
    """A restart found the commands of a step still out: they are no attempt, and may come late."""
    if not progress.pending:
        return progress
    return _uncertain(replace(progress, attempts=max(0, progress.attempts - 1), pending=False))


def acting(progress: Progress, step: Step) -> Progress:
    """The progress that is recorded before a step's commands are sent.

    Every step has a claim of its own: a journal that was restored from a backup then knows an older number
    than the hosts, which refuse it, before it can do anything that fitted an earlier state.
    """
    return _uncertain(replace(progress, tried=progress.tried | {step.name}, pending=True, unsure=True))


def taken_over(progress: Progress, now: datetime.datetime) -> Progress:
    """What another process left, perhaps by another clock: all waiting begins anew, a later try is due."""
    return replace(
        progress,
        step_began=now,
        retry_at=None if progress.retry_at is None else now,
        unknown_since=None,
        busy_since=None,
    )


def _uncertain(progress: Progress) -> Progress:
    """From now on hosts refuse what was sent until now, as soon as they have heard anything newer."""
    return replace(progress, serial=progress.serial + (1 if guards.on("late") else 0))


def forward_again(order: Order, progress: Progress, why: str, now: datetime.datetime) -> Progress:
    """The target turned out to hold the truth: the way back ends, settle follows once it is seen to run.

    Whoever started the domain there, from now on it counts as started: no request takes that back.
    """
    start = recipe.start_step(order)
    tried = progress.tried | {start}
    forward = replace(
        progress.at(start, now), direction=Direction.FORWARD, tried=tried, reason=None, detail=why
    )
    return _uncertain(forward)


def _fail(
    order: Order,
    progress: Progress,
    step: Step,
    reason: Reason,
    why: str,
    verdict: Verdict,
    now: datetime.datetime,
) -> Decision:
    if _stays(progress):
        return Pause(progress, HOLD_RETRY_S)
    if progress.direction is Direction.FORWARD:
        allowed = recipe.can_turn_back(step.phase, progress.tried)
        if allowed or (verdict.never_ran and step.phase is not Phase.SETTLE):
            return _back(order, progress, reason, why, now)
        if step.phase is not Phase.SETTLE:
            reason = Reason.OUTCOME_UNKNOWN
    return _hold(progress, reason, why, now, retry=True)


def _back(order: Order, progress: Progress, reason: Reason, why: str, now: datetime.datetime) -> GoOn:
    first = recipe.first(order, Direction.BACK)
    detail = f"at step {progress.step}: {why}"
    turned = replace(progress.at(first.name, now), direction=Direction.BACK, reason=reason, detail=detail)
    return GoOn(replace(turned, serial=turned.serial + 1))


def _hold(progress: Progress, reason: Reason, why: str, now: datetime.datetime, *, retry: bool) -> Pause:
    retry_at = now + datetime.timedelta(seconds=HOLD_RETRY_S) if retry else None
    if progress.status is Status.HELD and not _due(progress, now):
        retry_at = progress.retry_at
    held = replace(progress, status=Status.HELD, reason=reason, detail=why, retry_at=retry_at)
    return Pause(held, HOLD_RETRY_S)


def turn_back(
    order: Order, progress: Progress, reason: Reason, why: str, now: datetime.datetime
) -> Progress | None:
    """Go back because somebody asks; None when it is no longer safe."""
    if progress.direction is Direction.BACK or progress.ended:
        return None
    step = recipe.find(order, progress.direction, progress.step)
    if not recipe.can_turn_back(step.phase, progress.tried):
        return None
    return _back(order, progress, reason, why, now).progress


def after(progress: Progress, ran: list[tuple[str, Command, Outcome]]) -> Progress:
    """The progress after a step's commands: the first trouble becomes the detail, for messages only."""
    well = all(isinstance(outcome, Answer) and outcome.ok for _, _, outcome in ran)
    progress = replace(progress, pending=False, unsure=not well, busy_since=None)
    if any(isinstance(outcome, NoAnswer) for _, _, outcome in ran):
        progress = _uncertain(progress)
    for host, command, outcome in ran:
        if not (isinstance(outcome, Answer) and outcome.exit == 0):
            return replace(progress, detail=tell(host, command, outcome))
    return progress


def resumed(step: Step, progress: Progress, ran: list[tuple[str, Command, Outcome]]) -> bool:
    """Whether these commands have just set the domain going again, and said so."""
    unpaused = any(command.argv[:2] == ("xl", "unpause") for _, command, _ in ran)
    return step.freeze_ends and progress.answered and unpaused


def stale(ran: list[tuple[str, Command, Outcome]]) -> str | None:
    """The guard's word that this move is out of date on a host."""
    for host, _, outcome in ran:
        if isinstance(outcome, Skipped) and outcome.why is Skip.STALE_EPOCH:
            return f"{host}: {outcome.reason}"
    return None


def rewound(ran: list[tuple[str, Command, Outcome]]) -> str | None:
    """The guard's word that its host was put back to an earlier state."""
    for host, _, outcome in ran:
        if isinstance(outcome, Skipped) and outcome.why is Skip.REWOUND:
            return f"{host}: {outcome.reason}"
    return None


def still_busy(ran: list[tuple[str, Command, Outcome]]) -> str | None:
    """The guard's word that an earlier command for the domain has not ended on a host."""
    for host, command, outcome in ran:
        if isinstance(outcome, Skipped) and outcome.why is Skip.BUSY:
            return tell(host, command, outcome)
    return None


def hold_stale(progress: Progress, why: str, now: datetime.datetime) -> Pause:
    """A newer epoch is on the host: somebody else moves this domain. Touch nothing, ask a human."""
    return _hold(progress, Reason.STALE_EPOCH, why, now, retry=False)


def hold_rewound(progress: Progress, why: str, now: datetime.datetime) -> Pause:
    """A host was put back to an earlier state: neither it nor the journal can be believed. Ask a human."""
    return _hold(progress, Reason.REWOUND, why, now, retry=False)
