"""One domain's journey: what was ordered (never changes) and how far it is (changes with each step)."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, replace

from reconciler.model.command import Claim
from reconciler.model.names import LOWER_PREFIX, METADATA_SUFFIX, kept_tag, mapped
from reconciler.model.placement import Attach, Cutover, Host, Policy, Provision

SERIALS = 1_000_000
"""How many claims on a host one journey can make."""
LOTS = 1_000_000
"""How many lots there are: two journeys planned at the same time for one epoch hardly ever draw the same."""
CLAIMS = LOTS * SERIALS
"""The claim numbers of one epoch; the epoch of a claim number is its quotient."""


class Kind(enum.Enum):
    """What an order brings about."""

    MOVE = "move"
    PROVISION = "provision"


class Phase(enum.Enum):
    """The parts of a journey, in the words of the published procedure."""

    PROVISION = "provision"
    ATTACH = "attach"
    MIRROR = "mirror"
    CUTOVER = "cutover"
    SETTLE = "settle"
    BACK = "back"


class Status(enum.Enum):
    """How a journey stands. Only MOVED and BACK are ends."""

    ACTIVE = "active"
    HELD = "held"
    MOVED = "moved"
    BACK = "back"


class Direction(enum.Enum):
    FORWARD = "forward"
    BACK = "back"


class Side(enum.Enum):
    SOURCE = "source"
    TARGET = "target"


class Reason(enum.Enum):
    """Why a journey turned back or is held; each has a page in docs/how-to/held.md."""

    STEP_FAILED = "step-failed"
    PRECONDITION = "precondition"
    DEADLINE = "deadline"
    UNREACHABLE = "host-unreachable"
    TWO_RUNNERS = "two-runners"
    DISKS = "disks-in-doubt"
    OUTCOME_UNKNOWN = "start-outcome-unknown"
    STALE_EPOCH = "stale-epoch"
    REWOUND = "host-rewound"
    BUSY = "host-busy"
    PLACEMENT_CHANGED = "placement-changed"
    ABORTED = "aborted"


@dataclass(frozen=True)
class MoveDisk:
    """One disk of the domain: the guest's device, the symlink that names it, and its volumes."""

    device: str
    link: str
    volume: str
    size_bytes: int
    minor: int
    source_group: str
    target_group: str
    source_uuid: str = ""
    seeded: bool = False
    """What the target's volume holds is an earlier state of this disk."""

    @property
    def drbd(self) -> str:
        return f"/dev/drbd{self.minor}"

    @property
    def metadata(self) -> str:
        return self.volume + METADATA_SUFFIX

    def mapped(self, side: Side) -> str:
        """A side's volume in device-mapper."""
        return mapped(self.group(side), self.volume)

    def mapped_metadata(self, side: Side) -> str:
        """A side's volume for metadata in device-mapper."""
        return mapped(self.group(side), self.metadata)

    def lower_name(self, side: Side) -> str:
        """A second device over the extents of a side's volume."""
        return LOWER_PREFIX + self.mapped(side)

    def lower(self, side: Side) -> str:
        return f"/dev/mapper/{self.lower_name(side)}"

    def group(self, side: Side) -> str:
        return self.source_group if side is Side.SOURCE else self.target_group

    def backing(self, side: Side) -> str:
        return f"/dev/{self.group(side)}/{self.volume}"

    def metadata_path(self, side: Side) -> str:
        return f"/dev/{self.group(side)}/{self.metadata}"


@dataclass(frozen=True)
class Prediction:
    """What the plan expected. `learned` is the number of finished moves the rates come from, 0 if assumed."""

    sync_s: float
    freeze_attach_s: float
    freeze_cutover_s: float
    learned: int


