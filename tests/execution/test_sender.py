"""The program that sends a running domain's memory, with an `xl` and an `ssh` that only talk."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.commands import xl
from reconciler.execution import carrier, guard, sender
from reconciler.model.command import Command
from reconciler.model.placement import Transport

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
def say(line):
    print(line, file=sys.stderr, flush=True)
if args[0] == "migrate":
    assert args[1:3] == ["-s", ""], args
    pipe = subprocess.PIPE
    child = subprocess.Popen(["sh", "-c", args[4]], stdin=pipe, stdout=pipe, close_fds=False)
    open(os.environ["LOG"] + ".child", "w").write(str(child.pid))
    banner = child.stdout.read(54)
    if banner.startswith(b"xl migration receiver ready"):
        say("libxl: debug: libxl_event.c:1:libxl__ao_complete: ao 0x5a0: complete, rc=0")
        child.stdin.write(b"memory")
        child.stdin.flush()
        say("xc: info: Saving domain 1, type x86 PV")
        say("libxl: debug: x.c:1:f: Domain 1:issuing PV suspend request via XenBus")
        say("libxl: debug: x.c:1:f: Domain 1:guest has suspended")
        time.sleep(0.3)
        if fake != "silent":
            say("libxl: debug: libxl_event.c:1:libxl__ao_complete: ao 0x5a0: complete, rc=0")
    assert child.stdout.read() == b"", "it must not hear that the other side is ready"
    child.stdin.close()
    child.wait()
    say("Migration failed, resuming at sender.")
    print("resumed", file=log, flush=True)
    sys.exit(1)
if args[0] == "migrate-receive":
    sys.stdout.write("xl migration receiver ready, send binary domain data.\\n")
    sys.stdout.flush()
    assert sys.stdin.buffer.read(6) == b"memory"
    if fake == "no-memory":
        sys.exit(1)
    while fake == "slow" and not os.path.exists(os.environ["LOG"] + ".on"):
        time.sleep(0.05)
    time.sleep(0.9)
    if fake == "no-disks":
        sys.exit(1)
    ready = "domain received, ready to unpause"
    sys.stdout.write(ready if fake != "strange" else "something else than that it is ready")
    sys.stdout.flush()
    left = sys.stdin.buffer.read()
    print("destroyed by its receiver", file=log, flush=True)
if fake == "let-go" and args[0] == "pause":
    os.kill(int(open(os.environ["LOG"] + ".child").read()), 9)
    time.sleep(0.3)
if args[0] == fake:
    sys.exit(1)
if fake == "no-answer" and args[0] == "pause":
    time.sleep(30)
"""
STOPPED = ("migrate web1", "migrate-receive", "pause web1")


def start(
    folder: Path,
    fake: str,
    then: str = "echo stopped >>$LOG",
    *,
    transport: Transport = Transport.SSH,
    limit: str = "",
) -> tuple[subprocess.Popen[str], Path, int]:
    """The program at work, what the two `xl` do, and where it says that its answer is known."""
    for name, text in (("xl", XL), ("ssh", SSH)):
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
    log = folder / "log"
    commands = [
        (Command(("sh", "-c", "cat"), stdin="on it\n"), "on it\n"),
        (Command(("sh", "-c", then)), None),
    ]
    command = xl.migrate("web1", "root", "127.0.0.1", 60, commands, transport=transport)
    early, says = os.pipe()
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "FAKE": fake, "LOG": str(log)}
    assert sender.ANSWER == guard.EARLY
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, *command.argv[1:]],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**env, sender.ANSWER: str(says)},
        pass_fds=(says,),
    )
    os.close(says)
    program = command.stdin
    if limit:
        program = program.replace(f"{limit} = 60.0\n", f"{limit} = 0.5\n")
        assert program != command.stdin
    assert process.stdin is not None
    process.stdin.write(program)
    process.stdin.close()
    process.stdin = None
    return process, log, early


