"""DRBD 8.4's kernel side on one host: resources, devices, roles, disk states, metadata.

What two hosts do together (handshake, resync, a lost link) is in `replication`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.simulator.storage import BlockDevice, IOFault, Value

MAJOR = 147
CHUNKS = 64
PAGE = 4096
JUST_CREATED = 4

# Kernel reply codes and their texts, as drbdsetup prints them.
TWO_PRIMARIES = (-1, "Multiple primaries not allowed by config")
NO_UP_TO_DATE = (-2, "Need access to UpToDate data")
DEVICE_IN_USE = (-12, "Device is held open by someone")


class Refused(Exception):
    """The kernel refuses. Failures are positive (drbdsetup exits 10), state changes negative (11 or 17)."""

    def __init__(self, code: int, text: str, more: str = "") -> None:
        super().__init__(text)
        self.more = more
        self.code = code
        self.text = text


def pages(low: int, high: int) -> set[int]:
    """The pages a range touches."""
    return set(range(low // PAGE * PAGE, high, PAGE))


def _put(below: BlockDevice, low: int, high: int, items: dict[int, Value]) -> None:
    """A single value, such as a heartbeat, goes the short way."""
    if high - low == 1 and low in items:
        below.write(low, items[low])
    else:
        below.replace(low, high, items)


@dataclass(eq=False)
class Metadata:
    """What is on a metadata device; lives at its first byte and survives crashes."""

    current: int = JUST_CREATED
    bitmap: int = 0
    history: tuple[int, ...] = ()
    consistent: bool = False
    was_up_to_date: bool = False
    was_primary: bool = False
    dirty: set[int] = field(default_factory=set)  # chunks
    pages: set[int] = field(default_factory=set)  # offsets of single pages that differ as well
    active: set[int] = field(default_factory=set)  # pages written lately: differ if the host dies now


@dataclass(eq=False)
class Device(BlockDevice):
    """/dev/drbdN: one volume of a resource."""

    resource: Resource = field(kw_only=True)
    volume: int = field(kw_only=True)
    role: str = "Secondary"
    disk: str = "Diskless"
    replication: str = "Off"
    lower: BlockDevice | None = None
    lower_md: BlockDevice | None = None
    kept: Metadata | None = None
    lower_path: str = ""
    lower_md_path: str = ""
    peer_disk_seen: str = "DUnknown"
    credit_bytes: float = 0.0
    paused: bool = False
    sync_began_s: float = 0.0
    sent: int = 0
    received: int = 0
    written: int = 0
    was_read: int = 0

    @property
    def holder(self) -> str:
        return f"drbd{self.minor}"

    @property
    def meta(self) -> Metadata:
        """The kernel's copy; it goes back to the disk with every change of state, whatever is there now."""
        if self.kept is None:
            raise IOFault(f"drbd{self.minor}: no metadata")
        return self.kept

    @property
    def peer(self) -> Device | None:
        """The same volume on the connected peer."""
        other = self.resource.peer
        return other.devices.get(self.volume) if other else None

    @property
    def at_rest(self) -> bool:
        """Whether a sync of this volume is paused, by this side's word or the other's."""
        return self.paused or (self.peer is not None and self.peer.paused)

    @property
    def replication_shown(self) -> str:
        """A sync that is paused has a name of its own."""
        if self.at_rest and self.replication.startswith("Sync"):
            return {"SyncSource": "PausedSyncS", "SyncTarget": "PausedSyncT"}[self.replication]
        return self.replication

    @property
    def chunk(self) -> int:
        """Bytes one bit of the modelled bitmap stands for."""
        return max(4096, -(-self.size // CHUNKS) // 4096 * 4096)

    def chunk_range(self, index: int) -> tuple[int, int]:
        chunk = self.chunk
        return index * chunk, min(self.size, (index + 1) * chunk)

    def all_chunks(self) -> set[int]:
        return set(range(-(-self.size // self.chunk))) if self.size else set()

    def out_of_sync(self) -> int:
        """Bytes still to be sent, less what of the chunk under way has gone."""
        if not self.lower_md:
            return 0
        size, chunk = self.size, self.chunk
        dirty = sum(min(size, (index + 1) * chunk) - index * chunk for index in self.meta.dirty)
        return max(0, dirty + PAGE * len(self.meta.pages) - int(self.credit_bytes))

    def check_open(self, write: bool) -> None:
        if self.role != "Primary":
            raise IOFault(f"/dev/drbd{self.minor}: Wrong medium type")

    def source(self, low: int, high: int) -> BlockDevice:
        """Where current data of this range can be read."""
        if self.lower is not None:
            if self.disk == "UpToDate":
                return self.lower
            if self.replication == "SyncTarget" and not self.differs(low, high):
                return self.lower
        if self.peer and self.peer.disk == "UpToDate" and self.peer.lower is not None:
            return self.peer.lower
        raise IOFault(f"drbd{self.minor}: no UpToDate data")

    def differs(self, low: int, high: int) -> bool:
        """Is any of this range still to be sent?"""
        chunks = set(range(low // self.chunk, (high - 1) // self.chunk + 1))
        return bool(self.meta.dirty & chunks or any(low - PAGE < page < high for page in self.meta.pages))

    def items(self, low: int, high: int) -> dict[int, Value]:
        return self.source(low, high).items(low, high)

    def replace(self, low: int, high: int, items: dict[int, Value]) -> None:
        if self.role != "Primary":
            raise IOFault(f"drbd{self.minor} is Secondary")
        if high > self.size:
            raise IOFault(f"drbd{self.minor}: beyond the end")
        self.source(low, high)
        if self.lower is not None:
            _put(self.lower, low, high, items)
            self.meta.active |= pages(low, high)
        peer = self.peer
        if peer and peer.lower is not None:
            _put(peer.lower, low, high, items)
            if self.lower is None:  # the peer has the only disk: it marks what this side lacks
                peer.meta.pages |= pages(low, high)
            self.sent += 4096
            peer.received += 4096
        elif self.lower is not None and not peer:
            self.resource.diverge(self)
            self.meta.pages |= pages(low, high)
        self.written += 4096

    def attach(self, lower: BlockDevice, lower_md: BlockDevice) -> None:
        if self.lower is not None:
            raise Refused(124, "Device is attached to a disk (use detach first)")
        if lower.claim:
            raise Refused(104, "Can not open backing device.")
        if lower_md.claim:
            raise Refused(105, "Can not open meta device.")
        if lower_md.size < 1 << 20:
            raise Refused(112, "Meta device too small.")
        found = lower_md.read(0)
        if not isinstance(found, Metadata):
            raise Refused(
                119,
                "No valid meta-data signature found.\n\n"
                "\t==> Use 'drbdadm create-md res' to initialize meta-data area. <==\n",
            )
        self.lower, self.lower_md, self.kept, self.size = lower, lower_md, found, lower.size
        for below in (lower, lower_md):
            below.claim = self.holder
            below.opens.append(self.holder)
        if found.was_primary:  # apply-al: what was hot when the host died counts as different
            found.pages |= found.active
        if found.current == JUST_CREATED and not found.consistent:
            found.dirty = self.all_chunks()
        self.disk = (
            ("UpToDate" if found.was_up_to_date else "Outdated") if found.consistent else "Inconsistent"
        )

    def detach(self) -> None:
        for below in (self.lower, self.lower_md):
            if below is not None:
                below.claim = None
                below.close(self.holder)
        self.lower = self.lower_md = self.kept = None
        self.disk = "Diskless"

    def remember(self) -> None:
        """Write what the metadata keeps of the present state."""
        if self.lower_md is not None:
            self.meta.consistent = self.disk not in ("Inconsistent", "Diskless")
            self.meta.was_up_to_date = self.disk == "UpToDate"
            self.meta.was_primary = self.role == "Primary"
            if not self.meta.was_primary:
                self.meta.active.clear()
            if self.lower_md.read(0) is not self.meta:
                self.lower_md.write(0, self.meta)


@dataclass(eq=False)
class Resource:
    """A named group of devices that share one connection."""

    name: str
    devices: dict[int, Device] = field(default_factory=dict)
    connection: str = "StandAlone"
    local: str = ""
    remote: str = ""
    options: dict[str, str] = field(default_factory=dict)
    peer: Resource | None = None
    retry_at_s: float = 0.0
    fresh_uuid: int = JUST_CREATED
    pages_out: bool = False  # a dead peer has pages of the guest that was on it: see `SimHost.lose_peer`

    @property
    def role(self) -> str:
        return "Primary" if any(d.role == "Primary" for d in self.devices.values()) else "Secondary"

    def new_uuid(self) -> int:
        """A generation identifier nobody else has: a fixed walk, so that runs can be repeated."""
        seed = sum(ord(c) * 31**i for i, c in enumerate(self.name + self.local))
        self.fresh_uuid = (
            max(self.fresh_uuid, seed) * 6364136223846793005 + 1442695040888963407
        ) % 2**64 | 16
        return self.fresh_uuid

    def diverge(self, device: Device) -> None:
        """Writing without the peer begins a new data generation, once."""
        if device.lower_md is not None and not device.meta.bitmap:
            self.begin_generation(device)

    def begin_generation(self, device: Device) -> None:
        meta = device.meta
        meta.bitmap, meta.current = meta.current, self.new_uuid()

    def promote(self, device: Device, force: bool) -> None:
        if device.role == "Primary" and not force:
            return
        peer = device.peer
        if self.peer and self.peer.role == "Primary":
            raise Refused(*TWO_PRIMARIES)
        reachable = device.disk == "UpToDate" or (peer is not None and peer.disk == "UpToDate")
        if not reachable:
            if not force or device.lower is None:
                raise Refused(*NO_UP_TO_DATE)
            device.disk = "UpToDate"
        device.role = "Primary"
        if device.lower_md is not None and (force or (peer is None and not device.meta.bitmap)):
            self.begin_generation(device)
        device.remember()

    def demote(self, device: Device) -> None:
        if device.opens:
            raise Refused(*DEVICE_IN_USE)
        device.role = "Secondary"
        device.remember()

    def drop_link(self, own: str, other: str, retry_at_s: float) -> None:
        """Take the connection apart: this side goes to `own`, the other to `other`."""
        for side, state in ((self, own), (self.peer, other)):
            if side is None:
                continue
            side.connection, side.retry_at_s = state, retry_at_s
            for device in side.devices.values():
                seen = device.peer.disk if device.peer else "DUnknown"
                known = seen == "Inconsistent" and state != "StandAlone"
                device.peer_disk_seen = seen if known else "DUnknown"
            for device in side.devices.values():
                device.replication, device.credit_bytes = "Off", 0.0
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None

    def tear_down(self) -> None:
        """What `drbdsetup down` does; the peer is left waiting for a connection."""
        if any(device.opens for device in self.devices.values()):
            raise Refused(*DEVICE_IN_USE, more="failed to demote")
        for device in self.devices.values():
            self.demote(device)
        self.drop_link("StandAlone", "WFConnection", 0.0)
        for device in self.devices.values():
            device.detach()
        self.devices.clear()
