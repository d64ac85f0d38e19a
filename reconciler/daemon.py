"""The long-running face: signals, systemd's notify socket, and watchdog events that only wake the loop."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from reconciler.clock import Clock, SystemClock
from reconciler.config import Config
from reconciler.cycle import ATTEND_S, Cycle, Intent
from reconciler.errors import InputError, JournalFull
from reconciler.execution.ssh import SshRunner
from reconciler.model.plan import Plan
from reconciler.moves.journal import Journal
from reconciler.moves.reserve import Reserve
from reconciler.source import git

log = logging.getLogger("reconciler")
DEBOUNCE_S = 0.1
PATIENCE = 3
PATIENCE_S = 2.0
FULL_RETRY_S = 5.0


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens when it does not listen."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError as error:
            log.warning("systemd could not be notified: %s", error)


@contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Hold the lock of a state folder; raises InputError while another process holds it."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{state_dir}: {error.strerror}; the state folder must be writable") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another reconciler works with {state_dir}; stop it first") from None
        yield
    finally:
        os.close(descriptor)


class _Waker(FileSystemEventHandler):
    """A change that may be a moved ref wakes the loop; the wake-up itself carries no content."""

    def __init__(self, watch: git.Watch, wake: threading.Event) -> None:
        self._watch = watch
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        quiet = event.event_type in ("opened", "closed_no_write")
        if not quiet and any(self._watch.matters(Path(path)) for path in paths):
            self._wake.set()


@contextmanager
def watching(repository: Path, wake: threading.Event) -> Iterator[None]:
    """Wake the loop when a ref of the repository changes. Without it the timer still does its work."""
    observer = Observer()
    try:
        for watch in git.watches(repository):
            observer.schedule(_Waker(watch, wake), str(watch.folder), recursive=watch.recursive)
        observer.start()
    except (OSError, RuntimeError) as error:
        log.warning("the repository is not watched (%s); commits are noticed by the timer only", error)
        yield
        return
    try:
        yield
    finally:
        observer.stop()
        observer.join(timeout=5)


class Daemon:
    """Runs passes until told to stop; ends between steps."""

    def __init__(self, cycle: Cycle, clock: Clock, stop: threading.Event, wake: threading.Event) -> None:
        self._cycle = cycle
        self._clock = clock
        self._stop = stop
        self._wake = wake

    def run(self) -> None:
        """Until stopped. Raises JournalError: without a journal nothing may be changed.

        No look at all hosts while a domain stands still: one that hangs must not keep it so. A full disk is
        waited for: what was sent and not recorded is treated as after a restart.
        """
        notify("READY=1")
        taken_over = False
        while not self._stop.is_set():
            self._wake.clear()
            began = self._clock.monotonic_s()
            try:
                if not taken_over:
                    self._cycle.take_over()
                    taken_over = True
                if self._cycle.stands_still():
                    self._cycle.meet()
                else:
                    self._pass()
                self._carry_on(began)
            except JournalFull as error:
                log.error("nothing is changed on any host until there is room: %s", error)
                notify("STATUS=the journal's disk is full\nWATCHDOG=1")
                self._stop.wait(FULL_RETRY_S)
        notify("STOPPING=1")

    def _sleep(self, seconds: float) -> None:
        """Until something wakes the loop, somebody has a request, or the time is over."""
        until = self._clock.monotonic_s() + seconds
        while not self._wake.is_set() and not self._cycle.desk.calls():
            left_s = until - self._clock.monotonic_s()
            if left_s <= 0:
                return
            self._wake.wait(min(left_s, ATTEND_S))

    def _pass(self) -> None:
        self._cycle.attend()
        plan = self._cycle.look()
        if plan is not None:
            self._cycle.start()
        self._cycle.report()
        under_way = len(self._cycle.journal.active())
        notify(f"STATUS={under_way} under way; commit {plan.commit[:12] if plan else 'none'}\nWATCHDOG=1")

    def _carry_on(self, began: float) -> None:
        """Advance journeys until a wake-up, an ended journey or the timer asks for a new look."""
        interval_s = self._cycle.config.interval_s
        while not self._stop.is_set():
            due_s = self._cycle.advance(self._stop.is_set)
            left_s = interval_s - (self._clock.monotonic_s() - began)
            if due_s == 0.0:
                return
            notify("WATCHDOG=1")
            self._sleep(max(0.0, left_s if due_s is None else min(due_s, left_s)))
            if self._stop.is_set() or self._cycle.desk.calls():
                return
            if self._wake.is_set():
                self._stop.wait(DEBOUNCE_S)
                return
            if self._clock.monotonic_s() - began >= interval_s:
                return


@contextmanager
def opened(config: Config, clock: Clock) -> Iterator[Cycle]:
    """Everything a pass needs, taken down in order at the end."""
    with only_one(config.state_dir):
        journal = Journal(
            config.state_dir / "journal.sqlite", reserve=Reserve(config.state_dir / "journal.reserve")
        )
        runner = SshRunner({}, config.ssh.key_file, config.ssh.known_hosts_file, config.ssh.connect_timeout_s)
        cycle = Cycle(config, journal, runner, clock)
        try:
            yield cycle
        finally:
            cycle.close()
            runner.close()
            journal.close()


def on_signals(does: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Do this when one comes, in a thread of its own.

    A handler runs inside whatever the main thread is at, which may hold the very lock that the handler then
    waits for: so it only notes the number (`SimpleQueue.put` may interrupt itself).
    """
    came: SimpleQueue[signal.Signals] = SimpleQueue()

    def attend() -> None:
        while True:
            does[came.get()]()

    for number in does:
        signal.signal(number, lambda number, frame: came.put(signal.Signals(number)))
    threading.Thread(target=attend, name="signals", daemon=True).start()


