"""The command seam over the simulated world, in one process and one thread, with a place to inject faults."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from reconciler.execution import guard
from reconciler.execution.guard import check
from reconciler.model.command import (
    REFUSALS,
    Answer,
    Claim,
    Command,
    Known,
    NoAnswer,
    Outcome,
    Script,
    Skip,
    Skipped,
)
from reconciler.simulator.guarding import Checked, SimGuard
from reconciler.simulator.host import SimHost
from reconciler.simulator.process import Result, Steps, ends_with
from reconciler.simulator.world import Job, World


@dataclass(frozen=True)
class FailBefore:
    """The command ends with this status and has changed nothing."""

    exit: int = 1
    stderr: str = "injected failure\n"


@dataclass(frozen=True)
class LoseReply:
    """The command does its work, but neither its answer nor any later one arrives."""


@dataclass(frozen=True)
class Hang:
    """The command stands still this long before it begins; it begins even if nobody waits any more."""

    seconds: float


@dataclass(frozen=True)
class Crash:
    """The host loses power; it boots again after a while, if a time is given."""

    boot_after_s: float | None = None


Fault = FailBefore | LoseReply | Hang | Crash


def checked(script: Script) -> Checked:
    """What the guard makes of the request for a script. The same commands come with many claims."""
    return _checked_commands(script.commands), *_checked_claim(script.claim, script.known)


@lru_cache(4096)
def _checked_commands(commands: tuple[Command, ...]) -> list[dict[str, Any]]:
    return check(Script(commands).request(1))[0]


@lru_cache(4096)
def _checked_claim(claim: Claim | None, known: Known | None) -> tuple[guard.Claim | None, guard.Known | None]:
    _, claimed, accepted = check(Script((Command(("true",)),), claim, known).request(1))
    return claimed, accepted


@dataclass
class Point:
    """A place where a fault can be injected; `number` counts commands from the start of the run."""

    number: int
    when: Literal["before", "after"]
    host: str
    script: Script
    index: int

    @property
    def command(self) -> Command:
        return self.script.commands[self.index]


Hook = Callable[[Point], Fault | None]


class SimRunner:
    """A `Runner` over a `World`. `watch` is called after every command: the place for the checkers."""

    def __init__(
        self,
        world: World,
        hook: Hook = lambda point: None,
        watch: Callable[[Point], None] = lambda point: None,
    ) -> None:
        self.world = world
        self.hook = hook
        self.watch = watch
        self.count = 0
        self._one_at_a_time = threading.Lock()

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        """Run a script to its end; the world's clock moves by as long as it takes."""
        with self._one_at_a_time:
            there = self.world.hosts.get(host)
            if there is None or not there.up:
                return tuple(Skipped(Skip.UNREACHABLE, f"cannot connect to {host}") for _ in script.commands)
            return _Session(self, there, script).run()


class _Session:
    """One script on one host."""

    def __init__(self, runner: SimRunner, host: SimHost, script: Script) -> None:
        self.runner = runner
        self.world = runner.world
        self.host = host
        self.script = script
        self.lost = ""

    def run(self) -> tuple[Outcome, ...]:
        there = SimGuard(self.host, self._wait, self._start, checked=lambda request: checked(self.script))
        request = {"id": 1}
        outcomes: list[Outcome] = []
        rest = Skipped(Skip.EARLIER)
        for reply in there.handle(request, gone=lambda: bool(self.lost)):
            if "index" in reply:
                self._after(reply["index"])
                if self.lost:
                    outcomes.append(NoAnswer(self.lost))
                elif "timeout" in reply:
                    outcomes.append(NoAnswer("still running at its deadline"))
                else:
                    outcomes.append(
                        Answer(reply["exit"], reply["stdout"], reply["stderr"], reply["duration_s"])
                    )
                if self.lost:
                    break
            elif "refused" in reply:
                rest = Skipped(REFUSALS[reply["refused"]], reply["detail"])
        missing = len(self.script.commands) - len(outcomes)
        return (*outcomes, *((NoAnswer(self.lost) if self.lost else rest) for _ in range(missing)))

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        self.world.advance_to(self.world.now_s + seconds, condition)
        return condition()

    def _point(self, index: int, when: Literal["before", "after"]) -> Point:
        return Point(self.runner.count, when, self.host.name, self.script, index)

    def _start(self, index: int, argv: list[str], stdin: str, lock: str | None) -> Job:
        self.runner.count += 1
        fault = self.runner.hook(self._point(index, "before"))
        steps, delay = self.host.run(argv, stdin), 0.0
        match fault:
            case FailBefore(exit=code, stderr=text):
                steps = ends_with(Result(code, "", text))
            case Hang(seconds=seconds):
                delay = seconds
            case LoseReply():
                self.lost = "the connection was lost"
            case Crash():
                job = self.world.start(self.host, steps, lock, delay_s=1e9)
                self._crash(fault)
                return job
        return self.world.start(self.host, steps, lock, delay_s=delay)

    def _after(self, index: int) -> None:
        point = self._point(index, "after")
        match self.runner.hook(point):
            case Crash() as fault:
                self._crash(fault)
            case LoseReply():
                self.lost = "the connection was lost"
        self.runner.watch(point)

    def _crash(self, fault: Crash) -> None:
        self.lost = "the host went away"
        self.host.crash()
        if fault.boot_after_s is not None:
            self.world.start(self.host, _boot(self.host, fault.boot_after_s))


def _boot(host: SimHost, after_s: float) -> Steps:
    yield after_s
    host.boot()
    return Result()
