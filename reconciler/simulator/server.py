"""A real SSH server on 127.0.0.1 for each simulated host.

Accepts one user key, and on its channels only what the reconciler asks for: to install the guard and to
start it. A second key may be limited to the guard, as by a forced command. The guard's argv are interpreted
by the simulated host; nothing is ever run on this machine. The wall clock drives the simulated one, so a
long command takes (simulated time / speed) to answer.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from reconciler.execution.guard import LOCK_PATIENCE_S
from reconciler.simulator.filesystem import Directory, File, Link
from reconciler.simulator.guarding import SimGuard
from reconciler.simulator.host import SimHost
from reconciler.simulator.process import Result, ends_with
from reconciler.simulator.world import Job, World

START = re.compile(r"/usr/bin/python3 -I (/usr/local/lib/xen-reconciler/guard-([0-9a-f]{12})\.py)")
INSTALL = re.compile(
    r"mkdir -p (?P<folder>/usr/local/lib/xen-reconciler) && cat > (?P<new>\S+)( && sync (?P=new))?"
    r" && mv( -f)? (?P=new) (?P<path>\S+)( && sync \S+)?"
)
FOLDER = "/usr/local/lib/xen-reconciler"
CURRENT = f"{FOLDER}/guard-current.py"
MAKE_CURRENT = re.compile(
    rf"ln -sfn (?P<target>guard-[0-9a-f]{{12}}\.py) (?P<new>{CURRENT}\.new) && mv -T (?P=new) {CURRENT}"
)
TICK_S = 0.02
REPLY_S = 0.2
MAX_LINE_BYTES = 16 << 20


class LiveWorld:
    """A world that several threads share: one lock, and a clock that follows the wall clock."""

    def __init__(self, world: World, speed: float) -> None:
        self.world = world
        self.speed = speed
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self._zero = time.monotonic() - world.now_s / speed
        self.on_change: Callable[[], None] = lambda: None

    def catch_up(self) -> None:
        """Advance the simulated clock to where the wall clock says it is. Call with the lock held."""
        self.world.advance_to(max(self.world.now_s, (time.monotonic() - self._zero) * self.speed))

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let real time pass until a condition of the world holds; the lock is free meanwhile."""
        with self.lock:
            self.catch_up()
            deadline = self.world.now_s + seconds
        while True:
            with self.lock:
                self.catch_up()
                if condition():
                    return True
                if self.world.now_s >= deadline:
                    return False
                wakes = min([deadline, *(job.wake_at_s for job in self.world.jobs)])
                pause_s = min(TICK_S, max(0.001, (wakes - self.world.now_s) / self.speed))
            if self.stopped.wait(pause_s):
                return False

    def tick(self) -> None:
        """Keep time going while nobody asks anything, so that it never has to catch up by hours."""
        while not self.stopped.wait(0.1):
            with self.lock:
                self.catch_up()


class Login(paramiko.ServerInterface):
    """Key authentication; exec requests only, and with the limited key whatever it asks for is the guard."""

    def __init__(
        self,
        authorized: paramiko.PKey,
        limited: paramiko.PKey | None,
        serve: Callable[[paramiko.Channel, str], None],
    ) -> None:
        self._authorized = authorized
        self._limited = limited
        self._serve = serve
        self._forced = False

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._forced = self._limited is not None and key.asbytes() == self._limited.asbytes()
        good = username == "root" and (self._forced or key.asbytes() == self._authorized.asbytes())
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        line = CURRENT if self._forced else command.decode("utf-8", "replace")
        threading.Thread(target=self._serve, args=(channel, line), daemon=True).start()
        return True