def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    stop, wake = threading.Event(), threading.Event()

    def end() -> None:
        stop.set()
        wake.set()
        log.info("told to end: ending after the step under way")

    on_signals({signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: wake.set})
    clock = SystemClock(stop)
    with opened(config, clock) as cycle, watching(config.repository, wake):
        Daemon(cycle, clock, stop, wake).run()


def converge(config: Config, deadline_s: float | None = None) -> Plan | None:
    """Passes until nothing is under way and nothing more can be begun, or the deadline; the last plan."""
    stop = threading.Event()
    on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
    clock = SystemClock(stop)
    with opened(config, clock) as cycle:
        began = clock.monotonic_s()

        def late() -> bool:
            return deadline_s is not None and clock.monotonic_s() - began > deadline_s

        cycle.take_over()
        idle = 0
        while True:
            cycle.attend()
            plan = cycle.look()
            begun = cycle.start()
            cycle.report()
            due_s = cycle.advance(stop.is_set)
            while (due_s or cycle.stands_still()) and not (cycle.stuck() or stop.is_set() or late()):
                clock.pause(due_s or 0.0)
                due_s = cycle.advance(stop.is_set)
            # A host that did not answer this time may do so the next.
            idle = idle + 1 if not begun and due_s is None else 0
            done = idle == PATIENCE or (idle > 0 and not (plan and plan.hopeful))
            if stop.is_set() or late() or done or cycle.stuck():
                plan = cycle.look()
                cycle.report()
                return plan
            if idle:
                clock.pause(PATIENCE_S)


def look_once(config: Config) -> tuple[Intent, Plan | None]:
    """A read-only pass: no journal is created, no lock taken, nothing changed anywhere."""
    path = config.state_dir / "journal.sqlite"
    journal = Journal(path, read_only=True) if path.exists() else Journal(None)
    runner = SshRunner({}, config.ssh.key_file, config.ssh.known_hosts_file, config.ssh.connect_timeout_s)
    cycle = Cycle(config, journal, runner, SystemClock())
    try:
        plan = cycle.look()
        return cycle.intent, plan
    finally:
        cycle.close()
        runner.close()
        journal.close()
