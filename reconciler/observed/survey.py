"""Asks hosts for facts. What cannot be read becomes `Unknown`, never an error or an absence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.errors import ParseError
from reconciler.model.command import Answer, NoAnswer, Runner, Script, Skipped
from reconciler.model.facts import Query, Unknown, View

SURVEY: tuple[Query[Any], ...] = (
    files.BOOT_ID,
    files.NODE,
    xl.INFO,
    xl.DOMAINS,
    xl.CONFIGS,
    xl.VBDS,
    lvm.VOLUMES,
    lvm.GROUPS,
    dm.TABLES,
    drbd.VERSION,
    drbd.RESOURCES,
    files.LINKS,
    files.CONFIG_FILES,
    files.RESOURCE_FILES,
    files.IMAGES,
    files.SAVED_AT_SHUTDOWN,
    files.EPOCHS,
    files.SPACE,
    files.PROGRAMS,
)


def ask(runner: Runner, host: str, queries: Sequence[Query[Any]]) -> View:
    """Read these facts from one host in one round trip."""
    if not queries:
        return View(host)
    outcomes = runner.run(host, Script(tuple(query.command for query in queries)))
    facts: dict[str, Any] = {}
    for query, outcome in zip(queries, outcomes, strict=True):
        match outcome:
            case Answer():
                try:
                    facts[query.name] = query.parse(outcome)
                except ParseError as error:
                    facts[query.name] = Unknown(str(error))
            case NoAnswer() | Skipped():
                facts[query.name] = Unknown(outcome.reason)
    return View(host, facts)


def ask_all(
    runner: Runner, wanted: Mapping[str, Sequence[Query[Any]]], pool: ThreadPoolExecutor | None
) -> dict[str, View]:
    """Read facts from several hosts, at the same time when there is a pool."""
    if pool is None or len(wanted) < 2:
        return {host: ask(runner, host, queries) for host, queries in wanted.items()}
    futures = {host: pool.submit(ask, runner, host, queries) for host, queries in wanted.items()}
    return {host: future.result() for host, future in futures.items()}


def survey(runner: Runner, hosts: Sequence[str], pool: ThreadPoolExecutor | None = None) -> dict[str, View]:
    """One look at everything on every host."""
    return ask_all(runner, dict.fromkeys(hosts, SURVEY), pool)
