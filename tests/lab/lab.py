"""The lab as tests use it: start, reset to a stage, power, links, observe, end."""

from __future__ import annotations

import datetime
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from .host import Host
from .image.recipe import HOSTS_MAX, Artefacts, LabError, host_names
from .image.tools import ensure_tools, find
from .observer import Observer
from .qemu import LINKS, Machine, Process, Start
from .records import compare
from .runs import Run
from .stages import ensure_prepared

SSH_CONFIG = """\
Host {name}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {lab.key_file}
    IdentitiesOnly yes
    UserKnownHostsFile {lab.known_hosts}
    StrictHostKeyChecking yes
"""
CHECKOUT = Path(__file__).resolve().parents[2]


class Lab:
    """Some Xen hosts and an observer. Use it as a context manager, or `up` and `down`.

    A lab ends with the process that started it unless `keep` is set. `run_name` names its directory in
    the cache; a kept lab is found again by it (`Lab.attach`).
    """

    def __init__(
        self,
        hosts: int = 2,
        *,
        run_name: str | None = None,
        keep: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        if not 1 <= hosts <= HOSTS_MAX:
            raise LabError(f"a lab has 1 to {HOSTS_MAX} hosts, not {hosts}")
        self.names = host_names(hosts)
        self.hosts: dict[str, Host] = {}
        self.stage: str | None = None
        self._run = Run.named(run_name or f"{os.getpid()}-{os.urandom(3).hex()}")
        self._keep = keep
        self._say = say
        self._sockets: Path | None = None
        self._observer: Observer | None = None
        self._observer_process: Process | None = None
        self._taken: dict[str, float] = {}
        self._clock_offset_s = 0.0

    @property
    def directory(self) -> Path:
        """The running lab's own directory; it goes with the lab."""
        return self._run.directory

    # --- start and end

    def __enter__(self) -> Self:
        if not self.hosts:
            self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self, stage: str = "guest") -> None:
        """Start from a stage's snapshot; the first time ever this builds and boots everything."""
        ensure_tools()  # a cache may outlive the packages it was built with
        artefacts, prepared = ensure_prepared(len(self.names), self._say)
        disks = self._run.create()
        self._taken = json.loads((prepared / "stages.json").read_text())
        self._create_hosts(artefacts, disks)
        for host in self.hosts.values():
            host.machine.copy_disks(prepared)
        self.reset(stage)

    def cold_boot(self, artefacts: Artefacts, disks: Path) -> None:
        """Start from empty disks in a directory of the caller's: how the snapshots are made."""
        self._run.create()
        self._create_hosts(artefacts, disks)
        for host in self.hosts.values():
            host.machine.create_disks()
            host.power_on(self.clock())
            host.resume()
        self._save()

    def down(self) -> None:
        """End everything this lab started and remove its files."""
        self.power_off_all()
        if self._observer_process:
            self._observer_process.kill()
            self._observer_process = None
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._run.remove()
        self.hosts, self.stage = {}, None

    def power_off_all(self) -> None:
        """Cut every host's power."""
        self._each(Host.power_off)

    @classmethod
    def attach(cls, run_name: str) -> Lab | None:
        """The kept lab of this name, if one runs."""
        state = Run.named(run_name).state()
        if state is None:
            return None
        lab = cls(len(state["ports"]), run_name=run_name, keep=True)
        lab._sockets, lab._taken, lab.stage = Path(state["sockets"]), state["taken"], state["stage"]
        lab._clock_offset_s = state["clock_offset_s"]
        lab._observer_process = Process(*state["observer"])
        lab._observer = Observer(lab._sockets / "observer.control")
        lab._make_hosts(Artefacts(Path(state["artefacts"])), lab._run.directory, state["ports"])
        for name, process in state["processes"].items():
            lab.hosts[name].process = Process(*process) if process else None
        return lab

    def _create_hosts(self, artefacts: Artefacts, disks: Path) -> None:
        self._sockets = Path(tempfile.mkdtemp(prefix="xenlab-", dir="/tmp"))
        argv = [sys.executable, "-m", f"{__package__}.hub", str(self._sockets), *self.names]
        if not self._keep:
            argv = [find("setpriv") or "setpriv", "--pdeathsig", "KILL", *argv]
        root = CHECKOUT if (__package__ or "").startswith("tests.") else CHECKOUT / "tests"
        with (self._run.directory / "observer.log").open("ab") as log:
            child = subprocess.Popen(
                argv, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._observer_process = Process.of(child.pid)
        self._observer = Observer(self._sockets / "observer.control")
        for _ in range(100):
            if (self._sockets / "observer.control").exists():
                break
            time.sleep(0.1)
        self._make_hosts(artefacts, disks, {name: _free_port() for name in self.names})
        self._save()

    def _make_hosts(self, artefacts: Artefacts, disks: Path, ports: dict[str, int]) -> None:
        assert self._sockets is not None
        machines = [Machine(name, artefacts, disks, self._sockets) for name in self.names]
        known = "".join(f"[{Host.address}]:{ports[name]} {artefacts.host_key(name)}\n" for name in self.names)
        self.key_file = artefacts.key_file
        self.known_hosts = self._run.directory / "known_hosts"
        self.known_hosts.write_text(known)
        self.ssh_config = self._run.directory / "ssh_config"
        self.ssh_config.write_text(
            "".join(SSH_CONFIG.format(name=name, port=ports[name], lab=self) for name in self.names)
        )
        for machine in machines:
            start = Start(ports[machine.name], machines, self.clock(), guarded=not self._keep)
            self.hosts[machine.name] = Host(machine, start, self.key_file, self.known_hosts)

    def _save(self) -> None:
        """Note what runs, so that a later process can find it or end it."""

        def numbers(process: Process | None) -> tuple[int, str] | None:
            return (process.pid, process.started) if process else None

        self._run.save({
            "owner": None if self._keep else numbers(Process.of(os.getpid())),
            "observer": numbers(self._observer_process),
            "processes": {name: numbers(host.process) for name, host in self.hosts.items()},
            "ports": {name: host.port for name, host in self.hosts.items()},
            "sockets": str(self._sockets),
            "artefacts": str(next(iter(self.hosts.values())).machine.artefacts.directory),
            "taken": self._taken,
            "stage": self.stage,
            "clock_offset_s": self._clock_offset_s,
        })  # fmt: skip

    # --- snapshots

    @property
    def observer(self) -> Observer:
        """What listens on the guests' network, outside every host."""
        if self._observer is None:
            raise LabError("the lab is not up")
        return self._observer

    def snapshot(self, stage: str) -> None:
        """Keep the whole lab's present state under a name, for this lab's lifetime; it runs on afterwards."""
        for host in self.hosts.values():
            host.hang_up()
        self._each(Host.pause)
        self._each(lambda host: host.monitor.hmp(f"savevm {stage}"))
        self._taken[stage] = time.time() - self._clock_offset_s
        self._each(Host.resume)
        self._save()

    def forget(self, stage: str) -> None:
        """Remove a snapshot that `snapshot` made."""
        self._each(lambda host: host.monitor.hmp(f"delvm {stage}"))
        del self._taken[stage]
        self._save()

    def reset(self, stage: str = "guest", *, wait: bool = True) -> None:
        """Put every host and every disk back to a stage; what the observer heard is forgotten.

        Each host gets a new QEMU process. `loadvm` in the old one would be no faster and is wrong: QEMU's
        emulated time stamp counter never goes back, so Xen's clock would run slow afterwards.
        """
        if stage not in self._taken:
            raise LabError(f"no stage {stage!r}; there are {', '.join(self._taken)}")
        self.power_off_all()
        self._clock_offset_s = time.time() - self._taken[stage]
        for host in self.hosts.values():
            host.power_on(self.clock(), stage)
        for link in LINKS:
            self._each(partial(Host.heal, name=link))
        self.observer.cut(set())
        self.observer.clear()
        self._each(Host.resume)
        self.stage = stage
        self._save()
        if wait:
            self._each(Host.wait_ready)

    def clock(self) -> str:
        """The time for a host that starts now: all hosts live in the snapshot's time."""
        now = datetime.datetime.fromtimestamp(time.time() - self._clock_offset_s, datetime.UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S")

    # --- power

    def power_off(self, name: str) -> None:
        """Cut one host's power."""
        self.hosts[name].power_off()
        self._save()

    def power_on(self, name: str, *, wait: bool = True) -> None:
        """Boot a host that is off (about 80 s)."""
        self.hosts[name].power_on(self.clock())
        self.hosts[name].resume()
        self._save()
        if wait:
            self.hosts[name].wait_ready(booted=True)

    def reboot(self, *names: str, wait: bool = True) -> None:
        """Reset hosts (all, if none is named) at the same time and wait until they have booted."""
        chosen = [self.hosts[name] for name in names or self.names]
        self._each(Host.reset_button, chosen)
        if wait:
            self._each(lambda host: host.wait_ready(booted=True), chosen)

    def check_volume(self, host: str, device: str, name: str = "web1") -> list[str]:
        """What is wrong with a guest's second disk, read on a host, against what the guest reported written.

        For a volume that nobody writes to, or the one the guest runs on; the list is empty if all is well.
        """
        acknowledged = self.observer.blocks(name)
        offsets = {number: block.offset for number, block in acknowledged.items()}
        return compare(acknowledged, self.hosts[host].read_blocks(device, offsets))

    def _each(self, action: Callable[[Host], object], hosts: Iterable[Host] | None = None) -> None:
        """Do the same on several hosts at once."""
        chosen = list(self.hosts.values() if hosts is None else hosts)
        if chosen:
            with ThreadPoolExecutor(len(chosen)) as pool:
                list(pool.map(action, chosen))


def _free_port() -> int:
    """A port for a host's ssh, free now and below those that outgoing connections take meanwhile.

    A host that is powered off and on again must find its port as it left it.
    """
    for port in random.SystemRandom().sample(range(20000, 30000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabError("no port between 20000 and 29999 is free on 127.0.0.1")
