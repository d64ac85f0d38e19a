"""How values and choices are shown in messages: short, printable, never more than a line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 60
MOST_NAMES = 20
MOST_COMPARED = 500  # names; comparing is slow and a hostile commit may hold many


def show(value: object) -> str:
    """The value as one short printable line; control and bidi characters come out escaped."""
    match value:
        case None:
            text = "nothing"
        case bool():
            text = "true" if value else "false"
        case dict():
            text = f"a mapping of {len(value)}"
        case list():
            text = f"a list of {len(value)}"
        case str():
            text = repr(value[: LONGEST + 1])
        case _:
            text = str(value)
    return cut(text)


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning if it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def path(name: str) -> str:
    """A file's name as it may be printed, cut if it is very long."""
    return cut(name if name.isprintable() else ascii(name), 200)


def choices(names: Iterable[str]) -> str:
    """The names that would have been right, cut after the first few."""
    known = sorted(names)
    text = ", ".join(known[:MOST_NAMES])
    return text if len(known) <= MOST_NAMES else f"{text} and {len(known) - MOST_NAMES} more"


def guess(word: str, names: Iterable[str]) -> str:
    """`; did you mean «…»?` when one of the names is near, else nothing."""
    known = list(names)
    if len(known) > MOST_COMPARED or len(word) > 100:
        return ""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean «{near[0]}»?" if near else ""
