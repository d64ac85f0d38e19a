"""The guard as a host runs it: a real process, real locks, real children."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.execution import guard, ssh

Say = list[dict[str, Any]]


class Talk:
    """One guard process and a conversation with it."""

    def __init__(self, folder: Path, *inherited: int) -> None:
        argv = [sys.executable, "-I", guard.__file__, str(folder / "state"), str(folder / "run")]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=inherited
        )
        self.hello = self._line()
        self._id = 0

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def send(
        self,
        *commands: list[str],
        epoch: int | None = None,
        timeout_s: float = 10.0,
        stdin: str = "",
        early: bool = False,
    ) -> None:
        self._id += 1
        claim = None if epoch is None else {"domain": "web1", "epoch": epoch}
        about = {"stdin": stdin, "timeout_s": timeout_s, "early": early}
        rows = [{"argv": argv, **about} for argv in commands]
        assert self.process.stdin is not None
        self.process.stdin.write(
            json.dumps({"id": self._id, "claim": claim, "commands": rows}).encode() + b"\n"
        )
        self.process.stdin.flush()

    def answers(self) -> Say:
        replies = []
        while True:
            reply = self._line()
            assert reply["id"] == self._id
            replies.append(reply)
            if reply.get("done") or "refused" in reply:
                return replies

    def ask(self, *commands: list[str], **options: Any) -> Say:
        self.send(*commands, **options)
        return self.answers()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    one = Talk(tmp_path)
    yield one
    one.process.kill()
    one.process.wait()


def test_it_says_who_and_which_boot_it_is(talk: Talk) -> None:
    assert talk.hello["guard"] == guard.PROTOCOL
    assert talk.hello["version"] == ssh.GUARD_VERSION
    assert talk.hello["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_queries_all_run_and_say_their_exit(talk: Talk) -> None:
    replies = talk.ask(["false"], ["cat"], ["/no/such/tool"], stdin="given")
    assert [reply.get("exit") for reply in replies] == [1, 0, 127, None]
    assert replies[1]["stdout"] == "given"
    assert "No such file" in replies[2]["stderr"]


def test_a_change_stops_at_the_first_failure(talk: Talk, tmp_path: Path) -> None:
    made = tmp_path / "made"
    replies = talk.ask(["false"], ["touch", str(made)], epoch=1)
    assert [reply.get("exit") for reply in replies] == [1, None]
    assert not made.exists()


def test_an_older_epoch_is_refused_and_a_newer_one_is_kept(talk: Talk, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert talk.ask(["true"], epoch=5)[0]["exit"] == 0
    refused = talk.ask(["touch", str(made)], epoch=4)
    assert refused[0]["refused"] == "stale-epoch"
    assert not made.exists()
    assert (tmp_path / "state" / "epochs" / "web1").read_text() == "5\n"


def test_a_damaged_epoch_is_not_taken_for_zero(talk: Talk, tmp_path: Path) -> None:
    talk.ask(["true"], epoch=1)
    (tmp_path / "state" / "epochs" / "web1").write_text("")
    assert talk.ask(["true"], epoch=9)[0]["refused"] == "stale-epoch"


def test_a_command_past_its_time_keeps_the_lock_even_when_the_guard_is_killed(
    talk: Talk, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    slow = ["sh", "-c", f"echo $$ > {note}; exec sleep 60"]
    assert talk.ask(slow, epoch=1, timeout_s=0.5)[0] == {"id": 1, "index": 0, "timeout": True}
    child = int(note.read_text())
    talk.process.kill()
    talk.process.wait()
    second = Talk(tmp_path)
    try:
        refused = second.ask(["true"], epoch=2)[0]
        assert refused["refused"] == "busy"
        assert "for web1 is still running on this host: «sh -c 'echo $$" in refused["detail"]
        assert re.search(r" since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ by its clock$", refused["detail"])
        os.kill(child, signal.SIGKILL)
        time.sleep(0.2)
        assert second.ask(["true"], epoch=2)[0]["exit"] == 0
    finally:
        second.process.kill()
        second.process.wait()


SAY = "import os, sys, time; print('so far', flush=True); os.write(int(os.environ['XR_ANSWER']), b'!'); "


def test_a_command_that_is_answered_for_early_keeps_the_lock_until_it_ends(
    talk: Talk, tmp_path: Path
) -> None:
    go, second = tmp_path / "go", tmp_path / "second"
    wait = f"[time.sleep(0.05) for _ in iter(lambda: os.path.exists({str(go)!r}), True)]; print('more')"
    long, short = [sys.executable, "-c", SAY + wait], ["touch", str(second)]
    replies = talk.ask(long, short, epoch=1, early=True)
    assert [(reply.get("exit"), reply.get("stdout")) for reply in replies[:2]] == [(0, "so far\n"), (0, "")]
    assert second.exists(), "a script goes on"
    refused = talk.ask(["true"], epoch=1)[0]
    assert refused["refused"] == "busy"
    assert "for web1 is still running on this host" in refused["detail"]
    assert talk.ask(["true"])[0]["exit"] == 0, "a query is not kept waiting"
    go.touch()
    deadline = time.monotonic() + 10
    while talk.ask(["true"], epoch=1)[0].get("refused") == "busy" and time.monotonic() < deadline:
        pass
    assert talk.ask(["true"], epoch=2)[0]["exit"] == 0


@pytest.mark.parametrize(
    ("program", "exit"), [("sys.exit(3)", 3), ("os.close(int(os.environ['XR_ANSWER'])); sys.exit(4)", 4)]
)
def test_one_that_does_not_say_so_is_answered_for_at_its_end(talk: Talk, program: str, exit: int) -> None:
    argv = [sys.executable, "-c", f"import os, sys; print('all'); {program}"]
    reply = talk.ask(argv, epoch=1, early=True)[0]
    assert (reply["exit"], reply["stdout"]) == (exit, "all\n")
    assert talk.ask(["true"], epoch=1)[0]["exit"] == 0
    assert talk.ask(["/no/such/tool"], epoch=1, early=True)[0]["exit"] == 127


def test_no_keeper_is_left_behind(talk: Talk) -> None:
    def children() -> list[str]:
        whole = Path(f"/proc/{talk.process.pid}/task/{talk.process.pid}/children")
        return whole.read_text().split()

    assert talk.ask([sys.executable, "-c", SAY + "time.sleep(0.3)"], epoch=1, early=True)[0]["exit"] == 0
    assert len(children()) == 1
    while talk.ask(["true"], epoch=1)[0].get("refused"):
        pass
    assert children() == []


def test_what_it_says_later_of_its_exit_is_not_told(talk: Talk) -> None:
    reply = talk.ask([sys.executable, "-c", SAY + "sys.exit(5)"], epoch=1, early=True)[0]
    assert (reply["exit"], reply["stdout"]) == (0, "so far\n")


def test_what_a_command_leaves_behind_does_not_hold_the_lock(talk: Talk, tmp_path: Path) -> None:
    """`xl restore` leaves a monitor behind for as long as the guest lives."""
    note = tmp_path / "pid"
    leave = ["sh", "-c", f"setsid sleep 60 & echo $! > {note}"]
    began = time.monotonic()
    assert talk.ask(leave, epoch=1)[0]["exit"] == 0
    assert talk.ask(["true"], epoch=1)[0]["exit"] == 0
    assert time.monotonic() - began < 10
    os.kill(int(note.read_text()), signal.SIGKILL)


def test_a_query_past_its_time_is_ended(talk: Talk, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    talk.ask(["sh", "-c", f"echo $$ > {note}; exec sleep 60"], timeout_s=0.5)
    assert not Path(f"/proc/{note.read_text().strip()}").exists()


def test_a_process_that_cannot_be_killed_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a device which somebody left suspended."""
    monkeypatch.setattr(guard, "GONE_S", 0.1)
    monkeypatch.setattr(guard.os, "killpg", lambda child, number: None)
    began = time.monotonic()
    assert guard.query(["sleep", "1"], "", 0.1) == {"timeout": True}
    assert time.monotonic() - began < 0.9
    assert len(guard.lingering) == 1, "and is buried once it has gone"
    time.sleep(1.2)
    assert guard.query(["true"], "", 10.0)["exit"] == 0
    assert guard.lingering == []


