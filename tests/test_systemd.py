"""The units are what systemd accepts, and hardened."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[1] / "systemd").glob("*.service"))
MAX_EXPOSURE = 1.5


def analyze(*argv: str) -> str:
    assert shutil.which("systemd-analyze"), "systemd-analyze is missing: apt-get install systemd"
    done = subprocess.run(["systemd-analyze", *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    # verify looks for the program; that it is installed is not what is asked here.
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"ExecStart=\S+ reconciler", "ExecStart=/bin/true", unit.read_text()))
    assert analyze("verify", str(copy)) == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_is_hardened(unit: Path) -> None:
    said = analyze("security", "--offline=true", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found
    assert float(found[1]) <= MAX_EXPOSURE
