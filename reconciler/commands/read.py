"""Values out of what tools print: of the type that is expected, or ParseError."""

from __future__ import annotations

import json
import re
from typing import Any

from reconciler.errors import ParseError

_NUMBER = re.compile("[0-9]{1,19}")


def number(text: object, what: str) -> int:
    """A number that is not negative, in ASCII digits and of a size that can be one."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ParseError(f"{what}: {str(text)[:60]!a} is no number")
    return int(text)


def document(text: str, what: str) -> Any:
    """A JSON document; too deep a nesting and too long a number are errors like any other."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"{what}: {type(error).__name__}: {str(error)[:200]}") from None


class Row:
    """A JSON object whose values are asked for by type."""

    def __init__(self, data: object, what: str) -> None:
        if not isinstance(data, dict):
            raise ParseError(f"{what}: an object was expected")
        self._data = data
        self._what = what

    def _value(self, key: str, kind: type, default: object) -> Any:
        value = self._data.get(key, default)
        if type(value) is not kind:
            raise ParseError(f"{self._what}: {key} is missing or not what it should be")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._value(key, str, default))

    def whole(self, key: str, default: int | None = None) -> int:
        return int(self._value(key, int, default))

    def number(self, key: str) -> int:
        """A number that stands there as text."""
        return number(self.text(key), f"{self._what}: {key}")

    def flag(self, key: str) -> bool:
        """False when it is not there; xl writes true, some versions 1."""
        value = self._data.get(key, False)
        if value not in (True, False):
            raise ParseError(f"{self._what}: {key} is neither true nor false")
        return bool(value)

    def row(self, key: str) -> Row:
        return Row(self._data.get(key), f"{self._what}: {key}")

    def rows(self, key: str, optional: bool = False) -> list[Row]:
        values = self._data.get(key, [] if optional else None)
        if not isinstance(values, list):
            raise ParseError(f"{self._what}: {key} is no list")
        return [Row(value, f"{self._what}: {key}") for value in values]
