"""Runs scripts on hosts over ssh, through the guard. The only module that imports paramiko.

Every host has one connection with several channels; on each channel one guard serves one script at a
time. A script whose request was written but not answered has an unknown outcome; one whose request was
never written was certainly not run.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paramiko

from reconciler.errors import HostKeyError
from reconciler.execution import guard as guard_module
from reconciler.model.command import REFUSALS, Answer, NoAnswer, Outcome, Script, Skip, Skipped
from reconciler.model.placement import Host

GUARD_FOLDER = "/usr/local/lib/xen-reconciler"
SLACK_S = 15.0
IDLE_CHANNELS = 4
GREETING_LINES = 200
"""So many lines may come before the guard's hello: the message of the day, words of a login script."""
MAX_LINE_BYTES = 64 * 1024 * 1024

GUARD_SOURCE = Path(guard_module.__file__).read_bytes()
GUARD_VERSION = hashlib.sha256(GUARD_SOURCE).hexdigest()[:12]
GUARD_PATH = f"{GUARD_FOLDER}/guard-{GUARD_VERSION}.py"
CURRENT_PATH = f"{GUARD_FOLDER}/guard-current.py"


class NotSent(Exception):
    """The host could not be asked; nothing was run on it."""


class Lost(Exception):
    """The host was asked and the answer did not come."""


class Garbled(Lost):
    """A line came that is no reply."""


def shell_line(*argv: str) -> str:
    """The one place where argv becomes a line for a shell: that of sshd."""
    return shlex.join(argv)


START_LINE = shell_line("/usr/bin/python3", "-I", GUARD_PATH)
INSTALL_LINE = (
    f"mkdir -p {GUARD_FOLDER} && cat > {GUARD_PATH}.new && sync {GUARD_PATH}.new"
    f" && mv {GUARD_PATH}.new {GUARD_PATH}"
)


CURRENT_LINE = (
    f"ln -sfn guard-{GUARD_VERSION}.py {CURRENT_PATH}.new && mv -T {CURRENT_PATH}.new {CURRENT_PATH}"
)
"""What a forced command in authorized_keys starts: `python3 -I …/guard-current.py`."""


