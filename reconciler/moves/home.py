"""How a domain comes back to the source, from what the hosts show and what was ever tried. Pure."""

from __future__ import annotations

import enum

from reconciler.commands import drbd, files, xl
from reconciler.model.facts import DomainSeen, DomainState, DrbdResource
from reconciler.model.move import Order, Progress, Side
from reconciler.moves import guards, look
from reconciler.moves.attach import ATTACH_SUSPEND, ATTACH_UNPAUSE
from reconciler.moves.cutover import CUTOVER_SUSPEND
from reconciler.moves.step import Mark, Verdict, Views

SOURCE_RUNS = "back-source-unpause"
SOURCE_LOOKS = (xl.DOMAINS, xl.VBDS)
HOME_LOOKS = (files.BOOT_ID, files.IMAGES)


def uses_drbd(order: Order, views: Views) -> bool:
    """Whether the domain, as the source shows it, has its disks open on DRBD. After a pivot it never has."""
    if order.pivots:
        return False
    seen = look.domain(views.source, order)
    return seen is not None and look.on_drbd(views.source, order, seen)


class Home(enum.Enum):
    """How a domain that is not on the source comes back there."""

    IMAGE = "from its saved image"
    CONFIG = "from its configuration, after a reboot of its host"
    DOWN = "not at all: it stopped by itself, or its host rebooted and does not start it"
    LOST = "unknown: it was to be suspended, and there is no whole image"


def way_home(order: Order, progress: Progress, views: Views) -> Home:
    """What brings a domain back that is not on the source, once the target can't run it.

    An image is good for one start, on the boot it was saved on: after that the disks have gone on, and
    memory that does not know about it would destroy them.
    """
    if not guards.passed("image-this-boot", look.same_boot(views.source, order, Side.SOURCE)):
        return Home.CONFIG if order.autostart else Home.DOWN
    name = saved_image(progress)
    if name is None:
        return Home.DOWN
    if look.image_size(views.source, order, name) > 0:
        return Home.IMAGE
    unfinished = views.source.get(files.IMAGES).get(f"{look.image(order, name)}.part", 0)
    return Home.LOST if unfinished else Home.DOWN


def saved_image(progress: Progress) -> str | None:
    """The image to go back to; None when the domain may have run since it was saved, or never was."""
    if not guards.passed("image-once", SOURCE_RUNS not in progress.tried):
        return None
    if CUTOVER_SUSPEND in progress.tried:
        return look.CUTOVER_IMAGE
    used = ATTACH_UNPAUSE in progress.tried
    if ATTACH_SUSPEND in progress.tried and guards.passed("image-once", not used):
        return look.ATTACH_IMAGE
    return None


def gone_again(order: Order, views: Views, home: Home) -> Verdict:
    """The domain was there and is not any more: what brought it back can do so again."""
    why = f"{order.domain} is not on {views.source.host} any more; nothing is removed"
    return Verdict(Mark.WRONG, why, start_over=home in (Home.IMAGE, Home.CONFIG))


def as_it_wants(seen: DomainSeen) -> bool:
    """Running, or crashed by itself and preserved for a look (`on_crash`): nothing the move has to mend."""
    return seen.state in (DomainState.RUNNING, DomainState.CRASHED)


def target_resource(order: Order, views: Views) -> DrbdResource | None:
    """DRBD on the target if that host says anything: going back does not wait for it here."""
    other = views.by_side.get(Side.TARGET)
    return look.resource(other, order) if other is not None and other.knows(drbd.RESOURCES) else None
