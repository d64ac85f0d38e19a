"""Where each domain is, as far as the hosts have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.commands import files, xl
from reconciler.model.facts import DomainConfig, DomainSeen, View
from reconciler.model.names import SUFFIXES


@dataclass(frozen=True)
class Found:
    """A domain on a host."""

    host: str
    seen: DomainSeen
    config: DomainConfig | None


@dataclass(frozen=True)
class Whereabouts:
    """All that is known of one domain. `silent` are the hosts that could not say."""

    domain: str
    found: tuple[Found, ...]
    halves: tuple[str, ...]
    configs_on: tuple[str, ...]
    silent: tuple[str, ...]


def locate(domain: str, views: Mapping[str, View]) -> Whereabouts:
    """Look for a domain, for halves of it that `xl migrate` may have left, and for its configuration."""
    found, halves, configs_on, silent = [], [], [], []
    for host, view in sorted(views.items()):
        if not view.knows(xl.DOMAINS) or not view.knows(xl.CONFIGS):
            silent.append(host)
            continue
        configs = {config.domid: config for config in view.get(xl.CONFIGS)}
        for seen in view.get(xl.DOMAINS):
            if seen.name == domain:
                found.append(Found(host, seen, configs.get(seen.domid)))
            elif seen.name in [domain + suffix for suffix in SUFFIXES]:
                halves.append(f"{seen.name} on {host}")
        if (
            view.knows(files.CONFIG_FILES)
            and f"/etc/xen/{domain}.cfg" in view.get(files.CONFIG_FILES).configs
        ):
            configs_on.append(host)
    return Whereabouts(domain, tuple(found), tuple(halves), tuple(configs_on), tuple(silent))


def unmanaged(known: set[str], views: Mapping[str, View]) -> list[tuple[str, str]]:
    """Domains that run somewhere and are named in no committed file: they are left alone."""
    rows = []
    for host, view in sorted(views.items()):
        if view.knows(xl.DOMAINS):
            rows += [(seen.name, host) for seen in view.get(xl.DOMAINS) if seen.name not in known]
    return sorted(rows)
