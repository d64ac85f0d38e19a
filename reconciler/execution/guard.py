#!/usr/bin/python3 -I
"""Runs the reconciler's commands on one host. Copied there as it is: standard library only.

Reads one JSON request a line on stdin and answers with JSON lines on stdout:

  <- {"guard": 1, "version": "0123456789ab", "boot_id": "…", "node": "xen1"}   once, at the start
  -> {"id": 7, "claim": {"domain": "web1", "epoch": 3, "first": 3, "after": 2} | null,
      "known": {"domain": "web1", "epoch": 2} | null,
      "commands": [{"argv": ["xl", "list"], "stdin": "", "timeout_s": 60, "unit": "", "early": false}, …]}
  <- {"id": 7, "index": 0, "exit": 0, "stdout": "…", "stderr": "…", "duration_s": 0.31}
  <- {"id": 7, "index": 1, "timeout": true}                           still running: outcome unknown
  <- {"id": 7, "done": true}
  <- {"id": 7, "refused": "stale-epoch" | "rewound" | "busy" | "no-store" | "bad-request", "detail": "…"}

With a claim, the domain's lock is held while the commands run, an epoch older than the one
stored for the domain is refused, a newer one is stored first, and the first command that does
not exit 0 ends the script. A stored one between `after` and `first` was taken by another journey since
this one was planned: refused as well. While a command runs, even after this process has died, its keeper
holds the lock and nobody else can change that domain here. One that is `early` may write to the descriptor
named by XR_ANSWER: that counts as exit 0, with what it has printed so far, and it goes on under its keeper.

`known` names an epoch this host has accepted before. If it does not know it any more, it was put back to
an earlier state, from a backup or a snapshot: nothing is run, not even a query.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

PROTOCOL = 1
LOCK_PATIENCE_S = 2.0
NOTE_BYTES = 600
MAX_EPOCH = 10**18 - 1
MAX_TIMEOUT_S = 31 * 86400.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}")

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}

SYSTEMD = "/run/systemd/system"
CGROUPS = "/sys/fs/cgroup"
PROCESSES = "/proc"
SCOPE_PATIENCE_S = 10.0


BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]
"""Asked in nearly every look, so not worth a process; it always answers."""
EARLY = "XR_ANSWER"
"""The variable that names the descriptor on which a command says that its answer is known before its end."""


class Hold:
    """A domain's lock, held while a command runs; `unit` is the scope it should run in, if it may be long.

    One that is `early` may say that all there is to know is known: it is answered for then, and holds the
    lock until it ends.
    """

    def __init__(self, lock: int, unit: str, no_units: str, early: bool = False) -> None:
        self.lock, self.unit, self.no_units, self.early = lock, unit, no_units, early


Spawn = Callable[[list[str], str, float, "Hold | None"], dict[str, Any]]


def spawn(argv: list[str], stdin: str, timeout_s: float, hold: Hold | None) -> dict[str, Any]:
    """Run one process. Past its time a claimed one lives on and keeps the lock; a query is killed."""
    return change(argv, stdin, timeout_s, hold) if hold else query(argv, stdin, timeout_s)


def change(argv: list[str], stdin: str, timeout_s: float, hold: Hold) -> dict[str, Any]:
    """Run a command under a keeper: a fork of this process that holds the domain's lock until it ends.

    The keeper outlives this process and the connection. The command itself does not inherit the lock:
    `xl restore` leaves a monitor behind that lives as long as the guest. One that may be long runs in a
    scope of systemd's, and the keeper with it: neither logind nor an sshd that is restarted ends them, and a
    person finds them by name.
    """
    note(hold.lock, argv)
    reader, writer = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        try:
            os.setsid()
            os.close(reader)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            if hold.unit and enter_scope(hold):
                note(hold.lock, argv, hold.unit)
            run(argv, stdin, lambda result: answer(writer, result), early=hold.early)
        finally:
            os._exit(0)
    os.close(writer)
    keepers.append(keeper)
    deadline = time.monotonic() + timeout_s
    said = b""
    with os.fdopen(reader, "rb", buffering=0) as heard:
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([heard], [], [], left_s)[0]:
                return {"timeout": True}
            more = heard.read(65536)
            if not more:
                break
            said += more
    bury(wait=not hold.early)
    result: dict[str, Any] = json.loads(said) if said else {"timeout": True}
    return result


keepers: list[int] = []
"""Those that may still be at work."""


def bury(*, wait: bool) -> None:
    """Leave no ended keeper behind as a zombie; the newest one is waited for if it has told its all."""
    for keeper in keepers[:]:
        if os.waitpid(keeper, 0 if wait and keeper == keepers[-1] else os.WNOHANG)[0]:
            keepers.remove(keeper)


def answer(writer: int, result: dict[str, Any]) -> None:
    """What the keeper tells; whoever asked may be gone."""
    with contextlib.suppress(OSError), os.fdopen(writer, "wb") as file:
        file.write(json.dumps(result).encode())


def enter_scope(hold: Hold) -> bool:
    """Move this process into a scope of its own; what it starts then is in there too.

    systemd-run makes the scope around a `cat`, so the command is no child of it: its standard files and
    its exit status are its own, and where there is no scope to be had it simply runs without.
    """
    tool = shutil.which("systemd-run", path=ENVIRONMENT["PATH"])
    if tool is None or not os.path.isdir(SYSTEMD) or os.path.exists(hold.no_units):
        return False
    argv = [tool, "--scope", "--quiet", "--collect", f"--unit={hold.unit}"]
    argv += ["--property=DefaultDependencies=no"]  # a guest's monitor must not go first when the host stops
    argv += ["--description=A command of xen-reconciler", "cat"]
    pipe = subprocess.PIPE
    try:
        helper = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd="/"
        )
    except OSError:
        return False
    try:
        return joined(helper, hold)
    except OSError:
        return False
    finally:
        helper.kill()
        helper.communicate()


def joined(helper: subprocess.Popen[bytes], hold: Hold) -> bool:
    """Follow the helper into its scope, once it echoes and so must be there."""
    assert helper.stdin is not None and helper.stdout is not None
    helper.stdin.write(b"\n")
    helper.stdin.flush()
    if not select.select([helper.stdout], [], [], SCOPE_PATIENCE_S)[0]:
        with open(hold.no_units, "w", encoding="ascii") as file:
            file.write("systemd-run did not answer; not asked again on this boot\n")
        return False
    with open(f"{PROCESSES}/{helper.pid}/cgroup", encoding="utf-8") as file:
        places = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in places:
        if path.endswith(f"/{hold.unit}") and controllers in ("", "name=systemd"):
            root = CGROUPS + ("/systemd" if controllers else "")
            with open(f"{root}{path}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
            return True
    return False


def run(argv: list[str], stdin: str, tell: Callable[[dict[str, Any]], None], *, early: bool) -> None:
    """Run a command to its end, however long it takes; `tell` its result, once.

    Its files are in memory: a full disk must not cut them, and a monitor that it leaves behind must
    neither keep a pipe open nor die of a broken one.
    """
    began = time.monotonic()
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    os.pwrite(files[0], stdin.encode(), 0)
    sooner, says = os.pipe() if early else (-1, -1)
    more = {EARLY: str(says)} if early else {}
    try:
        child = start(argv, [*enumerate(files), *([(says, says)] if early else [])], more)
    except OSError as error:
        tell(unstarted(argv, error))
        return
    answered = False
    if early:
        os.close(says)
        answered = bool(os.read(sooner, 1))
        if answered:
            tell(told(0, content(files[1]), content(files[2]), began))
    _, status = os.waitpid(child, 0)
    if not answered:
        tell(told(os.waitstatus_to_exitcode(status), content(files[1]), content(files[2]), began))


def start(
    argv: list[str], files: list[tuple[int, int]], more: dict[str, str] | None = None, *, alone: bool = False
) -> int:
    """The number of a new process, which has these files open, by (its number, ours).

    Not by `subprocess`, which takes several times as long: a domain may be suspended meanwhile. `alone`: in a
    session of its own. Raises OSError if it cannot be started.
    """
    return os.posix_spawn(
        located(argv[0]),
        encoded(argv),
        {**ENVIRONMENT, **(more or {})},
        file_actions=[(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in files],
        setsid=alone,
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them, and so would what it starts
    )


def located(name: str) -> bytes:
    """Where the program is; raises OSError if it is nowhere."""
    if "/" in name:
        return name.encode()
    found = shutil.which(name, path=ENVIRONMENT["PATH"])
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return found.encode()


def unstarted(argv: list[str], error: OSError) -> dict[str, Any]:
    return {"exit": 127, "stdout": "", "stderr": f"{argv[0]}: {error.strerror}", "duration_s": 0.0}


def content(file: int) -> bytes:
    """All of a file, wherever whoever writes it is."""
    size, found = os.fstat(file).st_size, b""
    while len(found) < size and (more := os.pread(file, size - len(found), len(found))):
        found += more
    return found


GONE_S = 1.0
"""How long a process that was killed is waited for."""
lingering: list[int] = []
"""Those that had not gone by then."""


def query(argv: list[str], stdin: str, timeout_s: float) -> dict[str, Any]:
    """Run a query through pipes: a full disk must not cut what it prints and so make things look absent."""
    began = time.monotonic()
    lingering[:] = [child for child in lingering if ended(child, began) is None]
    if argv == BOOT_ID:
        with open(argv[1], "rb") as file:
            return told(0, file.read(), b"", began)
    given, (out, its_out), (err, its_err) = os.memfd_create("stdin"), os.pipe(), os.pipe()
    os.pwrite(given, stdin.encode(), 0)
    try:
        child = start(argv, [(0, given), (1, its_out), (2, its_err)], alone=True)
    except OSError as error:
        os.close(out)
        os.close(err)
        return unstarted(argv, error)
    finally:
        for ours in (given, its_out, its_err):
            os.close(ours)
    said = {out: b"", err: b""}
    status = heard(child, said, began + timeout_s)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        if ended(child, time.monotonic() + GONE_S) is None:
            lingering.append(child)  # in the kernel, as on a device that is suspended: not to be waited for
        return {"timeout": True}
    return told(os.waitstatus_to_exitcode(status), said[out], said[err], began)


def heard(child: int, said: dict[int, bytes], deadline: float) -> int | None:
    """Gather what is said through these pipes until all are at their end; how the process ended.

    None if there is no end in time. The pipes are closed.
    """
    pieces: dict[int, list[bytes]] = {pipe: [] for pipe in said}
    left = list(said)
    try:
        while left:
            ready = select.select(left, [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready or time.monotonic() > deadline:
                return None
            for pipe in ready:
                more = os.read(pipe, 65536)
                pieces[pipe].append(more)
                if not more:
                    left.remove(pipe)
    finally:
        for pipe in said:
            said[pipe] = b"".join(pieces[pipe])
            os.close(pipe)
    return ended(child, deadline)  # it may have closed them long before its end


def ended(child: int, deadline: float) -> int | None:
    """How the process ended; None if it has not by then."""
    pause_s = 0.0005
    while True:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.05)


def encoded(argv: list[str]) -> list[bytes]:
    """In UTF-8, whatever locale a login gives this process."""
    return [word.encode() for word in argv]


def told(code: int, out: bytes, err: bytes, began: float) -> dict[str, Any]:
    return {
        "exit": code,
        "stdout": out.decode("utf-8", "backslashreplace"),
        "stderr": err.decode("utf-8", "backslashreplace"),
        "duration_s": round(time.monotonic() - began, 4),
    }


class Refused(Exception):
    """The guard will not run this request; nothing was changed by it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Claim:
    """One domain and the number with which something of it is to be changed."""

    def __init__(self, domain: str, epoch: int, first: int, after: int) -> None:
        self.domain, self.epoch, self.first, self.after = domain, epoch, first, after

    def check(self, stored: int) -> None:
        """Refused when the host has stored a number of another journey that this one does not know."""
        if self.epoch < stored:
            why = f"epoch {self.epoch} of {self.domain} is older than {stored} on this host"
            raise Refused("stale-epoch", why)
        if self.after < stored < self.first:
            why = f"another move of {self.domain} has taken {stored} on this host since this one was planned"
            raise Refused("stale-epoch", why)


