"""How a run ends."""

from __future__ import annotations

from dataclasses import dataclass, field


class Violation(Exception):
    """A rule was broken; the text names it."""


@dataclass
class Outcome:
    """How a run ended. `trouble` is empty for a run that kept every rule and came to a definite end."""

    case: str
    trouble: str = ""
    status: str = ""
    reason: str = ""
    detail: str = ""
    step: str = ""
    commands: int = 0
    world_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Met(BaseException):
    """A run is in a state from which another one has gone on: it is known how that ended."""

    def __init__(self, trouble: str, status: str, step: str, reason: str) -> None:
        super().__init__()
        self.end = trouble, status, step, reason
