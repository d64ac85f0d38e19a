"""What is asked of a host and what came back: the one seam every command goes through."""

from __future__ import annotations

import enum
import re
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from reconciler.errors import ParseError


@dataclass(frozen=True)
class Claim:
    """The right to change one domain's things on a host: refused there once a newer number is known.

    `first` is the lowest number of the same journey, and `after` the newest one that was known on this host
    when it was planned: what stands in between was taken by another journey meanwhile, so the plan is void.
    """

    domain: str
    epoch: int
    first: int = 0
    after: int | None = None


@dataclass(frozen=True)
class Known:
    """A number the host is known to have accepted for a domain: one that has an older one was rewound."""

    domain: str
    epoch: int


@dataclass(frozen=True)
class Command:
    """One process on a host. `argv` is never joined into a shell line.

    `unit` names one that may take long: where systemd is there it runs in a scope of its own, named after the
    domain, the claim and this. One that is `early` may say all there is to say before it ends; until then
    nothing else of the domain is changed on that host.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    timeout_s: float = 60.0
    unit: str = ""
    early: bool = False


@dataclass(frozen=True)
class Answer:
    """The process ended and told its exit status, or said early that what it was run for is done."""

    exit: int
    stdout: str
    stderr: str
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        return self.exit == 0


@dataclass(frozen=True)
class NoAnswer:
    """Nothing is known about what the command did. Not a failure: observe."""

    reason: str


class Skip(enum.Enum):
    """Why a command was certainly not started."""

    EARLIER = "an earlier command of the script did not succeed"
    UNREACHABLE = "the host could not be asked"
    HOST_KEY = "the host's key is unknown or has changed"
    BUSY = "an earlier command for this domain still runs on the host"
    STALE_EPOCH = "the host knows a newer epoch of the domain"
    REWOUND = "the host was put back to an earlier state"
    REFUSED = "the guard refused the request"


@dataclass(frozen=True)
class Skipped:
    """Certainly not started on the host."""

    why: Skip
    detail: str = ""

    @property
    def reason(self) -> str:
        return f"{self.why.value}: {self.detail}" if self.detail else self.why.value


def whole_lines(answer: Answer, tool: str) -> list[str]:
    """The lines of an output that is there as a whole; raises ParseError when its last line is cut."""
    if answer.stdout and not answer.stdout.endswith("\n"):
        raise ParseError(f"{tool}: the last line has no end; the output is cut")
    return answer.stdout.split("\n")[:-1]  # not splitlines: names may hold other separators


REFUSALS = {
    "busy": Skip.BUSY,
    "stale-epoch": Skip.STALE_EPOCH,
    "rewound": Skip.REWOUND,
    "bad-request": Skip.REFUSED,
    "no-store": Skip.REFUSED,
}
"""What the guard calls its refusals."""


Outcome = Answer | NoAnswer | Skipped


@dataclass(frozen=True)
class Script:
    """Commands run one after another on one host in one round trip.

    With a claim the commands may change things, and the first one that does not exit 0
    ends the script; without one they are read-only queries and all of them run.
    """

    commands: tuple[Command, ...]
    claim: Claim | None = None
    known: Known | None = None

    @property
    def timeout_s(self) -> float:
        return sum(command.timeout_s for command in self.commands)

    def request(self, ident: int) -> dict[str, Any]:
        """What the guard is asked, as JSON."""
        return {
            "id": ident,
            "claim": asdict(self.claim) if self.claim else None,
            "known": asdict(self.known) if self.known else None,
            "commands": [{**asdict(command), "argv": list(command.argv)} for command in self.commands],
        }


class Runner(Protocol):
    """Runs a script on a host. Never raises for what a host does: every command gets an outcome."""

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]: ...


_TROUBLE = re.compile("error|fail|refuse|cannot|can't|unable|no such|denied|held open", re.IGNORECASE)


def tell(host: str, command: Command, outcome: Outcome) -> str:
    """One line for an operator: which command on which host, and what is known of its end."""
    line = " ".join(command.argv)
    match outcome:
        case Answer(exit=code, stderr=err, stdout=out):
            said = (err.strip() or out.strip() or "no output").splitlines()
            # xl tells the cause first and then what it gave up because of it.
            causes = [text for text in said if _TROUBLE.search(text)] or said
            return f"{host}: «{line}» exited {code}: {' / '.join(causes[:3])}"
        case NoAnswer(reason=reason):
            return f"{host}: no answer to «{line}» ({reason}); whether it took effect is unknown"
        case Skipped():
            return f"{host}: «{line}» was not run ({outcome.reason})"
