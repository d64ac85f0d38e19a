"""How long a sync and a freeze will take, from rates measured in finished moves or else assumed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.model.move import Prediction
from reconciler.model.placement import Attach

MIB = 1024**2


@dataclass(frozen=True)
class Sample:
    """What one finished move measured. Bytes and seconds."""

    sync_bytes: int
    sync_s: float
    memory_mb: int
    attach_s: float | None
    cutover_s: float | None


@dataclass(frozen=True)
class Rates:
    """Assumptions used until a move has been measured, in MiB a second, and a fixed cost of each freeze."""

    link_mb_s: float = 100.0
    disk_mb_s: float = 200.0
    fixed_s: float = 2.0


def predict(
    size_bytes: int, memory_mb: int, way: Attach, samples: Sequence[Sample], rates: Rates
) -> Prediction:
    """The median of what finished moves say, scaled by size; assumptions where nothing was measured."""
    sync_mb_s = min(rates.link_mb_s, rates.disk_mb_s)
    speeds = [sample.sync_bytes / MIB / sample.sync_s for sample in samples if sample.sync_s > 0]
    attach = [s.attach_s / s.memory_mb for s in samples if s.attach_s is not None and s.memory_mb]
    cutover = [s.cutover_s / s.memory_mb for s in samples if s.cutover_s is not None and s.memory_mb]
    store_s = 2 * memory_mb / rates.disk_mb_s
    return Prediction(
        sync_s=round(size_bytes / MIB / (statistics.median(speeds) if speeds else sync_mb_s), 2),
        freeze_attach_s=0.0
        if way is Attach.PIVOT
        else round(statistics.median(attach) * memory_mb if attach else rates.fixed_s + store_s, 2),
        freeze_cutover_s=round(
            statistics.median(cutover) * memory_mb
            if cutover
            else rates.fixed_s + store_s + memory_mb / rates.link_mb_s,
            2,
        ),
        learned=len(samples),
    )
