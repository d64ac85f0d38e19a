"""Hosts that were put back to an earlier state, as the claim numbers on them show. Pure.

A host keeps the newest claim number of every domain, and numbers never shrink there by themselves. If one
shows an older number than the journal knows it to have accepted, its root file system was restored from a
backup or a snapshot, or the host was installed anew. Then symlinks, configurations, autostart entries and
perhaps volumes of an earlier time are back; what runs where by right is a person's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.commands import files
from reconciler.model.facts import View
from reconciler.model.move import Reason
from reconciler.model.plan import Item, ItemKind

Accepted = Mapping[str, Mapping[str, int]]
"""Host -> domain -> the newest claim number the host is known to have accepted."""


@dataclass(frozen=True)
class Rewind:
    """A host that shows an older number of a domain than it had accepted."""

    host: str
    domain: str
    shown: int
    known: int

    @property
    def text(self) -> str:
        return f"has {self.shown or 'no number'} for {self.domain} now, and had accepted {self.known}"


def rewinds(views: Mapping[str, View], accepted: Accepted) -> tuple[Rewind, ...]:
    """Every host and domain for which it shows; a host whose numbers are not known shows nothing."""
    found = []
    for host, view in sorted(views.items()):
        if not view.knows(files.EPOCHS):
            continue
        stored = view.get(files.EPOCHS)
        for domain, known in sorted(accepted.get(host, {}).items()):
            if stored.get(domain, 0) < known:
                found.append(Rewind(host, domain, stored.get(domain, 0), known))
    return tuple(found)


def heeded(item: Item, found: Sequence[Rewind]) -> Item:
    """The item as far as it may stand: nothing is done for a domain that a rewound host may tell lies about.

    That is one whose own number is older; one that would move from or to such a host; and one that is seen
    nowhere, as it may have been there.
    """
    mine = [rewind for rewind in found if rewind.domain == item.domain]
    if item.kind is ItemKind.CARRY_ON or not found:
        return item
    if not mine and item.order is not None:
        hosts = {item.order.host(side).name for side in item.order.sides}
        mine = [rewind for rewind in found if rewind.host in hosts or item.kind is ItemKind.PROVISION]
    if not mine:
        return item
    first = mine[0]
    why = f"{first.host} was put back to an earlier state: it {first.text}"
    if item.kind is ItemKind.REFUSED and " at once" in item.why:
        return replace(item, why=f"{item.why}; {why}")
    return replace(item, kind=ItemKind.REFUSED, why=why, order=None, reason=Reason.REWOUND, host=first.host)
