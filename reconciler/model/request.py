"""What a person asks the daemon to do about one domain, and what came of it."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass


class Verb(enum.Enum):
    """What can be asked."""

    ABORT = "abort"
    HOLD = "hold"
    RESUME = "resume"
    RELEASE = "release"


class Result(enum.Enum):
    """What came of a request."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class Request:
    """One request. `move_id` names the move the person saw, if one was under way: it is about no other."""

    ident: str
    at: datetime.datetime
    verb: Verb
    domain: str
    move_id: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Hold:
    """A person's word that no move of a domain is begun; one by `hold` also stops the move under way.

    It lasts until `resume`, or, if `commit` is set, as long as that commit is in force.
    """

    since: datetime.datetime
    by: Verb
    reason: str = ""
    commit: str | None = None

    def in_force(self, commit: str | None) -> bool:
        return self.commit is None or self.commit == commit

    @property
    def text(self) -> str:
        """For people."""
        who = {Verb.ABORT: "its move was aborted", Verb.RELEASE: "its move was released"}
        what = f"{who.get(self.by, 'held')} by the operator at {self.since.isoformat(timespec='seconds')}"
        why = f" ({self.reason})" if self.reason else ""
        until = "`reconciler resume` or the next commit" if self.commit else "`reconciler resume`"
        return f"{what}{why}; no move is begun before {until}"


@dataclass(frozen=True)
class Answered:
    """A request and what came of it."""

    request: Request
    result: Result
    text: str
    at: datetime.datetime
