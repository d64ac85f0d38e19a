"""Everything that a plan depends on, and the numbers it draws for a journey. Pure."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.commands import files
from reconciler.model.facts import View
from reconciler.model.move import CLAIMS, LOTS, Order, Progress
from reconciler.model.placement import Desired
from reconciler.planning.predict import Rates, Sample
from reconciler.planning.rewinds import Accepted


@dataclass(frozen=True)
class Past:
    """An ended journey, as far as planning cares."""

    order: Order
    progress: Progress
    ended: datetime.datetime


@dataclass(frozen=True)
class Limits:
    """What the operator allows and assumes."""

    max_moves: int = 1
    retry_s: float = 300.0
    max_attempts: int = 3
    ports: range = range(7800, 7900)
    minors: range = range(100, 200)
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True)
class Situation:
    """Everything a plan depends on."""

    desired: Desired
    views: Mapping[str, View]
    active: Sequence[tuple[Order, Progress]]
    past: Sequence[Past]
    samples: Sequence[Sample]
    epochs: Mapping[str, int]
    limits: Limits
    now: datetime.datetime
    salt: str
    held: Mapping[str, str] = field(default_factory=dict)
    """Domains for which the operator wants no new journey, and what is said about it."""
    accepted: Accepted = field(default_factory=dict)
    came_from: Mapping[str, str] = field(default_factory=dict)
    """The host that a domain has left last, for domains of which a mirror is to be kept there."""


def epoch(situation: Situation, domain: str, hosts: Sequence[str]) -> int:
    """The next one: newer than any that the journal or one of the hosts knows."""
    seen = [known(situation, domain, host) // CLAIMS for host in hosts]
    return max([situation.epochs.get(domain, 0), *seen]) + 1


def known(situation: Situation, domain: str, host: str) -> int:
    """The newest claim on a domain that a host has stored."""
    return situation.views[host].get(files.EPOCHS).get(domain, 0)


def lot(situation: Situation, move_id: str) -> int:
    """Tells claims of two daemons apart that have the same epoch."""
    drawn = hashlib.sha256(f"lot/{situation.salt}/{move_id}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") % LOTS


def secret(situation: Situation, move_id: str) -> str:
    """What both sides of DRBD know, and nobody else."""
    return hashlib.sha256(f"{situation.salt}/{move_id}".encode()).hexdigest()[:40]
