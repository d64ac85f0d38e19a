"""A command that may take long runs in a scope of systemd's; where there is none to be had, without."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from reconciler.execution import guard

UNIT = "xr-web1-7-ship.scope"


def hold(folder: Path) -> guard.Hold:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    return guard.Hold(lock, UNIT, str(folder / "no-units"))


def tool(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What stands for systemd-run; any folder for the one it looks for."""
    head = f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "$@" >{folder}/asked\n'
    (folder / "systemd-run").write_text(f"{head}{script}\n")
    (folder / "systemd-run").chmod(0o755)
    monkeypatch.setitem(guard.ENVIRONMENT, "PATH", str(folder))
    monkeypatch.setattr(guard, "SYSTEMD", str(folder))
    monkeypatch.setattr(guard, "SCOPE_PATIENCE_S", 2.0)


def said(held: guard.Hold) -> str:
    return os.pread(held.lock, 1000, 0).decode()


@pytest.mark.parametrize("script", ["exit 1", "exec true", "exec cat", "echo elsewhere; exec sleep 9"])
def test_without_a_scope_the_command_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    tool(tmp_path, monkeypatch, script)
    held = hold(tmp_path)
    result = guard.change(["/bin/sh", "-c", "/bin/cat; echo err >&2; exit 3"], "given", 20.0, held)
    assert (result["exit"], result["stdout"], result["stderr"]) == (3, "given", "err\n")
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("--scope --quiet --collect ") and f"--unit={UNIT}" in asked
    assert "systemctl" not in said(held)
    assert not Path(held.no_units).exists()


def test_a_systemd_that_hangs_is_asked_once_on_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path, monkeypatch, "exec sleep 60")
    held = hold(tmp_path)
    assert guard.change(["/bin/true"], "", 20.0, held)["exit"] == 0
    assert Path(held.no_units).exists()
    (tmp_path / "asked").unlink()
    began = time.monotonic()
    assert guard.change(["/bin/true"], "", 20.0, held)["exit"] == 0
    assert not (tmp_path / "asked").exists()
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(("line", "root"), [("0::", "cgroup"), ("1:name=systemd:", "cgroup/systemd")])
def test_the_keeper_follows_into_the_scope_and_the_lock_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, root: str
) -> None:
    place = f"/system.slice/{UNIT}"
    (tmp_path / f"{root}{place}").mkdir(parents=True)
    monkeypatch.setattr(guard, "CGROUPS", str(tmp_path / "cgroup"))
    monkeypatch.setattr(guard, "PROCESSES", str(tmp_path / "proc"))
    shown = f"mkdir -p {tmp_path}/proc/$$; printf '4:pids:/x\\n{line}{place}\\n' >{tmp_path}/proc/$$/cgroup"
    tool(tmp_path, monkeypatch, f"{shown}; exec cat")
    held = hold(tmp_path)
    result = guard.change(["/bin/sh", "-c", "echo $PPID; exit 4"], "", 20.0, held)
    written = (tmp_path / f"{root}{place}/cgroup.procs").read_text()
    assert (written, result["exit"]) == (result["stdout"].strip(), 4), "the keeper is the command's parent"
    assert f"; see `systemctl status {UNIT}`" in said(held)


def test_names_are_units_that_systemd_accepts() -> None:
    claim = guard.Claim("a+b.c", 12, 0, 0)
    assert guard.unit_of(claim, "save") == "xr-a_b.c-12-save.scope"
    assert guard.unit_of(claim, "") == ""
    for wrong in ("../x", "A", "x" * 31, 7):
        with pytest.raises(guard.Refused):
            guard.check_command({"argv": ["true"], "unit": wrong})
