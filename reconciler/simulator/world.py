"""Simulated hosts, the links between them, and the one clock that moves everything.

Single-threaded and repeatable: nothing happens but by `advance`, and what falls on the same instant
happens in a fixed order. The checkers look at the world from outside (see `checkers`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.simulator import replication
from reconciler.simulator.domain import Beat, Domain, slot_offset
from reconciler.simulator.host import SimHost
from reconciler.simulator.observer import Observer
from reconciler.simulator.process import Early, Result, Steps
from reconciler.simulator.storage import IOFault

MAX_STEP_S = 0.25


@dataclass(eq=False)
class Job:
    """A process under way on a host. `lock` is the domain whose lock it inherited from the guard.

    Its `result` may be known, and told, before it is over.
    """

    host: SimHost
    steps: Steps
    wake_at_s: float
    lock: str | None = None
    began_s: float = 0.0
    answered_s: float = 0.0
    result: Result | None = None
    over: bool = False

    def answer(self, result: Result, now_s: float) -> None:
        if self.result is None:
            self.result, self.answered_s = result, now_s


@dataclass(eq=False)
class Link:
    """A network between all hosts: which pairs are cut, and how fast it is."""

    bytes_per_s: float
    cut: set[frozenset[str]] = field(default_factory=set)


class World:
    """The whole simulation."""

    def __init__(self, seed: int = 0, beat_s: float = 0.1) -> None:
        self.now_s = 0.0
        self.beat_s = beat_s
        self.beats_due = 1
        self.random = random.Random(seed)
        self.hosts: dict[str, SimHost] = {}
        self.addresses: dict[str, SimHost] = {}
        self.links = {"management": Link(100e6), "replication": Link(110e6)}
        self.observer = Observer()
        self.jobs: list[Job] = []

    def add_host(self, name: str, memory_mib: int = 4096, disk_bytes: int = 64 << 30) -> SimHost:
        host = SimHost(self, name, len(self.hosts) + 1, memory_mib, disk_bytes)
        self.hosts[name] = host
        for address in (host.name, host.address, host.replication_address):
            self.addresses.setdefault(address, host)
        return host

    def uuid(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    # -- networks -------------------------------------------------------------------------------

    def host_at(self, address: str) -> SimHost | None:
        """The host with this address (a port behind a colon is ignored)."""
        return self.addresses.get(address.rpartition(":")[0] or address)

    def link_between(self, address: str) -> Link:
        ip = address.rpartition(":")[0] or address
        host = self.addresses.get(ip)
        internal = host is not None and ip == host.replication_address
        return self.links["replication" if internal else "management"]

    def reachable(self, local: str, remote: str) -> bool:
        """Can the host at `local` talk to `remote`, on the link that address belongs to?"""
        here, there = self.host_at(local), self.host_at(remote)
        if here is None or there is None or not here.up or not there.up:
            return False
        return frozenset((here.name, there.name)) not in self.link_between(remote).cut

    def rate(self, local: str, remote: str) -> float:
        return self.link_between(remote).bytes_per_s

    def cut(self, link: str, one: str, other: str) -> None:
        self.links[link].cut.add(frozenset((one, other)))
        replication.settle_links(self)

    def mend(self, link: str, one: str, other: str) -> None:
        self.links[link].cut.discard(frozenset((one, other)))

    # -- processes ------------------------------------------------------------------------------

    def start(self, host: SimHost, steps: Steps, lock: str | None = None, delay_s: float = 0.0) -> Job:
        """Begin a process; it runs to its first pause at once unless it is delayed."""
        job = Job(host, steps, self.now_s + delay_s, lock, began_s=self.now_s)
        self.jobs.append(job)
        if delay_s == 0.0:
            self._step(job)
        return job

    def _step(self, job: Job) -> None:
        try:
            pause = next(job.steps)
        except StopIteration as end:
            job.answer(end.value, self.now_s)
            self.kill(job)
        else:
            if isinstance(pause, Early):
                job.answer(pause.result, self.now_s)
            job.wake_at_s = self.now_s + pause

    def kill(self, job: Job) -> None:
        job.over = True
        if job in self.jobs:
            self.jobs.remove(job)

    # -- time -----------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        self.advance_to(self.now_s + seconds)

    def advance_to(self, moment_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen up to a moment, or until a condition holds.

        The clock jumps to the next moment at which anything can change. While DRBD has nothing to do,
        that is the next step of a process or the next heartbeat.
        """
        while not until():
            following, beat_s = moment_s, self._next_beat_s()
            for job in self.jobs:
                if job.wake_at_s < following:
                    following = job.wake_at_s
            if beat_s < following and self._someone_runs():
                following = beat_s
            at_work = not replication.rests(self)
            if at_work:
                following = min(following, self.now_s + MAX_STEP_S)
            following = max(following, self.now_s)
            if at_work:
                replication.resync(self, following - self.now_s)
            self.now_s = following
            if at_work:
                replication.settle_links(self)
            if beat_s <= following:
                self.beat()
            due = [job for job in self.jobs if job.wake_at_s <= self.now_s]
            for job in due:
                if not job.over:
                    self._step(job)
            if self.now_s >= moment_s and not due:
                return

    def _someone_runs(self) -> bool:
        for host in self.hosts.values():
            for domain in host.domains.values():
                if domain.running:
                    return True
        return False

    def _next_beat_s(self) -> float:
        return self.beats_due * self.beat_s

    def beat(self) -> None:
        self.beats_due = math.floor(self.now_s / self.beat_s) + 1
        if self._next_beat_s() <= self.now_s:
            self.beats_due += 1
        for host in self.hosts.values():
            for domain in host.domains.values():
                if domain.running:
                    self._guest_writes(host, domain)

    def _guest_writes(self, host: SimHost, domain: Domain) -> None:
        guest, number = domain.guest, domain.guest.last + 1
        beat = None
        try:
            for vbd in domain.vbds:
                if not vbd.opened:
                    raise IOFault(f"{vbd.vdev} never connected")
                if vbd.mode == "w" and not vbd.flushes:
                    raise IOFault(f"{vbd.vdev} takes no flush")
                if vbd.mode == "w":
                    offset = slot_offset(vbd.device.size, number)
                    beat = beat or Beat(guest.name, number, host.name)
                    vbd.device.write(offset, beat)
                    self.observer.acknowledge(guest.name, vbd.vdev, offset, beat)
        except IOFault:
            return  # not acknowledged: the guest tries the same number again
        guest.last = number
        self.observer.hear(self.now_s, guest.name, host.name, number)
