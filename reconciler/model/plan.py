"""What a pass would do, and why not more: one item for each domain."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.move import Order, Prediction, Reason


class ItemKind(enum.Enum):
    """What happens to a domain."""

    IN_PLACE = "in place"
    MOVE = "move"
    MIRROR = "mirror"
    PROVISION = "create"
    CARRY_ON = "carry on"
    LATER = "later"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNMANAGED = "unmanaged"


CHANGES = frozenset({ItemKind.MOVE, ItemKind.MIRROR, ItemKind.PROVISION, ItemKind.CARRY_ON, ItemKind.LATER})
BEGUN = frozenset({ItemKind.MOVE, ItemKind.MIRROR, ItemKind.PROVISION})
"""What a pass begins."""
ERRORS = frozenset({ItemKind.REFUSED, ItemKind.UNKNOWN})


@dataclass(frozen=True)
class Item:
    """One domain's line of the plan."""

    domain: str
    kind: ItemKind
    wanted: str | None
    found: str | None
    why: str = ""
    order: Order | None = None
    notes: tuple[str, ...] = ()
    reason: Reason | None = None
    host: str | None = None
    """Why the domain is held though no journey of it is under way, and the host it is about."""

    @property
    def prediction(self) -> Prediction | None:
        return self.order.prediction if self.order else None


@dataclass(frozen=True)
class Plan:
    """All items, by domain name. `hosts` says of each host whether it answered, and if not, why."""

    commit: str
    items: tuple[Item, ...]
    hosts: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        return any(item.kind in CHANGES for item in self.items)

    @property
    def errors(self) -> bool:
        return any(item.kind in ERRORS for item in self.items)

    @property
    def hopeful(self) -> bool:
        """Whether the next look may find something to begin that this one did not."""
        return any(item.kind in BEGUN or item.kind is ItemKind.UNKNOWN for item in self.items)

    @property
    def exit_code(self) -> int:
        """0 nothing to do, 2 changes, 1 something wanted cannot be done or is not known."""
        if self.errors:
            return 1
        return 2 if self.changes else 0
