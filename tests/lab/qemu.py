"""A host as a QEMU process: its command line, its disks, its start and its end.

Links are unix datagram sockets in a short directory: nothing to listen for, nothing to reconnect when a
host is power-cycled, and a full queue makes the sender wait, so no frame is lost between two hosts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .image.recipe import Artefacts, LabError
from .image.tools import find

MEMORY_MIB = 1536
DOM0_MIB = 640
VOLUME_DISK = "4G"
UNMITIGATED = "spec-ctrl=no xpti=no pv-l1tf=no"
"""Nobody attacks the lab from inside, and a second page table per system call is dear under emulation."""
FIXED_MAPS = "norandmaps"
"""Every process at the same addresses: QEMU then knows code that it has translated once, and most tools on a
host take half the time."""
LINKS = {"mgmt": 1, "repl": 2, "lan": 3}
"""The three network cards and the last byte of their MAC addresses."""


@dataclass(frozen=True)
class Start:
    """How a host is started this time."""

    port: int
    """Where its sshd answers on 127.0.0.1."""
    peers: Sequence[Machine]
    """All hosts of the lab."""
    clock: str
    """The time of its hardware clock, as ISO text; `clock=vm` lets it run on from there."""
    snapshot: str | None = None
    guarded: bool = True
    """End QEMU when the process that started it ends."""


@dataclass(frozen=True)
class Machine:
    """Where one host's files and sockets are."""

    name: str
    artefacts: Artefacts
    disks: Path
    sockets: Path

    @property
    def number(self) -> int:
        """1 for xen1."""
        return int(self.name.removeprefix("xen"))

    @property
    def root_disk(self) -> Path:
        """The overlay over the root image; it also holds the machine's snapshots."""
        return self.disks / f"{self.name}-root.qcow2"

    @property
    def volume_disk(self) -> Path:
        """The disk of volume group `vg`."""
        return self.disks / f"{self.name}-vg.qcow2"

    @property
    def monitor_socket(self) -> Path:
        """QMP."""
        return self.sockets / f"{self.name}.qmp"

    @property
    def console_log(self) -> Path:
        """What Xen and dom0 print."""
        return self.disks / f"{self.name}-console.log"

    @property
    def log(self) -> Path:
        """What QEMU itself says."""
        return self.disks / f"{self.name}-qemu.log"

    def link_socket(self, link: str) -> Path:
        """The end of a link that this host reads from."""
        return self.sockets / f"{self.name}.{link}"

    @property
    def observer_socket(self) -> Path:
        """The hub's port for this host."""
        return self.sockets / f"observer.{self.name}"

    def mac(self, link: str) -> str:
        """The address of one of its cards."""
        return f"52:54:00:00:{self.number:02x}:{LINKS[link]:02x}"

    def create_disks(self) -> None:
        """Fresh disks: an overlay on the root image, an empty one for volumes."""
        backing = ["-b", str(self.artefacts.root_image), "-F", "raw"]
        for argv in ([*backing, str(self.root_disk)], [str(self.volume_disk), VOLUME_DISK]):
            _checked(["qemu-img", "create", "-q", "-f", "qcow2", *argv])

    def copy_disks(self, source: Path) -> None:
        """Take disks with their snapshots from another directory."""
        for path in (self.root_disk, self.volume_disk):
            _checked(["cp", "--reflink=auto", "--sparse=always", str(source / path.name), str(path)])

    def argv(self, start: Start) -> list[str]:
        """The command line."""
        a = self.artefacts
        dom0 = (
            f"{a.kernel} root=/dev/vda rw quiet console=hvc0 net.ifnames=0 mitigations=off {FIXED_MAPS}"
            f" systemd.hostname={self.name} systemd.machine_id={self.number:032x}"
        )
        argv = [
            find("qemu-system-x86_64") or "qemu-system-x86_64",
            *("-name", f"lab-{self.name}", "-accel", "tcg,tb-size=1024", "-cpu", "Nehalem", "-smp", "1"),
            *("-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-display", "none"),
            *("-serial", f"file:{self.console_log}"),
            *("-qmp", f"unix:{self.monitor_socket},server=on,wait=off"),
            *("-S", "-rtc", f"base={start.clock},clock=vm"),
            *("-kernel", str(a.xen), "-initrd", f"{dom0},{a.initrd}"),
            *("-append", f"dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M com1=115200,8n1 console=com1 sched=credit2"
                         f" no-real-mode edd=off {UNMITIGATED}"),
            *self._disk("root", self.root_disk), *self._disk("vg", self.volume_disk),
            *self._card("mgmt", f"user,restrict=on,hostfwd=tcp:127.0.0.1:{start.port}-10.0.2.15:22"),
            *self._card("repl", self._replication(start.peers)),
            *self._card("lan", self._datagram(self.link_socket("lan"), self.observer_socket)),
        ]  # fmt: skip
        if start.snapshot:
            argv += ["-loadvm", start.snapshot]
        return [find("setpriv") or "setpriv", "--pdeathsig", "KILL", *argv] if start.guarded else argv

    def _disk(self, name: str, path: Path) -> list[str]:
        # cache=unsafe: a flush reaches the page cache, which outlives a killed QEMU; only fsync is spared.
        return [
            *("-drive", f"if=none,id={name},file={path},format=qcow2,cache=unsafe"),
            *("-device", f"virtio-blk-pci,drive={name}"),
        ]

    def _card(self, link: str, netdev: str) -> list[str]:
        kind, _, rest = netdev.partition(",")
        return [
            *("-netdev", f"{kind},id={link}-net,{rest}"),
            *("-device", f"virtio-net-pci,id={link},netdev={link}-net,mac={self.mac(link)},romfile="),
        ]

    def _replication(self, peers: Sequence[Machine]) -> str:
        others = [peer for peer in peers if peer.name != self.name]
        if len(others) == 1:
            return self._datagram(self.link_socket("repl"), others[0].link_socket("repl"))
        port = 20000 + sum(str(self.sockets).encode()) % 20000
        return f"socket,mcast=230.99.0.1:{port},localaddr=127.0.0.1"

    @staticmethod
    def _datagram(local: Path, remote: Path) -> str:
        return f"dgram,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"

    def start(self, start: Start) -> Process:
        """Start QEMU, its processor stopped: `cont` makes it run."""
        for path in (self.monitor_socket, self.link_socket("repl"), self.link_socket("lan")):
            path.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self.argv(start),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return Process.of(child.pid)


def _checked(argv: list[str]) -> None:
    done = subprocess.run([find(argv[0]) or argv[0], *argv[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")


@dataclass(frozen=True)
class Process:
    """A process the lab started: its number and start time, so that a number used again is not mistaken."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now."""
        return cls(pid, _start_time(pid))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs.

        A zombie does while it has other threads: they keep its files open, and locked.
        """
        try:
            os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pass
        return bool(self.started) and _start_time(self.pid) == self.started

    def kill(self, timeout_s: float = 10) -> None:
        """End it at once, as a power cut does, and wait until it is gone."""
        deadline = time.monotonic() + timeout_s
        while self.alive:
            os.kill(self.pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"process {self.pid} does not end")
            time.sleep(0.02)


def _start_time(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return ""
    return "" if fields[0] == "Z" and threads == 1 else fields[19]
