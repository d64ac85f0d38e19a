"""One host of a running lab: commands over ssh, power, links."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .image.recipe import LabError, replication_address
from .monitor import Monitor
from .qemu import LINKS, Machine, Process, Start
from .records import Found, content_crc

Completed = subprocess.CompletedProcess[str]
READ_BLOCKS = Path(__file__).with_name("read_blocks.py")


class HostCommandError(LabError):
    """A command on a host ended with another exit status than 0."""


class Host:
    """A Xen host. `address` and `port` are where its sshd answers; `replication_address` is for its peers."""

    address = "127.0.0.1"

    def __init__(self, machine: Machine, start: Start, key_file: Path, known_hosts: Path) -> None:
        self.machine = machine
        self.name = machine.name
        self.start_options = start
        self.port = start.port
        self.replication_address = replication_address(self.name)
        self.key_file = key_file
        self.known_hosts = known_hosts
        self.process: Process | None = None
        self._monitor: Monitor | None = None

    # --- commands

    def ssh_argv(self, *, shared: bool = True) -> list[str]:
        """The ssh command to this host as root, with its key checked."""
        options = [
            f"UserKnownHostsFile={self.known_hosts}",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "ConnectTimeout=30",
            "ServerAliveInterval=15",
            "LogLevel=ERROR",
        ]
        if shared:
            options += ["ControlMaster=auto", f"ControlPath={self._control}", "ControlPersist=600"]
        words = [word for option in options for word in ("-o", option)]
        return [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.key_file),
            *words,
            "-p",
            str(self.port),
            f"root@{self.address}",
        ]

    @property
    def _control(self) -> Path:
        return self.machine.sockets / f"{self.name}.ssh"

    def run(self, command: str | Sequence[str], *, timeout_s: float = 120, feed: str | None = None) -> str:
        """Run a command that must succeed and return what it printed."""
        done = self.call(command, timeout_s=timeout_s, feed=feed)
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise HostCommandError(f"{self.name}: `{done.args[-1]}` exited {done.returncode}: {said}")
        return done.stdout

    def call(
        self, command: str | Sequence[str], *, timeout_s: float = 120, feed: str | None = None
    ) -> Completed:
        """Run a command line (a string goes to the shell, a list is quoted), however it ends."""
        line = command if isinstance(command, str) else shlex.join(command)
        argv = [*self.ssh_argv(), line]
        try:
            return subprocess.run(
                argv, input=feed or "", capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: no answer to `{line}` in {timeout_s:.0f} s") from error

    def write(self, path: str, content: str, mode: str = "644") -> None:
        """Write a text file on the host."""
        self.run(f"umask 077; cat > {shlex.quote(path)} && chmod {mode} {shlex.quote(path)}", feed=content)

    def read_blocks(self, device: str, offsets: dict[int, int]) -> dict[int, Found]:
        """Read a guest's blocks (number to offset) straight from a device of this host, past the cache."""
        words = [f"{number}:{offset}" for number, offset in sorted(offsets.items())]
        argv = ["python3", "-c", READ_BLOCKS.read_text(), device]
        text = self.run(argv, feed=" ".join(words), timeout_s=300)
        found = {}
        for line in text.splitlines():
            number, seed, block, generation, crc = line.split()
            sound = block == number and content_crc(int(seed), int(block), int(generation)) == crc
            found[int(number)] = Found(int(generation), crc, sound)
        return found

    # --- power

    @property
    def running(self) -> bool:
        """Whether the machine has power."""
        return self.process is not None and self.process.alive

    def power_on(self, clock: str, snapshot: str | None = None) -> None:
        """Start QEMU, its processor stopped."""
        options = self.start_options
        start = Start(options.port, options.peers, clock, snapshot, options.guarded)
        self.process = self.machine.start(start)

    def power_off(self) -> None:
        """Cut the power: what the host had not flushed is gone."""
        self.hang_up()
        if self._monitor:
            self._monitor.close()
            self._monitor = None
        if self.process:
            self.process.kill()
        self.process = None

    def reset_button(self) -> None:
        """Reset the machine; it boots again at once."""
        self.monitor.qmp("system_reset")
        self.hang_up()

    def pause(self) -> None:
        """Stop the machine's processor: a host that hangs."""
        self.monitor.qmp("stop")

    def resume(self) -> None:
        """Let it run on."""
        self.monitor.qmp("cont")

    def _last_words(self) -> str:
        """What QEMU said last, if it has ended; nothing while it runs."""
        if self.running:
            return ""
        said = self.machine.log.read_text(errors="replace").strip().splitlines()
        return said[-1] if said else "it said nothing"

    @property
    def monitor(self) -> Monitor:
        """The connection to QEMU's monitor."""
        if not self.running:
            raise LabError(f"{self.name} has no power (see {self.machine.disks}/{self.name}-qemu.log)")
        if self._monitor is None:
            self._monitor = Monitor(self.machine.monitor_socket, ended=self._last_words)
        return self._monitor

    def hang_up(self) -> None:
        """End the shared ssh connection; after a reset the old one is dead."""
        if self._control.exists():
            argv = [*self.ssh_argv()[:-1], "-O", "exit", self.address]
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(argv, capture_output=True, check=False, timeout=10)
            with contextlib.suppress(FileNotFoundError):
                self._control.unlink()

    def wait_ready(self, timeout_s: float = 900, booted: bool = False) -> None:
        """Wait until sshd answers; with `booted`, until everything that starts at boot has started."""
        deadline = time.monotonic() + timeout_s
        command, last = "uname -n", "nothing"
        while time.monotonic() < deadline:
            if not self.running:
                raise LabError(f"{self.name}: QEMU ended (see {self.machine.disks}/{self.name}-qemu.log)")
            try:
                done = self.call(command, timeout_s=40)
                last = done.stderr.strip() or done.stdout.strip()
                if done.returncode != 255 and not booted:
                    return
                if done.returncode != 255 and last in ("running", "degraded"):
                    return
                command = "systemctl is-system-running" if booted else command
            except LabError as error:
                last = str(error)
            time.sleep(0.5)
        raise LabError(
            f"{self.name} does not answer ssh after {timeout_s:.0f} s: {last}"
            f" (see {self.machine.console_log})"
        )

    # --- links

    def link(self, name: str, up: bool) -> None:
        """Plug or pull the cable of `mgmt`, `repl` or `lan`."""
        if name not in LINKS:
            raise LabError(f"no link {name!r}; there are {', '.join(LINKS)}")
        self.monitor.qmp("set_link", name=name, up=up)

    def cut(self, name: str) -> None:
        """Pull a cable."""
        self.link(name, False)

    def heal(self, name: str) -> None:
        """Plug it in again."""
        self.link(name, True)
