"""How values are written in the report. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from reconciler.model.placement import Host
from reconciler.model.stamp import stamp

LIMIT = 2000


def clean(text: str, limit: int = LIMIT) -> str:
    """Text from elsewhere, safe to show: control and direction characters replaced, length bounded."""
    shown = "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text[:limit]
    )
    return shown if len(text) <= limit else shown + " …"


def moment(at: datetime.datetime | None) -> str | None:
    return None if at is None else stamp(at)


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def span(seconds: float) -> str:
    """A duration for people: 0.42 s, 3.1 s, 41 s, 2 min 10 s, 1 h 05 min."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(count: int) -> str:
    """Bytes for people, in binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def ssh(host: Host) -> Callable[[str], str]:
    """Turns a command into the line an operator types to run it on a host."""
    port = "" if host.port == 22 else f"-p {host.port} "
    return lambda command: f"ssh {port}{host.user}@{host.address} {command}"
