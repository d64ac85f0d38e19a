"""Makes the faults happen in the lab, and repairs them."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from tests.lab.lab import Lab
from tests.site import Site

from .matrix import Fault

SOURCE, TARGET = "xen1", "xen2"
CUT_S, OFF_S, FULL_S, RESTART_S = 25.0, 10.0, 20.0, 1.0
ARMED = frozenset({Fault.FULL, Fault.TOOL})
"""Must be in place before the step begins."""

BOOT, BOOT_S = "cat /proc/sys/kernel/random/boot_id", 60.0
FILL = "/var/tmp/fill"
FAILS = "/run/fails-once"
FAILING = """\
#!/bin/sh
for each in FAILS/TOOL/*; do
    [ -e "$each" ] || continue
    words=$(cat "$each")
    case "$*" in "$words"*)
        rm -f "$each"
        echo 'injected: fails once' >&2
        exit 1;;
    esac
done
exec REAL "$@"
""".replace("FAILS", FAILS)
FILL_UP = """\
set -- $(stat -f -c '%f %S' /); left=$(( $1 * $2 / 1048576 ))
while [ $left -gt 0 ]; do fallocate -l ${left}M FILL.$left 2>/dev/null || true; left=$(( left / 2 )); done
dd if=/dev/zero of=FILL.rest bs=4k 2>/dev/null || true
! (echo x > FILL.proof && sync FILL.proof && test -s FILL.proof) 2>/dev/null
""".replace("FILL", FILL)


def fill(lab: Lab, host: str) -> None:
    """Not a byte is left on the host's root file system."""
    lab.hosts[host].run(FILL_UP)


def fail_once(lab: Lab, host: str, step: str, tool: str, words: str) -> None:
    """A tool will fail once with these first arguments; the step's name tells later whether it has."""
    machine = lab.hosts[host]
    real = machine.run(f"PATH=/usr/sbin:/usr/bin:/sbin:/bin which {tool}").strip()  # not a builtin of sh
    machine.run(["mkdir", "-p", f"{FAILS}/{tool}"])
    machine.write(f"{FAILS}/{tool}/{step}", words, "644")
    text = FAILING.replace("TOOL", tool).replace("REAL", real)
    machine.write(f"/usr/local/sbin/{tool}", text, "755")


def unmet(lab: Lab) -> set[str]:
    """The steps whose failure has not come about; none will from now on."""
    find = f"find {FAILS} -type f -printf '%f\\n' 2>/dev/null; rm -rf {FAILS}"
    return {step for host in lab.hosts.values() for step in host.run(find).split()}


def inner(argv: Sequence[str]) -> tuple[str, str]:
    """The tool that a command is about and the words it starts with: `sh -c 'xl save "$1" …' …` is xl's."""
    if argv[0] == "sh":
        line = argv[2].split()
        return line[0], line[1]
    return argv[0], " ".join(argv[1:])


def inject(lab: Lab, site: Site, fault: Fault, host: str) -> None:
    """Do it, and leave it so for a while; the daemon runs on (or is started again) meanwhile."""
    match fault:
        case Fault.KILL:
            site.stop(signal.SIGKILL)
            time.sleep(RESTART_S)
            site.start()
        case Fault.CUT_MANAGEMENT | Fault.CUT_REPLICATION:
            lab.hosts[host].cut("mgmt" if fault is Fault.CUT_MANAGEMENT else "repl")
            time.sleep(CUT_S)
        case Fault.OFF_SOURCE:
            off(lab, SOURCE)
        case Fault.OFF_TARGET:
            off(lab, TARGET)
        case Fault.OFF_BOTH:
            off(lab, SOURCE, TARGET)
        case Fault.REBOOT:
            boot = lab.hosts[SOURCE].run(BOOT)
            lab.hosts[SOURCE].run("systemctl reboot")
            while lab.hosts[SOURCE].call(BOOT, timeout_s=BOOT_S).stdout in ("", boot):
                lab.hosts[SOURCE].hang_up()
                time.sleep(1)
        case Fault.ABORT:
            site.call("abort", "web1", timeout_s=300)
        case Fault.FULL:
            time.sleep(FULL_S)
        case Fault.TOOL:
            pass


def off(lab: Lab, *names: str) -> None:
    """Power off, and on again."""
    for name in names:
        lab.power_off(name)
    time.sleep(OFF_S)
    for name in names:
        lab.power_on(name, wait=False)


def heal(lab: Lab, fault: Fault, host: str) -> None:
    """Repair what does not repair itself, and wait for hosts that boot."""
    match fault:
        case Fault.CUT_MANAGEMENT | Fault.CUT_REPLICATION:
            lab.hosts[host].heal("mgmt" if fault is Fault.CUT_MANAGEMENT else "repl")
        case Fault.FULL:
            lab.hosts[host].run(f"rm -f {FILL}.*")
        case Fault.OFF_SOURCE | Fault.OFF_TARGET | Fault.OFF_BOTH | Fault.REBOOT:
            for each in lab.hosts.values():
                each.wait_ready(booted=True)