class HostServer:
    """Listens for one host. `address` is (127.0.0.1, port)."""

    def __init__(
        self, live: LiveWorld, host: SimHost, host_key: paramiko.PKey, authorized: paramiko.PKey
    ) -> None:
        self.live = live
        self.host = host
        self.host_key = host_key
        self.authorized = authorized
        self.limited: paramiko.PKey | None = None
        self._transports: list[paramiko.Transport] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._listener = threading.Thread(target=self._accept, daemon=True)
        self._listener.start()

    def close(self) -> None:
        # A thread that waits in accept keeps the socket alive after a mere close: wake it, then close.
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.join(timeout=5)
        self._socket.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Cut every connection, as a dead host or network would."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def _accept(self) -> None:
        while not self.live.stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if not self.host.up:
                connection.close()
                continue
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            self._transports = [old for old in self._transports if old.is_active()] + [transport]
            try:
                transport.start_server(threading.Event(), Login(self.authorized, self.limited, self._serve))
            except (paramiko.SSHException, EOFError, OSError):
                transport.close()

    def _serve(self, channel: paramiko.Channel, line: str) -> None:
        earliest_close = time.monotonic() + REPLY_S
        try:
            start, install = START.fullmatch(line), INSTALL.fullmatch(line)
            current = MAKE_CURRENT.fullmatch(line)
            if line == CURRENT:
                status = self._guard(channel, self._current())
            elif start:
                status = self._guard(channel, start[1])
            elif current:
                status = 0
                with self.live.lock:
                    self.host.files.nodes[CURRENT] = Link(current["target"])
            elif install:
                status = self._install(channel, install["path"])
            else:
                channel.sendall_stderr(f"simulated host: refused to run: {line}\n".encode())
                status = 127
            channel.send_exit_status(status)
        except (OSError, EOFError, ValueError, paramiko.SSHException):
            pass
        finally:
            # «exec accepted» is sent by another thread after this one began: a close must not overtake it.
            time.sleep(max(0.0, earliest_close - time.monotonic()))
            try:
                channel.close()
            except (OSError, EOFError):
                pass  # the other side was quicker

    def _install(self, channel: paramiko.Channel, path: str) -> int:
        content = b""
        while more := channel.recv(65536):
            content += more
            if len(content) > MAX_LINE_BYTES:
                return 1
        with self.live.lock:
            files = self.host.files
            files.nodes.setdefault("/usr/local/lib/xen-reconciler", Directory())
            files.nodes[path] = File(content.decode())
        return 0

    def _current(self) -> str:
        """The file the forced command starts."""
        with self.live.lock:
            node = self.host.files.nodes.get(CURRENT)
        return f"{FOLDER}/{node.target}" if isinstance(node, Link) else CURRENT

    def _guard(self, channel: paramiko.Channel, path: str) -> int:
        with self.live.lock:
            node = self.host.files.nodes.get(path)
        if not isinstance(node, File):
            said = f"/usr/bin/python3: can't open file '{path}': [Errno 2] No such file or directory\n"
            channel.sendall_stderr(said.encode())
            return 2
        Session(self, channel, hashlib.sha256(node.text.encode()).hexdigest()[:12]).serve()
        return 0


class Session:
    """One guard on one channel."""

    def __init__(self, server: HostServer, channel: paramiko.Channel, version: str) -> None:
        self.live = server.live
        self.host = server.host
        self.channel = channel
        self.boot_id = self.host.boot_id
        patience_s = LOCK_PATIENCE_S * self.live.speed  # other threads of this process hold it in real time
        self.guard = SimGuard(self.host, self.live.wait, self._start, self.live.lock, patience_s, version)

    def serve(self) -> None:
        self._say(self.guard.hello())
        buffered = b""
        while True:
            while b"\n" not in buffered:
                more = self.channel.recv(65536)
                if not more or len(buffered) > MAX_LINE_BYTES:
                    return
                buffered += more
            line, buffered = buffered.split(b"\n", 1)
            for reply in self.guard.handle(json.loads(line), self._gone):
                if self.host.boot_id != self.boot_id or not self.host.up:
                    return  # the host this guard ran on is no more
                self._say(reply)

    def _gone(self) -> bool:
        return bool(self.channel.closed or self.channel.eof_received)

    def _say(self, reply: dict[str, Any]) -> None:
        try:
            self.channel.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            pass  # a guard whose reader has gone finishes its command and then sees that it is alone

    def _start(self, index: int, argv: list[str], stdin: str, lock: str | None) -> Job:
        with self.live.lock:
            self.live.catch_up()
            if self.host.boot_id != self.boot_id or not self.host.up:
                steps = ends_with(Result(255, "", "the host is down"))
                return Job(self.host, steps, 0.0, over=True)
            job = self.live.world.start(self.host, self.host.run(argv, stdin), lock)
            self.live.on_change()
            return job
