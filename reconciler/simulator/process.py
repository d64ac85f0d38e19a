"""What a simulated process is: a generator of pauses in simulated seconds that ends with a result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import wraps
from typing import Any


@dataclass(frozen=True)
class Result:
    """How a process ended."""

    exit: int = 0
    stdout: str = ""
    stderr: str = ""


Steps = Generator[float, None, Result]


class Early(float):
    """A pause of no length with which a process says that its answer is known before its end."""

    result: Result

    def __new__(cls, result: Result) -> Early:
        self = super().__new__(cls, 0.0)
        self.result = result
        return self


class Fail(Exception):
    """Raised by a tool that gives up: becomes the process's exit status and last words."""

    def __init__(self, exit: int, stderr: str = "", stdout: str = "") -> None:
        super().__init__(stderr)
        self.result = Result(exit, stdout, stderr if not stderr or stderr.endswith("\n") else stderr + "\n")


def takes(seconds: float) -> Callable[[Callable[..., Result]], Callable[..., Steps]]:
    """Turn a plain function into a process that works at the end of a fixed time."""

    def decorate(work: Callable[..., Result]) -> Callable[..., Steps]:
        @wraps(work)
        def steps(*arguments: Any) -> Steps:
            yield seconds
            return work(*arguments)

        return steps

    return decorate


def ends_with(result: Result) -> Steps:
    """A process that does nothing but end."""
    yield 0.01
    return result
