"""The program that sends a running domain's memory, with an `xl` and an `ssh` that only talk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.commands import xl
from reconciler.execution import carrier, sender

SSH = """#!/bin/sh
for word; do last=$word; done
[ "$FAKE" = no-host ] && { echo "ssh: no route" >&2; exit 255; }
exec sh -c "$last"
"""
XL = f"""#!{sys.executable}
import os, subprocess, sys, time
args = [word for word in sys.argv[1:] if word != "-vvv"]
fake, log = os.environ["FAKE"], open(os.environ["LOG"], "a")
print(*args[:1], *args[1:] if args[0] != "migrate" else args[3:4], file=log, flush=True)
if args[0] == "migrate":
    assert args[1:3] == ["-s", ""], args
    pipe = subprocess.PIPE
    child = subprocess.Popen(["sh", "-c", args[4]], stdin=pipe, stdout=pipe, close_fds=False)
    banner = child.stdout.read(54)
    if banner.startswith(b"xl migration receiver ready"):
        child.stdin.write(b"memory")
        child.stdin.flush()
        print("libxl: debug: x.c:1:f: Domain 1:issuing PV suspend request via XenBus", file=sys.stderr)
        print("xc: info: Saving domain 1, type x86 PV", file=sys.stderr, flush=True)
    assert child.stdout.read() == b"", "it must not hear that the other side is ready"
    print("Migration failed, resuming at sender.", file=sys.stderr)
    print("resumed", file=log, flush=True)
    sys.exit(1)
if args[0] == "migrate-receive":
    sys.stdout.write("xl migration receiver ready, send binary domain data.\\n")
    sys.stdout.flush()
    assert sys.stdin.buffer.read(6) == b"memory"
    if fake == "no-memory":
        sys.exit(1)
    time.sleep(0.3)
    ready = "domain received, ready to unpause"
    sys.stdout.write(ready if fake != "strange" else "something else than that it is ready")
    sys.stdout.flush()
    left = sys.stdin.buffer.read()
    print("destroyed by its receiver", file=log, flush=True)
if args[0] == fake:
    sys.exit(1)
if fake == "no-answer" and args[0] == "pause":
    time.sleep(30)
"""


def send(
    folder: Path, fake: str, pause_s: float = sender.PAUSE_S, *, plain: bool = False
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Its result, and what the two `xl` did."""
    for name, text in (("xl", XL), ("ssh", SSH)):
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
    log = folder / "log"
    command = xl.migrate("web1", "root", "127.0.0.1", 60, plain=plain)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "FAKE": fake, "LOG": str(log)}
    argv = [sys.executable, *command.argv[1:]]
    program = command.stdin.replace(f"PAUSE_S = {sender.PAUSE_S}\n", f"PAUSE_S = {pause_s}\n")
    done = subprocess.run(argv, input=program, capture_output=True, text=True, timeout=60, env=env)
    return done, log.read_text().splitlines()


@pytest.mark.parametrize("plain", [False, True])
def test_both_copies_are_left_paused(tmp_path: Path, plain: bool) -> None:
    done, log = send(tmp_path, "", plain=plain)
    assert done.returncode == 0, done.stderr
    seconds = xl.suspended_s(done.stdout)
    assert seconds is not None and 0.3 <= seconds < 30
    assert log == ["migrate web1", "migrate-receive", "rename web1--incoming web1", "pause web1", "resumed"]
    assert "xc: info: Saving domain 1" in done.stderr
    assert "debug" not in done.stderr


@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        ("no-host", ["migrate web1", "resumed"]),
        ("no-memory", ["migrate web1", "migrate-receive", "resumed"]),
        ("rename", ["migrate web1", "migrate-receive", "rename web1--incoming web1", "resumed"]),
        (
            "pause",
            ["migrate web1", "migrate-receive", "rename web1--incoming web1", "pause web1", "resumed"],
        ),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_whatever_fails_lets_the_domain_run_on(
    tmp_path: Path, fake: str, expected: list[str], plain: bool
) -> None:
    done, log = send(tmp_path, fake, plain=plain)
    assert (done.returncode, done.stdout) == (1, "")
    assert log == expected
    assert "resuming at sender" in done.stderr


def test_a_receiver_that_says_something_else_destroys_its_copy_itself(tmp_path: Path) -> None:
    done, log = send(tmp_path, "strange")
    assert done.returncode == 1
    assert log[:2] == ["migrate web1", "migrate-receive"]
    assert "rename web1--incoming web1" not in log
    assert "pause web1" not in log


def test_a_pause_that_never_answers_lets_the_domain_run_on(tmp_path: Path) -> None:
    done, log = send(tmp_path, "no-answer", pause_s=0.5)
    assert (done.returncode, done.stdout, log[-2:]) == (1, "", ["pause web1", "resumed"])
    assert "timed out after" in done.stderr


def test_memory_goes_by_the_same_ssh_as_a_stream() -> None:
    streamed = xl.stream("web1", "root", "10.99.0.2", 60, compressed=False).argv[2]
    assert f"{sender.SSH} " in streamed
    assert sender.SSH == carrier.SSH


def test_names_are_words_whatever_they_hold(tmp_path: Path) -> None:
    nasty = "a b;$(touch /x)'\"c"
    rune = sender.tunnel(nasty, nasty, 5, 6)
    (tmp_path / "ssh").write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    line = rune.replace(">&5", "").replace("<&6", "</dev/null")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = line.replace("& exec", "; exec")
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=env, check=True).stdout
    *_, destination, remote, _ = said.split("\0")
    assert destination == nasty
    shown = subprocess.run(
        ["sh", "-c", remote.replace("exec xl migrate-receive", "true").replace("kill -9", "true;")],
        capture_output=True,
        text=True,
        env=env,
    )
    assert "touch" not in shown.stderr
    assert not Path("/x").exists()
