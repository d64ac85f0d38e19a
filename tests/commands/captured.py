"""Captured outputs of real tools, and the ways in which an output can be cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reconciler.model.command import Answer

FOLDER = Path(__file__).parent / "fixtures"


def answer(name: str) -> Answer:
    """What `<name>` printed and how it ended, as it was captured on a real host."""

    def text(suffix: str) -> str:
        path = FOLDER / f"{name}{suffix}"
        return path.read_text() if path.exists() else ""

    return Answer(int(text(".exit") or 0), text(".txt"), text(".err"))


def names(start: str) -> list[str]:
    """All captures whose name begins so."""
    found = sorted(path.name.removesuffix(".txt") for path in FOLDER.glob(f"{start}*.txt"))
    assert found, start
    return found


def cuts(whole: Answer) -> Iterator[tuple[int, Answer]]:
    """The answer cut after every line, and in the middle and one byte before the end of every line."""
    places = {0}
    at = 0
    for line in whole.stdout.splitlines(keepends=True):
        places |= {at + len(line) // 2, at + len(line) - 1, at + len(line)}
        at += len(line)
    for place in sorted(places - {len(whole.stdout)}):
        yield place, Answer(whole.exit, whole.stdout[:place], whole.stderr)
