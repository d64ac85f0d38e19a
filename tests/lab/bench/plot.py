"""Bars of what `make bench` took, as multiples of the first way's:
    python -m tests.lab.bench.plot bench.json bench.svg

Needs matplotlib: `pip install -e '.[bench]'`. The bar is the median, the line on it the spread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN = {"frozen_s": "suspended in all", "longest_s": "longest suspension", "total_s": "the whole move"}


def ratios(taken: Sequence[dict[str, Any]], way: str, memory_mb: int, what: str) -> list[float]:
    """What the way took at that memory by the median of the first way's; nothing if either was not taken."""

    def of(name: str) -> list[float]:
        return [row[what] for row in taken if (row["way"], row["memory_mb"]) == (name, memory_mb)]

    base = of(taken[0]["way"])
    return sorted(value / statistics.median(base) for value in of(way)) if base else []


def draw(taken: Sequence[dict[str, Any]], out: Path) -> None:
    """One row of bars for each memory, one panel for each of SHOWN."""
    from matplotlib.figure import Figure

    ways = list(dict.fromkeys(row["way"] for row in taken))
    sizes = sorted({row["memory_mb"] for row in taken})
    figure = Figure(figsize=(4 * len(SHOWN), 0.35 * len(ways) * len(sizes) + 1.2), layout="constrained")
    for panel, (what, title) in zip(figure.subplots(1, len(SHOWN), sharey=True), SHOWN.items(), strict=True):
        for n, size in enumerate(sizes):
            found = {way: ratios(taken, way, size, what) for way in ways}
            rows = [(at, values) for at, values in enumerate(found.values()) if values]
            middles = [statistics.median(values) for _, values in rows]
            spread = [
                [middle - values[0] for middle, (_, values) in zip(middles, rows, strict=True)],
                [values[-1] - middle for middle, (_, values) in zip(middles, rows, strict=True)],
            ]
            height = 0.8 / len(sizes)
            places = [at + n * height for at, _ in rows]
            panel.barh(places, middles, height, xerr=spread, label=f"{size} MiB of memory")
        panel.set_yticks(range(len(ways)), ways)
        panel.set_title(f"{title}, {ways[0]} = 1")
        panel.invert_yaxis()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sizes))
    figure.savefig(out, metadata={"Date": None})


def main() -> int:
    """Read what was taken, write the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.bench.plot", description=__doc__)
    parser.add_argument("taken", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    draw(json.loads(given.taken.read_text()), given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
