"""What operators want: hosts, domains and the policy of each, as committed."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Attach(enum.Enum):
    """How DRBD gets under the running domain: as it runs, or by a save and a restore."""

    AUTO = "auto"
    PIVOT = "pivot"
    SUSPEND = "suspend"


class Cutover(enum.Enum):
    """How the domain changes sides: its memory straight into the target's copy, most of it while the domain
    runs (`live`) or all of it once it is suspended (`stream`), or through a file."""

    AUTO = "auto"
    LIVE = "live"
    STREAM = "stream"
    STORE = "store"


class Compression(enum.Enum):
    """What memory goes through on its way to the target by stream."""

    NONE = "none"
    ZSTD = "zstd"


class Transport(enum.Enum):
    """What carries memory to the target live and by stream: ssh, or TCP between the replication addresses,
    plain or in TLS."""

    SSH = "ssh"
    TLS = "tls"
    TCP = "tcp"


@dataclass(frozen=True)
class Host:
    """A Xen host. `replication_address` carries DRBD and domains' memory."""

    name: str
    address: str
    replication_address: str
    port: int = 22
    user: str = "root"
    volume_group: str = "vg"
    reserve_memory_mb: int = 0
    sync_mb_s: int | None = None


@dataclass(frozen=True)
class Policy:
    """How one domain may be moved. Units stand last in names."""

    attach: Attach = Attach.AUTO
    cutover: Cutover = Cutover.AUTO
    compression: Compression = Compression.NONE
    transport: Transport = Transport.SSH
    sync_deadline_s: int = 86400
    suspend_timeout_s: int = 300
    ship_timeout_s: int = 3600
    max_freeze_s: int | None = None
    resync_rate_mb_s: int = 100
    cutover_window: str | None = None
    keep_mirror: bool = False


@dataclass(frozen=True)
class DiskSource:
    """What a new disk holds: nothing, a raw image, or a file system with a tarball unpacked in it."""

    image: str | None = None
    tarball: str | None = None
    filesystem: str = "ext4"


@dataclass(frozen=True)
class NewDisk:
    """A disk to create for a domain that does not exist yet. The volume is NAME-<name>."""

    name: str
    device: str
    size_mb: int
    source: DiskSource = field(default_factory=DiskSource)


@dataclass(frozen=True)
class Provision:
    """All that is needed to create a domain that exists nowhere. Paths are paths on the host."""

    memory_mb: int
    disks: tuple[NewDisk, ...]
    vcpus: int = 1
    kernel: str | None = None
    ramdisk: str | None = None
    extra: str | None = None
    bootloader: str | None = None
    vifs: tuple[str, ...] = ()
    autostart: bool = True


@dataclass(frozen=True)
class Where:
    """A place in a committed document, for messages."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Domain:
    """A domain and the host it should live on."""

    name: str
    host: str
    uuid: str | None = None
    policy: Policy = field(default_factory=Policy)
    provision: Provision | None = None
    where: Where = Where("", 0)


@dataclass(frozen=True)
class Problem:
    """Why a part of the commit cannot be used: commit, file, line, value and what is allowed."""

    commit: str
    file: str
    line: int
    message: str
    value: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        text = f"{self.commit[:12]}:{self.file}:{self.line}: {self.message}"
        if self.value:
            text += f"; found {self.value}"
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        return text


@dataclass(frozen=True)
class Desired:
    """The placement one commit asks for. Domains named in `refused` are left exactly as they are."""

    commit: str
    hosts: Mapping[str, Host]
    domains: Mapping[str, Domain]
    refused: Mapping[str, Problem] = field(default_factory=dict)
