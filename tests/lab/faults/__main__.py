"""`make lab-faults`: step x fault on two real Xen hosts; `FAULTS=kill,off-target STEPS=ship,go` runs a part.

Moves start from a snapshot taken at the beginning of a step, with the daemon's journal of that moment, and
meet their fault in that step and, as long as they go on, in every later one. What was seen is added to a
file of this folder, with the commit it was seen on; a cell that is in it already is not run again, so a
run can be stopped and continued: remove its line to see it anew. Two labs can share the faults.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab.lab import Lab

from .cell import Row
from .drive import Drive
from .matrix import GO, RECIPES, TURNING, WORDS, Cell, Fault, all_cells, cells_of, rows, table
from .walk import Walk

SEEN = Path(__file__).with_name("seen.jsonl")
PAGE = Path(__file__).parents[3] / "docs" / "lab-faults.md"
HEAD = """\
# Faults on real hosts: what was seen

Written by `make lab-faults` from `tests/lab/faults/seen.jsonl`; [reliability](reliability.md) says what each
cell checks. In brackets: the ends that the rules allow. A cell with nothing but brackets was not run; in one
with a dash the step has nothing that the fault could meet. A cell that broke a rule or had no allowed end is
set in bold.

"""


def listed(text: str, allowed: list[str], what: str) -> list[str]:
    """The names of a list with commas; all of them for an empty one."""
    names = [name for name in text.split(",") if name] or allowed
    if unknown := [name for name in names if name not in allowed]:
        raise SystemExit(f"no {what} {unknown[0]!r}; there are {', '.join(allowed)}")
    return names


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def version() -> str:
    """The commit that is tested, with a mark when the tree differs from it."""
    argv = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def write_table(seen: list[Row], path: Path) -> None:
    words = "".join(f"- **{fault.value}**: {WORDS[fault]}\n" for fault in Fault)
    bad = sum(bool(row["problems"]) for row in seen)
    commits = ", ".join(sorted({str(row["commit"]) for row in seen}))
    whole = len(all_cells())
    said = f"{len(seen)} of {whole} cells seen, {bad} with problems; on {commits or 'no commit'}.\n\n"
    path.write_text(f"{HEAD}{said}{words}\n{table(seen)}")


def batches(recipe: str, order: Sequence[str], wanted: Callable[[Cell], bool]) -> Iterator[list[Cell]]:
    """What to walk next, the first cell of each first. Ask again after each: walks end where they like."""

    def left(fault: Fault, names: Sequence[str]) -> list[Cell]:
        cells = (cell for name in names for cell in cells_of(recipe, name) if cell.fault is fault)
        return [cell for cell in cells if wanted(cell)]

    go = order.index(GO) if GO in order else len(order)
    for fault in Fault:
        while fault not in TURNING and (cells := left(fault, order)):
            yield cells
    for name in order[:go]:
        for fault in TURNING:
            if cells := left(fault, [name]):
                yield cells
    for fault in TURNING:
        while cells := left(fault, order[go:]):
            yield cells


def run(recipe: str, wanted: Callable[[Cell], bool]) -> Iterator[list[Row]]:
    """All that is wanted of one recipe, walk by walk, in a lab of its own."""
    with Lab(2) as lab, tempfile.TemporaryDirectory() as folder:
        drive = Drive(lab, Path(folder), recipe)
        try:
            for cells in batches(recipe, rows(recipe), wanted):
                yield Walk(drive, drive.before(drive.acting.index(cells[0].step)), cells).run()
        finally:
            drive.close()


def main() -> int:
    """Run what is wanted; exit status 1 if a cell has a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.faults", description=__doc__)
    parser.add_argument("--faults", default="", help=", ".join(fault.value for fault in Fault))
    parser.add_argument("--steps", default="", help="steps of a move, as in docs/architecture.md")
    parser.add_argument("--rows", type=Path, default=SEEN)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # ends lab and daemon as well
    faults = listed(given.faults, [fault.value for fault in Fault], "fault")
    names = listed(given.steps, sorted({cell.step for cell in all_cells()}), "step")
    done, bad, commit = {(row["recipe"], row["step"], row["fault"]) for row in read(given.rows)}, 0, version()

    def wanted(cell: Cell) -> bool:
        fault = cell.fault.value
        return fault in faults and cell.step in names and (cell.recipe, cell.step, fault) not in done

    for recipe in RECIPES:
        if not any(wanted(cell) for cell in all_cells() if cell.recipe == recipe):
            continue
        for seen in run(recipe, wanted):
            for row in seen:
                done.add((row["recipe"], row["step"], row["fault"]))
                bad += bool(row["problems"])
                with given.rows.open("a") as file:
                    file.write(json.dumps({**row, "commit": commit}) + "\n")
                name = f"{row['recipe']}:{row['step']}:{row['fault']}"
                said = f"{name} {row['end']} {row['reason']} ({row['took_s']} s)"
                print(time.strftime("%H:%M:%S"), said, row["problems"] or row["detail"], flush=True)
            write_table(read(given.rows), given.out)
    print(f"{given.out}: {bad} cells of this run have problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
