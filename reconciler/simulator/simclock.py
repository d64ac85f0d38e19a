"""The world's time as the `Clock` the production code takes: pausing lets the simulation go on."""

from __future__ import annotations

import datetime

from reconciler.simulator.world import World

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class SimClock:
    """A `Clock` over a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(seconds=self.world.now_s)

    def day(self) -> datetime.datetime:
        return self.now()

    def set_by_wall(self) -> float:
        return 0.0

    def monotonic_s(self) -> float:
        return self.world.now_s

    def pause(self, seconds: float) -> None:
        self.world.advance(seconds)
