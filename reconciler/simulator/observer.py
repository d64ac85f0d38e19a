"""Somebody outside who hears the guests: their heartbeats, and which writes they were told are on disk."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.simulator.domain import Beat

KEPT = 200_000


class Heard(NamedTuple):
    """One heartbeat as it came over the network."""

    at_s: float
    guest: str
    host: str
    number: int


@dataclass(eq=False)
class Observer:
    """Listens only: nothing in the world depends on it."""

    heard: deque[Heard] = field(default_factory=lambda: deque(maxlen=KEPT))
    count: int = 0
    acknowledgements: int = 0
    newest: dict[str, Heard] = field(default_factory=dict)
    repeated: list[tuple[Heard, Heard]] = field(default_factory=list)
    # guest -> disk -> offset -> what the guest was told is on disk there
    acknowledged: dict[str, dict[str, dict[int, Beat]]] = field(default_factory=dict)

    def hear(self, at_s: float, guest: str, host: str, number: int) -> None:
        beat, before = Heard(at_s, guest, host, number), self.newest.get(guest)
        self.heard.append(beat)
        self.count += 1
        if before is not None and number <= before.number:
            self.repeated.append((before, beat))
        else:
            self.newest[guest] = beat

    def acknowledge(self, guest: str, vdev: str, offset: int, beat: Beat) -> None:
        self.acknowledgements += 1
        self.acknowledged.setdefault(guest, {}).setdefault(vdev, {})[offset] = beat

    def freezes(self, guest: str, over_s: float = 0.0) -> list[tuple[float, float]]:
        """(when it began, how long) of every gap between two heartbeats longer than `over_s`."""
        times = [beat.at_s for beat in self.heard if beat.guest == guest]
        return [(a, b - a) for a, b in itertools.pairwise(times) if b - a > over_s]
