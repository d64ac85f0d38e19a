#!/usr/bin/python3 -I
"""Carries what it reads to a command on another host by plain TCP, in place of ssh.

Runs on the source: `python3 -I -c THIS USER@ADDRESS COMMAND`. Standard library only.

ssh starts the other half on the target and shows what the command says, as ever; only what the command is
to read goes past it. The other half listens on ADDRESS, at a port that the kernel chooses, for one connection
that begins with a secret. The secret goes through ssh and is in no argument. What follows it is not
encrypted, like DRBD's own traffic between the same two addresses.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import subprocess
import sys
import threading
from typing import IO

SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 "
    "-c aes128-gcm@openssh.com,aes128-ctr"
)
SECRET_BYTES = 32
CONNECT_S = 15.0
PIECE = 1 << 18
PORT = b"listens at port "
LISTEN = f"""\
import hmac, os, signal, socket, sys, time
until = time.monotonic() + {CONNECT_S}
def take(source):
    got = b""
    while len(got) < {SECRET_BYTES} and time.monotonic() < until:
        more = source({SECRET_BYTES} - len(got))
        if not more:
            break
        got += more
    return got
secret = take(sys.stdin.buffer.raw.read)
if len(secret) < {SECRET_BYTES}:
    sys.exit("no secret came")
listener = socket.create_server((sys.argv[1], 0))
print("{PORT.decode()}%d" % listener.getsockname()[1], file=sys.stderr, flush=True)
while time.monotonic() < until:
    listener.settimeout(max(0.001, until - time.monotonic()))
    peer = listener.accept()[0]
    peer.settimeout(1)
    try:
        if hmac.compare_digest(take(peer.recv), secret):
            break
    except OSError:
        pass
    peer.close()
else:
    sys.exit("nobody came who knows the secret")
listener.close()
peer.settimeout(None)
peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
os.dup2(peer.fileno(), 0)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execvp("sh", ["sh", "-c", sys.argv[2]])
"""


def far(destination: str, command: str) -> list[str]:
    """ssh with the other half."""
    address = destination.rpartition("@")[2]
    return [*SSH.split(), destination, shlex.join(["python3", "-I", "-c", LISTEN, address, command])]


def port_of(said: IO[bytes]) -> int | None:
    """Where the other half listens; None when it ends without saying so. ssh may speak first."""
    for line in said:
        if line.startswith(PORT):
            return int(line.removeprefix(PORT))
        os.write(2, line)
    return None


def pump(destination: str, port: int, secret: bytes) -> None:
    """All that comes, then its end. A connection that fails ends the command, and with it this program."""
    try:
        with socket.create_connection((destination.rpartition("@")[2], port), timeout=CONNECT_S) as peer:
            # A command that reads nothing for long is waited for; a host that is dead is for ssh to notice.
            peer.settimeout(None)
            peer.sendall(secret)
            while piece := os.read(0, PIECE):
                peer.sendall(piece)
    except OSError as error:
        os.write(2, f"plain TCP to {destination}: {error}\n".encode())


def show(said: IO[bytes]) -> None:
    """What the command complains about."""
    for line in said:
        os.write(2, line)


def carry(destination: str, command: str) -> int:
    """The exit status of the command, or of what kept it from being reached. It may not read all."""
    secret = secrets.token_bytes(SECRET_BYTES)
    other = subprocess.Popen(far(destination, command), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert other.stdin is not None and other.stderr is not None
    with contextlib.suppress(BrokenPipeError):  # ssh has ended, and says why
        other.stdin.write(secret)
        other.stdin.flush()
    port = port_of(other.stderr)
    if port is not None:
        threading.Thread(target=pump, args=(destination, port, secret), daemon=True).start()
        show(other.stderr)
    return other.wait()


if __name__ == "__main__":
    sys.exit(carry(*sys.argv[1:3]))
