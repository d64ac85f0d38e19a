"""Which unquoted words have one meaning in every YAML tool.

YAML 1.1 tools read `NO` as false, `010` as 8 and `52:54:00:12:34:56` as a number; YAML 1.2 tools do
not. Here such a word has no meaning at all: it must be quoted. What this module lets through is read
as the same value by YAML 1.1 and 1.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Scalar = str | int | float | bool | None

_KEYWORDS: dict[str, Scalar] = {"": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")

_SWITCHES = {"y", "n", "yes", "no", "on", "off", "true", "false"}
_NUMBER_LIKE = re.compile(
    r"""[-+]?(?:
        0[xX][0-9a-fA-F_]*                               # hexadecimal
      | 0[oO][0-9_]*                                     # octal, YAML 1.2
      | 0[bB][01_]*                                      # binary, YAML 1.1
      | [0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?          # base 60, YAML 1.1: times, MAC addresses
      | [0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9_]+)?  # octal by a leading 0, _ as separator, powers
      | \.[0-9_]+(?:[eE][-+]?[0-9_]+)?
      | \.(?:inf|nan)
    )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_DATE_LIKE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\s].*)?", re.ASCII)


@dataclass(frozen=True)
class Ambiguous:
    """The word means different things to different tools."""

    reason: str
    allowed: str


def read_plain(word: str) -> Scalar | Ambiguous:
    """The value of an unquoted word, or why it must be quoted."""
    if word in _KEYWORDS:
        return _KEYWORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _DECIMAL.fullmatch(word):
        return float(word)
    quoted = f'quote it: "{word[:40]}"' if len(word) <= 40 else "quote it"
    if word.lower() in _SWITCHES:
        return Ambiguous("some YAML tools read it as true or false", f"{quoted}, or true or false")
    if word.lower() == "null" or word == "~":
        return Ambiguous("some YAML tools read it as null", f"{quoted}, or null")
    if word in {"=", "<<"}:
        return Ambiguous("it is a YAML 1.1 operator; merge keys are not supported", quoted)
    if _NUMBER_LIKE.fullmatch(word):
        return Ambiguous("some YAML tools read it as a number", f"{quoted}, or a number such as 42")
    if _DATE_LIKE.fullmatch(word):
        return Ambiguous("some YAML tools read it as a date", quoted)
    return word
