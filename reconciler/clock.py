"""The only place that reads a clock. Values never do: `now` is passed in."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Steady time of day, monotonic time for durations, and a bounded pause."""

    def now(self) -> datetime.datetime:
        """The time of day when it was last looked at, and the monotonic time since: it never jumps."""

    def day(self) -> datetime.datetime:
        """The time of day as it is set now: it may jump."""

    def set_by_wall(self) -> float:
        """Look at the time of day again, while nothing waits by it; how many seconds it was off."""

    def monotonic_s(self) -> float: ...

    def pause(self, seconds: float) -> None: ...


class SystemClock:
    """The real clock. `pause` ends early once `stop` is set."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._stop = stop or threading.Event()
        self._wall = wall()
        self._since_s = time.monotonic()

    def now(self) -> datetime.datetime:
        return self._wall + datetime.timedelta(seconds=time.monotonic() - self._since_s)

    def day(self) -> datetime.datetime:
        return wall()

    def set_by_wall(self) -> float:
        off = wall() - self.now()
        self._wall += off
        return off.total_seconds()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        self._stop.wait(seconds)


def wall() -> datetime.datetime:
    """The time of day, which people and time daemons may set."""
    return datetime.datetime.now(datetime.UTC)
