"""The test stand: the simulated command seam with faults made to happen at chosen commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.model.command import NoAnswer, Outcome, Script, Skip, Skipped
from reconciler.simulator.domain import Image
from reconciler.simulator.filesystem import File, Link, Node
from reconciler.simulator.guarding import EPOCHS, SimGuard
from reconciler.simulator.host import SimHost
from reconciler.simulator.process import Result, Steps, ends_with
from reconciler.simulator.runner import Crash, FailBefore, Fault, Hang, LoseReply, Point, SimRunner
from reconciler.simulator.world import World
from tests.simulation.campaign import strangers
from tests.simulation.campaign.faults import reads

BOOT_S, LONG_BOOT_S, LINK_S, DURING_S, RAN_S = 15.0, 400.0, 150.0, 0.2, 3.0
Choose = Callable[[int, str, str, tuple[str, ...]], str | None]


class Killed(BaseException):
    """The daemon died: nothing of it runs any more."""


class Stand:
    """A `Runner`. `choose(number, place, host, argv)` says which fault, if any, happens at a place."""

    def __init__(self, world: World, choose: Choose, watch: Callable[[Point], None]) -> None:
        self.world = world
        self.choose = choose
        self.sim = SimRunner(world, self._hook, self._watch)
        self.watch = watch
        self.deaf: dict[str, float] = {}  # host -> until when nobody reaches it by ssh
        self.full: dict[str, int] = {}  # host -> the capacity it had
        self.torn: list[str] = []  # hosts that lost what was not synced
        self.durable: dict[str, dict[str, Node]] = {n: kept(h) for n, h in world.hosts.items()}
        self.unpause_fails = False
        self.strangers = 0
        self.asked: Script | None = None
        self.sent: Callable[[str, Script], None] = lambda host, script: None

    # -- the request ----------------------------------------------------------------------------

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        self.asked, argv = script, script.commands[0].argv
        fault = self.choose(self.sim.count + 1, "request", host, argv)
        if script.claim is not None:
            self.sent(host, script)
        match fault:
            case "undelivered":
                return self._lost(script)
            case "late-5" | "late-70":
                self._later(host, script, float(fault.removeprefix("late-")))
                return self._lost(script)
            case "kill-unsent":
                self.sim.count += 1
                raise Killed(fault)
            case "cut-20" | "cut-900":
                self.deaf[host] = self.world.now_s + float(fault.removeprefix("cut-"))
        if self.deaf.get(host, 0.0) > self.world.now_s:
            self.sim.count += 1
            return tuple(Skipped(Skip.UNREACHABLE, "the network is cut") for _ in script.commands)
        try:
            return self.sim.run(host, script)
        finally:
            self._tear()

    def _lost(self, script: Script) -> tuple[Outcome, ...]:
        self.sim.count += 1
        self.world.advance(10.0)
        return tuple(NoAnswer("the connection was lost") for _ in script.commands)

    def _later(self, name: str, script: Script, delay_s: float) -> None:
        host = self.world.hosts[name]
        if host.up:
            self.world.start(host, late(host, script, delay_s))

    # -- a command ------------------------------------------------------------------------------

    def _hook(self, point: Point) -> Fault | None:
        argv = point.command.argv
        fault = self.choose(point.number, point.when, point.host, argv)
        if fault is None:
            fails = self.unpause_fails and argv[1:2] == ("unpause",) and point.host == "xen2"
            return FailBefore(1, "injected: unpause fails\n") if fails and point.when == "before" else None
        host = self.world.hosts[point.host]
        peers = [other for other in self.world.hosts.values() if other is not host]
        match fault:
            case "fail":
                return FailBefore()
            case "hang":
                return Hang(point.command.timeout_s + 45.0)
            case "lose-reply":
                return LoseReply()
            case "kill-after":
                raise Killed(fault)
            case "kill-during":
                claim = point.script.claim
                lock = claim.domain if claim else None
                self.world.start(host, host.run(argv, point.command.stdin), lock)
                raise Killed(fault)
            case "crash-before":
                return Crash(BOOT_S)
            case "crash-after" | "crash-after-long":
                self.torn.append(host.name)
                return Crash(BOOT_S if fault == "crash-after" else LONG_BOOT_S)
            case "crash-ran-gone":
                self.world.start(peers[0], stops_again(host, BOOT_S + RAN_S))
                return Crash(BOOT_S)
            case "peer-crash" | "peer-crash-long":
                for peer in peers:
                    self.crash(peer, BOOT_S if fault == "peer-crash" else LONG_BOOT_S)
            case "disk-full" | "peer-disk-full":
                for each in [host] if fault == "disk-full" else peers:
                    self.full.setdefault(each.name, each.files.capacity)
                    each.files.capacity = each.files.used
            case "link-cut":
                self._cut_link(host)
                self.world.advance(1.1)  # the guest writes on, and only one side has it
            case "drbd-alone":
                for each in self.world.hosts.values():
                    for resource in each.drbd.values():
                        resource.drop_link("StandAlone", "WFConnection", self.world.now_s)
                self.world.advance(1.1)
            case "guest-gone-after":
                self.world.advance(1.5)
                guest_gone(self.world)
            case "guest-gone":
                guest_gone(self.world)
            case "crash-during":
                self.world.start(peers[0], soon(lambda: self.crash(host, BOOT_S)))
            case "guest-gone-during":
                self.world.start(peers[0], soon(lambda: guest_gone(self.world)))
            case "rest-fails":
                fails_once(host, ("drbdadm", "secondary"))
            case "refresh-during":
                self.world.start(peers[0], soon(lambda: strangers.refresh(host)))
            case "extend-during":
                self.world.start(peers[0], soon(lambda: strangers.extend(host)))
            case "copy-gone":
                self.world.start(host, once_sent(host, lambda: copies_gone(peers)))
            case "rest-crash":
                self.world.start(peers[0], once_sent(host, lambda: self.crash(host, BOOT_S)))
            case "rest-peer-crash":
                self.world.start(host, once_sent(host, lambda: self.crash(peers[0], BOOT_S)))
            case "rest-link-cut":
                self.world.start(host, once_sent(host, lambda: self._cut_link(host)))
            case "stranger":
                strangers.volume(host, argv)
                self.strangers += 1
            case "replaced-soon":
                self.world.start(peers[0], soon(self._replace))
            case "wrong-device":
                self.world.start(peers[0], strangers.links(host))
            case "ran-then-paused":
                self._run_a_little(host, argv[-1])
                return FailBefore(1, "injected: it ran, was paused, and unpause says it failed\n")
            case "ran-then-gone":
                self._run_a_little(host, argv[-1])
                if (domain := host.domain(argv[-1])) is not None:
                    host.destroy(domain)
                return FailBefore(1, "injected: it ran, is gone, and unpause says it failed\n")
            case "done-but-failed" | "nothing-but-ok" | "cut-output":
                instead(host, fault)
        return None

    def _cut_link(self, host: SimHost) -> None:
        self.world.cut("replication", *self.world.hosts)
        self.world.start(host, mend(self.world, LINK_S))

    def _watch(self, point: Point) -> None:
        if point.command.argv[0] == "sync":
            self.durable[point.host] = kept(self.world.hosts[point.host])
        self._tear()
        self.watch(point)

    def _run_a_little(self, host: SimHost, name: str) -> None:
        domain = host.domain(name)
        if domain is None:
            return
        domain.pauses, domain.connected = 0, True
        self.world.advance(1.5)
        domain.pauses = 1

    def _replace(self) -> None:
        self.strangers += strangers.replace_old(self.world)

    # -- hosts ----------------------------------------------------------------------------------

    def crash(self, host: SimHost, boot_after_s: float) -> None:
        """Power off now, on again later; saved images were never synced and are torn."""
        if not host.up:
            return
        host.crash()
        tear_images(host)
        self.world.start(host, booting(host, boot_after_s))

    def _tear(self) -> None:
        """After a crash: names that no sync made durable are as they were; an unsynced image is torn."""
        for name in self.torn:
            host = self.world.hosts[name]
            if host.up:
                continue
            fresh = {p: n for p, n in host.files.nodes.items() if p.startswith(EPOCHS)}
            host.files.nodes = {**kept_of(self.durable[name]), **fresh}
            tear_images(host)
        self.torn.clear()

    def heal(self) -> None:
        """Everything that was broken is repaired; what has happened has happened."""
        self.deaf.clear()
        for name, capacity in self.full.items():
            self.world.hosts[name].files.capacity = capacity
        self.full.clear()
        self.unpause_fails = False
        for cut in list(self.world.links["replication"].cut):
            self.world.mend("replication", *cut)

    @property
    def whole(self) -> bool:
        """Whether nothing is broken any more."""
        hosts = self.world.hosts.values()
        late = any(until > self.world.now_s for until in self.deaf.values())
        cut = any(link.cut for link in self.world.links.values())
        wounds = late or cut or self.full or self.world.jobs or self.unpause_fails
        return all(host.up for host in hosts) and not wounds


def kept_of(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """A copy that later changes of files do not reach."""
    copied: dict[str, Node] = {}
    for path, node in nodes.items():
        match node:
            case File(text=text, thing=None, mode=mode):
                copied[path] = File(text, mode=mode)
            case Link(target=target):
                copied[path] = Link(target)
            case _:
                copied[path] = node
    return copied


def kept(host: SimHost) -> dict[str, Node]:
    return kept_of(host.files.nodes)


def tear_images(host: SimHost) -> None:
    for node in host.files.nodes.values():
        if isinstance(node, File) and isinstance(node.thing, Image):
            node.thing.complete = False


def booting(host: SimHost, after_s: float) -> Steps:
    yield after_s
    if not host.up:
        host.boot()
    return Result()


def soon(work: Callable[[], None]) -> Steps:
    yield DURING_S
    work()
    return Result()


def once_sent(host: SimHost, work: Callable[[], None]) -> Steps:
    """Once a domain that is moved live has been paused, as all of its memory is sent."""
    for _ in range(1200):
        yield 0.05
        if any(domain.pauses for domain in host.domains.values()):
            work()
            break
    return Result()


def copies_gone(hosts: list[SimHost]) -> None:
    for host in hosts:
        for domain in [domain for domain in host.domains.values() if domain.name.endswith("--incoming")]:
            host.destroy(domain)


def fails_once(host: SimHost, argv: tuple[str, ...]) -> None:
    """The next command that begins with these words fails and does nothing."""
    real = type(host).run

    def run(given: list[str], stdin: str = "") -> Steps:
        if tuple(given[: len(argv)]) != argv:
            return real(host, given, stdin)
        del host.run  # type: ignore[method-assign]
        return ends_with(Result(1, "", "injected failure\n"))

    host.run = run  # type: ignore[method-assign, assignment]


def guest_gone(world: World) -> None:
    """Every guest that is not being held still is gone, as after its own poweroff or crash."""
    for host in world.hosts.values():
        for domain in [domain for domain in host.domains.values() if domain.running]:
            host.destroy(domain)


def stops_again(host: SimHost, after_s: float) -> Steps:
    """What a host started by itself at its boot is gone again."""
    yield after_s
    for domain in [domain for domain in host.domains.values() if domain.running]:
        host.destroy(domain)
    return Result()


def mend(world: World, after_s: float) -> Steps:
    yield after_s
    for cut in list(world.links["replication"].cut):
        world.mend("replication", *cut)
    return Result()


def late(host: SimHost, script: Script, delay_s: float) -> Steps:
    """A request that the network delivers late: the guard judges it then, as it would any other."""
    yield delay_s
    claim = script.claim
    request = script.request(1)
    guard = SimGuard(host, wait=lambda condition, seconds: condition())
    if claim is not None:
        replies: Iterator[dict[str, Any]] = guard.handle(request, gone=lambda: True)
        refusal = next(replies)
        if refusal.get("detail") != "the asker hung up":
            return Result(1, "", str(refusal))
        host.locks[claim.domain] = guard
    try:
        for command in request["commands"]:
            result = yield from host.run(command["argv"], command["stdin"])
            if result.exit:
                return result
    finally:
        if claim is not None and host.locks.get(claim.domain) is guard:
            del host.locks[claim.domain]
    return Result()


def instead(host: SimHost, fault: str) -> None:
    """Let the next program on this host do its work and lie about it, or do nothing and lie about that."""
    real = type(host).run

    def once(argv: list[str], stdin: str = "") -> Steps:
        del host.run  # type: ignore[method-assign]
        return lying(real(host, argv, stdin), fault)

    host.run = once  # type: ignore[method-assign, assignment]


def lying(steps: Steps, fault: str) -> Steps:
    if fault == "nothing-but-ok":
        yield 0.01
        return Result()
    result = yield from steps
    if fault == "cut-output":
        return Result(result.exit, result.stdout[: max(0, len(result.stdout) - 20)], result.stderr)
    return Result(1, result.stdout, "injected: did it and failed\n")


__all__ = ["Killed", "Stand", "reads"]
