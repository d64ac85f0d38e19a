"""Every error the reconciler raises on purpose, and what the loop does with each.

`classify` is the one place that turns an exception into the loop's next action.
"""

from __future__ import annotations

import enum


class ReconcilerError(Exception):
    """Base of all errors raised on purpose; its text is written for an operator."""


class InputError(ReconcilerError):
    """A document, a configuration or a command line that cannot be used."""


class SourceError(ReconcilerError):
    """The git repository cannot be read (as opposed to: holds bad documents)."""


class ParseError(ReconcilerError):
    """A tool printed something the parsers do not know; the fact is then unknown."""


class UnknownFact(ReconcilerError):
    """A decision needs a fact that could not be read. Never to be taken for absence."""


class JournalError(ReconcilerError):
    """The journal cannot be read or written: nothing may be changed on any host."""


class JournalFull(JournalError):
    """The journal's disk is full, and its reserve is used up or not whole: wait until there is room."""


class HostKeyError(ReconcilerError):
    """A host showed an unknown or changed key; its facts are unknown until a human looks."""


class Next(enum.Enum):
    """What the loop does after an error."""

    KEEP_LAST_GOOD = "keep the last good commit in force"
    OBSERVE_AGAIN = "observe again at the next pass"
    STOP = "stop without touching a host"


def classify(error: Exception) -> Next:
    """Say what the loop does next; anything unforeseen stops it without touching a host."""
    match error:
        case InputError() | SourceError():
            return Next.KEEP_LAST_GOOD
        case UnknownFact() | ParseError() | HostKeyError():
            return Next.OBSERVE_AGAIN
        case _:
            return Next.STOP
