"""Where each domain is, as far as the hosts have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.commands import xl
from reconciler.model.facts import View
from reconciler.model.names import whole
from reconciler.planning.index import Found, Index


@dataclass(frozen=True)
class Whereabouts:
    """All that is known of one domain. `silent` are the hosts that could not say."""

    domain: str
    found: tuple[Found, ...]
    halves: tuple[str, ...]
    configs_on: tuple[str, ...]
    silent: tuple[str, ...]


def locate(domain: str, seen: Index) -> Whereabouts:
    """Look for a domain, for halves of it that `xl migrate` may have left, and for its configuration."""
    return Whereabouts(
        domain,
        tuple(seen.found.get(domain, ())),
        tuple(seen.halves.get(domain, ())),
        tuple(seen.configs_on.get(domain, ())),
        seen.silent,
    )


def unmanaged(known: set[str], views: Mapping[str, View]) -> list[tuple[str, str]]:
    """Domains that run somewhere and are named in no committed file: they are left alone.

    A half of a domain is that domain's own matter: on the target of a move there is one while it is received.
    """
    rows = []
    for host, view in sorted(views.items()):
        if view.knows(xl.DOMAINS):
            rows += [(seen.name, host) for seen in view.get(xl.DOMAINS) if whole(seen.name) not in known]
    return sorted(rows)
