#!/usr/bin/python3 -I
"""Carries what it reads to a command on another host by TCP, plain or in TLS, in place of ssh.

Runs on the source: `python3 -I -c THIS USER@ADDRESS COMMAND`. Standard library only.

ssh starts the other half on the target and shows what the command says, as ever; only what the command is
to read goes past it. The other half listens on ADDRESS, at a port that the kernel chooses, for one connection
that begins with a secret. The secret goes through ssh and is in no argument. Plain, what follows it is not
encrypted, like DRBD's own traffic between the same two addresses.

In TLS the other half makes a key and a certificate for this one connection and sends the certificate through
ssh: no other is taken, and the secret is said only to who has its key. TLS 1.3, its own choice of cipher.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import secrets
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from typing import IO

TLS = False
"""Filled in by `xl.stream` and `xl.migrate`."""

SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 "
    "-c aes128-gcm@openssh.com,aes128-ctr"
)
SECRET_BYTES = 32
CONNECT_S = 15.0
PIECE = 1 << 18
SILENT_S = 5.0
"""Who says nothing for so long is not listened to any more. Each is heard by himself."""
PORT = b"listens at port "
LISTEN = f"""\
import base64, hmac, os, queue, signal, socket, ssl, subprocess, sys, threading, time
until = time.monotonic() + {CONNECT_S}
def late(*_):  # wherever the alarm finds it: an exception out of a lock's own code can end as another
    try:
        os.write(2, b"nobody came who knows the secret" + bytes([10]))
    finally:
        os._exit(1)
signal.signal(signal.SIGALRM, late)
signal.setitimer(signal.ITIMER_REAL, {CONNECT_S})
def made():
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words += " -subj /CN=memory -keyout - -out -"
    done = subprocess.run(words.split(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit("no certificate: " + done.stderr.strip())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    kept = os.memfd_create("key")
    os.write(kept, done.stdout.encode())
    context.load_cert_chain("/proc/self/fd/%d" % kept)
    os.close(kept)
    begins, ends = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found = done.stdout[done.stdout.index(begins):done.stdout.index(ends)] + ends + chr(10)
    return context, base64.b64encode(ssl.PEM_cert_to_DER_cert(found)).decode()
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
context, certificate = made() if sys.argv[3] == "tls" else (None, "")
listener = socket.create_server((sys.argv[1], 0))
print("{PORT.decode()}%d %s" % (listener.getsockname()[1], certificate), file=sys.stderr, flush=True)
known = queue.Queue()
def hear(peer):
    try:
        peer.settimeout({SILENT_S})
        if context:
            peer = context.wrap_socket(peer, server_side=True)
        if hmac.compare_digest(take(peer.recv), secret):
            return known.put(peer)
    except OSError:
        pass
    peer.close()
def answer():
    while time.monotonic() < until:
        try:
            threading.Thread(target=hear, args=listener.accept()[:1], daemon=True).start()
        except (OSError, RuntimeError):
            time.sleep(0.05)  # strangers have all the files or threads there are, or it is over
threading.Thread(target=answer, daemon=True).start()
try:
    peer = known.get(timeout=max(0.001, until - time.monotonic()))
except queue.Empty:
    late()
signal.setitimer(signal.ITIMER_REAL, 0)
listener.shutdown(socket.SHUT_RDWR)
listener.close()
peer.settimeout(None)
peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
if not context:
    os.dup2(peer.fileno(), 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp("sh", ["sh", "-c", sys.argv[2]])
child = subprocess.Popen(["sh", "-c", sys.argv[2]], stdin=subprocess.PIPE)
def feed():
    try:
        while piece := peer.recv({PIECE}):
            child.stdin.write(piece)
            child.stdin.flush()
    except OSError as error:
        try:
            os.write(2, b"TLS: %s" % str(error).encode() + bytes([10]))
        except OSError:
            pass  # ssh has gone: the command must hear of the end all the same
    try:
        child.stdin.close()
    except OSError:
        pass
threading.Thread(target=feed, daemon=True).start()
os._exit(child.wait())
"""


def far(destination: str, command: str) -> list[str]:
    """ssh with the other half."""
    address, way = destination.rpartition("@")[2], "tls" if TLS else "plain"
    return [*SSH.split(), destination, shlex.join(["python3", "-I", "-c", LISTEN, address, command, way])]


def port_of(said: IO[bytes]) -> tuple[int, bytes] | None:
    """Where the other half listens, and its certificate, in DER, if it has one.

    None when it ends without saying so. ssh may speak first.
    """
    for line in said:
        if line.startswith(PORT):
            port, _, certificate = line.removeprefix(PORT).partition(b" ")
            return int(port), base64.b64decode(certificate.strip())
        os.write(2, line)
    return None


def wrapped(peer: socket.socket, certificate: bytes) -> ssl.SSLSocket:
    """In TLS, with whoever has the key of this certificate; its dates and names say nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secured = context.wrap_socket(peer)
    if not hmac.compare_digest(secured.getpeercert(binary_form=True) or b"", certificate):
        raise ssl.SSLError("another certificate than the one that came through ssh")
    return secured


def pump(destination: str, port: int, certificate: bytes, secret: bytes) -> None:
    """All that comes, then its end. A connection that fails ends the command, and with it this program."""
    try:
        with contextlib.ExitStack() as open_sockets:
            address = (destination.rpartition("@")[2], port)
            peer = open_sockets.enter_context(socket.create_connection(address, timeout=CONNECT_S))
            if TLS:
                peer = open_sockets.enter_context(wrapped(peer, certificate))
            # A command that reads nothing for long is waited for; a host that is dead is for ssh to notice.
            peer.settimeout(None)
            peer.sendall(secret)
            while piece := os.read(0, PIECE):
                peer.sendall(piece)
    except OSError as error:
        os.write(2, f"{'TLS' if TLS else 'plain TCP'} to {destination}: {error}\n".encode())


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
    found = port_of(other.stderr)
    if found is not None:
        threading.Thread(target=pump, args=(destination, *found, secret), daemon=True).start()
        show(other.stderr)
    return other.wait()


if __name__ == "__main__":
    sys.exit(carry(*sys.argv[1:3]))
