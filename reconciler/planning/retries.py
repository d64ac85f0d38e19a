"""When a domain whose journey went back is tried again. Pure."""

from __future__ import annotations

import datetime

from reconciler.model.move import Reason, Status
from reconciler.model.placement import Domain
from reconciler.model.plan import Item, ItemKind
from reconciler.planning.situation import Situation

DAY = datetime.timedelta(days=1)


def held_off(situation: Situation, domain: Domain) -> Item | None:
    """After a journey that went back: wait longer each time, then ask for a new commit.

    A mirror that went back counts for a day: one may stand for months, under one commit.
    """
    failures = []
    for past in situation.past:  # newest first
        if past.order.domain != domain.name:
            continue
        if past.progress.status is not Status.BACK or past.order.commit != situation.desired.commit:
            break
        if past.progress.reason is Reason.ABORTED:
            break  # no failure: somebody wanted it, and what holds it off is the operator's hold
        if past.order.standby and situation.now - past.ended > DAY:
            break
        failures.append(past)
    if not failures:
        return None
    last = failures[0]
    why = f"went back {len(failures)} times, last {last.progress.detail}"
    if len(failures) >= situation.limits.max_attempts:
        text = f"{why}; it is not tried again before the next commit"
        return Item(domain.name, ItemKind.REFUSED, domain.host, None, text)
    due = last.ended + datetime.timedelta(seconds=situation.limits.retry_s * 2 ** (len(failures) - 1))
    if situation.now < due:
        text = f"{why}; tried again at {due.isoformat(timespec='seconds')}"
        return Item(domain.name, ItemKind.LATER, domain.host, None, text)
    return None
