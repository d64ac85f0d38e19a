"""How fast a sync may be: what the domain's policy allows, and its share of what its hosts do. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.model.move import Direction, Kind, Order, Phase, Progress, Side
from reconciler.model.placement import Desired, Host
from reconciler.moves import recipe


def sync_rate_mb_s(order: Order, desired: Desired | None, active: Iterable[tuple[Order, Progress]]) -> int:
    """MB a second for a move as the commit in force has it now; 0 pauses its sync, else 1 at the least.

    Moves that are before their cutover and not paused share what a host allows, in equal parts. A host or a
    domain that the commit does not name any more has what the order was planned with.
    """
    rates = [_allowed(order, desired)]
    syncing = [
        other
        for other, progress in active
        if _before_cutover(other, progress) and not _paused(other, desired)
    ]
    for host in _hosts(order, desired):
        if host.sync_mb_s is not None:
            sharing = sum(_touches(other, host.name) for other in syncing if other.domain != order.domain)
            rates.append(min(host.sync_mb_s, max(1, host.sync_mb_s // (1 + sharing))))
    return min(rates)


def _allowed(order: Order, desired: Desired | None) -> int:
    """What the domain's own policy says."""
    domain = desired.domains.get(order.domain) if desired else None
    return (domain.policy if domain else order.policy).resync_rate_mb_s


def _hosts(order: Order, desired: Desired | None) -> list[Host]:
    """A move's hosts, as the commit in force has them."""
    planned = [order.host(side) for side in order.sides]
    return [desired.hosts.get(host.name, host) if desired else host for host in planned]


def _paused(order: Order, desired: Desired | None) -> bool:
    """By the word of its domain or of either of its hosts."""
    return not _allowed(order, desired) or any(host.sync_mb_s == 0 for host in _hosts(order, desired))


def _before_cutover(order: Order, progress: Progress) -> bool:
    if order.kind is not Kind.MOVE or progress.ended or progress.direction is Direction.BACK:
        return False
    here = (step for step in recipe.steps(order, progress.direction) if step.name == progress.step)
    return any(step.phase in (Phase.ATTACH, Phase.MIRROR) for step in here)


def _touches(order: Order, host: str) -> bool:
    return host in (order.host(Side.SOURCE).name, order.target.name)