@dataclass(frozen=True)
class Done:
    status: int
    stdout: str
    stderr: str
    log: list[str]
    early: bool


def send(folder: Path, fake: str, *given: str, transport: Transport = Transport.SSH, limit: str = "") -> Done:
    process, log, early = start(folder, fake, *given, transport=transport, limit=limit)
    out, err = process.communicate(timeout=60)
    answered = os.read(early, 2) == b"!"
    os.close(early)
    return Done(process.returncode, out, err, log.read_text().splitlines(), answered)


@pytest.mark.parametrize("transport", list(Transport))
def test_both_copies_are_left_paused(tmp_path: Path, transport: Transport) -> None:
    done = send(tmp_path, "", transport=transport)
    assert (done.status, done.early) == (0, True), done.stderr
    seconds = xl.suspended_s(done.stdout)
    assert seconds is not None and 0.3 <= seconds < 30
    assert done.log[:3] == list(STOPPED)
    assert sorted(done.log[3:5]) == ["resumed", "stopped"]
    assert done.log[5:] == ["rename web1--incoming web1"]
    assert "xc: info: Saving domain 1" in done.stderr
    assert "debug" not in done.stderr


def test_it_answers_once_nobody_writes_here_though_the_copy_has_no_disks_yet(tmp_path: Path) -> None:
    process, log, early = start(tmp_path, "slow")
    assert os.read(early, 1) == b"!"
    assert process.poll() is None
    assert sorted(log.read_text().splitlines()[3:]) == ["resumed", "stopped"]
    Path(f"{log}.on").touch()
    process.communicate(timeout=60)
    os.close(early)
    assert process.returncode == 0
    assert log.read_text().splitlines()[-1] == "rename web1--incoming web1"


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        ("no-host", ["migrate web1", "resumed"]),
        ("no-memory", ["migrate web1", "migrate-receive", "resumed"]),
    ],
)
def test_a_failure_before_all_is_sent_lets_the_domain_run_on(
    tmp_path: Path, fake: str, expected: list[str], transport: Transport
) -> None:
    done = send(tmp_path, fake, transport=transport)
    assert (done.status, done.stdout, done.early) == (1, "", False)
    assert done.log == expected
    assert "resuming at sender" in done.stderr


@pytest.mark.parametrize("transport", list(Transport))
def test_a_pause_that_fails_lets_the_domain_run_on(tmp_path: Path, transport: Transport) -> None:
    done = send(tmp_path, "pause", transport=transport)
    assert (done.status, done.stdout, done.early) == (1, "", False)
    assert done.log[:3] == list(STOPPED)
    assert "resumed" in done.log
    assert "stopped" not in done.log


def test_a_domain_that_ran_again_before_it_was_paused_runs_on(tmp_path: Path) -> None:
    """Its copy is older than its disks by then."""
    done = send(tmp_path, "let-go")
    assert (done.status, done.stdout, done.early) == (1, "", False)
    assert done.log[:3] == list(STOPPED)
    assert "unpause web1" in done.log
    assert "stopped" not in done.log
    assert "web1 was set going again before it was paused" in done.stderr


@pytest.mark.parametrize("fake", ["no-disks", "rename", "strange"])
def test_a_copy_that_is_not_made_whole_leaves_the_domain_paused(tmp_path: Path, fake: str) -> None:
    done = send(tmp_path, fake)
    assert (done.status, done.early) == (1, True)
    assert done.log[:3] == list(STOPPED)
    assert sorted(done.log[3:5]) == ["resumed", "stopped"]
    assert done.log[5:] == (["rename web1--incoming web1"] if fake == "rename" else [])


@pytest.mark.parametrize("then", ["exit 1", "exec sleep 30", "/nosuch/tool"])
def test_what_cannot_be_stopped_here_is_left_to_whoever_looks(tmp_path: Path, then: str) -> None:
    """The copy is made whole all the same, and that is when it is answered for."""
    done = send(tmp_path, "", then, limit="THEN_S")
    assert (done.status, done.early) == (0, False), done.stderr
    seconds = xl.suspended_s(done.stdout)
    assert seconds is not None and seconds > 0.7, "the copy's disks are in it"
    assert done.log[-1] == "rename web1--incoming web1"


