"""What a host, its ssh server or the daemon's own files may say instead of what is expected."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from reconciler.execution import ssh
from reconciler.model.command import Answer, Claim, Command, NoAnswer, Outcome, Script, Skip, Skipped
from reconciler.simulator import server
from reconciler.simulator.live import Handle
from tests.execution.test_ssh import LIST, fleet, hosts_of, runner

__all__ = ["fleet", "runner"]
TRUE = Script((Command(("true",)),), Claim("web1", 1))


def one(outcomes: tuple[Outcome, ...]) -> Outcome:
    (outcome,) = outcomes
    return outcome


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[dict[str, Any]], bytes]], None]:
    """Put something in place of what the guards say."""

    def install(words: Callable[[dict[str, Any]], bytes]) -> None:
        def say(self: server.Session, reply: dict[str, Any]) -> None:
            self.channel.sendall(words(reply))

        monkeypatch.setattr(server.Session, "_say", say)

    return install


def line(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply).encode() + b"\n"


@pytest.mark.parametrize("content", [None, b"xen1 ssh-ed25519 AAAA!\n", b"\xff\xfe\x00garbage\n"])
def test_known_hosts_that_cannot_be_read_is_an_outcome(
    fleet: Handle, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "known_hosts"
    if content is not None:
        file.write_bytes(content)
    runner = ssh.SshRunner(hosts_of(fleet), fleet.key_file, file, 5)
    outcome = one(runner.run("xen1", LIST))
    assert isinstance(outcome, Skipped) and outcome.why is Skip.HOST_KEY
    assert str(file) in outcome.reason
    file.write_bytes(fleet.known_hosts_file.read_bytes())
    assert isinstance(one(runner.run("xen1", LIST)), Answer)
    runner.close()


@pytest.mark.parametrize("content", [None, b"no key at all\n", b"\xff\xfe\x00"])
def test_a_user_key_that_cannot_be_read_is_an_outcome(
    fleet: Handle, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    outcome = one(ssh.SshRunner(hosts_of(fleet), file, fleet.known_hosts_file, 5).run("xen1", LIST))
    assert isinstance(outcome, Skipped) and outcome.why is Skip.UNREACHABLE


def test_words_of_a_login_script_before_the_guards_are_skipped(
    runner: ssh.SshRunner, says: Callable[..., None]
) -> None:
    greeting = "Willkommen äöü\n\n42\n[1]\n".encode("latin-1") + b"[" * 100_000 + b"\n"
    says(lambda reply: (greeting if "version" in reply else b"") + line(reply))
    assert isinstance(one(runner.run("xen1", LIST)), Answer)


def test_a_login_script_without_end_is_no_guard(runner: ssh.SshRunner, says: Callable[..., None]) -> None:
    says(lambda reply: b"spam\n" * ssh.GREETING_LINES + line(reply))
    outcome = one(runner.run("xen1", LIST))
    assert isinstance(outcome, Skipped) and outcome.why is Skip.UNREACHABLE


@pytest.mark.parametrize("words", [b"{}\n", b'{"id": 1}\n', b"nonsense\n", b"[]\n", b"[" * 100_000 + b"\n"])
def test_a_reply_that_is_none_of_the_guards_leaves_the_outcome_unknown(
    runner: ssh.SshRunner, says: Callable[..., None], words: bytes
) -> None:
    says(lambda reply: line(reply) if "version" in reply else words + b"nonsense\n")
    assert isinstance(one(runner.run("xen1", TRUE)), NoAnswer)


def test_a_reply_larger_than_the_window_arrives_whole(
    runner: ssh.SshRunner, says: Callable[..., None]
) -> None:
    much = "x" * (3 * paramiko.common.DEFAULT_WINDOW_SIZE)
    says(lambda reply: line({**reply, "stdout": much} if "exit" in reply else reply))
    outcome = one(runner.run("xen1", LIST))
    assert isinstance(outcome, Answer) and outcome.stdout == much


def test_a_line_without_end_is_given_up(
    runner: ssh.SshRunner, says: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "MAX_LINE_BYTES", 1 << 20)
    says(lambda reply: line(reply) if "version" in reply else b"x" * (2 << 20))
    outcome = one(runner.run("xen1", TRUE))
    assert isinstance(outcome, NoAnswer) and "too long" in outcome.reason


def test_a_host_that_keeps_the_connection_and_says_nothing_is_given_up(
    runner: ssh.SshRunner, says: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "SLACK_S", 0.5)
    says(lambda reply: line(reply) if "version" in reply else b"")
    assert isinstance(one(runner.run("xen1", Script((Command(("true",), timeout_s=0.5),)))), NoAnswer)
    began = time.monotonic()
    outcome = one(runner.run("xen1", Script((Command(("true",), timeout_s=0.5),))))
    assert isinstance(outcome, NoAnswer) and "before the deadline" in outcome.reason
    assert time.monotonic() - began < 10


def test_a_key_revoked_inside_a_move_leaves_the_host_unreachable(
    fleet: Handle, runner: ssh.SshRunner
) -> None:
    assert isinstance(one(runner.run("xen1", TRUE)), Answer)
    xen1 = fleet.servers["xen1"]
    authorized, xen1.authorized = xen1.authorized, xen1.host_key
    xen1.drop_connections()
    deadline = time.monotonic() + 10
    while not isinstance(outcome := one(runner.run("xen1", TRUE)), Skipped):
        assert isinstance(outcome, NoAnswer) and time.monotonic() < deadline
    assert outcome.why is Skip.UNREACHABLE and "Authentication" in outcome.reason
    xen1.authorized = authorized
    assert isinstance(one(runner.run("xen1", TRUE)), Answer)


def test_a_server_at_its_limit_of_sessions_is_asked_again_later(
    fleet: Handle, runner: ssh.SshRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = [server.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED]
    monkeypatch.setattr(
        server.Login, "check_channel_request", lambda *_: limit[0] if limit else server.OPEN_SUCCEEDED
    )
    outcome = one(runner.run("xen1", TRUE))
    assert isinstance(outcome, Skipped) and outcome.why is Skip.UNREACHABLE
    limit.clear()
    assert isinstance(one(runner.run("xen1", TRUE)), Answer)


@pytest.fixture
def old_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that know nothing of strict key exchange."""
    begin = paramiko.Transport.start_server

    def start_server(self: paramiko.Transport, *rest: Any) -> None:
        self.advertise_strict_kex = False
        begin(self, *rest)

    monkeypatch.setattr(paramiko.Transport, "start_server", start_server)


def test_a_peer_without_strict_key_exchange_is_refused(
    fleet: Handle, runner: ssh.SshRunner, old_server: None
) -> None:
    outcome = one(runner.run("xen1", TRUE))
    assert isinstance(outcome, Skipped) and outcome.why is Skip.UNREACHABLE
    assert "strict key exchange" in outcome.reason


def test_a_library_that_cannot_tell_about_strict_key_exchange_counts_as_without() -> None:
    assert not ssh.strict(object())
