#!/usr/bin/python3 -I
"""Sends a running domain's memory to another host and stops there: both copies whole, both paused.

Runs on the source, from its standard input: `python3 -I - DOMAIN USER@ADDRESS`. Standard library only.

`xl migrate` copies the memory while the domain runs and suspends it for what is left. Then it would wait
for the other side to say that it is ready, and give it leave to start. Neither is done here: once the
receiver is ready its process is killed, which leaves a paused copy with its disks open, and the copy gets
the domain's name. The domain is paused here as well, and the sender finds its pipe closed: it takes the move
for failed and sets the domain going again, which leaves it paused. So it is as after `xl save -p` into
`xl restore -p`, and one command lets either copy run, whichever is to.

When anything fails before that, `xl` lets the domain run on here, and the receiver destroys its copy. One
that says something else than that it is ready is killed, and its copy left for the way back.

Sources: tools/xl/xl_migrate.c of Xen 4.17 (migrate_domain, migrate_receive); seen in the lab.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from typing import IO

BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = "domain received, ready to unpause"
"""As the receiver says it, with no end of line."""
NAMED = b"named\n"
OVER = "over"
"""Said when ssh, or what is in its place, has ended: xl keeps the pipe open on its own side, so nobody would
see the end of it."""
PAUSE_S = 60.0
"""The domain is suspended meanwhile. Without an answer it is set going again, and the move goes back."""
SUSPENDING = ("issuing PV suspend request", "issuing PVH suspend request", "issuing HVM suspend request")
SUSPENDED = "suspended for {:.3f} s"
"""What is said on standard output in the end: from the request to suspend until both copies are whole.
`xl.suspended_s` reads it."""

SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 "
    "-c aes128-gcm@openssh.com,aes128-ctr"
)
CARRIER = ""
"""The text of `carrier.py` where memory is to go by plain TCP; filled in by `xl.migrate`."""
RECEIVE = f"""\
sh -c 'echo $$; exec xl migrate-receive' | {{
    read -r receiver && read -r banner && echo "$banner"
    [ "$(head -c {len(READY)})" = '{READY}' ] || {{ kill -9 "$receiver" 2>/dev/null; exit 1; }}
    kill -9 "$receiver" && xl rename "$1--incoming" "$1" && echo named
}}
"""


def tunnel(domain: str, destination: str, said: int, answers: int) -> str:
    """What `xl migrate` runs in place of ssh: what the receiver says goes to `said`, not back to xl.

    A shell takes descriptors of one digit only; a process that has just begun has no others.
    """
    receive = f"sh -c {shlex.quote(RECEIVE)} receive {shlex.quote(domain)}"
    carry = f"python3 -I -c {shlex.quote(CARRIER)}" if CARRIER else SSH
    sent = f"{carry} {shlex.quote(destination)} {shlex.quote(receive)}"
    return f"exec 9<&0; {{ {sent} <&9; echo {OVER}; }} >&{said} & exec cat <&{answers}"


def listen(log: IO[str], moments: list[float]) -> None:
    """Pass on what xl complains about, and note when it asks the domain to suspend itself."""
    for line in log:
        if any(words in line for words in SUSPENDING):
            moments.append(time.monotonic())
        if ": debug: " not in line and "xc: detail: " not in line:
            sys.stderr.write(line)


def send(domain: str, destination: str) -> int:
    """Exit status 0 if both copies are whole and paused."""
    for_us, said = os.pipe()
    answers, for_xl = os.pipe()
    rune = tunnel(domain, destination, said, answers)
    sender = subprocess.Popen(
        ["xl", "-vvv", "migrate", "-s", "", domain, rune],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=(said, answers),
    )
    os.close(said)
    os.close(answers)
    assert sender.stderr is not None
    moments: list[float] = []
    listener = threading.Thread(target=listen, args=(sender.stderr, moments))
    listener.start()
    paused = False
    try:
        with os.fdopen(for_us, "rb") as receiver:
            if receiver.readline() == BANNER:
                os.write(for_xl, BANNER)
                if receiver.readline() == NAMED:
                    pause = subprocess.run(["xl", "pause", domain], check=False, timeout=PAUSE_S)
                    paused = pause.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"{error}\n")
    finally:
        os.close(for_xl)  # xl waits for it: now it sets the domain going again
    sender.wait()
    ended = time.monotonic()
    listener.join()
    if not paused:
        return 1
    if moments:
        sys.stdout.write(SUSPENDED.format(ended - moments[-1]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(send(*sys.argv[1:3]))
