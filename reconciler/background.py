"""Does one thing over and over, off the path of whoever asks for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("reconciler")


class Background:
    """Runs `work` on a thread of its own after each request; requests that come meanwhile count as one.

    Used for the report: writing it must not lengthen the time for which a guest stands still.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._state = threading.Condition()
        self._wanted = 0
        self._done = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Have the work done soon; returns at once."""
        with self._state:
            self._wanted += 1
            self._state.notify_all()

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything requested so far is done; False when it is not in time."""
        with self._state:
            until = self._wanted
            return self._state.wait_for(lambda: self._done >= until, timeout_s)

    def close(self) -> None:
        """Finish what was requested, then end."""
        self.flush()
        with self._state:
            self._ending = True
            self._state.notify_all()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._wanted > self._done or self._ending)
                if self._wanted == self._done:
                    return
                number = self._wanted
            try:
                self._work()
            except Exception:
                log.exception("work in the background failed")
            with self._state:
                self._done = number
                self._state.notify_all()
