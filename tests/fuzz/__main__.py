"""`python -m tests.fuzz TARGET --seconds N`: fuzz a target, guided by coverage; `all` takes them in turn.

What breaks a target is kept in build/fuzz/TARGET: mend the code, then move it to tests/fuzz/corpus/TARGET.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import targets


def fuzz(name: str, seconds: int) -> bool:
    """Run one target in a process of its own and print its figures; whether nothing was found."""
    found = targets.TOP / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in targets.seeds(name):
            (Path(folder) / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        argv = [sys.executable, "-m", "tests.fuzz.engine", name, str(seconds), folder, f"{found}/"]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", cwd=targets.TOP)
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    edges = ["?", *re.findall(r"cov: (\d+)", done.stderr)][-1]
    good = done.returncode == 0 and runs is not None
    verdict = "nothing found" if good else f"FOUND SOMETHING (exit {done.returncode})"
    print(f"{name}: {runs[1] if runs else '?'} inputs in {seconds} s, {edges} edges: {verdict}", flush=True)
    if not good:
        print((done.stdout + done.stderr)[-6000:], file=sys.stderr)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*targets.TARGETS, "mix", "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    given = parser.parse_args()
    names = list(targets.TARGETS) if given.target == "all" else [given.target]
    broken = [name for name in names if not fuzz(name, given.seconds)]
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
