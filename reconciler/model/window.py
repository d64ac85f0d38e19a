"""A time of every day, in UTC, as `HH:MM-HH:MM`. Pure."""

from __future__ import annotations

import datetime

DAY = datetime.timedelta(days=1)


def opens_in_s(window: str, now: datetime.datetime) -> float:
    """Seconds until the window opens; 0.0 while it is open, which it always is if both ends are the same.

    The first minute belongs to it, the last does not. One that ends before it begins goes over midnight.
    """
    now = now.astimezone(datetime.UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = (_after(midnight, end) for end in window.split("-"))
    over_midnight = until <= since
    if (over_midnight and (now >= since or now < until)) or since <= now < until:
        return 0.0
    return (since - now if now < since else since + DAY - now).total_seconds()


def _after(midnight: datetime.datetime, end: str) -> datetime.datetime:
    hours, minutes = end.split(":")
    return midnight + datetime.timedelta(hours=int(hours), minutes=int(minutes))
