"""The report file: whole or not at all, bounded, and never a reason to stop."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from reconciler.report.write import write


def report(history: int = 0) -> dict[str, Any]:
    return {
        "text": "«é» \ud800",
        "domains": [{"name": "a"}, {"name": "b"}],
        "history": [{"n": "x" * 100}] * history,
    }


def test_it_is_readable_by_everybody_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    old = os.umask(0o077)
    try:
        assert write(path, report()) is None
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert json.loads(path.read_text()) == report() | {"text": "«é» ?"}


def test_each_element_of_a_list_has_a_line(tmp_path: Path) -> None:
    write(tmp_path / "r", report())
    assert ' "domains": [\n  {"name": "a"},\n  {"name": "b"}\n ],\n' in (tmp_path / "r").read_text()


def test_the_new_one_takes_the_place_of_the_old_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    (tmp_path / ".report.json.tmp").write_text("left by one that was killed")
    for count in (1, 2):
        assert write(path, report(count)) is None
        assert len(json.loads(path.read_text())["history"]) == count
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".report.json.tmp").symlink_to(victim)
    assert write(tmp_path / "report.json", report()) is None
    assert victim.read_text() == "precious"


def test_a_failed_write_keeps_the_old_report_and_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    assert write(path, report(1)) is None

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    trouble = write(path, report(2))
    assert trouble == f"{path}: the report cannot be written: No space left on device"
    assert len(json.loads(path.read_text())["history"]) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_no_folder_is_trouble_not_an_error(tmp_path: Path) -> None:
    trouble = write(tmp_path / "missing" / "report.json", report())
    assert trouble is not None
    assert "No such file or directory" in trouble


@pytest.mark.parametrize(("max_bytes", "kept"), [(10_000, 40), (2_000, 10), (300, 0)])
def test_the_history_shrinks_first(tmp_path: Path, max_bytes: int, kept: int) -> None:
    path = tmp_path / "report.json"
    assert write(path, report(40), max_bytes) is None
    assert path.stat().st_size <= max_bytes
    assert len(json.loads(path.read_text())["history"]) == kept


def test_a_report_that_never_fits_is_not_written(tmp_path: Path) -> None:
    trouble = write(tmp_path / "report.json", report(), 20)
    assert trouble is not None
    assert "larger than 20 bytes" in trouble
    assert not (tmp_path / "report.json").exists()
