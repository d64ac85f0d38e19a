"""The ssh runner against a real SSH server on loopback with simulated hosts behind it."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.commands import files, xl
from reconciler.execution import ssh
from reconciler.model.command import Answer, Claim, Command, NoAnswer, Script, Skip, Skipped
from reconciler.model.placement import Host
from reconciler.observed.survey import survey
from reconciler.simulator.live import Handle, new_key, start


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Handle]:
    handle = start(tmp_path / "hosts", hosts=2, speed=50.0)
    yield handle
    handle.stop()


def hosts_of(fleet: Handle) -> dict[str, Host]:
    return {
        name: Host(name, "127.0.0.1", f"10.99.0.{name[-1]}", port=port) for name, port in fleet.ports.items()
    }


@pytest.fixture
def runner(fleet: Handle) -> Iterator[ssh.SshRunner]:
    made = ssh.SshRunner(hosts_of(fleet), fleet.key_file, fleet.known_hosts_file, 5)
    yield made
    made.close()


LIST = Script((Command(("xl", "list")),))


def test_the_guard_is_installed_once_and_answers(runner: ssh.SshRunner) -> None:
    for _ in range(2):
        (outcome,) = runner.run("xen1", LIST)
        assert isinstance(outcome, Answer)
        assert [seen.name for seen in xl.parse_list(outcome)] == ["web1"]


def test_a_survey_knows_every_fact_of_every_host(runner: ssh.SshRunner, fleet: Handle) -> None:
    views = survey(runner, list(fleet.ports))
    assert views["xen1"].get(files.LINKS) == {
        "/etc/xen/disks/web1-root": "/dev/vg/web1-root",
        "/etc/xen/disks/web1-data": "/dev/vg/web1-data",
    }
    assert views["xen2"].get(xl.DOMAINS) == ()
    assert [
        str(fact) for view in views.values() for fact in view.facts.values() if "Unknown" in repr(fact)
    ] == []


def test_a_wrong_user_key_runs_nothing(fleet: Handle, tmp_path: Path) -> None:
    new_key(tmp_path / "other")
    runner = ssh.SshRunner(hosts_of(fleet), tmp_path / "other", fleet.known_hosts_file, 5)
    (outcome,) = runner.run("xen1", LIST)
    assert isinstance(outcome, Skipped)
    assert outcome.why is Skip.UNREACHABLE


@pytest.mark.parametrize("known", ["nothing", "another"])
def test_an_unknown_or_changed_host_key_is_refused(fleet: Handle, tmp_path: Path, known: str) -> None:
    file = tmp_path / "known_hosts"
    other = new_key(tmp_path / "host")
    line = f"[127.0.0.1]:{fleet.ports['xen1']} {other.get_name()} {other.get_base64()}\n"
    file.write_text(line if known == "another" else "")
    runner = ssh.SshRunner(hosts_of(fleet), fleet.key_file, file, 5)
    (outcome,) = runner.run("xen1", LIST)
    assert isinstance(outcome, Skipped)
    assert outcome.why is Skip.HOST_KEY
    assert str(file) in outcome.reason


def test_a_host_that_is_away_is_unreachable_and_found_again(fleet: Handle, runner: ssh.SshRunner) -> None:
    assert isinstance(runner.run("xen1", LIST)[0], Answer)
    fleet.crash("xen1")
    (outcome,) = runner.run("xen1", LIST)
    assert isinstance(outcome, Skipped | NoAnswer)
    fleet.boot("xen1")
    deadline = time.monotonic() + 20
    while not isinstance(runner.run("xen1", LIST)[0], Answer):
        assert time.monotonic() < deadline


def test_a_host_lost_in_the_middle_leaves_the_outcome_unknown(fleet: Handle, runner: ssh.SshRunner) -> None:
    claim = Claim("web1", 1)
    folder = Command(("mkdir", "-p", "-m", "0700", f"{files.STATE}/images/web1"))
    save = Command(("xl", "save", "web1", f"{files.STATE}/images/web1/attach.img"), timeout_s=60)
    crash = threading.Timer(0.05, fleet.crash, ["xen1"])
    runner.run("xen1", Script((folder,), claim))
    fleet.live.speed = 1.0
    crash.start()
    (outcome,) = runner.run("xen1", Script((save,), claim))
    crash.join()
    assert isinstance(outcome, NoAnswer)


def test_a_stale_epoch_and_a_failed_command_skip_the_rest(runner: ssh.SshRunner) -> None:
    good, bad = Command(("true",)), Command(("xl", "unpause", "nosuch"))
    outcomes = runner.run("xen1", Script((good, bad, good), Claim("web1", 3)))
    assert isinstance(outcomes[0], Answer)
    assert isinstance(outcomes[1], Answer)
    assert outcomes[1].exit != 0
    assert outcomes[2] == Skipped(Skip.EARLIER)
    (late,) = runner.run("xen1", Script((good,), Claim("web1", 2)))
    assert isinstance(late, Skipped)
    assert late.why is Skip.STALE_EPOCH


@given(st.lists(st.text(), min_size=1))
def test_a_shell_reads_back_what_was_quoted(words: list[str]) -> None:
    assert shlex.split(ssh.shell_line(*words)) == words
