"""The files of one commit together: what they ask for, and everything that is wrong with them.

One mistake anywhere and the commit asks for nothing (`desired` is None): half a commit could move a
domain to a place its author never meant. The one exception is a domain claimed twice: which claim was
meant cannot be known, so just these domains are left as they are and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from reconciler.model.placement import Desired, Domain, Host, Policy, Problem
from reconciler.source import build, wording
from reconciler.source.entries import Entry, Gathered, gather

MAX_PROBLEMS = 500
MAX_GUESSES = 20  # comparing with 500 hosts takes some 10 ms

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """What a commit asks for. Problems with a `desired` beside them are about refused domains only."""

    desired: Desired | None
    problems: tuple[Problem, ...]
    commit: str = ""


def read(files: Mapping[str, bytes], commit: str, folder: str = "desired") -> Loaded:
    """Judge the files (by path in the repository). Never raises for what they hold."""
    gathered = gather(files, commit)
    problems = list(gathered.problems)
    hosts = _hosts(gathered, problems.append)
    if gathered.complete and not gathered.of("hosts"):
        text = "no hosts are given"
        problems.append(Problem(commit, folder, 1, text, "", "`hosts:` with at least one host in any file"))
    defaults = _defaults(gathered, problems.append)
    domains = _domains(gathered, defaults, problems.append)
    if gathered.complete:
        problems.extend(_unknown_hosts(gathered))
    problems.extend(_shared_volumes(domains))
    claims = list(_claimed_twice(gathered))
    refused = {entry.name: problem for entry, problem in reversed(claims)}
    everything = _bounded([*problems, *(problem for _, problem in claims)])
    if problems:
        return Loaded(None, everything, commit)
    placed = {each.name: each for _, each in domains if each.name not in refused}
    return Loaded(Desired(commit, hosts, placed, refused), everything, commit)


def _hosts(gathered: Gathered, report: build.Report) -> dict[str, Host]:
    """The hosts; a name, ssh address or replication address that two of them share is reported."""
    entries = gathered.of("hosts")
    for entry, other in _repeated(entries, lambda entry: entry.name.lower()):
        report(entry.problem(f"this host is also at {other.where}", entry.name, "each host once"))
    made = [(entry, build.host(entry, report)) for entry in entries if entry.sound]
    for (entry, host), (other, _) in _repeated(made, lambda pair: (pair[1].address.lower(), pair[1].port)):
        text = f"{other.name} at {other.where} has the same address and port"
        report(entry.problem(text, f"{host.address}:{host.port}", "each its own", ("address",)))
    for (entry, host), (other, _) in _repeated(made, lambda pair: pair[1].replication_address):
        text = f"{other.name} at {other.where} has the same replication address"
        key = "replication_address" if "replication_address" in entry.data else "address"
        report(entry.problem(text, host.replication_address, "each its own", (key,)))
    return {host.name: host for _, host in made}


def _defaults(gathered: Gathered, report: build.Report) -> Policy:
    entries = gathered.of("defaults")
    for entry, other in _repeated(entries, lambda _entry: True):
        report(entry.problem(f"defaults are also at {other.where}", "", "`defaults:` in one file only"))
    sound = [entry for entry in entries if entry.sound]
    return build.policy(sound[0].data, Policy()) if sound else Policy()


def _domains(gathered: Gathered, defaults: Policy, report: build.Report) -> list[tuple[Entry, Domain]]:
    entries = [entry for entry in gathered.of("domains") if entry.sound]
    return [(entry, build.domain(entry, defaults, report)) for entry in entries]


def _unknown_hosts(gathered: Gathered) -> Iterator[Problem]:
    known = {entry.name for entry in gathered.of("hosts")}
    allowed = wording.choices(known)
    guesses = MAX_GUESSES
    for entry in gathered.of("domains"):
        host = entry.data.get("host") if isinstance(entry.data, dict) else None
        if isinstance(host, str) and host and host not in known:
            near = wording.guess(host, known) if guesses > 0 else ""
            guesses -= 1
            text = f"there is no such host{near}"
            yield entry.problem(text, host, allowed, ("host",))


def _shared_volumes(domains: list[tuple[Entry, Domain]]) -> Iterator[Problem]:
    """Disk `b-c` of domain `a` and disk `c` of domain `a-b` would be one volume."""
    volumes = [
        (entry, index, build.volume(domain.name, disk.name))
        for entry, domain in domains
        for index, disk in enumerate(domain.provision.disks if domain.provision else ())
    ]
    for (entry, index, name), (other, _, _) in _repeated(volumes, lambda item: item[2]):
        if entry.name != other.name:  # the same domain: told as a disk or a domain that is there twice
            text = f"its volume would be that of a disk of {other.name} at {other.where}"
            yield entry.problem(text, name, "another name", ("provision", "disks", index, "name"))


def _claimed_twice(gathered: Gathered) -> Iterator[tuple[Entry, Problem]]:
    """Every claim on a domain that is claimed more than once, by name (case aside) or by UUID."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in gathered.of("domains"):
        groups.setdefault(("name", entry.name.lower()), []).append(entry)
        uuid = entry.data.get("uuid") if isinstance(entry.data, dict) else None
        if isinstance(uuid, str):
            groups.setdefault(("UUID", uuid.lower()), []).append(entry)
    for (kind, value), entries in groups.items():
        if len(entries) > 1 and (kind == "name" or len({entry.name.lower() for entry in entries}) > 1):
            for entry in entries:
                others = [f"{each.name} at {each.where}" for each in entries[:4] if each is not entry]
                text = f"claimed twice, so left as it is; the same {kind}: {', '.join(others[:3])}"
                yield (
                    entry,
                    entry.problem(text, value if kind == "UUID" else entry.name, "one claim a domain"),
                )


def _repeated(items: list[T], key: Callable[[T], object]) -> Iterator[tuple[T, T]]:
    """Each item whose key an earlier one has, with the first that has it."""
    first: dict[object, T] = {}
    for item in items:
        other = first.setdefault(key(item), item)
        if other is not item:
            yield item, other


def _bounded(problems: list[Problem]) -> tuple[Problem, ...]:
    """By file and line; a hostile commit must not fill the report."""
    problems.sort(key=lambda problem: (problem.file, problem.line))
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    more = len(problems) - MAX_PROBLEMS
    last = replace(problems[MAX_PROBLEMS - 1], message=f"and {more} more problems", value="", allowed="")
    return (*problems[:MAX_PROBLEMS], last)