class Known:
    """One domain and a number this host has accepted for it before."""

    def __init__(self, domain: str, epoch: int) -> None:
        self.domain, self.epoch = domain, epoch

    def check(self, stored: int) -> None:
        """Refused when the host has forgotten it."""
        if stored < self.epoch:
            why = f"it has {stored or 'no number'} for {self.domain} now, and had accepted {self.epoch}"
            raise Refused("rewound", why)


def unit_of(claim: Claim, what: str) -> str:
    """The name of the scope a command runs in, empty for one that is short."""
    domain = re.sub("[^A-Za-z0-9_.-]", "_", claim.domain)
    return f"xr-{domain}-{claim.epoch}-{what}.scope" if what else ""


def note(lock: int, argv: list[str], unit: str = "") -> None:
    """Say in the lock's file what is about to run, for whoever finds it taken; never in the way of it."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    seen = f"; see `systemctl status {unit}`" if unit else ""
    what = f"«{shlex.join(argv)}»".encode()[: NOTE_BYTES - 200]
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, what + f" since {since} by its clock{seen}\n".encode(), 0)
    except OSError:
        pass


def sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def stored_number(text: str, path: str) -> int:
    """What the file of a domain's epoch holds; a damaged one is never taken for zero."""
    if not re.fullmatch("[0-9]{1,18}\n?", text):
        raise Refused("stale-epoch", f"{path} does not hold a number; a human must look")
    return int(text)