def test_a_query_that_never_stops_talking_is_ended_as_well(talk: Talk) -> None:
    endless = ["sh", "-c", "while :; do echo more; done"]
    assert talk.ask(endless, timeout_s=0.3)[0] == {"id": 1, "index": 0, "timeout": True}
    assert talk.ask(["true"])[0]["exit"] == 0


@pytest.mark.parametrize("epoch", [None, 1])
def test_what_was_open_before_the_guard_is_not_open_in_what_it_starts(
    tmp_path: Path, epoch: int | None
) -> None:
    ours, others = os.pipe()
    one = Talk(tmp_path, others)
    os.close(others)
    try:
        for given in ("", "said"):
            answer = one.ask(["sh", "-c", "cat; exec ls /proc/self/fd"], epoch=epoch, stdin=given)[0]
            assert answer["exit"] == 0
            assert answer["stdout"].removeprefix(given).split() == ["0", "1", "2", "3"], "3 is ls's own"
    finally:
        one.process.kill()
        one.process.wait()
        os.close(ours)


def test_when_the_asker_hangs_up_the_running_command_ends_but_no_further_one_starts(
    talk: Talk, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    talk.send(["sh", "-c", f"sleep 0.5; touch {first}"], ["touch", str(second)], epoch=1)
    time.sleep(0.1)
    assert talk.process.stdin is not None
    talk.process.stdin.close()
    talk.process.wait(timeout=10)
    assert first.exists()
    assert not second.exists()


@pytest.mark.parametrize(
    "request_",
    [
        {"commands": []},
        {"commands": [{"argv": "true"}]},
        {"commands": [{"argv": ["a\0b"]}]},
        {"commands": [{"argv": ["true"], "early": 1}]},
        {"commands": [{"argv": ["true"]}], "claim": {"domain": "../x", "epoch": 1}},
        {"commands": [{"argv": ["true"]}], "claim": {"domain": "web1", "epoch": 0}},
        {"commands": [{"argv": ["true"]}], "claim": {"domain": "web1", "epoch": "7"}},
        {"commands": [{"argv": ["true"]}], "claim": {"domain": "web1", "epoch": True}},
        {"commands": [{"argv": ["true"]}], "claim": {"domain": "web1", "epoch": 10**18}},
        {"commands": [{"argv": ["true"]}], "claim": ["web1", 1]},
        {"commands": [{"argv": ["true"]}], "claim": "web1"},
        {"commands": [{"argv": []}]},
        {"commands": [{"argv": [""]}]},
        {"commands": [{"argv": ["\ud800"]}]},
        {"commands": [{"argv": ["true"], "stdin": 1}]},
        {"commands": [{"argv": ["true"], "stdin": "\udc80"}]},
        {"commands": [{"argv": ["true"], "timeout_s": "5"}]},
        {"commands": [{"argv": ["true"], "timeout_s": float("nan")}]},
        {"commands": [{"argv": ["true"], "timeout_s": -1}]},
        {"commands": [{"argv": ["true"], "timeout_s": 1e300}]},
        {"commands": ["true"]},
        {"commands": {"argv": ["true"]}},
    ],
)
def test_a_malformed_request_runs_nothing(tmp_path: Path, request_: dict[str, Any]) -> None:
    def spawn(*_: object) -> dict[str, Any]:
        raise AssertionError("something was run")

    replies = list(guard.Guard(str(tmp_path / "s"), str(tmp_path / "r"), spawn).handle({"id": 1, **request_}))
    assert [reply["refused"] for reply in replies] == ["bad-request"]


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"7", b"\xff", b"null", b"[" * 100_000, b"1" * 5000])
def test_a_line_that_is_no_request_is_refused_and_the_guard_lives(talk: Talk, line: bytes) -> None:
    assert talk.process.stdin is not None
    talk.process.stdin.write(line + b"\n")
    talk.process.stdin.flush()
    reply = talk._line()
    assert (reply["id"], reply["refused"]) == (None, "bad-request")
    assert talk.ask(["true"])[0]["exit"] == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), max_size=5))
