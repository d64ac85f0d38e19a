"""Where a journey stands, who holds the truth, what is safe now, and the exact commands. Pure.

Made from the journal, and from what the hosts show when they were asked. What the hosts show decides
where the two differ: the journal knows what was tried, the hosts know what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.commands import drbd, files, xl
from reconciler.errors import UnknownFact
from reconciler.model.facts import DomainState, View
from reconciler.model.move import Direction, Kind, Order, Progress, Side, Status
from reconciler.model.request import Hold, Verb
from reconciler.moves import look, recipe
from reconciler.moves.authority import Holder, holder, may_rest, untouchable
from reconciler.moves.requests import no_abort
from reconciler.moves.step import Mark, Views
from reconciler.report import by_hand
from reconciler.report.by_hand import Line
from reconciler.report.timings import phase_of

WORD = {Mark.DONE: "done", Mark.READY: "can be done now", Mark.WAIT: "waits", Mark.WRONG: "cannot be done"}


@dataclass(frozen=True)
class Explanation:
    """All texts are whole sentences or command lines, ready to be printed."""

    stands: tuple[str, ...]
    authority: Holder
    truth: str
    seen: tuple[str, ...]
    safe: tuple[str, ...]
    never: tuple[str, ...]
    abort: str
    """Why it cannot be aborted; empty when it can."""
    commands: tuple[Line, ...]
    page: str


def explain(order: Order, progress: Progress, hold: Hold | None, views: Views | None) -> Explanation:
    """What a person has to know about a journey that has not ended, or about one that has."""
    who = _asked(order, progress, views)
    running = _running(order, views)
    return Explanation(
        stands=tuple(_stands(order, progress, hold, views)),
        authority=who,
        truth=truth(order, progress, who, running),
        seen=tuple(_seen(order, views)) if views else (),
        safe=tuple(_safe(order, progress, who, running)),
        never=tuple(_never(order, progress, who)),
        abort="it has ended" if progress.ended else no_abort(order, progress),
        commands=tuple(by_hand.lines(order, progress, who)),
        page=by_hand.page(progress),
    )


def _running(order: Order, views: Views | None) -> frozenset[Side]:
    """The sides that were seen with the domain running."""
    found = set()
    for side in order.sides:
        view = views.by_side.get(side) if views else None
        if view is None or not view.knows(xl.DOMAINS):
            continue
        seen = look.domain(view, order)
        if seen is not None and seen.state is DomainState.RUNNING:
            found.add(side)
    return frozenset(found)


def _asked(order: Order, progress: Progress, views: Views | None) -> Holder:
    """The table of authority, with the target's own word where that decides."""
    who, running = holder(order, progress), _running(order, views)
    if running == {Side.SOURCE, Side.TARGET}:
        return Holder.NOBODY
    tried = bool(progress.tried & recipe.START_STEPS)
    if who is Holder.NOBODY and tried and running == {Side.TARGET} and not progress.ended:
        return Holder.TARGET
    return who


def truth(order: Order, progress: Progress, who: Holder, running: frozenset[Side] = frozenset()) -> str:
    """Who holds the truth about the domain, and why."""
    name, target = order.domain, order.target.name
    if len(running) > 1:
        return f"Nobody: {name} runs on both hosts, each on its own disks. A person has to decide."
    match who:
        case Holder.NO_COPY:
            return f"Nobody needs to: {name} has not run yet, so there is nothing to lose."
        case Holder.TARGET if holder(order, progress) is not Holder.TARGET:
            return f"{target}: it says that {name} runs there."
        case Holder.TARGET:
            return f"{target}: {name} was seen running there on its own volumes."
        case Holder.SOURCE:
            source = order.host(Side.SOURCE).name
            return f"{source}: nothing of {name} has run on {target}, and every write is on {source}."
        case Holder.NOBODY:
            if untouchable(progress):
                return f"Nobody: a person has to decide. {progress.detail}"
            return f"Nobody, until {target} says whether {name} runs there: its start was tried."


