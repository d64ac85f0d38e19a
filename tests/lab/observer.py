"""The outside observer, as tests see it: what it heard from the guests, and what it can ask them."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .image.recipe import LabError
from .records import Block, Found, Gap, Heartbeat, Line, compare, longest_gap, longest_lived_gap_s


@dataclass(frozen=True)
class Verification:
    """The guest read all its blocks back from its disks: what it found against what was acknowledged."""

    problems: list[str]
    blocks: dict[int, Found]
    heartbeat_on_disk: int
    last_heard: int
    side: str

    @property
    def ok(self) -> bool:
        """Nothing acknowledged is missing, old or torn, the last heartbeat on the disk included."""
        return not self.problems


class Observer:
    """A client of the hub process."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._lines: list[Line] = []
        self._next = 0

    def _ask(self, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            try:
                connection.connect(str(self._control))
                with connection.makefile("rwb") as stream:
                    stream.write(json.dumps(request).encode() + b"\n")
                    stream.flush()
                    answer: dict[str, Any] = json.loads(stream.readline())
            except (OSError, ValueError) as error:
                raise LabError(f"the observer does not answer at {self._control}: {error}") from error
        if "error" in answer:
            raise LabError(f"observer: {answer['error']}")
        return answer

    def now(self) -> float:
        """The clock that arrival times are in."""
        return time.monotonic()

    def clear(self) -> None:
        """Forget everything heard so far; every reset does it."""
        self._ask(op="clear")
        self._lines, self._next = [], 0

    def cut(self, hosts: set[str]) -> None:
        """Cut these hosts (and no others) off the guests' network."""
        self._ask(op="cut", hosts=sorted(hosts))

    def stop(self) -> None:
        """End the process."""
        self._ask(op="stop")

    def lines(self, kind: str | None = None, name: str | None = None) -> list[Line]:
        """Everything heard since the last reset, oldest first."""
        answer = self._ask(op="lines", since=self._next)
        self._lines += [Line.parse(*line) for line in answer["lines"]]
        self._next = answer["next"]
        return [
            line for line in self._lines
            if (kind is None or line.kind == kind) and (name is None or line.name == name)
        ]  # fmt: skip

    def heartbeats(
        self, name: str = "web1", since_s: float = 0, until_s: float = float("inf"), side: str | None = None
    ) -> list[Heartbeat]:
        """The heartbeats that arrived in a window, from one side or from all."""
        return [
            Heartbeat.of(line) for line in self.lines("heartbeat", name)
            if since_s <= line.arrived_s <= until_s and side in (None, line.side)
        ]  # fmt: skip

    def blocks(self, name: str = "web1") -> dict[int, Block]:
        """The newest acknowledged generation of each block of the guest's second disk."""
        latest: dict[int, Block] = {}
        for line in self.lines("block", name):
            block = Block.of(line)
            if block.number not in latest or latest[block.number].generation <= block.generation:
                latest[block.number] = block
        return latest

    def errors(self, name: str = "web1") -> list[Line]:
        """Writes that a guest's disk refused."""
        return self.lines("error", name)

    def gap(self, name: str = "web1", since_s: float = 0, until_s: float = float("inf")) -> Gap:
        """The longest silence in a window, as clients saw it."""
        return longest_gap(self.heartbeats(name, since_s, until_s))

    def lived_gap_s(self, name: str = "web1", since_s: float = 0, until_s: float = float("inf")) -> float:
        """The longest gap in a window by the guest's own uptime."""
        return longest_lived_gap_s(self.heartbeats(name, since_s, until_s))

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Wait until a condition on what was heard holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"observer: no {what} in {timeout_s:.0f} s")
            time.sleep(0.1)

    def wait_for_heartbeats(
        self, name: str = "web1", count: int = 1, side: str | None = None, timeout_s: float = 60
    ) -> list[Heartbeat]:
        """Wait for so many further heartbeats, from now on, and return them."""
        since_s = self.now()
        where = f" from {side}" if side else ""
        self.wait(
            f"{count} heartbeats of {name}{where}",
            lambda: len(self.heartbeats(name, since_s, side=side)) >= count,
            timeout_s,
        )
        return self.heartbeats(name, since_s, side=side)

    def set_rates(self, name: str = "web1", heartbeats_per_s: int = 10, writes_per_s: int = 5) -> None:
        """Change how fast a guest beats and writes; 0 writes stops the writer."""
        self._ask(op="send", text=f"rate name={name} heartbeats={heartbeats_per_s} writes={writes_per_s}")

    def verify(self, name: str = "web1", timeout_s: float = 120) -> Verification:
        """Have the guest read everything back past its cache, and judge what it found."""
        acknowledged = self.blocks(name)
        heard = max((beat.number for beat in self.heartbeats(name)), default=0)
        answer = secrets.token_hex(4)
        deadline, asked_s = time.monotonic() + timeout_s, 0.0
        while time.monotonic() < deadline:
            if time.monotonic() - asked_s > 30:
                self._ask(op="send", text=f"verify name={name} id={answer}")
                asked_s = time.monotonic()
            lines = [line for line in self.lines("verified", name) if line.fields["id"] == answer]
            found: dict[int, Found] = {}
            for line in lines:
                for entry in filter(None, line.fields["blocks"].split(",")):
                    number, generation, crc, sound = entry.split(":")
                    found[int(number)] = Found(int(generation), crc, sound == "1")
            if lines and len(found) == int(lines[0].fields["total"]):
                on_disk = int(lines[-1].fields["heartbeat"])
                problems = compare(acknowledged, found)
                if on_disk < heard:
                    problems.append(f"the disk's last heartbeat is {on_disk}, {heard} was heard")
                return Verification(problems, found, on_disk, heard, lines[-1].side)
            time.sleep(0.2)
        raise LabError(f"{name} did not answer to verify in {timeout_s:.0f} s")