def test_what_says_something_else_than_expected_ends_it(tmp_path: Path) -> None:
    """A volume that does not stand on DRBD any more is left as it is."""
    touch = [["touch", str(tmp_path / "x")], "", None]
    assert not sender.stop([[["echo", "0 8 linear 254:0 9"], "", "0 8 linear 147:100 0\n"], touch])
    assert not (tmp_path / "x").exists()
    assert sender.stop([[["echo", "0 8 linear 147:100 0"], "", "0 8 linear 147:100 0\n"], touch])
    assert (tmp_path / "x").exists()


def test_an_xl_that_does_not_say_when_all_is_sent(tmp_path: Path) -> None:
    done = send(tmp_path, "silent")
    assert (done.status, done.early) == (0, True), done.stderr
    assert done.log[:4] == ["migrate web1", "migrate-receive", "rename web1--incoming web1", "pause web1"]
    assert sorted(done.log[4:]) == ["resumed", "stopped"]


def test_a_pause_that_never_answers_lets_the_domain_run_on(tmp_path: Path) -> None:
    done = send(tmp_path, "no-answer", limit="PAUSE_S")
    assert (done.status, done.stdout, done.early) == (1, "", False)
    assert done.log[:3] == list(STOPPED)
    assert "resumed" in done.log
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
    line = rune.replace("echo $$ >&5; ", "").replace(">&5", "").replace("<&6", "</dev/null")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = line.replace("& exec", "; exec")
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=env, check=True).stdout
    *_, destination, remote, _ = said.split("\0")
    assert destination == nasty
    shown = subprocess.run(
        ["sh", "-c", remote.replace("exec xl migrate-receive", "true;").replace("kill -9", "true;")],
        capture_output=True,
        text=True,
        env=env,
    )
    assert "touch" not in shown.stderr
    assert not Path("/x").exists()


def block_devices() -> tuple[Path, Path]:
    """One that is not mounted, and one that is."""
    named = (Path(line.split()[0]) for line in Path("/proc/mounts").read_text().splitlines())
    mounted = [path.resolve() for path in named if path.is_block_device()]
    every = (path for path in Path("/dev").iterdir() if path.is_block_device() and not path.is_symlink())
    free = [path for path in every if all(path.stat().st_rdev != other.stat().st_rdev for other in mounted)]
    assert free and mounted, "this machine has a disk that is mounted, and another one"
    return free[0], mounted[0]


def opened(folder: Path, disk: Path, *words: str, proven: Path | None = None) -> tuple[str, str]:
    """What the script in place of Xen's said to xenstore, and what it left to Xen's."""
    fakes = {
        "xenstore-read": f'[ "$1" = /backend/params ] && echo "{disk}"',
        "xenstore-write": f'[ -e {folder}/fails ] && exit 1; echo "$@" >{folder}/stored',
        "nsenter": f'echo "$@" >{folder}/left',
    }
    for name, text in fakes.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    script, program = folder / "block", xl.migrate("a", "b", "c", 1, (), disks=[str(proven or disk)]).stdin
    (pattern,) = re.findall("^DISKS = (.*)$", program, re.MULTILINE)
    script.write_text(sender.BLOCK.replace("@DISKS@", ast.literal_eval(pattern)))
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "XENBUS_PATH": "/backend"}
    subprocess.run(["sh", script, *words], env=env, check=True)
    said = ((folder / name) for name in ("stored", "left"))
    stored, left = (path.read_text().strip() if path.exists() else "" for path in said)
    return stored, left


