"""What can be seen on a host. A fact that could not be read is `Unknown`, never absent."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from reconciler.errors import UnknownFact
from reconciler.model.command import Answer, Command
from reconciler.model.names import kept_tag

T = TypeVar("T")


class DomainState(enum.Enum):
    """`xl list` flags, reduced to what decides."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    DYING = "dying"


class Role(enum.Enum):
    """DRBD role of one side."""

    PRIMARY = "Primary"
    SECONDARY = "Secondary"
    UNKNOWN = "Unknown"


class DiskState(enum.Enum):
    """DRBD disk states, as drbd.conf(5) and drbdsetup(8) name them."""

    DISKLESS = "Diskless"
    ATTACHING = "Attaching"
    DETACHING = "Detaching"
    FAILED = "Failed"
    NEGOTIATING = "Negotiating"
    INCONSISTENT = "Inconsistent"
    OUTDATED = "Outdated"
    UNKNOWN = "DUnknown"
    CONSISTENT = "Consistent"
    UP_TO_DATE = "UpToDate"


class Connection(enum.Enum):
    """DRBD connection states as `events2` prints them on 8.4 and 9."""

    STANDALONE = "StandAlone"
    DISCONNECTING = "Disconnecting"
    UNCONNECTED = "Unconnected"
    TIMEOUT = "Timeout"
    BROKEN_PIPE = "BrokenPipe"
    NETWORK_FAILURE = "NetworkFailure"
    PROTOCOL_ERROR = "ProtocolError"
    TEAR_DOWN = "TearDown"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"


class Replication(enum.Enum):
    """DRBD replication states as `events2` prints them on 8.4 and 9."""

    OFF = "Off"
    ESTABLISHED = "Established"
    STARTING_SYNC_S = "StartingSyncS"
    STARTING_SYNC_T = "StartingSyncT"
    WF_BITMAP_S = "WFBitMapS"
    WF_BITMAP_T = "WFBitMapT"
    WF_SYNC_UUID = "WFSyncUUID"
    SYNC_SOURCE = "SyncSource"
    SYNC_TARGET = "SyncTarget"
    VERIFY_S = "VerifyS"
    VERIFY_T = "VerifyT"
    PAUSED_SYNC_S = "PausedSyncS"
    PAUSED_SYNC_T = "PausedSyncT"
    AHEAD = "Ahead"
    BEHIND = "Behind"


@dataclass(frozen=True)
class XenInfo:
    """From `xl info`. Memory in MiB."""

    node: str
    version: str
    free_memory_mb: int
    caps: tuple[str, ...]
    hw_caps: str


@dataclass(frozen=True)
class DomainSeen:
    """A row of `xl list`. `cpu_s` is 0.0 for a domain whose vCPUs never ran."""

    name: str
    domid: int
    memory_mb: int
    vcpus: int
    state: DomainState
    cpu_s: float


@dataclass(frozen=True)
class DiskSeen:
    """A disk as the domain's configuration in libxl names it."""

    path: str
    device: str
    writable: bool
    backend: str


@dataclass(frozen=True)
class DomainConfig:
    """An entry of `xl list -l`. `target_memory_mb` is what the balloon is to come to; 0 when not told."""

    name: str
    domid: int
    uuid: str
    kind: str
    max_memory_mb: int
    disks: tuple[DiskSeen, ...]
    target_memory_mb: int = 0


@dataclass(frozen=True)
class Vbd:
    """A backend in xenstore: the device numbers the guest's I/O really goes to."""

    domid: int
    device: str
    major_minor: tuple[int, int] | None
    connected: bool = True
    """Whether the guest's front end may ever have sent a request: it joins only once the guest has run."""
    opened: bool = True
    """Whether blkback really has the device open: on one it cannot write, it keeps the numbers and closes."""


@dataclass(frozen=True)
class Volume:
    """A logical volume."""

    group: str
    name: str
    uuid: str
    size_bytes: int
    tags: frozenset[str]
    major_minor: tuple[int, int] | None
    is_open: bool
    plain: bool

    @property
    def path(self) -> str:
        return f"/dev/{self.group}/{self.name}"

    def is_kept_for(self, domain: str) -> bool:
        """Whether a mirror of the domain may begin from it: kept for one, and nobody has it open."""
        return kept_tag(domain) in self.tags and not self.is_open


@dataclass(frozen=True)
class VolumeGroup:
    """A volume group and the room left in it."""

    name: str
    size_bytes: int
    free_bytes: int
    extent_bytes: int


@dataclass(frozen=True)
class DrbdVolume:
    """One volume of a resource, as one side sees it. `done_percent` is None outside a resync.

    `paused_here`: this side was told to pause the volume's syncs; the other may have been as well.
    """

    number: int
    minor: int
    disk: DiskState
    peer_disk: DiskState
    replication: Replication
    size_bytes: int
    out_of_sync_kib: int
    in_flight: int
    done_percent: float | None
    paused_here: bool = False


@dataclass(frozen=True)
class DrbdResource:
    """A DRBD resource, as one side sees it. `connection` is None when it has no peer configured."""

    name: str
    role: Role
    connection: Connection | None
    peer_role: Role
    volumes: tuple[DrbdVolume, ...]


@dataclass(frozen=True, eq=False)
class Query(Generic[T]):
    """One read-only command and the function that turns its answer into a fact."""

    name: str
    command: Command
    parse: Callable[[Answer], T]


@dataclass(frozen=True)
class Unknown:
    """Why a fact is not known."""

    reason: str


@dataclass(frozen=True)
class View:
    """The facts read from one host. What was not asked, or not answered, is unknown."""

    host: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def get(self, query: Query[T]) -> T:
        """The fact; raises UnknownFact when it could not be read."""
        fact = self.facts.get(query.name, Unknown("it was not asked"))
        if isinstance(fact, Unknown):
            raise UnknownFact(f"{self.host}: {query.name} is not known: {fact.reason}")
        return cast(T, fact)

    def knows(self, query: Query[Any]) -> bool:
        return not isinstance(self.facts.get(query.name, Unknown("")), Unknown)

    def merged(self, newer: View) -> View:
        """This view with the facts of a later one put over it."""
        return View(self.host, {**self.facts, **newer.facts})
