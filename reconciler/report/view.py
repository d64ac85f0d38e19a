"""The report as a page on a terminal, for `reconciler status`. Reads nothing but the report itself.

Everything is said in words: colour only helps. Texts of hosts and commits are never taken for markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reconciler.report.plan_view import render_plan
from reconciler.report.words import size, span

__all__ = ["page", "render", "render_plan"]

STYLES = {
    "in-place": "green",
    "moved": "green",
    "moving": "cyan",
    "later": "cyan",
    "going-back": "yellow",
    "back": "yellow",
    "closed": "yellow",
    "held": "bold red",
    "refused": "red",
    "unknown": "magenta",
    "unmanaged": "dim",
}
Json = dict[str, Any]


def render(report: Json, console: Console, history: int = 10) -> None:
    """Print the page: commit, hosts, domains, moves under way, trouble, the last finished moves."""
    for part in _parts(report, history):
        console.print(part, soft_wrap=False)


def page(report: Json, history: int = 10) -> Group:
    """The same as one thing to draw, for a live display."""
    return Group(*_parts(report, history))


def _parts(report: Json, history: int) -> Iterator[RenderableType]:
    yield from _commit(report)
    yield from _hosts(report["hosts"])
    yield _domains(report["domains"])
    for domain in report["domains"]:
        if domain["move"]:
            yield from _move(domain)
    for domain in report["domains"]:
        if domain["last_error"]:
            yield from _error(domain)
    if report["history"]:
        yield from _history(report["history"][:history])
    yield Text(_summary(report), style="bold")


def _title(words: str) -> Text:
    return Text(f"\n{words}", style="bold")


def _indented(words: str, by: int = 2, style: str = "") -> Padding:
    return Padding(Text(words, style=style), (0, 0, 0, by), expand=False)


def _bullet(words: str) -> Padding:
    row = Table.grid(padding=(0, 1))
    row.add_row(Text("-"), Text(words))
    return Padding(row, (0, 0, 0, 2), expand=False)


def _commit(report: Json) -> Iterator[RenderableType]:
    commit, repository = report["commit"], report["repository"]
    in_force = commit["in_force"][:12] if commit["in_force"] else "none"
    yield Text(f"Commit in force: {in_force}   ({repository['ref']} of {repository['path']})")
    yield Text(f"As of {report['generated']}, reconciler {report['daemon_version']}", style="dim")
    if commit["error"]:
        yield Text(f"The repository cannot be read: {commit['error']}", style="red")
    if commit["problems"]:
        count = len(commit["problems"]) + commit["problems_left_out"]
        yield Text(f"Problems of commit {(commit['head'] or '?')[:12]} ({count}):", style="red")
    for problem in commit["problems"]:
        found = f"; found {problem['value']}" if problem["value"] else ""
        allowed = f"; allowed: {problem['allowed']}" if problem["allowed"] else ""
        yield _indented(f"{problem['file']}:{problem['line']}: {problem['message']}{found}{allowed}")
    if commit["problems_left_out"]:
        yield _indented(f"and {commit['problems_left_out']} more")
    if commit["safe"]:
        yield from _next_steps(commit)


def _next_steps(told: Json) -> Iterator[RenderableType]:
    yield _indented(told["safe"], style="bold")
    for line in told["what_to_do"]:
        yield _bullet(line)
    yield _indented(f"See {told['page']}", style="dim")


def _hosts(hosts: list[Json]) -> Iterator[RenderableType]:
    words = {True: "answers", False: "does not answer fully", None: "not asked yet"}
    if hosts:
        yield Text("Hosts: " + ", ".join(f"{host['name']} {words[host['answers']]}" for host in hosts))
    for host in hosts:
        if host["why"]:
            yield _indented(f"{host['name']}: {host['why']}", style="magenta")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _domains(domains: list[Json]) -> RenderableType:
    if not domains:
        return Text("No domains.")
    table = _table("\nDomain", "\nWanted on", "\nIs on", "\nState", "\nWhy")
    for domain in domains:
        state = domain["state"]
        move = domain["move"]
        at = f"{move['phase'] or '?'}: {move['step']}" if move else ""
        why = at if state == "moving" else domain["why"] or at
        table.add_row(
            Text(domain["name"]),
            Text(domain["desired_host"] or "-"),
            Text(domain["observed_host"] or "-"),
            Text(state, style=STYLES[state]),
            Text("; ".join([*([why] if why else []), *domain["notes"]])),
        )
    return table


def _move(domain: Json) -> Iterator[RenderableType]:
    move = domain["move"]
    frozen = ""
    if move["frozen"]:
        frozen = ", suspended" if domain["observed_host"] else ", suspended when last seen"
    yield _title(
        f"{domain['name']}  {move['source'] or 'new'} -> {move['target']}  "
        f"{domain['state']}{frozen}, {move['phase'] or '?'}: {move['step']}"
    )
    yield _indented(f"{move['id']}, {size(move['disk_bytes'])} of disks, {move['memory_mib']} MiB of memory")
    if move["phase"] == "mirror" and move["sync"] and move["sync"]["percent"] is not None:
        yield Padding(_sync(move["sync"]), (0, 0, 0, 2), expand=False)
    yield _indented(_phases(move))
    if move["freezes"]:
        yield _indented("suspended: " + _freezes(move))


def _sync(sync: Json) -> RenderableType:
    left = f"about {span(sync['eta_s'])} left" if sync["eta_s"] is not None else ""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text("sync"),
        ProgressBar(total=100.0, completed=sync["percent"], width=40),
        Text(f"{sync['percent']:.1f} %"),
        Text(left),
    )
    return bar


def _phases(move: Json) -> str:
    return ", ".join(
        f"{phase['phase']} {span(phase['duration_s'])}" + ("" if phase["ended"] else " so far")
        for phase in move["phases"]
    )


def _freezes(move: Json) -> str:
    return ", ".join(_freeze(freeze) for freeze in move["freezes"])


def _freeze(freeze: Json) -> str:
    measured = span(freeze["measured_s"])
    if freeze["ended"] is None:
        measured += " so far"
    elif not freeze["exact"]:
        measured = f"at most {measured}"
    predicted = f" (predicted {span(freeze['predicted_s'])})" if freeze["predicted_s"] is not None else ""
    return f"{freeze['kind']} {measured}{predicted}"


def _error(domain: Json) -> Iterator[RenderableType]:
    error = domain["last_error"]
    yield _title(f"{domain['name']}: {error['reason'] or domain['state']}")
    yield _indented(error["text"], style="red")
    yield from _next_steps(error)


def _history(history: list[Json]) -> Iterator[RenderableType]:
    table = _table("\nFinished (UTC)", "\nDomain", "\nWay", "\nEnd", "\nTook", "\nPhases and suspensions")
    for past in history:
        way = f"{past['source'] or 'new'} -> {past['target']}"
        lines = [_phases(past)]
        if past["freezes"]:
            lines.append("suspended: " + _freezes(past))
        if past["detail"]:
            lines.append(f"{past['reason'] or ''}: {past['detail']}")
        table.add_row(
            Text(past["ended"][:16].replace("T", " ")),
            Text(past["domain"]),
            Text(way),
            Text(past["outcome"], style=STYLES[past["outcome"]]),
            Text(span(past["duration_s"])),
            Text("\n".join(lines)),
        )
    yield table


def _summary(report: Json) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in report["counts"].items() if count)
    return f"\n{'Converged' if report['converged'] else 'Not converged'}: {counts or 'no domains'}"
