"""The command lines for a person, with the real hosts, devices and paths of an order. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.commands import files
from reconciler.model.command import Command
from reconciler.model.move import Direction, Kind, Order, Progress, Reason, Side, Status
from reconciler.moves import look, recipe
from reconciler.moves.authority import Holder
from reconciler.moves.home import saved_image
from reconciler.moves.requests import no_abort
from reconciler.report import advice
from reconciler.report.words import ssh

MAX_ARGV = 300


@dataclass(frozen=True)
class Line:
    """One command line and what it is for."""

    purpose: str
    command: str


def page(progress: Progress) -> str:
    """The section of the runbook."""
    if progress.status is Status.HELD and progress.reason:
        return advice.page(progress.reason.value)
    if progress.direction is Direction.BACK:
        return advice.page("went-back" if progress.reason is None else progress.reason.value)
    return advice.page("hold-resume-abort")


def shown(command: Command) -> str:
    """A command as a person types it, bounded; what goes to its standard input is not shown."""
    text = shlex.join(command.argv)
    return text if len(text) <= MAX_ARGV else text[:MAX_ARGV] + " …"


def lines(order: Order, progress: Progress, who: Holder) -> Iterator[Line]:
    """What a person can run now, looking first."""
    yield from _look(order)
    if progress.ended:
        return
    name = order.domain
    if progress.direction is Direction.FORWARD and not no_abort(order, progress):
        yield Line("go back, and stay there", f"reconciler abort {name}")
    if progress.status is not Status.HELD:
        yield Line("stop it as soon as the domain runs", f"reconciler hold {name}")
        return
    if progress.reason is Reason.TWO_RUNNERS:
        yield from _two(order)
    elif progress.reason is Reason.REWOUND:
        yield from _rewound(order)
    elif who is Holder.NOBODY and order.kind is Kind.MOVE and progress.tried & recipe.START_STEPS:
        yield from _lost(order, progress)
    elif who is Holder.TARGET:
        yield from _settle(order)
    yield Line("have it looked at again at once", f"reconciler resume {name}")
    yield Line(
        "only when it can never end by itself and the hosts were put in order by hand",
        f"reconciler release {name} --i-have-checked",
    )


def _look(order: Order) -> Iterator[Line]:
    for side in order.sides:
        host = order.host(side)
        on = ssh(host)
        yield Line(f"is {order.domain} on {host.name}", on("xl list"))
        if order.kind is Kind.MOVE:
            yield Line(f"DRBD on {host.name}", on(f"drbdsetup events2 --now --statistics {order.resource}"))
        links = " ".join(disk.link for disk in order.disks)
        yield Line("where its disks' names point to", on(f"ls -l {links}"))
        if order.streams or (order.pivots and side is Side.SOURCE):
            yield Line("what its volumes stand on", on("dmsetup table"))
        groups = sorted({disk.group(side) for disk in order.disks if disk.group(side)})
        yield Line("its volumes", on(f"lvs -o lv_name,lv_tags,lv_uuid {' '.join(groups)}"))
        yield Line("its saved images", on(f"ls -l {look.images_folder(order)}"))
        yield Line("the newest move it knows", on(f"cat {files.STATE}/epochs/{order.domain}"))


def _two(order: Order) -> Iterator[Line]:
    for side in order.sides:
        yield Line("stop both from writing", ssh(order.host(side))(f"xl pause {order.domain}"))
    for side in order.sides:
        yield Line(
            f"if the copy on {order.host(side).name} is the wrong one, and what only it has was saved",
            ssh(order.host(side))(f"xl destroy {order.domain}"),
        )
    for side in order.sides:
        yield Line(
            f"if the copy on {order.host(side).name} is the right one, once the other is gone",
            ssh(order.host(side))(f"xl unpause {order.domain}"),
        )


def _rewound(order: Order) -> Iterator[Line]:
    for side in order.sides:
        name = order.host(side).name
        yield Line(f"does {name} know what it had accepted", f"reconciler accept-host {name}")
    yield Line(
        "once what a rewind brought back was removed there: accept the host as it is",
        "reconciler accept-host HOST --i-have-checked",
    )


def _lost(order: Order, progress: Progress) -> Iterator[Line]:
    """The target is silent after GO. Nothing here is for the case that it only may come back."""
    target, on_source = order.target, ssh(order.host(Side.SOURCE))
    lost = f"only if {target.name} is lost for good and powered off: "
    yield Line(f"does {target.name} answer", ssh(target)("true"))
    yield Line(f"{lost}stop the daemon first", "systemctl stop reconciler")
    if order.pivots:
        yield from _plain(order, lost)
    else:
        yield Line(
            f"{lost}let the disks of {order.domain} be written",
            on_source(f"drbdadm primary {order.resource}"),
        )
    image = saved_image(progress)
    here = f"{lost}and {order.host(Side.SOURCE).name} has not rebooted since: "
    if order.streams:
        yield Line(
            f"{here}let its paused copy run, as it was before GO; what was written after that is lost",
            on_source(f"xl unpause {order.domain}"),
        )
    if image is not None:
        yield Line(
            f"{here}start the copy as it was before GO, once; what it wrote after that is lost",
            on_source(f"xl restore {look.image(order, image)}"),
        )
    yield Line(f"{lost}ask for the move to be closed", f"reconciler release {order.domain} --i-have-checked")
    yield Line(f"{lost}and let the daemon run again", "systemctl start reconciler")


def _plain(order: Order, lost: str) -> Iterator[Line]:
    """After a pivot: volume by volume off DRBD, and the symlinks with them."""
    on_source = ssh(order.host(Side.SOURCE))
    for disk in order.disks:
        path, name = disk.backing(Side.SOURCE), disk.mapped(Side.SOURCE)
        lower = disk.lower_name(Side.SOURCE)
        swap = f"dmsetup table {lower} | dmsetup load {name} && dmsetup resume --nolockfs {name}"
        yield Line(f"{lost}put {path} back on its extents", on_source(shlex.quote(swap)))
        yield Line(f"{lost}and let its name mean it again", on_source(f"ln -sfn {path} {disk.link}"))


def _settle(order: Order) -> Iterator[Line]:
    """What may keep the source's leftovers, by the devices of this move."""
    if order.source is None:
        return
    on_source = ssh(order.source)
    for disk in order.disks:
        yield Line(f"who holds {disk.drbd} on {order.source.name}", on_source(f"lsof {disk.drbd}"))
        yield Line(
            f"what is over {disk.backing(Side.SOURCE)}", on_source(f"lsblk {disk.backing(Side.SOURCE)}")
        )
