#!/usr/bin/python3 -I
"""Sends a running domain's memory to another host and stops there: both copies whole, both paused.

Runs on the source, from its standard input: `python3 -I - DOMAIN USER@ADDRESS`. Standard library only.

`xl migrate` copies the memory while the domain runs and suspends it for what is left. Then it would wait
for the other side to say that it is ready, and give it leave to start. Neither is done here.

Once all memory is sent the domain is paused, and the sender finds its pipe closed: it takes the move for
failed and sets the domain going again, which leaves it paused. The commands of THEN are run: afterwards
nobody writes here any more. That much is answered for at once: to open the disks takes the other side long,
and what there is to do about them need not wait for it.

When the receiver is ready its process is killed, which leaves a paused copy with its disks open, and the copy
gets the domain's name. So it is as after `xl save -p` into `xl restore -p`, and one command lets either copy
run, whichever is to.

When anything fails before all memory is sent, `xl` lets the domain run on here, and the receiver destroys its
copy; afterwards the domain stays paused here. A receiver that says something else than that it is ready is
killed, and its copy left for the way back.

Sources: tools/xl/xl_migrate.c of Xen 4.17 (migrate_domain, migrate_receive); seen in the lab.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = "domain received, ready to unpause"
"""As the receiver says it, with no end of line."""
NAMED = b"named\n"
OVER = b"over\n"
"""Said when ssh, or what is in its place, has ended: xl keeps the pipe open on its own side, so nobody would
see the end of it."""
PAUSE_S = 60.0
"""The domain is suspended meanwhile. Without an answer it is set going again, and the move goes back."""
THEN_S = 60.0
SUSPENDING = ("issuing PV suspend request", "issuing PVH suspend request", "issuing HVM suspend request")
HAS_SUSPENDED = "guest has suspended"
COMPLETE = re.compile(r"ao 0x[0-9a-f]+: complete, rc=0$")
"""From then on: the stream to its end is in the pipe."""
SENT = b"sent"
SUSPENDED = "suspended for {:.3f} s"
"""What is said on standard output: from the request to suspend until nobody writes here any more.
`xl.suspended_s` reads it."""
ANSWER = "XR_ANSWER"
"""As `guard.EARLY`."""

SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 "
    "-c aes128-gcm@openssh.com,aes128-ctr"
)
CARRIER = ""
"""The text of `carrier.py` where memory is to go past ssh; filled in by `xl.migrate`."""
THEN = "[]"
"""JSON: for each command its argv, its input, and what it must say, null if that does not matter; filled in
by `xl.migrate`."""
DISKS = "''"
"""A pattern of the shell's: the paths of the disks that have been proven; filled in by `xl.migrate`."""
SCRIPT = "/etc/xen/scripts/block"
BLOCK = f"""\
#!/bin/sh
# In place of Xen's own script while a domain is received, for disks that have been proven. All else is Xen's.
[ "$1" = works ] && exit 0
path=$(xenstore-read "$XENBUS_PATH/params")
case "$1 $path" in @DISKS@) proven=1 ;; *) proven= ;; esac
if [ "$proven" ] && [ -b "$path" ] && number=$(stat -L -c %t:%T "$path"); then
    device=/dev/dm-$((0x${{number#*:}}))
    [ "$device" -ef "$path" ] || device=$(readlink -f "$path") || proven=
    while read -r mounted rest; do [ "$mounted" -ef "$device" ] && proven=; done </proc/mounts
    [ "$proven" ] && xenstore-write "$XENBUS_PATH/physical-device" "$number" \\
        "$XENBUS_PATH/physical-device-path" "$device" "$XENBUS_PATH/hotplug-status" connected && exit 0
fi
exec nsenter --mount=/proc/1/ns/mnt {SCRIPT} "$@"
"""
"""What tells blkback which device to open, in four processes. Xen's own starts some forty, and some more for
every disk that any domain of the host has open: it asks of each whether it is the same. `look.in_use` asked
that before, and does so again before the copy runs."""
RECEIVER = "echo $$; exec xl migrate-receive"
ALONE = "unshare --mount --propagation slave"
"""What is mounted then is seen by this receiver and what it starts. It leaves a process behind that lives as
long as the guest; where a mount of the host's is not shared, it would keep that one from being unmounted."""
UNSHARED = "grep -v ' shared:' /proc/self/mountinfo | grep -qv '^[0-9]* [0-9]* 0:'"
"""Whether a mount of a disk is not shared."""
PREPARED = f"""\
if [ -f {SCRIPT} ] && own=$(mktemp) && printf %s "$1" >"$own" && chmod 755 "$own" &&
    mount --bind "$own" {SCRIPT}
then
    mount -o remount,bind,exec {SCRIPT}
    {{ {SCRIPT} works && nsenter --mount=/proc/1/ns/mnt true; }} >/dev/null || umount {SCRIPT}
fi
rm -f "${{own:-}}"
{RECEIVER}
"""
"""Where the script cannot be mounted over Xen's, or not be run there, Xen's own is run."""
LATER_S = 10
"""The domain stands still until the disks are open, and for some moments more: the processor is its own. So
whoever unmounts the script is started before that, and looks so seldom whether the receiving is over."""
MOMENTS_S = 3
RECEIVE = f"""\
if {UNSHARED} || ! {ALONE} true 2>/dev/null; then alone=; else alone=1; fi
{{ if [ "$alone" ]; then {ALONE} sh -c "$2" receiver "$3"; else sh -c '{RECEIVER}'; fi; }} | {{
    read -r receiver && read -r banner && echo "$banner"
    if [ "$alone" ]; then
        exec 3<"/proc/$receiver/ns/mnt"
        {{
            tail --pid=$$ --sleep-interval={LATER_S} -f /dev/null
            sleep {MOMENTS_S}
            nsenter --mount=/proc/self/fd/3 umount --lazy {SCRIPT}
        }} </dev/null >/dev/null 2>&1 &
    fi
    [ "$(head -c {len(READY)})" = '{READY}' ] || {{ kill -9 "$receiver" 2>/dev/null; exit 1; }}
    kill -9 "$receiver" && xl rename "$1--incoming" "$1" && echo named
}}
"""
"""Some moments after the disks are open the script is Xen's for whoever starts the guest anew; lazily, as
nobody would hear that it is in use. What waits for that must not keep ssh waiting."""
MEMORY = 9
"""The descriptor on which the shell that `tunnel` is for has what xl sends."""


