"""The only place that reads a clock. Values never do: `now` is passed in."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for people, monotonic time for durations, and a bounded pause."""

    def now(self) -> datetime.datetime: ...

    def monotonic_s(self) -> float: ...

    def pause(self, seconds: float) -> None: ...


class SystemClock:
    """The real clock. `pause` ends early once `stop` is set."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._stop = stop or threading.Event()

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