def _stands(order: Order, progress: Progress, hold: Hold | None, views: Views | None) -> Iterator[str]:
    source = order.source.name if order.source else "new"
    way = f"{source} -> {order.target.name}"
    yield f"{order.kind.value} {order.move_id}: {way}, for commit {order.commit[:12]}"
    if progress.ended:
        end = "is over: it moved" if progress.status is Status.MOVED else "is over: it went back"
        yield f"It {end}. {progress.detail}".rstrip()
        return
    phase = phase_of(order, progress.step)
    way = "forward" if progress.direction is Direction.FORWARD else "back to the source"
    percent = f", {progress.sync_percent:.1f} % in sync" if progress.sync_percent is not None else ""
    yield f"It goes {way}; it is at step {progress.step} of phase {phase.value if phase else '?'}{percent}."
    if progress.pending:
        yield "Commands of this step were sent and their answer is not recorded."
    if progress.status is Status.HELD and progress.reason:
        yield f"It is held ({progress.reason.value}): {progress.detail}"
    elif progress.detail:
        yield f"Last word: {progress.detail}"
    if hold is not None:
        rests = hold.by is Verb.HOLD and may_rest(order, progress)
        yield f"It is {hold.text}." + (" It stops here." if rests else "")
    if views is not None:
        yield _judged(order, progress, views)


def _judged(order: Order, progress: Progress, views: Views) -> str:
    """What the daemon would make of this step now, and what it would send."""
    step = recipe.find(order, progress.direction, progress.step)
    try:
        verdict = step.judge(order, progress, views)
        actions = step.act(order, progress, views) if verdict.mark is Mark.READY else ()
    except UnknownFact as unknown:
        return f"By what the hosts show, the step waits: {unknown}"
    said = f": {verdict.why}" if verdict.why else ""
    if verdict.mark is Mark.READY:
        sent = [f"{order.host(a.side).name}: {by_hand.shown(c)}" for a in actions for c in a.commands]
        said = ", by " + "; ".join(sent) if sent else said
    return f"By what the hosts show, the step {WORD[verdict.mark]}{said}"


def _seen(order: Order, views: Views) -> Iterator[str]:
    for side in order.sides:
        view = views.by_side.get(side, View(order.host(side).name))
        name = order.host(side).name
        try:
            seen = look.domain(view, order)
            state = f"{order.domain} is {seen.state.value}" if seen else f"{order.domain} is not there"
            if seen and view.knows(xl.VBDS):
                state += f", its disks open: {look.devices_text(view, seen)}"
            yield f"{name}: {state}"
        except UnknownFact as unknown:
            yield f"{unknown}"
            continue
        if view.knows(drbd.RESOURCES):
            yield f"{name}: {look.describe(look.resource(view, order))}"
        if view.knows(files.LINKS):
            links = [f"{disk.link} -> {look.link_to(view, disk) or 'nothing'}" for disk in order.disks]
            yield f"{name}: {', '.join(links)}"
        if view.knows(files.IMAGES):
            folder = f"{look.images_folder(order)}/"
            images = [path for path in view.get(files.IMAGES) if path.startswith(folder)]
            yield f"{name}: saved images: {', '.join(sorted(images)) or 'none'}"


def _safe(order: Order, progress: Progress, who: Holder, running: frozenset[Side]) -> Iterator[str]:
    name = order.domain
    if progress.ended:
        yield "Everything: no move is under way."
        return
    yield "To look at both hosts, and to stop and start the daemon: it goes on from what the hosts show."
    if len(running) > 1:
        yield f"To pause both copies of {name}, which loses nothing."
    elif not no_abort(order, progress) and progress.direction is Direction.FORWARD:
        yield f"To go back: `reconciler abort {name}`."
    if who is Holder.TARGET:
        yield f"To use {name} on {order.target.name}; what is left to do is clearing up."
    if progress.status is Status.HELD:
        yield f"To have it tried at once, when what is wrong was put right: `reconciler resume {name}`."
    elif may_rest(order, progress):
        yield f"To leave it as it is for any time: `reconciler hold {name}`."
    else:
        yield f"To ask for a stop: `reconciler hold {name}` takes effect once {name} surely runs."


def _never(order: Order, progress: Progress, who: Holder) -> Iterator[str]:
    name, target = order.domain, order.target.name
    source = order.source.name if order.source else None
    if progress.ended:
        return
    if order.kind is Kind.PROVISION:
        yield f"Do not create {name} on another host: it may run on {target}."
        return
    match who:
        case Holder.SOURCE:
            yield f"Do not start {name} on {target}."
            yield f"Do not remove volumes, images or DRBD metadata of {name} on {source}."
            yield f"Do not make xr-{name} primary on {target}, and never with --force or --discard-my-data."
        case Holder.TARGET:
            yield f"Do not start {name} on {source}: its copy there is out of date."
            yield f"Do not remove volumes of {name} on {target}."
        case _:
            yield f"Do not start or unpause {name} anywhere before it is certain that it runs nowhere else."
            yield "Do not remove a volume or an image on either host."