def tunnel(domain: str, destination: str, said: int, answers: int) -> str:
    """What `xl migrate` runs in place of ssh: what the receiver says goes to `said`, not back to xl.

    First goes the number of xl's child. A shell takes descriptors of one digit only; a process that has just
    begun has no others.
    """
    script = BLOCK.replace("@DISKS@", DISKS)
    receive = shlex.join(["sh", "-c", RECEIVE, "receive", domain, PREPARED, script])
    carry = f"python3 -I -c {shlex.quote(CARRIER)}" if CARRIER else SSH
    sent = f"{carry} {shlex.quote(destination)} {shlex.quote(receive)}"
    over = OVER.decode().rstrip()
    return (
        f"exec {MEMORY}<&0; echo $$ >&{said}; "
        f"{{ {sent} <&{MEMORY}; echo {over}; }} >&{said} & exec cat <&{answers}"
    )


class Sending:
    """`xl migrate` at work, with what it and the receiver have said so far."""

    def __init__(self, domain: str, destination: str) -> None:
        for_us, said = os.pipe()
        answers, self.for_xl = os.pipe()
        self.xl = subprocess.Popen(
            ["xl", "-vvv", "migrate", "-s", "", domain, tunnel(domain, destination, said, answers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=(said, answers),
        )
        os.close(said)
        os.close(answers)
        assert self.xl.stderr is not None
        self.asked_at: float | None = None
        self.suspended = False
        self.events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        receiver = os.fdopen(for_us, "rb")
        self.child = receiver.readline()
        threads = (
            threading.Thread(target=self._listen, args=(self.xl.stderr,), daemon=True),
            threading.Thread(target=self._hear, args=(receiver,), daemon=True),
        )
        self.listener = threads[0]
        for thread in threads:
            thread.start()

    def _listen(self, log: IO[str]) -> None:
        """Pass on what xl complains about; note when it suspends the domain, and when it has sent all."""
        for line in log:
            if any(words in line for words in SUSPENDING):
                self.asked_at = time.monotonic()
            self.suspended = self.suspended or HAS_SUSPENDED in line
            if self.suspended and COMPLETE.search(line.rstrip()):
                self.events.put(SENT)
            if ": debug: " not in line and "xc: detail: " not in line:
                complain(line)

    def _hear(self, receiver: IO[bytes]) -> None:
        with receiver:
            for line in receiver:
                self.events.put(line)
        self.events.put(OVER)

    def keep_open(self) -> int:
        """Another end of the pipe that xl writes to: with its last one closed, the receiver would give up."""
        return os.open(f"/proc/{int(self.child)}/fd/{MEMORY}", os.O_WRONLY)

    @property
    def waits(self) -> bool:
        """Whether xl is still kept waiting: had its child ended, it would have set the domain going again."""
        return os.access(f"/proc/{int(self.child)}/fd/{MEMORY}", os.F_OK)

    def give_up(self) -> None:
        """xl waits for the receiver's word on this pipe: now it sets the domain going again."""
        if self.for_xl >= 0:
            os.close(self.for_xl)
            self.for_xl = -1


def complain(text: str) -> None:
    os.write(2, text.encode("utf-8", "backslashreplace"))


def stop(commands: Sequence[Sequence[object]]) -> bool:
    """Run THEN: each an argv, its input, and what it must say where that matters. Whether all was well."""
    for argv, given, expected in commands:
        assert isinstance(argv, list) and isinstance(given, str)
        try:
            done = subprocess.run(
                argv,
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=THEN_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            complain(f"{error}\n")
            return False
        complain(done.stderr)
        if done.returncode != 0 or expected not in (None, done.stdout):
            complain(f"{shlex.join(argv)} exited {done.returncode}: {done.stdout}\n")
            return False
    return True


def tell_suspended(asked_at: float | None) -> None:
    """How long it took, if xl has said when it began."""
    if asked_at is not None:
        os.write(1, (SUSPENDED.format(time.monotonic() - asked_at) + "\n").encode())


def answer() -> None:
    """What this was run for is done, though not all: the guard may say so."""
    if os.environ.get(ANSWER):
        os.write(int(os.environ[ANSWER]), b"!")


def pause(domain: str, sending: Sending) -> bool:
    """Whether it has stood still since xl suspended it. If it ran meanwhile it runs on: its copy is old."""
    done = subprocess.run(["xl", "pause", domain], check=False, timeout=PAUSE_S).returncode == 0
    if done and not sending.waits:
        complain(f"{domain} was set going again before it was paused\n")
        subprocess.run(["xl", "unpause", domain], check=False, timeout=PAUSE_S)
        return False
    return done


def send(domain: str, destination: str) -> int:
    """Exit status 0 if both copies are whole and paused."""
    sending = Sending(domain, destination)
    paused = named = False
    held = -1
    try:
        if sending.events.get() == BANNER:
            os.write(sending.for_xl, BANNER)
            event = sending.events.get()
            named = event == NAMED  # nothing else is heard of an xl that says other things than expected
            if event in (SENT, NAMED):
                held = sending.keep_open()
                paused = pause(domain, sending)
        sending.give_up()
        if paused:
            stopped = stop(json.loads(THEN))
            sending.xl.wait()
            if stopped:
                tell_suspended(sending.asked_at)
                answer()
            while not named and (event := sending.events.get()) != OVER:
                named = event == NAMED
            if not stopped:
                tell_suspended(sending.asked_at)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        complain(f"{error}\n")
    finally:
        sending.give_up()
        if held >= 0:
            os.close(held)
    sending.xl.wait()
    if paused and named:
        return 0
    sending.listener.join(1)
    return 1


if __name__ == "__main__":
    os._exit(send(*sys.argv[1:3]))  # nothing is buffered, and the domain stands still
