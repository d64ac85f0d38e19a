"""Moments as text, as the journal and the report hold them."""

from __future__ import annotations

import datetime


def stamp(moment: datetime.datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unstamp(text: str) -> datetime.datetime:
    """Read what `stamp` wrote; raises ValueError on anything else."""
    return datetime.datetime.fromisoformat(text)