class SshRunner:
    """A Runner for real hosts. Key authentication only; an unknown or changed host key is refused."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        key_file: Path,
        known_hosts_file: Path,
        connect_timeout_s: float = 15.0,
    ) -> None:
        self._hosts = dict(hosts)
        self._key_file = key_file
        self._known_hosts_file = known_hosts_file
        self._connect_timeout_s = connect_timeout_s
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}

    def use(self, hosts: Mapping[str, Host]) -> None:
        """Take over the hosts of a newer commit; connections of changed ones are closed."""
        with self._lock:
            for name, link in list(self._links.items()):
                if hosts.get(name) != self._hosts.get(name):
                    link.close()
                    del self._links[name]
            self._hosts = dict(hosts)

    def close(self) -> None:
        with self._lock:
            for link in self._links.values():
                link.close()
            self._links.clear()

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        """Run a script; every command gets an outcome, whatever happens to the host or the connection."""
        if host not in self._hosts:
            return tuple(Skipped(Skip.UNREACHABLE, f"no host {host} is known") for _ in script.commands)
        with self._lock:
            link = self._links.setdefault(
                host, Link(self._hosts[host], self._key_file, self._known_hosts_file, self._connect_timeout_s)
            )
        return link.run(script)


class Link:
    """One ssh connection to one host and the guards started over it."""

    def __init__(self, host: Host, key_file: Path, known_hosts_file: Path, connect_timeout_s: float) -> None:
        self._host = host
        self._key_file = key_file
        self._known_hosts_file = known_hosts_file
        self._timeout_s = connect_timeout_s
        self._lock = threading.Lock()
        self._client: paramiko.SSHClient | None = None
        self._idle: list[GuardChannel] = []
        self._serial = 0

    def run(self, script: Script) -> tuple[Outcome, ...]:
        answers: list[Outcome] = []
        try:
            channel = self._take()
        except NotSent as error:
            return tuple(Skipped(Skip.UNREACHABLE, str(error)) for _ in script.commands)
        except HostKeyError as error:
            return tuple(Skipped(Skip.HOST_KEY, str(error)) for _ in script.commands)
        try:
            self._converse(channel, script, answers)
        except NotSent as error:
            channel.close()
            return tuple(Skipped(Skip.UNREACHABLE, str(error)) for _ in script.commands)
        except (Lost, KeyError, IndexError, TypeError, ValueError) as error:
            # The last four: a reply that is none of the guard's. What became of the command is not known.
            if not isinstance(error, Lost):
                error = Lost(f"the reply cannot be understood: {error!r}")
            channel.close()
            answers += [NoAnswer(str(error)) for _ in script.commands[len(answers) :]]
            return tuple(answers)
        self._give_back(channel)
        return tuple(answers)

    def _converse(self, channel: GuardChannel, script: Script, answers: list[Outcome]) -> None:
        with self._lock:
            self._serial += 1
            ident = self._serial
        channel.send(script.request(ident))
        deadline = time.monotonic() + script.timeout_s + SLACK_S
        while True:
            reply = channel.receive(deadline)
            if reply.get("id") != ident:
                continue
            if "refused" in reply:
                why = REFUSALS.get(reply["refused"], Skip.REFUSED)
                answers += [
                    Skipped(why, str(reply.get("detail", ""))) for _ in script.commands[len(answers) :]
                ]
                return
            if reply.get("done"):
                answers += [Skipped(Skip.EARLIER) for _ in script.commands[len(answers) :]]
                return
            if reply.get("timeout"):
                limit_s = script.commands[len(answers)].timeout_s
                answers.append(NoAnswer(f"it did not end within {limit_s:.0f} s"))
            else:
                answers.append(
                    Answer(
                        reply["exit"], reply["stdout"], reply["stderr"], float(reply.get("duration_s", 0.0))
                    )
                )

    def _take(self) -> GuardChannel:
        with self._lock:
            while self._idle:
                channel = self._idle.pop()
                if channel.alive():
                    return channel
                channel.close()
            transport = self._connected()
        return open_guard(transport, self._timeout_s)

    def _give_back(self, channel: GuardChannel) -> None:
        with self._lock:
            if len(self._idle) < IDLE_CHANNELS:
                self._idle.append(channel)
                return
        channel.close()

    def _connected(self) -> paramiko.Transport:
        if self._client is not None:
            transport = self._client.get_transport()
            if transport is not None and transport.is_active():
                return transport
            self._client.close()
        self._client = connect(self._host, self._key_file, self._known_hosts_file, self._timeout_s)
        transport = self._client.get_transport()
        assert transport is not None
        return transport

    def close(self) -> None:
        with self._lock:
            for channel in self._idle:
                channel.close()
            self._idle.clear()
            if self._client is not None:
                self._client.close()
                self._client = None


IDLE_LOOK_S = 1.0
"""How often paramiko's thread of a connection on which nothing comes looks whether it was closed or has to
send a keepalive: ten times a second by itself, most of what a daemon of many hosts took. Data wake it."""


def connect(host: Host, key_file: Path, known_hosts_file: Path, timeout_s: float) -> paramiko.SSHClient:
    """Open a connection; raises NotSent when the host is away and HostKeyError when its key is wrong."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.load_host_keys(str(known_hosts_file))
    except OSError as error:
        raise HostKeyError(
            f"{known_hosts_file}: {error.strerror}; it must hold the host keys of all hosts"
        ) from None
    except Exception as error:  # a line that is no key, bytes that are no text
        text = f"{known_hosts_file} cannot be understood: {str(error)[:200] or type(error).__name__}"
        raise HostKeyError(f"{text}; correct it") from None
    where = f"{host.name} ({host.address}:{host.port})"
    try:
        client.connect(
            host.address,
            port=host.port,
            username=host.user,
            key_filename=str(key_file),
            look_for_keys=False,
            allow_agent=False,
            timeout=timeout_s,
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            channel_timeout=timeout_s,
        )
    except paramiko.BadHostKeyException:
        client.close()
        raise HostKeyError(
            f"{where} shows another host key than {known_hosts_file} holds; compare them"
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        if "not found in known_hosts" in str(error):
            raise HostKeyError(f"{where} is not in {known_hosts_file}; add its key there") from None
        raise NotSent(f"{where}: {str(error) or type(error).__name__}") from None
    except Exception as error:  # a user key that is none; whatever it is, nothing was sent
        client.close()
        raise NotSent(f"{where}: {type(error).__name__}: {str(error)[:200]}") from None
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(10)
    transport.sock.settimeout(IDLE_LOOK_S)
    if not strict(transport):
        client.close()
        raise NotSent(f"{where} does not offer strict key exchange (CVE-2023-48795); update its sshd")
    return client


def strict(transport: object) -> bool:
    """Whether both sides agreed on strict key exchange; a library that can't tell counts as no."""
    return bool(getattr(transport, "agreed_on_strict_kex", False))


def open_guard(transport: paramiko.Transport, timeout_s: float) -> GuardChannel:
    """Start a guard on a new channel; installs this version of it when the host does not have it.

    A key that is limited by a forced command starts `guard-current.py` whatever is asked for, and cannot
    install anything: then only this very version will do, and a person has to put it there.
    """
    for attempt in (1, 2):
        try:
            started = start_guard(transport, timeout_s)
            break
        except (paramiko.SSHException, OSError, EOFError, Lost) as error:
            if attempt == 2 or not transport.is_active():
                raise NotSent(f"the guard did not start: {str(error) or type(error).__name__}") from None
            install_guard(transport, timeout_s)
    return started


def start_guard(transport: paramiko.Transport, timeout_s: float) -> GuardChannel:
    """A guard of this version that has said hello. NotSent when the host runs another one."""
    channel = transport.open_session(timeout=timeout_s)
    channel.settimeout(timeout_s + SLACK_S)
    channel.exec_command(START_LINE)
    started = GuardChannel(channel)
    hello = started.hello(time.monotonic() + timeout_s + SLACK_S)
    if hello.get("version") != GUARD_VERSION:
        started.close()
        found = str(hello.get("version", "without a version"))[:40]
        raise NotSent(
            f"the key is limited to the guard there, which is {found!a}, not {GUARD_VERSION}; {TO_INSTALL}"
        )
    return started


TO_INSTALL = "run `reconciler guard install HOST --key KEY` with a key that is not limited"


def install_guard(transport: paramiko.Transport, timeout_s: float) -> None:
    """Put this version of the guard on the host, as a whole or not at all."""
    status, said = put(transport, INSTALL_LINE, GUARD_SOURCE, timeout_s)
    if status != 0:
        hint = f"; {TO_INSTALL}" if "guard-current.py" in said else ""
        raise NotSent(f"the guard could not be installed: exit {status}: {said}{hint}")


def install_current(host: Host, key_file: Path, known_hosts_file: Path, timeout_s: float) -> None:
    """Install this version and make it the one a forced command starts; NotSent or HostKeyError if not."""
    client = connect(host, key_file, known_hosts_file, timeout_s)
    try:
        transport = client.get_transport()
        assert transport is not None
        install_guard(transport, timeout_s)
        status, said = put(transport, CURRENT_LINE, b"", timeout_s)
        if status != 0:
            raise NotSent(f"{CURRENT_PATH} could not be made: exit {status}: {said}")
        open_guard(transport, timeout_s).close()
    finally:
        client.close()


def put(transport: paramiko.Transport, line: str, content: bytes, timeout_s: float) -> tuple[int, str]:
    """Run one of this module's constant lines with `content` as its input; exit status and complaint."""
    try:
        channel = transport.open_session(timeout=timeout_s)
        channel.settimeout(timeout_s + SLACK_S)
        channel.exec_command(line)
        channel.sendall(content)
        channel.shutdown_write()
        if not channel.status_event.wait(timeout_s + SLACK_S):
            raise NotSent("the guard could not be installed: no answer in time")
        status = channel.recv_exit_status()
        said = channel.recv_stderr(2000).decode(errors="replace").strip()
        channel.close()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise NotSent(f"the guard could not be installed: {str(error) or type(error).__name__}") from None
    return status, said


class GuardChannel:
    """JSON lines to and from one guard."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._buffer = b""

    def close(self) -> None:
        self._channel.close()

    def alive(self) -> bool:
        return (
            not self._channel.closed
            and not self._channel.exit_status_ready()
            and not self._channel.eof_received
        )

    def send(self, request: dict[str, Any]) -> None:
        """Raises Lost: a part of the line may have arrived."""
        try:
            self._channel.settimeout(SLACK_S)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise Lost(f"the connection broke while asking: {str(error) or type(error).__name__}") from None

    def hello(self, deadline: float) -> dict[str, Any]:
        """The guard's first words, after what a login script may print; raises Lost."""
        for _ in range(GREETING_LINES):
            try:
                return self.receive(deadline)
            except Garbled:
                continue
        raise Lost(f"{GREETING_LINES} lines and no guard among them; does a login script print something?")

    def receive(self, deadline: float) -> dict[str, Any]:
        """One reply before the deadline (monotonic seconds); raises Lost."""
        while b"\n" not in self._buffer:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Lost("no reply before the deadline")
            self._channel.settimeout(left_s)
            try:
                more = self._channel.recv(65536)
            except TimeoutError:
                continue  # to the deadline, which is over
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise Lost(f"the connection broke: {str(error) or type(error).__name__}") from None
            if not more:
                said = (
                    self._channel.recv_stderr(500).decode(errors="replace")
                    if self._channel.recv_stderr_ready()
                    else ""
                )
                raise Lost(f"the guard ended the conversation {said.strip()}".strip())
            self._buffer += more
            if len(self._buffer) > MAX_LINE_BYTES:
                raise Lost("the reply is too long")
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            raise Garbled("the reply is not JSON; does a login script print something?") from None
        if not isinstance(reply, dict):
            raise Garbled("the reply is not an object")
        return reply
