"""Everything the fuzzer ever found, and a short run of the fuzzer itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.fuzz import targets


@pytest.mark.parametrize("name", targets.TARGETS)
def test_good_inputs_and_all_that_was_ever_found(name: str) -> None:
    inputs = targets.seeds(name)
    assert inputs
    for data in inputs:
        targets.TARGETS[name](data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_prefix_of_a_good_input(name: str) -> None:
    for data in targets.seeds(name):
        step = max(1, len(data) // 25)
        for end in range(0, len(data), step):
            targets.TARGETS[name](data[:end])


def test_a_short_run() -> None:
    argv = [sys.executable, "-m", "tests.fuzz", "mix", "--seconds", "6"]
    # The fuzzer watches its own coverage: one that is measured as well would only be slower.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(argv, cwd=targets.TOP, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