@dataclass(frozen=True)
class Order:
    """All that a journey needs to know from its start, fixed by the plan that made it."""

    kind: Kind
    domain: str
    uuid: str
    epoch: int
    commit: str
    source: Host | None
    target: Host
    source_node: str
    target_node: str
    disks: tuple[MoveDisk, ...]
    memory_mb: int
    policy: Policy
    port: int
    secret: str
    config_text: str | None
    autostart: bool
    prediction: Prediction
    provision: Provision | None = None
    source_boot: str = ""
    target_boot: str = ""
    lot: int = 0
    attach: Attach = Attach.SUSPEND
    cutover: Cutover = Cutover.STORE
    source_known: int | None = None
    target_known: int | None = None
    """The newest claim number the hosts knew when the journey was planned."""
    standby: bool = False
    """A mirror on the target, kept in step until a commit wants the domain there."""

    @property
    def pivots(self) -> bool:
        """Whether DRBD gets under the domain as it runs."""
        return self.attach is Attach.PIVOT

    @property
    def streams(self) -> bool:
        """Whether memory goes straight into the target's copy; the source's stays there, paused, until GO."""
        return self.cutover in (Cutover.STREAM, Cutover.LIVE)

    @property
    def live(self) -> bool:
        """Whether memory goes while the domain runs: it is suspended for what is left only."""
        return self.cutover is Cutover.LIVE

    def under_drbd(self, disk: MoveDisk, side: Side) -> str:
        """The device that a side's DRBD stands on."""
        over = self.pivots if side is Side.SOURCE else self.streams
        return disk.lower(side) if over else disk.backing(side)

    @property
    def move_id(self) -> str:
        return f"{self.domain}-{self.epoch}"

    @property
    def resource(self) -> str:
        return f"xr-{self.domain}"

    @property
    def tag(self) -> str:
        return f"xr.move.{self.move_id}"

    @property
    def kept_tag(self) -> str:
        return kept_tag(self.domain)

    @property
    def seeded(self) -> bool:
        """Whether a sync only has to send what differs."""
        return any(disk.seeded for disk in self.disks)

    def claim(self, serial: int, side: Side | None = None) -> Claim:
        """The right to change things on a side, `serial` uncertainties after the journey began.

        What hosts store are these numbers. Every journey has a range of its own, so that one which is out
        of date can never grow into the numbers of the one that came after it. Two daemons that plan the same
        move at the same time give it the same epoch; their lots tell them apart, and the host keeps to the
        one that comes first.
        """
        if not 0 <= serial < SERIALS:
            raise ValueError(f"{self.move_id} has used up its {SERIALS} claims")
        first = self.epoch * CLAIMS + self.lot * SERIALS
        return Claim(self.domain, first + serial, first, self.known(side) if side else None)

    def known(self, side: Side) -> int | None:
        """The newest claim number the host knew when the journey was planned."""
        return self.source_known if side is Side.SOURCE else self.target_known

    def boot(self, side: Side) -> str:
        """The boot id the host had when the journey was planned."""
        return self.source_boot if side is Side.SOURCE else self.target_boot

    @property
    def config_path(self) -> str:
        return f"/etc/xen/{self.domain}.cfg"

    @property
    def auto_path(self) -> str:
        return f"/etc/xen/auto/{self.domain}.cfg"

    def host(self, side: Side) -> Host:
        if side is Side.TARGET:
            return self.target
        if self.source is None:
            raise ValueError(f"{self.move_id} has no source host")
        return self.source

    def node(self, side: Side) -> str:
        return self.source_node if side is Side.SOURCE else self.target_node

    @property
    def sides(self) -> tuple[Side, ...]:
        return (Side.TARGET,) if self.source is None else (Side.SOURCE, Side.TARGET)


@dataclass(frozen=True)
class Progress:
    """How far a journey is. `tried` holds the names of all steps whose intent was ever recorded.

    `serial` counts the times when it was not certain that no command of this journey could still come
    late: an answer that did not arrive, a restart inside a step, a turn. It is part of every later
    claim, so that a host refuses the late one. `pending` is set while a step's commands are out; `unsure`
    from then on until all commands of a try of the step are known to have ended well.
    """

    direction: Direction
    step: str
    status: Status
    attempts: int
    step_began: datetime.datetime
    tried: frozenset[str] = frozenset()
    reason: Reason | None = None
    detail: str = ""
    retry_at: datetime.datetime | None = None
    sync_percent: float | None = None
    unknown_since: datetime.datetime | None = None
    busy_since: datetime.datetime | None = None
    serial: int = 0
    pending: bool = False
    unsure: bool = False

    @property
    def ended(self) -> bool:
        return self.status in (Status.MOVED, Status.BACK)

    @property
    def answered(self) -> bool:
        """Whether the step's own commands were sent in this visit to it, and all of them ended well."""
        return self.attempts > 0 and not self.unsure

    def at(self, step: str, now: datetime.datetime) -> Progress:
        """The same journey at the beginning of another step."""
        return replace(
            self,
            step=step,
            status=Status.ACTIVE,
            attempts=0,
            step_began=now,
            retry_at=None,
            unknown_since=None,
            busy_since=None,
            unsure=False,
        )