def store(path: str, epoch: int) -> None:
    """As a new file that takes the old one's name: after a crash it is the old one or the new one."""
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(f"{epoch}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def overwrite(path: str, epoch: int, why: OSError) -> None:
    """On a full disk, in place: going back, which makes room, must not need room first.

    The number grows within its block and never gets shorter. A domain that has no number yet is refused.
    """
    try:
        handle = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(handle, f"{epoch}\n".encode("ascii"), 0)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        raise Refused("no-store", f"{path} cannot be written: {why.strerror}; nothing was run") from None


class Guard:
    """Locks and epochs of one host, below `state_dir` (survives reboots) and `run_dir` (does not)."""

    def __init__(self, state_dir: str, run_dir: str, spawn: Spawn = spawn) -> None:
        self.epochs = os.path.join(state_dir, "epochs")
        self.locks = os.path.join(run_dir, "locks")
        self.no_units = os.path.join(run_dir, "no-units")
        self.spawn = spawn
        if not os.path.isdir(self.epochs):
            os.makedirs(self.epochs, mode=0o700, exist_ok=True)
            sync_folder(state_dir)  # a folder lost with the power would look like a host that was rewound
            sync_folder(os.path.dirname(state_dir))
        os.makedirs(self.locks, mode=0o700, exist_ok=True)

    def handle(self, request: object, gone: Callable[[], bool] = lambda: False) -> Iterator[dict[str, Any]]:
        """Answer one request. `gone` says whether the asker has hung up: then no further command starts."""
        ident = request.get("id") if isinstance(request, dict) else None
        lock = -1
        try:
            commands, claim, known = check(request)
            if known:
                known.check(self._stored(known.domain))
            if claim:
                lock = self._take(claim)
            for index, command in enumerate(commands):
                if claim and gone():
                    raise Refused("busy", "the asker hung up")
                hold = None
                if claim:
                    unit = unit_of(claim, command["unit"])
                    hold = Hold(lock, unit, self.no_units, early=command["early"])
                result = self.spawn(command["argv"], command["stdin"], command["timeout_s"], hold)
                yield {"id": ident, "index": index, **result}
                if claim and result.get("exit") != 0:
                    break
            yield {"id": ident, "done": True}
        except Refused as refused:
            yield {"id": ident, "refused": refused.reason, "detail": refused.detail}
        finally:
            if lock >= 0:
                os.close(lock)

    def _take(self, claim: Claim) -> int:
        domain = claim.domain
        lock = os.open(os.path.join(self.locks, domain), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    noted = os.pread(lock, NOTE_BYTES, 0).decode("utf-8", "replace").strip()
                    os.close(lock)
                    what = f"a command for {domain} is still running on this host"
                    raise Refused("busy", f"{what}: {noted}" if noted else what) from None
                time.sleep(0.05)
        try:
            self._advance_epoch(claim)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _stored(self, domain: str) -> int:
        path = os.path.join(self.epochs, domain)
        try:
            with open(path, encoding="ascii") as file:
                return stored_number(file.read(), path)
        except FileNotFoundError:
            return 0

    def _advance_epoch(self, claim: Claim) -> None:
        path = os.path.join(self.epochs, claim.domain)
        stored = self._stored(claim.domain)
        claim.check(stored)
        if claim.epoch > stored:
            try:
                store(path, claim.epoch)
            except OSError as error:
                overwrite(path, claim.epoch, error)
            sync_folder(self.epochs)


def check(request: object) -> tuple[list[dict[str, Any]], Claim | None, Known | None]:
    """Refuse a malformed request before anything runs, whatever JSON it is."""
    if not isinstance(request, dict):
        raise Refused("bad-request", "a request must be an object")
    commands = request.get("commands")
    if not isinstance(commands, list) or not commands:
        raise Refused("bad-request", "commands must be a list that is not empty")
    checked = [check_command(command) for command in commands]
    claim = known = None
    if request.get("claim") is not None:
        domain, epoch, given = numbered(request["claim"])
        first, after = given.get("first"), given.get("after")
        first = 0 if first is None else number(first, 0)
        claim = Claim(domain, epoch, first, MAX_EPOCH if after is None else number(after, 0))
    if request.get("known") is not None:
        domain, epoch, _ = numbered(request["known"])
        known = Known(domain, epoch)
    return checked, claim, known


def numbered(given: object) -> tuple[str, int, dict[str, Any]]:
    """A domain's name and an epoch."""
    row = given if isinstance(given, dict) else {}
    domain = row.get("domain")
    if not isinstance(domain, str) or not NAME.fullmatch(domain):
        raise Refused("bad-request", "a claim needs the name of a domain")
    return domain, number(row.get("epoch"), 1), row


def number(value: object, least: int) -> int:
    """An epoch as hosts can store it."""
    if type(value) is not int or not least <= value <= MAX_EPOCH:
        raise Refused("bad-request", f"a claim needs an epoch, {least} to {MAX_EPOCH}")
    return value


def check_command(command: object) -> dict[str, Any]:
    """One command with every field there and usable."""
    given = command if isinstance(command, dict) else {}
    argv = given.get("argv")
    stdin = given.get("stdin", "")
    timeout_s = given.get("timeout_s", 60.0)
    unit, early = given.get("unit", ""), given.get("early", False)
    if not isinstance(argv, list) or not argv or not all(is_word(word) for word in argv) or not argv[0]:
        raise Refused("bad-request", "argv must be a list of strings that is not empty")
    if not is_text(stdin):
        raise Refused("bad-request", "stdin must be a string")
    if type(timeout_s) not in (int, float) or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise Refused("bad-request", f"timeout_s must be a number, above 0 and at most {MAX_TIMEOUT_S}")
    if not isinstance(unit, str) or not re.fullmatch("[a-z-]{0,30}", unit):
        raise Refused("bad-request", "unit must be a word of small letters")
    if not isinstance(early, bool):
        raise Refused("bad-request", "early must be true or false")
    return {"argv": argv, "stdin": stdin, "timeout_s": timeout_s, "unit": unit, "early": early}


def is_text(value: object) -> bool:
    """A string that can be written: JSON can hold halves of characters."""
    if not isinstance(value, str):
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def is_word(value: object) -> bool:
    """A string that can be an argument of a process."""
    return is_text(value) and "\0" not in str(value)


def read_request(line: bytes) -> object:
    """The JSON of one line; None, which no request is, when it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def main() -> int:
    """Serve stdin until it ends. Two arguments name other state and run folders, for tests."""
    usual = ["/var/lib/xen-reconciler", "/run/xen-reconciler"]
    state_dir, run_dir = sys.argv[1:3] if len(sys.argv) == 3 else usual
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)  # images hold guests' memory, resource files hold secrets
    guard = Guard(state_dir, run_dir)
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):  # what was open before is not for what is started
        with contextlib.suppress(OSError):
            os.set_inheritable(int(name), int(name) < 3)
    with open(BOOT_ID[1], encoding="ascii") as file:
        boot_id = file.read().strip()
    say({"guard": PROTOCOL, "version": version(), "boot_id": boot_id, "node": os.uname().nodename})
    buffered = b""

    def gone() -> bool:
        nonlocal buffered
        if select.select([0], [], [], 0)[0]:
            more = os.read(0, 65536)
            buffered += more
            return not more
        return False

    while True:
        while b"\n" not in buffered:
            more = os.read(0, 65536)
            if not more:
                return 0
            buffered += more
        line, buffered = buffered.split(b"\n", 1)
        for reply in guard.handle(read_request(line), gone):
            say(reply)


def version() -> str:
    """The hash of this very file: with a forced command it need not be the one that was asked for."""
    with open(__file__, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def say(reply: dict[str, Any]) -> None:
    """One line out; a vanished reader must not stop a script halfway with a traceback."""
    try:
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")


if __name__ == "__main__":
    sys.exit(main())
