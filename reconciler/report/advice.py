"""Whether a domain is safe, who holds the truth about it, and what a person does next. Pure.

`safety` follows the table of authority: before GO the source, after GO was sent only the target's own
word, in settle the target. It promises nothing that the journal cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.move import Direction, Kind, Order, Phase, Progress, Reason, Side, Status
from reconciler.model.placement import Problem
from reconciler.model.plan import Item, ItemKind
from reconciler.moves import look, recipe
from reconciler.moves.stream import LIVE
from reconciler.planning.traces import NO_JOURNEY
from reconciler.report.timings import phase_of
from reconciler.report.words import ssh

PAGE = "docs/how-to/held.md"
LOOK_AGAIN = "reconciler resume"


@dataclass(frozen=True)
class Advice:
    """`safe` answers «is the domain safe?»; `page` is a section of the documentation."""

    safe: str
    what_to_do: tuple[str, ...]
    page: str


def page(section: str) -> str:
    return f"{PAGE}#{section}"


def stopped(order: Order, progress: Progress, reason: Reason, frozen: bool) -> Advice:
    """A journey that is held, or on its way back."""
    safe = safety(order, progress, reason, frozen)
    if progress.direction is Direction.BACK and progress.status is Status.ACTIVE:
        steps: tuple[str, ...] = ("Nothing now: it is going back by itself, and is planned anew after that.",)
    else:
        steps = _steps(order, progress, reason)
    return Advice(safe, steps, page(reason.value))


def safety(order: Order, progress: Progress, reason: Reason, frozen: bool) -> str:
    """Who holds the truth, and whether anything can be lost."""
    name, target = order.domain, order.target.name
    started = bool(progress.tried & recipe.START_STEPS)
    if reason is Reason.TWO_RUNNERS:
        return (
            f"NOT SAFE: {name} runs on both hosts, each on its own disks; what one writes the other lacks. "
            "Nothing is touched until a person has decided which one is right."
        )
    if reason is Reason.STALE_EPOCH:
        return (
            f"Not for this daemon to say: a host knows a newer move of {name}, made by somebody else. "
            "This daemon touches nothing of it."
        )
    if reason is Reason.DISKS:
        return (
            f"NOT SAFE to change anything: the disks of {name} on {target} may hold writes that those on "
            f"{order.source.name if order.source else 'the source'} lack. Nothing is removed on either host "
            "until a person has decided; the domain goes on as it is."
        )
    if reason is Reason.REWOUND:
        return _REWOUND
    if order.source is None or order.kind is Kind.PROVISION:
        if started and progress.direction is Direction.FORWARD:
            return (
                f"Safe: {name} is only on {target}, which alone knows whether it runs; no other copy exists."
            )
        return f"Safe: {name} has not run yet, so there is nothing to lose."
    source = order.source.name
    if progress.direction is Direction.FORWARD and phase_of(order, progress.step) is Phase.SETTLE:
        return f"Safe: {name} was seen running on {target} on its own volumes; only clearing up is left."
    if progress.direction is Direction.FORWARD and started:
        return (
            f"No write is lost and at most one copy can run, but whether {name} runs is not known: only "
            f"{target} can say. The copy on {source} stays stopped until then; do not start it."
        )
    if progress.step == LIVE and LIVE in progress.tried:
        return (
            f"Not lost: {name} runs on {source}, or is suspended there while the last of its memory goes to "
            f"{target}. It and its disks on {source} are the truth; keep both as they are."
        )
    if frozen and order.streams:
        return (
            f"Stopped, not lost: {name} is suspended. Its paused copy on {source} and its disks there are "
            "the truth; keep both as they are."
        )
    if frozen:
        return (
            f"Stopped, not lost: {name} is suspended. Its disks on {source} and its saved image in "
            f"{look.images_folder(order)} there are the truth; keep both as they are."
        )
    return f"Safe: {name} runs on {source}, which holds the truth."


def _steps(order: Order, progress: Progress, reason: Reason) -> tuple[str, ...]:
    name, on_target = order.domain, ssh(order.target)
    source = order.source
    on_source = ssh(source) if source else on_target
    where = f"{source.name} and {order.target.name}" if source else order.target.name
    again = f"It is tried again every minute, and at once with `{LOOK_AGAIN} {name}`."
    look_at_both = f"`{on_source('xl list')}` and `{on_target('xl list')}`"
    match reason:
        case Reason.STEP_FAILED:
            return (
                f"Put right what the command of step {progress.step} complains about; its host, its words "
                "and its exit status are in the last error.",
                again,
            )
        case Reason.PRECONDITION:
            return (
                f"Step {progress.step} found the hosts other than it needs them; see {look_at_both}, "
                f"`{on_source(_DRBD)}` and `{on_target(_DRBD)}`.",
                "Put right what the last error names.",
                again,
            )
        case Reason.DEADLINE:
            return (
                f"Step {progress.step} waited longer than it may; look why with `{on_source(_DRBD)}` and "
                f"`{on_target(_DRBD)}`, and at the replication link between {where}.",
                "Put right what keeps it waiting.",
                again,
            )
        case Reason.UNREACHABLE:
            return (
                f"See who answers: `{on_source('true')}` and `{on_target('true')}`.",
                "Bring the host or its network back; the move then goes on by itself.",
            )
        case Reason.BUSY:
            return (
                f"See on {where} which command for {name} does not end: it holds the lock "
                f"/run/xen-reconciler/locks/{name}, see `{on_target('ps axf')}`.",
                "Put right what it waits for, or end it; the move then looks what it did and goes on.",
            )
        case Reason.TWO_RUNNERS:
            return (
                f"Stop both from writing, which loses nothing: `{on_source(f'xl pause {name}')}` and "
                f"`{on_target(f'xl pause {name}')}`.",
                f"Find out who started the second copy and which one clients wrote to. Unless somebody "
                f"started the one on {source.name if source else order.target.name} on purpose, the one on "
                f"{order.target.name} is right.",
                f"Then destroy the wrong one, for instance `{on_source(f'xl destroy {name}')}`, and let the "
                f"right one run: `{on_target(f'xl unpause {name}')}`.",
            )
        case Reason.DISKS:
            return (
                f"Do not restart {name}, take DRBD down or remove a volume before you know which side has "
                f"every write: `{on_source(_DRBD)}` and `{on_target(_DRBD)}`.",
                "Follow the page: a failed disk, a target that somebody wrote to, or a connection that DRBD "
                "gave up need different things.",
            )
        case Reason.OUTCOME_UNKNOWN:
            return (
                f"Bring {order.target.name} back or let it be reached: `{on_target('xl list')}`. Once it "
                "answers, the move goes on by itself.",
                f"Do not start {name} on {source.name if source else 'another host'} while "
                f"{order.target.name} may run it; only if that host is lost for good follow the page.",
            )
        case Reason.STALE_EPOCH:
            shown = f"cat /var/lib/xen-reconciler/epochs/{name}"
            return (
                f"Find the other daemon, or the newer journal, that moved {name}: this move has epoch "
                f"{order.claim(progress.serial).epoch}, see `{on_source(shown)}` and `{on_target(shown)}`.",
                "Let one daemon only look after these hosts, the one with the newer journal.",
            )
        case Reason.REWOUND:
            return (f"See where {name} runs: {look_at_both}.", *_rewound(""))
        case Reason.ABORTED:
            return (f"Nothing: it goes back because of `reconciler abort {name}`.", again)
        case Reason.PLACEMENT_CHANGED:
            return ("Nothing: the newest commit is planned once this move has gone back.", again)


_REWOUND = (
    "Not for this daemon to say: a host was put back to an earlier state, and what it shows may be old. "
    "Nothing is touched."
)


def _rewound(host: str) -> tuple[str, ...]:
    return (
        "Do not start a copy anywhere before you know which disks are the newest. Find out what was put back "
        "(root file system, volumes), and remove from that host what it had no more.",
        f"Then accept the host as it is: `reconciler accept-host {host or 'HOST'}` says what, and with "
        "--i-have-checked does it.",
    )


_DRBD = "drbdsetup events2 --now --statistics"


def went_back(order: Order, reason: Reason | None) -> Advice:
    """A journey that ended by going back."""
    if order.kind is Kind.PROVISION or order.source is None:
        safe = f"Safe: {order.domain} never ran and nothing of it was left on {order.target.name}."
    else:
        safe = f"Safe: {order.domain} runs on {order.host(Side.SOURCE).name} as before."
    if reason is Reason.PLACEMENT_CHANGED:
        steps: tuple[str, ...] = ("Nothing: it went back because another placement was committed.",)
    elif reason is Reason.ABORTED:
        steps = (
            f"Commit where {order.domain} should be, or have this commit tried again with "
            f"`reconciler resume {order.domain}`.",
        )
    else:
        steps = (
            _remedy(order, reason),
            "It is tried again by itself, later each time. Any new commit, even an empty one "
            "(`git commit --allow-empty`), makes it try at once.",
        )
    return Advice(safe, steps, page(reason.value if reason else "went-back"))


def _remedy(order: Order, reason: Reason | None) -> str:
    match reason:
        case Reason.DEADLINE:
            return "Mend the link, or give the sync longer: policy.sync_deadline_s of the domain."
        case Reason.UNREACHABLE:
            hosts = [order.source, order.target] if order.source else [order.target]
            return "See who answers: " + " and ".join(f"`{ssh(host)('true')}`" for host in hosts) + "."
        case _:
            return "Put right what the last error names; until then each new try ends the same way."


def planned(item: Item, problem: Problem | None) -> Advice:
    """A domain the plan does nothing for though something else was wanted."""
    if problem is not None:
        steps: tuple[str, ...] = (f"Correct {problem.file} line {problem.line} and commit.",)
        return Advice(_AS_IT_WAS, steps, page("commit-refused"))
    if item.reason is Reason.REWOUND:
        return Advice(_REWOUND, _rewound(item.host or ""), page(item.reason.value))
    if item.kind is ItemKind.UNKNOWN:
        steps = (
            "Bring back the host or the fact that the reason names; until then nothing is decided "
            f"about {item.domain}. It is looked at again in every pass, at once with "
            f"`{LOOK_AGAIN} {item.domain}`.",
        )
        return Advice(_AS_IT_WAS, steps, page("unknown"))
    if " at once" in item.why and item.found is not None:
        safe = (
            f"PERHAPS NOT SAFE: {item.domain} is on more than one host. Two copies that write to their own "
            "disks drift apart. Nothing is touched until only one is left."
        )
        steps = (
            f"Pause all copies (`xl pause {item.domain}` on each host), decide which one is right, destroy "
            "the others with `xl destroy`, unpause the right one.",
        )
        return Advice(safe, steps, page(Reason.TWO_RUNNERS.value))
    if NO_JOURNEY in item.why:
        safe = (
            f"NOT SURE: the hosts keep traces of a move of {item.domain} that the journal does not know. "
            "Nothing was changed."
        )
        steps = (
            f"Start, unpause, restore and remove nothing of {item.domain} before you know which copy of its "
            "disks has every write; the page says how to tell.",
            f"Once the traces are cleared away it is planned again: `{LOOK_AGAIN} {item.domain}`.",
        )
        return Advice(safe, steps, page("journal-lost"))
    steps = (
        "Put right what the reason names, or commit another host for the domain.",
        f"`reconciler plan` shows whether it would move then; it is looked at again in every pass, at once "
        f"with `{LOOK_AGAIN} {item.domain}`.",
    )
    return Advice(_AS_IT_WAS, steps, page("refused"))


_AS_IT_WAS = "Safe: nothing was changed, the domain is as it was."


def retried(order: Order, progress: Progress, frozen: bool) -> Advice:
    """A command that failed but has tries left, or a host that has not answered for less than a minute."""
    safe = safety(order, progress, Reason.UNREACHABLE, frozen)
    return Advice(safe, ("Nothing yet: it is being tried again.",), page("retried"))


def commit_refused(in_force: str | None) -> Advice:
    """A commit with problems."""
    if in_force is None:
        safe = "Safe: no commit is in force, so nothing is moved."
    else:
        safe = f"Safe: the last good commit, {in_force[:12]}, stays in force."
    steps = (
        "Correct the lines named and commit; `reconciler validate` checks a tree before that.",
        "A commit that is not signed, or does not build on the one in force: see the page; "
        "`reconciler accept COMMIT` lets a rewind or force-push that is meant come into force.",
    )
    return Advice(safe, steps, page("commit-refused"))
