"""Moves in a row: `python -m tests.lab.row --count 50`. The guest writes all the time.

There and back memory goes by ssh, there and back again by plain TCP, and so on. The guest's kernel loses some
0.9 MiB each time it is resumed, so for many moves it gets more memory.

After every move everything a single move's test asks is asked again, and at the end it is asked of the
whole run: no heartbeat number twice, every acknowledged block read back. The table goes to a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.site import Site

from .lab import Lab
from .moving import MEMORY_MB, in_place, move, start_with
from .records import repeated, unheard

SPARE = 5
"""So many moves the guest stands with the memory it has."""
PHASES = ("attach", "mirror", "cutover", "settle")
HEAD = (
    "move",
    "to",
    "memory by",
    "total s",
    *(f"{phase} s" for phase in PHASES),
    "freeze attach s",
    "freeze cutover s",
)


def transport(number: int) -> str:
    """How the memory of a move goes: moves 1 and 2 by ssh, 3 and 4 by TCP, 5 and 6 by ssh."""
    return "ssh" if (number - 1) // 2 % 2 == 0 else "tcp"


def row(number: int, report: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table, from the daemon's own report."""
    done = report["history"][0]
    phases = {phase["phase"]: phase["duration_s"] for phase in done["phases"]}
    freezes = {freeze["kind"]: freeze["measured_s"] for freeze in done["freezes"]}
    times = [
        done["duration_s"],
        *(phases[phase] for phase in PHASES),
        freezes.get("attach", 0.0),
        freezes["cutover"],
    ]
    return (str(number), done["target"], transport(number), *(f"{seconds:.1f}" for seconds in times))


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table, with the medians as its last line."""
    columns = list(zip(*rows, strict=True))[3:]
    middle = ("median", "", "", *(f"{statistics.median(map(float, column)):.1f}" for column in columns))
    lines = [HEAD, tuple("---" for _ in HEAD), *rows, middle]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def run(lab: Lab, site: Site, count: int, out: Path) -> str:
    """Move web1 back and forth; the sentence that says what came of it."""
    site.place(web1="xen1")
    site.start()
    site.wait("web1 in place on xen1", in_place("xen1"), 300)
    rows: list[tuple[str, ...]] = []
    for number in range(1, count + 1):
        move(lab, site, "xen2" if number % 2 else "xen1", transport=transport(number))
        rows.append(row(number, site.report()))
        print(" ".join(rows[-1]), time.strftime("%H:%M:%S"), flush=True)
        out.write_text(table(rows))
    beats = lab.observer.heartbeats()
    twice, found = repeated(beats), lab.observer.verify()
    assert twice == [], f"heartbeat numbers heard twice: {twice[:5]}"
    assert found.problems == [], found.problems[:5]
    assert lab.observer.errors() == []
    assert site.stop() == 0
    said = (
        f"{count} moves, {len(beats)} heartbeats heard, 0 of them twice, {len(unheard(beats))} not heard"
        f" (frames lost while the card changed host); {len(found.blocks)} blocks read back at the end,"
        " 0 lost, 0 old, 0 torn\n"
    )
    out.write_text(table(rows) + "\n" + said)
    return said


def main() -> int:
    """Run and print; an assertion that fails ends it with its text."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.row", description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument(
        "--memory", type=int, help="MiB of the guest; else 1 more for each move of more than 5"
    )
    parser.add_argument("--out", type=Path, default=Path("lab-row.md"))
    given = parser.parse_args()
    memory_mb = given.memory or MEMORY_MB + (given.count if given.count > SPARE else 0)
    with Lab(2) as lab, tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), lab.hosts, lab.key_file, lab.known_hosts)
        try:
            if memory_mb != MEMORY_MB:
                start_with(lab, memory_mb)
            print(run(lab, site, given.count, given.out))
        finally:
            site.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
