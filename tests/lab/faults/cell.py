"""What must hold once a move that was disturbed has come to its end, whatever happened."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from reconciler.model.move import Status
from tests.lab.image.recipe import LabError
from tests.lab.moving import at_home, nothing_left
from tests.lab.records import repeated

from .drive import Drive
from .inject import SOURCE, TARGET
from .matrix import BACK, HELD, MOVED, POWER, Fault
from .watch import Intent

HELD_S, END_S, SETTLED_S = 90.0, 600.0, 240.0
SMALL = frozenset({"mkdir", "rm", "sync", "true", "udevadm"})
NEVER = "never"
Row = dict[str, object]


def main_command(intent: Intent) -> tuple[str, tuple[str, ...]]:
    """The host and argv that the fault is about: the first that does more than tidy up."""
    if not intent.commands:
        return TARGET, ()
    real = [row for row in intent.commands if row[1][0] not in SMALL]
    return (real or list(intent.commands))[0]


def ended(drive: Drive) -> tuple[str, str, str]:
    """How the journey ended; held counts when it stays so although everything is repaired (I6)."""
    held_since = None

    def look() -> tuple[str, str, str] | None:
        nonlocal held_since
        record = drive.watch.record()
        if record is None:
            return None
        now = record.progress
        reason = now.reason.value if now.reason else ""
        if now.ended:
            return (MOVED if now.status is Status.MOVED else BACK), reason, now.detail
        held_since = (held_since or time.monotonic()) if now.status is Status.HELD else None
        if held_since and time.monotonic() - held_since > HELD_S:
            return HELD, reason, now.detail
        time.sleep(0.3)
        return None

    found: tuple[str, str, str] = drive.watch.wait("a definite end", look, END_S)
    return found


def judge(drive: Drive, end: str, fault: Fault) -> list[str]:
    """I1, I2, I3 and where things lie, asked of the hosts and the guest; an empty list is good."""
    lab, problems = drive.lab, []
    home, other = (SOURCE, TARGET) if end == BACK else (TARGET, SOURCE)

    def check(what: str, test: Callable[[], object]) -> None:
        try:
            found = test()
        except (AssertionError, LabError) as error:
            found = str(error)[:300] or traceback.extract_tb(error.__traceback__)[-1].line
        if found:
            problems.append(f"{what}: {found}")

    if end == HELD:
        check("I1", lambda: repeated(lab.observer.heartbeats()))
        check("one running copy at most", lambda: [] if len(running(drive)) <= 1 else running(drive))
        return problems
    check("runs", lambda: lab.observer.wait_for_heartbeats(count=3, side=home, timeout_s=SETTLED_S) and None)
    check("I1, a heartbeat number twice", lambda: repeated(lab.observer.heartbeats())[:5])
    check("I1, one copy", lambda: None if running(drive) == [home] else f"runs on {running(drive)}")
    check("I2, split brain", lambda: split(drive))
    check("I3", lambda: lab.observer.verify().problems[:3])
    check("I3, refused writes", lambda: lab.observer.errors()[:3])
    check("saved image left", lambda: left_saved(drive))
    check("left over", lambda: nothing_left(lab, other))
    if end == MOVED or (fault not in POWER and drive.recipe != "suspend"):
        check("home", lambda: at_home(lab, home))
    return problems


def running(drive: Drive) -> list[str]:
    """The hosts that have a copy of web1 which is not paused, under any of its names."""
    found = []
    for name, host in drive.lab.hosts.items():
        for line in host.run(["xl", "list"]).splitlines():
            words = line.split()
            if words[0].startswith("web1") and "p" not in words[4]:
                found.append(name)
    return found


def left_saved(drive: Drive) -> str | None:
    """No image waits for the next boot: xendomains would restore it over what has been written since."""
    for name, host in drive.lab.hosts.items():
        if "web1" in (said := host.run("ls /var/lib/xen/save")):
            return f"{name}: {said.strip()}"
    return None


def split(drive: Drive) -> str | None:
    """What the kernels said of both sides being primary."""
    said = [
        f"{name}: {line}"
        for name, host in drive.lab.hosts.items()
        for line in host.run("dmesg | grep -i 'split-brain' || true").splitlines()
    ]
    return said[0] if said else None
