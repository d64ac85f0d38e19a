"""What becomes of a person's request: (request, journey, hold, commit, now) -> decision. Pure.

Invariants kept here:
- going back is begun only where the table of authority gives the truth to the source;
- a hold never keeps a domain suspended;
- releasing a journey changes nothing on any host, and nothing new is begun after it until `resume`.

Each decision may be taken twice, as a daemon may die between taking it and putting the request away.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from reconciler.model.move import Direction, Kind, Order, Progress, Reason, Status
from reconciler.model.request import Hold, Request, Result, Verb
from reconciler.moves import machine
from reconciler.moves.authority import Holder, holder, may_rest, untouchable


@dataclass(frozen=True)
class Journey:
    """An order under way and how far it is."""

    order: Order
    progress: Progress


@dataclass(frozen=True)
class Decision:
    """`hold` is the domain's hold from now on; `progress` is new when it is not None."""

    result: Result
    text: str
    hold: Hold | None
    progress: Progress | None = None
    closes: bool = False


def decide(
    request: Request, journey: Journey | None, hold: Hold | None, commit: str | None, now: datetime.datetime
) -> Decision:
    """What becomes of the request."""
    another = journey is not None and request.move_id not in (None, journey.order.move_id)
    if another and journey is not None and request.verb in (Verb.ABORT, Verb.RELEASE):
        text = f"{request.move_id} is over; {journey.order.move_id} is under way now"
        return Decision(Result.REFUSED, text, hold)
    match request.verb:
        case Verb.ABORT:
            return _abort(request, journey, hold, commit, now)
        case Verb.RESUME:
            return _resume(request, journey, hold, now)
        case Verb.RELEASE:
            return _release(request, journey, hold)
    return _hold(request, journey, hold)


def no_abort(order: Order, progress: Progress) -> str:
    """Why a journey can not be taken back; empty when it can."""
    name, target = order.domain, order.target.name
    if untouchable(progress) and progress.reason is Reason.TWO_RUNNERS:
        return f"{name} was seen running on both hosts: nothing is touched until one is left"
    if untouchable(progress) and progress.reason is Reason.DISKS:
        return f"{target} may hold writes that the source lacks: going back would remove them"
    if untouchable(progress) and progress.reason is Reason.REWOUND:
        return "a host was put back to an earlier state: nothing is touched until a person has accepted that"
    if untouchable(progress):
        return "a host knows a newer move of this domain, made by somebody else: nothing is touched"
    if progress.direction is Direction.BACK:
        return ""
    if order.kind is Kind.PROVISION:
        started = holder(order, progress) is not Holder.NO_COPY
        return f"the start of {name} on {target} was tried: it may have run there" if started else ""
    match holder(order, progress):
        case Holder.SOURCE:
            return ""
        case Holder.TARGET:
            return (
                f"{name} was seen running on {target}, which holds the truth; to have it back on "
                f"{order.source.name if order.source else 'the source'}, commit that host"
            )
        case _:
            return f"GO was sent: only {target} can say whether {name} runs there"


def _abort(
    request: Request, journey: Journey | None, hold: Hold | None, commit: str | None, now: datetime.datetime
) -> Decision:
    if journey is None:
        return Decision(Result.REFUSED, f"no move of {request.domain} is under way", hold)
    order, progress = journey.order, journey.progress
    if why := no_abort(order, progress):
        return Decision(Result.REFUSED, why, hold)
    kept = Hold(request.at, Verb.ABORT, request.reason, commit)
    if hold is not None and hold.by is not Verb.ABORT:
        kept = replace(kept, reason=request.reason or hold.reason, commit=None)
    if order.source is None:
        end = f"what it made on {order.target.name} is removed"
    else:
        end = f"{order.domain} stays on {order.source.name}"
    if progress.direction is Direction.BACK:
        return Decision(Result.DONE, f"{order.move_id} is going back already; {end}", kept)
    asked = f"the operator aborted it{f': {request.reason}' if request.reason else ''}"
    back = machine.turn_back(order, progress, Reason.ABORTED, asked, now)
    if back is None:
        return Decision(Result.REFUSED, f"going back is not safe at step {progress.step}", hold)
    text = f"{order.move_id} goes back from step {progress.step}; {end}"
    return Decision(Result.DONE, text, kept, progress=back)


def _hold(request: Request, journey: Journey | None, hold: Hold | None) -> Decision:
    kept = Hold(request.at, Verb.HOLD, request.reason)
    if hold is not None and hold.by is Verb.HOLD:
        kept = replace(kept, since=hold.since, reason=request.reason or hold.reason)
    if journey is None:
        return Decision(Result.DONE, f"no move of {request.domain} is begun before `resume`", kept)
    order, progress = journey.order, journey.progress
    if may_rest(order, progress):
        return Decision(Result.DONE, f"{order.move_id} stops before step {progress.step}", kept)
    text = f"{order.move_id} is at step {progress.step}; it stops as soon as {order.domain} surely runs"
    return Decision(Result.DONE, text, kept)


def _resume(request: Request, journey: Journey | None, hold: Hold | None, now: datetime.datetime) -> Decision:
    said = [f"the hold of {request.domain} is lifted"] if hold is not None else []
    progress = None
    if journey is not None:
        at = f"{journey.order.move_id} goes on at step {journey.progress.step}"
        if journey.progress.status is Status.HELD:
            progress = replace(journey.progress, retry_at=now, step_began=now)
            said.append(f"{at}, from what the hosts show then")
        elif hold is not None:
            # The time it rested counts for no deadline.
            progress = replace(journey.progress, step_began=now, unknown_since=None, busy_since=None)
            said.append(at)
    return Decision(Result.DONE, "; ".join(said) or f"nothing held {request.domain}", None, progress=progress)


def _release(request: Request, journey: Journey | None, hold: Hold | None) -> Decision:
    if journey is None:
        return Decision(Result.REFUSED, f"no move of {request.domain} is under way", hold)
    order, progress = journey.order, journey.progress
    if progress.status is not Status.HELD:
        why = f"{order.move_id} is at work at step {progress.step}: only a move that is held is released"
        return Decision(Result.REFUSED, why, hold)
    text = (
        f"{order.move_id} is closed and no host was touched; clear up there, then `reconciler resume "
        f"{order.domain}` has it planned anew"
    )
    return Decision(Result.DONE, text, Hold(request.at, Verb.RELEASE, request.reason), closes=True)
