"""Signals that come while the main thread holds the very lock that is to be told of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

STORM_S = 3.0
WAITS = """\
import signal, sys, threading
from reconciler import daemon

stop, wake = threading.Event(), threading.Event()
daemon.on_signals({signal.SIGHUP: wake.set, signal.SIGTERM: stop.set})
print("ready", flush=True)
woken = 0
while not stop.is_set():
    woken += wake.wait(0.0001)
    wake.clear()
print(woken, flush=True)
"""


def test_many_signals_wake_and_none_of_them_hangs() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            assert waiting.stdout is not None and waiting.stderr is not None
            assert waiting.stdout.readline() == "ready\n"
            until = time.monotonic() + STORM_S
            while time.monotonic() < until:
                os.kill(waiting.pid, signal.SIGHUP)
            os.kill(waiting.pid, signal.SIGTERM)
            said, complaint = waiting.communicate(timeout=30)
            assert int(said) > 10 and not complaint
            assert waiting.returncode == 0
        finally:
            waiting.kill()
