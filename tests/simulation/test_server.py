"""The SSH server: paramiko as the client, the guard's protocol over it, many channels at once."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from reconciler.execution import guard as guard_module
from reconciler.simulator import live

SOURCE = Path(guard_module.__file__).read_bytes()
GUARD = f"/usr/local/lib/xen-reconciler/guard-{hashlib.sha256(SOURCE).hexdigest()[:12]}.py"
START = f"/usr/bin/python3 -I {GUARD}"
FOLDER = "/usr/local/lib/xen-reconciler"
INSTALL = f"mkdir -p {FOLDER} && cat > {GUARD}.new && sync {GUARD}.new && mv {GUARD}.new {GUARD}"


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[live.Handle]:
    running = live.start(tmp_path, hosts=2, speed=50)
    yield running
    running.stop()


def client(handle: live.Handle, host: str, key: Path | None = None) -> paramiko.SSHClient:
    made = paramiko.SSHClient()
    made.set_missing_host_key_policy(paramiko.RejectPolicy())
    made.load_host_keys(str(handle.known_hosts_file))
    made.connect("127.0.0.1", handle.ports[host], "root", key_filename=str(key or handle.key_file),
                 look_for_keys=False, allow_agent=False)  # fmt: skip
    return made


def run(connection: paramiko.SSHClient, line: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    given, out, err = connection.exec_command(line, timeout=20)
    given.write(stdin)
    given.channel.shutdown_write()
    return out.channel.recv_exit_status(), out.read(), err.read()


class Guard:
    """The daemon's side of one guard channel."""

    def __init__(self, connection: paramiko.SSHClient) -> None:
        self.given, self.out, _ = connection.exec_command(START, timeout=20)
        self.hello = json.loads(self.out.readline())

    def ask(self, *commands: list[str], claim: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        request = {"id": 1, "claim": claim, "commands": [{"argv": argv} for argv in commands]}
        self.given.write(json.dumps(request) + "\n")
        replies = []
        while True:
            replies.append(json.loads(self.out.readline()))
            if "done" in replies[-1] or "refused" in replies[-1]:
                return replies


def installed(handle: live.Handle, host: str) -> paramiko.SSHClient:
    connection = client(handle, host)
    assert run(connection, INSTALL, SOURCE)[0] == 0
    return connection


def test_the_guard_is_absent_until_installed(handle: live.Handle) -> None:
    connection = client(handle, "xen1")
    status, _, said = run(connection, START)
    assert status == 2 and b"can't open file" in said
    assert run(connection, INSTALL, SOURCE)[0] == 0
    hello = Guard(connection).hello
    assert (hello["guard"], hello["node"]) == (1, "xen1")
    assert hello["boot_id"] == handle.world.hosts["xen1"].boot_id


def test_another_line_is_not_run(handle: live.Handle) -> None:
    status, out, _ = run(client(handle, "xen1"), "id; touch /tmp/x")
    assert (status, out) == (127, b"")


def test_a_wrong_key_and_a_password_are_refused(handle: live.Handle, tmp_path: Path) -> None:
    live.new_key(tmp_path / "other")
    with pytest.raises(paramiko.AuthenticationException):
        client(handle, "xen1", tmp_path / "other")
    with pytest.raises(paramiko.BadAuthenticationType):
        made = paramiko.SSHClient()
        made.load_host_keys(str(handle.known_hosts_file))
        made.connect(
            "127.0.0.1", handle.ports["xen1"], "root", "secret", look_for_keys=False, allow_agent=False
        )


def test_hosts_have_their_own_keys(handle: live.Handle) -> None:
    keys = {server.host_key.get_base64() for server in handle.servers.values()}
    assert len(keys) == 2
    swapped = handle.known_hosts_file.read_text().replace(str(handle.ports["xen1"]), "0")
    handle.known_hosts_file.write_text(swapped.replace(str(handle.ports["xen2"]), str(handle.ports["xen1"])))
    with pytest.raises(paramiko.BadHostKeyException):
        client(handle, "xen1")


def test_channels_and_connections_work_at_once(handle: live.Handle) -> None:
    answers: list[str] = []

    def ask(guard: Guard) -> None:
        for _ in range(5):
            answers.append(guard.ask(["xl", "list"])[0]["stdout"])

    first = installed(handle, "xen1")
    guards = [Guard(first), Guard(first), Guard(client(handle, "xen1"))]
    threads = [threading.Thread(target=ask, args=(guard,)) for guard in guards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 15 and all("web1" in text for text in answers)


def test_a_claim_locks_and_older_epochs_are_refused(handle: live.Handle) -> None:
    connection = installed(handle, "xen1")
    one, two = Guard(connection), Guard(connection)
    claim = {"domain": "web1", "epoch": 3}
    slow = ["dd", "if=/dev/zero", "of=/dev/vg/none", "bs=1M"]
    assert one.ask(["true"], claim=claim)[0]["exit"] == 0
    assert two.ask(["true"], claim={"domain": "web1", "epoch": 2})[0]["refused"] == "stale-epoch"
    assert one.ask(["grep", "-rs", "", "/var/lib/xen-reconciler/epochs"])[0]["stdout"].endswith("/web1:3\n")
    assert one.ask(slow, ["true"], claim=claim)[-2]["exit"] != 0
    with handle.live.lock:
        handle.world.hosts["xen1"].locks["web1"] = object()
    assert two.ask(["true"], claim=claim)[0]["refused"] == "busy"


def test_commands_take_their_time(handle: live.Handle) -> None:
    guard = Guard(installed(handle, "xen1"))
    began = time.monotonic()
    reply = guard.ask(["xl", "save", "web1", "/root/web1.img"])[0]
    assert reply["exit"] == 0 and reply["duration_s"] > 0.5
    assert time.monotonic() - began >= reply["duration_s"] / 50
    assert guard.ask(["xl", "list"])[0]["stdout"].count("\n") == 2


def test_a_crash_ends_connections_and_a_boot_changes_the_boot_id(handle: live.Handle) -> None:
    guard = Guard(installed(handle, "xen1"))
    handle.crash("xen1")
    with pytest.raises((OSError, EOFError, paramiko.SSHException)):
        client(handle, "xen1")
    handle.boot("xen1")
    assert Guard(client(handle, "xen1")).hello["boot_id"] != guard.hello["boot_id"]
    assert handle.violations() == []