def test_the_receivers_own_script_names_the_device_that_a_symlink_leads_to(tmp_path: Path) -> None:
    disk, _ = block_devices()
    link = tmp_path / "web1-root"
    link.symlink_to(disk)
    numbers = f"{os.major(disk.stat().st_rdev):x}:{os.minor(disk.stat().st_rdev):x}"
    stored, left = opened(tmp_path, link, "add")
    assert stored == (
        f"/backend/physical-device {numbers} /backend/physical-device-path {disk} "
        "/backend/hotplug-status connected"
    )
    assert left == ""
    assert opened(tmp_path, link, "works")[1] == ""


@pytest.mark.parametrize("case", ["removed", "no-disk", "not-proven", "mounted", "no-xenstore"])
def test_what_it_does_not_know_is_left_to_xens_script(tmp_path: Path, case: str) -> None:
    disk, mounted = block_devices()
    disk = {"no-disk": Path("/etc/hostname"), "mounted": mounted}.get(case, disk)
    if case == "no-xenstore":
        (tmp_path / "fails").touch()
    word = "remove" if case == "removed" else "add"
    proven = Path("/etc/xen/disks/other") if case == "not-proven" else None
    stored, left = opened(tmp_path, disk, word, proven=proven)
    assert stored == ""
    assert left == f"--mount=/proc/1/ns/mnt /etc/xen/scripts/block {word}"


RECEIVES = """#!/bin/sh
echo "$@" >>{0}/said
[ "$1" = rename ] && exit
(while sleep 0.05; do cat {0}/block >{0}/monitor.new; mv {0}/monitor.new {0}/monitor; done) >/dev/null 2>&1 &
echo $! >{0}/child
echo 'xl migration receiver ready, send binary domain data.'
{0}/block add >{0}/opened
printf 'domain received, ready to unpause'
exec sleep 30
"""
XENS = "#!/bin/sh\necho of Xen\n"


def receive(folder: Path, shared: bool, ours: str = "#!/bin/sh\necho ours\n") -> str:
    """What is said once a receiver has opened a disk by a script that ends well; it leaves a child behind."""
    (folder / "xl").write_text(RECEIVES.format(folder))
    (folder / "block").write_text(XENS)
    for name in ("xl", "block"):
        (folder / name).chmod(0o755)
    texts = (sender.RECEIVE, sender.PREPARED)
    receive, prepared = (text.replace(sender.SCRIPT, f"{folder}/block") for text in texts)
    prepared = prepared.replace("--mount=/proc/1/ns/mnt", "--mount=/proc/self/ns/mnt")
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    outer = ["unshare", *root, "--mount", "--propagation", "shared" if shared else "private"]
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    argv = [*outer, "sh", "-c", receive, "receive", "web1", prepared, ours]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30).stdout


def later(path: Path, expected: str) -> bool:
    """Whether a file comes to say that."""
    for _ in range(100 + 20 * (sender.LATER_S + sender.MOMENTS_S)):
        if path.exists() and path.read_text() == expected:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("case", ["shared", "private", "cannot run"])
def test_the_script_is_there_for_its_receiver_until_the_disks_are_open(tmp_path: Path, case: str) -> None:
    ours = "#!/nowhere\n" if case == "cannot run" else "#!/bin/sh\necho ours\n"
    said = receive(tmp_path, case != "private", ours)
    try:
        assert said == "xl migration receiver ready, send binary domain data.\nnamed\n"
        assert (tmp_path / "said").read_text() == "migrate-receive\nrename web1--incoming web1\n"
        assert (tmp_path / "opened").read_text() == ("ours\n" if case == "shared" else "of Xen\n")
        if case == "shared":
            assert later(tmp_path / "monitor", ours), "what takes it off keeps nobody waiting"
        assert later(tmp_path / "monitor", XENS), "who starts the guest anew has Xen's"
        assert (tmp_path / "block").read_text() == XENS
    finally:
        os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_host_without_mount_namespaces_receives_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    done = send(tmp_path, "")
    assert (done.status, done.log[-1]) == (0, "rename web1--incoming web1"), done.stderr
