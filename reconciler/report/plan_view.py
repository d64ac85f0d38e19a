"""A plan as text: what would happen and why not, one domain after the other, and a last line that sums up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reconciler.model.move import Order, Prediction
from reconciler.model.plan import Item, ItemKind, Plan
from reconciler.report.words import clean, size, span

SYMBOLS = {
    ItemKind.IN_PLACE: (" ", "green"),
    ItemKind.MOVE: ("~", "yellow"),
    ItemKind.MIRROR: ("=", "yellow"),
    ItemKind.PROVISION: ("+", "green"),
    ItemKind.CARRY_ON: (">", "cyan"),
    ItemKind.LATER: (".", "cyan"),
    ItemKind.REFUSED: ("!", "red"),
    ItemKind.UNKNOWN: ("?", "magenta"),
    ItemKind.UNMANAGED: (" ", "dim"),
}
SUMMARY = (
    (ItemKind.MOVE, "to move", True),
    (ItemKind.MIRROR, "to mirror", False),
    (ItemKind.PROVISION, "to create", True),
    (ItemKind.CARRY_ON, "under way", False),
    (ItemKind.LATER, "later", False),
    (ItemKind.IN_PLACE, "in place", True),
    (ItemKind.REFUSED, "refused", True),
    (ItemKind.UNKNOWN, "unknown", False),
    (ItemKind.UNMANAGED, "unmanaged", False),
)
"""What the last line counts, in its order; the flag says whether a zero is told as well."""


def render_plan(plan: Plan, console: Console) -> None:
    """Print a plan. Domains in place are only counted, unless there is something to say about one."""
    console.print(Text(f"Commit {plan.commit[:12]}"))
    for host, word in plan.hosts.items():
        if word != "answers":
            console.print(Text(clean(f"! host {host}: {word}"), style="magenta"))
    for item in plan.items:
        if item.kind in (ItemKind.IN_PLACE, ItemKind.UNMANAGED) and not (item.why or item.notes):
            continue
        symbol, style = SYMBOLS[item.kind]
        row = Table.grid(padding=(0, 1))
        row.add_row(Text(symbol, style), Text(item.domain, style), Text(clean(headline(item)), style))
        console.print(row)
        for line in _below(item):
            console.print(Padding(Text(clean(line)), (0, 0, 0, 6), expand=False))
    console.print(Text(f"\n{summary(plan)}", style="bold"))


def headline(item: Item) -> str:
    """What happens to the domain, in one line."""
    way = f"{item.found or '?'} -> {item.wanted or '?'}"
    match item.kind:
        case ItemKind.MOVE:
            return way
        case ItemKind.MIRROR:
            kept = f" on {item.order.target.name}" if item.order else ""
            return f"in place on {item.found}, a mirror is to be kept{kept}"
        case ItemKind.PROVISION:
            return f"create on {item.wanted}"
        case ItemKind.CARRY_ON:
            return item.why
        case ItemKind.LATER:
            return f"{way if item.found else f'on {item.wanted}'}, later: {item.why}"
        case ItemKind.REFUSED:
            return f"refused because {item.why}"
        case ItemKind.UNKNOWN:
            return f"unknown because {item.why}"
        case ItemKind.IN_PLACE:
            return f"in place on {item.wanted}{f': {item.why}' if item.why else ''}"
        case ItemKind.UNMANAGED:
            return f"unmanaged on {item.found}: {item.why}"


def _below(item: Item) -> Iterator[str]:
    yield from item.notes
    if item.order is not None and item.kind is not ItemKind.CARRY_ON:
        yield expectation(item.order)


def expectation(order: Order) -> str:
    """What the order is expected to take."""
    total = sum(disk.size_bytes for disk in order.disks)
    if order.source is None:
        return f"{size(total)} of disks, {order.memory_mb} MiB of memory"
    expected = order.prediction
    attach = "" if order.pivots else f"{span(expected.freeze_attach_s)} to attach and "
    return (
        f"sync of {size(total)} in about {span(expected.sync_s)}; suspended about {attach}"
        f"{span(expected.freeze_cutover_s)} to change hosts{' only' if order.pivots else ''} "
        f"({source(expected)})"
    )


def source(prediction: Prediction) -> str:
    """Where the figures come from."""
    if prediction.learned == 0:
        return "assumed: no move has been measured yet"
    return f"learned from {prediction.learned} move{'s' if prediction.learned > 1 else ''}"


def summary(plan: Plan) -> str:
    """The last line: how many of each."""
    counts = {kind: sum(item.kind is kind for item in plan.items) for kind in ItemKind}
    told = [f"{counts[kind]} {words}" for kind, words, always in SUMMARY if always or counts[kind]]
    return f"Plan: {', '.join(told)}"


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan for programs: what `reconciler plan --json` prints."""
    return {
        "commit": plan.commit,
        "exit_code": plan.exit_code,
        "hosts": {name: clean(word) for name, word in plan.hosts.items()},
        "items": [
            {
                "domain": item.domain,
                "kind": item.kind.value,
                "wanted": item.wanted,
                "found": item.found,
                "why": clean(item.why) or None,
                "notes": [clean(note) for note in item.notes],
                "sync_s": item.prediction.sync_s if item.prediction else None,
                "freeze_attach_s": item.prediction.freeze_attach_s if item.prediction else None,
                "freeze_cutover_s": item.prediction.freeze_cutover_s if item.prediction else None,
            }
            for item in plan.items
        ],
    }
