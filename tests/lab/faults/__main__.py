"""`make lab-faults`: step x fault on two real Xen hosts; `FAULTS=kill,off-target STEPS=ship,go` runs a part.

Every cell starts from a snapshot taken at the beginning of its step, with the daemon's journal of that
moment. What was seen is added to a file of this folder as it ends, with the commit it was seen on; a cell
that is in it already is not run again, so a run can be stopped and continued: remove its line to see it
anew. With `--part 1/2` and `--part 2/2` two labs share the steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.lab import Lab

from . import cell as cells
from .drive import Drive
from .matrix import SILENT, WORDS, Fault, cells_of, steps, table

SEEN = Path(__file__).with_name("seen.jsonl")
PAGE = Path(__file__).parents[3] / "docs" / "lab-faults.md"
HEAD = """\
# Faults on real hosts: what was seen

Written by `make lab-faults` from `tests/lab/faults/seen.jsonl`; [reliability](reliability.md) says what each
cell checks. In brackets: the ends that the rules allow. A cell with nothing but brackets was not run. A cell
that broke a rule or had no allowed end is set in bold.

"""


def listed(text: str, allowed: list[str], what: str) -> list[str]:
    """The names of a list with commas; all of them for an empty one."""
    names = [name for name in text.split(",") if name] or allowed
    if unknown := [name for name in names if name not in allowed]:
        raise SystemExit(f"no {what} {unknown[0]!r}; there are {', '.join(allowed)}")
    return names


def read(path: Path) -> list[cells.Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def version() -> str:
    """The commit that is tested, with a mark when the tree differs from it."""
    argv = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def write_table(rows: list[cells.Row], path: Path) -> None:
    words = "".join(f"- **{fault.value}**: {WORDS[fault]}\n" for fault in Fault)
    bad = sum(bool(row["problems"]) for row in rows)
    wanted = sum(len(cells_of(name)) for name in steps() if name not in SILENT)
    commits = ", ".join(sorted({str(row["commit"]) for row in rows}))
    said = f"{len(rows)} of {wanted} cells seen, {bad} with problems; on {commits or 'no commit'}.\n\n"
    path.write_text(f"{HEAD}{said}{words}\n{table(rows)}")


def wanted_rows(names: list[str], part: str) -> list[str]:
    """Every so-many-th row belongs to a part."""
    number, of = map(int, part.split("/"))
    return names[number - 1 :: of]


def run(drive: Drive, rows: list[str], faults: list[str], done: set[str]) -> Iterator[cells.Row]:
    """All cells of the rows, in the order of the move; a stage is kept only as long as it is needed."""
    stage, at = drive.start, 0
    order = [name for name in steps() if name not in SILENT]
    for index, name in enumerate(order):
        todo = [cell for cell in cells_of(name) if cell.fault.value in faults and cell.name not in done]
        if name not in rows or not todo:
            continue
        if index > at:
            old, stage, at = stage, drive.on_to(stage, order[index - 1]), index
            drive.forget(old)
        for cell in todo:
            yield cells.run(drive, stage, cell)


def main() -> int:
    """Run what is wanted; exit status 1 if a cell has a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.faults", description=__doc__)
    parser.add_argument("--faults", default="", help=", ".join(fault.value for fault in Fault))
    parser.add_argument("--steps", default="", help="steps of a move, as in docs/architecture.md")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--rows", type=Path, default=SEEN)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    faults = listed(given.faults, [fault.value for fault in Fault], "fault")
    acting = [name for name in steps() if name not in SILENT]
    rows = wanted_rows(listed(given.steps, acting, "step"), given.part)
    bad, commit = 0, version()
    with Lab(2) as lab, tempfile.TemporaryDirectory() as folder:
        drive = Drive(lab, Path(folder))
        try:
            done = {f"{row['step']}:{row['fault']}" for row in read(given.rows)}
            for row in run(drive, rows, faults, done):
                bad += bool(row["problems"])
                with given.rows.open("a") as file:
                    file.write(json.dumps({**row, "commit": commit}) + "\n")
                write_table(read(given.rows), given.out)
                said = row["problems"] or row["detail"]
                print(
                    f"{time.strftime('%H:%M:%S')} {row['step']}:{row['fault']} {row['end']} {row['reason']}"
                    f" ({row['took_s']} s) {said}",
                    flush=True,
                )
        finally:
            drive.close()
    print(f"{given.out}: {bad} cells of this run have problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