def test_argv_arrives_as_it_was_given(talk: Talk, words: list[str]) -> None:
    show = "import sys, json; print(json.dumps(sys.argv[1:]))"
    replies = talk.ask([sys.executable, "-X", "utf8", "-c", show, *words])
    assert json.loads(replies[0]["stdout"]) == words


def full(path: str, epoch: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_on_a_full_disk_a_newer_number_is_still_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going back makes room; it must not need room first."""
    ran: list[list[str]] = []

    def spawn(argv: list[str], stdin: str, timeout_s: float, claimed: bool) -> dict[str, Any]:
        ran.append(argv)
        return {"exit": 0, "stdout": "", "stderr": "", "duration_s": 0.0}

    here = guard.Guard(str(tmp_path / "state"), str(tmp_path / "run"), spawn)

    def ask(domain: str, epoch: int) -> dict[str, Any]:
        claim = {"domain": domain, "epoch": epoch}
        request = {"id": 1, "claim": claim, "commands": [{"argv": [domain, str(epoch)]}]}
        return list(here.handle(request))[-1]

    assert ask("web1", 9_000_001) == {"id": 1, "done": True}
    monkeypatch.setattr(guard, "store", full)
    assert ask("web1", 12_000_001) == {"id": 1, "done": True}
    assert (tmp_path / "state/epochs/web1").read_text() == "12000001\n"
    assert ask("web1", 9_000_001)["refused"] == "stale-epoch"
    refused = ask("web2", 1)
    assert refused["refused"] == "no-store"
    assert "No space left on device; nothing was run" in refused["detail"]
    assert ran == [["web1", "9000001"], ["web1", "12000001"]]
