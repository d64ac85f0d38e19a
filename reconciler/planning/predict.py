"""How long a sync and a freeze will take, from rates measured in finished moves or else assumed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.model.move import Prediction
from reconciler.model.placement import Attach, Cutover

MIB = 1024**2


@dataclass(frozen=True)
class Sample:
    """What one finished move measured. Bytes and seconds."""

    sync_bytes: int
    sync_s: float
    memory_mb: int
    attach_s: float | None
    cutover_s: float | None
    cutover: Cutover


@dataclass(frozen=True)
class Rates:
    """Assumptions used until a move has been measured, in MiB a second, and a fixed cost of each freeze."""

    link_mb_s: float = 100.0
    disk_mb_s: float = 200.0
    fixed_s: float = 2.0


NO_MOVE = Prediction(sync_s=0.0, freeze_attach_s=0.0, freeze_cutover_s=0.0, learned=0)
"""Of a domain that is created: nothing is synced and nobody is suspended."""


def predict(
    size_bytes: int, memory_mb: int, attach: Attach, cutover: Cutover, samples: Sequence[Sample], rates: Rates
) -> Prediction:
    """The median of what finished moves say, scaled by size; assumptions where nothing was measured."""
    live = cutover is Cutover.LIVE
    speeds = [sample.sync_bytes / MIB / sample.sync_s for sample in samples if sample.sync_s > 0]
    sync_mb_s = statistics.median(speeds) if speeds else min(rates.link_mb_s, rates.disk_mb_s)
    attached = [s.attach_s / s.memory_mb for s in samples if s.attach_s is not None and s.memory_mb]
    alike = [s for s in samples if s.cutover_s is not None and s.memory_mb and s.cutover is cutover]
    moved = [s.cutover_s / (1 if live else s.memory_mb) for s in alike if s.cutover_s is not None]
    through_file_s = 2 * memory_mb / rates.disk_mb_s
    attach_s = _freeze_s(attached, memory_mb, rates.fixed_s + through_file_s)
    over_link_s = 0.0 if live else memory_mb / rates.link_mb_s
    change_s = rates.fixed_s + over_link_s + (through_file_s if cutover is Cutover.STORE else 0.0)
    return Prediction(
        sync_s=round(size_bytes / MIB / sync_mb_s, 2),
        freeze_attach_s=0.0 if attach is Attach.PIVOT else attach_s,
        freeze_cutover_s=_freeze_s(moved, 1 if live else memory_mb, change_s),
        learned=len(samples),
    )


def _freeze_s(measured: Sequence[float], times: int, assumed_s: float) -> float:
    """From seconds for each MiB of memory; moved live, what the guest changes last does not grow with it."""
    return round(statistics.median(measured) * times if measured else assumed_s, 2)
