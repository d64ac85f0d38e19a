"""DRBD 8.4 through drbdadm, drbdsetup and a resource file. Facts and sources: docs/reference/drbd.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command, whole_lines
from reconciler.model.facts import Connection, DiskState, DrbdResource, DrbdVolume, Query, Replication, Role

MAJOR = 147
FOLDER = "/etc/drbd.d"
NO_ZERO_COPY = "/sys/module/drbd/parameters/disable_sendpage"
KIB, MIB, GIB = 1024, 1024**2, 1024**3
EMPTY_BYTES = 64 * KIB
"""A run of zeros this long is not sent in a sync; DRBD takes it only where the target's disk can discard."""
COMPARED_BYTES = 4 * KIB
"""What two sides compare, and send where it differs, at a time: DRBD takes what it looks for zeros in
(drbd_worker.c, make_resync_request). With 64 KiB one block of 4 KiB that differs sends all of them (lab)."""

BUFFERS = 20_000
"""Pages that DRBD may have under way of a volume.

It asks for more of a sync each tenth of a second, never for more than half of them (drbd_worker.c,
`drbd_rs_number_requests`): enough for some 400 MB a second (not seen). What is asked for takes as much
of dom0's memory, 40 MB for a volume at the most."""
PAUSED = "    # The sync is paused: the commit in force gives it 0 MB a second."


def metadata_bytes(size_bytes: int) -> int:
    """Room for external metadata: super block, activity log and bitmap (32 KiB a GiB), 4 MiB at the least.

    Its last 28 KiB are never used: a whole number of MiB is not 36 KiB and a multiple of 32 KiB.
    """
    bitmap = -(-size_bytes // GIB) * 32 * KIB
    need = 4 * KIB + 32 * KIB + bitmap
    return max(4 * MIB, -(-need // MIB) * MIB)


def parse_events(answer: Answer) -> tuple[DrbdResource, ...]:
    """Read `drbdsetup events2 --now --statistics`; the lines come in any order and end with `exists -`."""
    if not answer.ok:
        raise ParseError(f"drbdsetup events2 exited {answer.exit}: {answer.stderr.strip()[:200]}")
    lines = whole_lines(answer, "drbdsetup events2")
    if not lines or lines[-1].strip() != "exists -":
        raise ParseError("drbdsetup events2: the closing «exists -» is missing; the output is cut")
    found: dict[str, dict[str, list[dict[str, str]]]] = {}
    for line in lines[:-1]:
        words = line.split()
        if len(words) < 3 or words[0] != "exists":
            raise ParseError(f"drbdsetup events2: cannot read {line!r}")
        values = dict(word.split(":", 1) for word in words[2:] if ":" in word)
        if (
            words[1] not in {"resource", "connection", "device", "peer-device", "path"}
            or "name" not in values
        ):
            raise ParseError(f"drbdsetup events2: cannot read {line!r}")
        found.setdefault(values["name"], {}).setdefault(words[1], []).append(values)
    try:
        return tuple(_resource(name, parts) for name, parts in sorted(found.items()))
    except (KeyError, ValueError, IndexError) as error:
        raise ParseError(f"drbdsetup events2: {type(error).__name__}: {error}") from None


def _resource(name: str, parts: dict[str, list[dict[str, str]]]) -> DrbdResource:
    link = parts.get("connection", [None])[0]
    peers = {values["volume"]: values for values in parts.get("peer-device", ())}
    volumes = []
    for device in parts.get("device", ()):
        peer = peers.get(device["volume"], {})
        volumes.append(
            DrbdVolume(
                number=int(device["volume"]),
                minor=int(device["minor"]),
                disk=DiskState(device["disk"]),
                peer_disk=DiskState(peer.get("peer-disk", "DUnknown")),
                replication=Replication(peer.get("replication", "Off")),
                size_bytes=int(device.get("size", 0)) * KIB,
                out_of_sync_kib=int(peer.get("out-of-sync", 0)),
                in_flight=sum(
                    int(values.get(key, 0))
                    for values, keys in (
                        (device, ("upper-pending", "lower-pending")),
                        (peer, ("pending", "unacked")),
                    )
                    for key in keys
                ),
                done_percent=float(peer["done"]) if "done" in peer else None,
                paused_here="user" in peer.get("resync-suspended", "no").split(","),
            )
        )
    return DrbdResource(
        name=name,
        role=Role(parts["resource"][0]["role"]),
        connection=Connection(link["connection"]) if link else None,
        peer_role=Role(link["role"]) if link else Role.UNKNOWN,
        volumes=tuple(sorted(volumes, key=lambda volume: volume.number)),
    )


def parse_version(answer: Answer) -> str:
    """The module's version from /proc/drbd."""
    match = re.match(r"version: (\d+\.\d+\.\d+)\S* \(", answer.stdout)
    if match is None:
        raise ParseError("/proc/drbd: no version; is the drbd module loaded?")
    return match[1]


def parse_copies(answer: Answer) -> bool:
    """Y or N, as the kernel prints a module's bool parameter."""
    said = answer.stdout.strip()
    if not answer.ok or said not in ("Y", "N"):
        raise ParseError(f"{NO_ZERO_COPY}: cannot read {said!r}: {answer.stderr.strip()[:200]}")
    return said == "Y"


RESOURCES: Query[tuple[DrbdResource, ...]] = Query(
    "the DRBD resources", Command(("drbdsetup", "events2", "--now", "--statistics")), parse_events
)
VERSION: Query[str] = Query("DRBD's version", Command(("cat", "/proc/drbd")), parse_version)
COPIES: Query[bool] = Query("whether DRBD copies what it sends", Command(("cat", NO_ZERO_COPY)), parse_copies)


@dataclass(frozen=True)
class ResourceVolume:
    """One volume's line in a resource file, for one host."""

    minor: int
    backing: str
    metadata: str


@dataclass(frozen=True)
class ResourceSide:
    """One host's section of a resource file; `node` is what `uname -n` prints there."""

    node: str
    address: str
    port: int
    volumes: tuple[ResourceVolume, ...]


def resource_file(
    name: str, secret: str, resync_mb_s: int, sides: Sequence[ResourceSide], *, compare: bool = False
) -> str:
    """The text of /etc/drbd.d/<name>.res.

    It never allows two primaries, and names no automatic after-split-brain policy. What is all zeros is not
    sent, and the target writes zeros there: a discard would not do, its disk may still show what was there
    (seen in the lab). `compare`: what is equal on both sides is not sent, as SHA-256 tells.
    A rate of 0 MB a second means that the sync is to be paused. DRBD has no word for that in its files; a
    remark tells it, so that the tool never lifts a pause that is not its own.
    """
    rate = max(1, resync_mb_s)
    lines = [
        "# Written by xen-reconciler for one move; removed when it ends. Do not edit.",
        f"resource {name} {{",
        "  net {",
        "    protocol C;",
        "    cram-hmac-alg sha1;",
        f'    shared-secret "{secret}";',
        f"    max-buffers {BUFFERS};",
        *(["    csums-alg sha256;"] if compare else []),
        "  }",
        "  disk {",
        "    on-io-error detach;",
        f"    rs-discard-granularity {COMPARED_BYTES if compare else EMPTY_BYTES};",
        "    discard-zeroes-if-aligned no;",
        f"    resync-rate {rate}M;",
        f"    c-max-rate {rate}M;",
        f"    c-fill-target {_fill_kib(rate)}K;",
        *([] if resync_mb_s else [PAUSED]),
        "    c-min-rate 0;",
        "  }",
    ]
    for side in sides:
        lines += [f"  on {side.node} {{", f"    address ipv4 {side.address}:{side.port};"]
        for number, volume in enumerate(side.volumes):
            lines += [
                f"    volume {number} {{",
                f"      device /dev/drbd{volume.minor} minor {volume.minor};",
                f"      disk {volume.backing};",
                f"      flexible-meta-disk {volume.metadata};",
                "    }",
            ]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def rateless(text: str) -> str:
    """A resource file's text without how fast a sync may be, and whether it may go on at all.

    Earlier versions had another number of buffers and said nothing of `c-fill-target`: what they have begun
    is this one's as well.
    """
    text = re.sub(r"    c-fill-target \S+;\n", "", text.replace(f"{PAUSED}\n", ""))
    return re.sub(r"(resync-rate|c-max-rate|max-buffers) \d+M?;", r"\1;", text)


def pauses(text: str) -> bool:
    """Whether a resource file says that the sync is to be paused."""
    return PAUSED in text.splitlines()


def create_metadata(name: str) -> Command:
    return Command(("drbdadm", "--", "--force", "create-md", name), timeout_s=120)


def copy_pages() -> Command:
    """Let DRBD copy what it sends, for all its resources on a host, until the module is loaded anew.

    Otherwise the guest's own pages wait in TCP for a peer that died; blkback can't give them back, the
    domain can't be destroyed and its devices stay open (seen in the lab). The module's parameter is there
    for such cases: drbd_main.c, `disable_sendpage`.
    """
    return Command(("dd", f"of={NO_ZERO_COPY}", "conv=nocreat,notrunc", "status=none"), stdin="Y")


def up(name: str) -> Command:
    return Command(("drbdadm", "up", name), timeout_s=120)


def adjust(name: str) -> Command:
    return Command(("drbdadm", "adjust", name), timeout_s=120)


def set_rate(minor: int, mb_s: int) -> Command:
    """How fast a sync of one volume may be from now on, 1 MB a second at the least.

    Not by drbdadm: its `disk-options` changes nothing and exits 0 (lab), and `adjust` would change whatever
    else differs from the resource file, under a running guest.
    """
    rate = max(1, mb_s)
    options = (f"--resync-rate={rate}M", f"--c-max-rate={rate}M", f"--c-fill-target={_fill_kib(rate)}K")
    return Command(("drbdsetup", "disk-options", str(minor), *options))


def _fill_kib(rate_mb_s: int) -> int:
    """How much more of a sync than has come DRBD is to ask for each tenth of a second: a hundredth's worth.

    DRBD's own is 50 KiB: then a sync stays below its rate, and hardly gets faster once that is raised. What
    is under way goes before what the guest writes, which waits longer where the link is slower than the rate
    (lab, both).
    """
    return min(max(512, 10 * rate_mb_s), 4096)


def pause_sync(minor: int) -> Command:
    """Stop a volume's sync where it is, and all that begin later; what the guest writes goes to both sides.

    Fails when that has been said already (lab).
    """
    return Command(("drbdsetup", "pause-sync", str(minor)))


def resume_sync(minor: int) -> Command:
    """Take `pause_sync` back; fails when there is nothing to take back (lab)."""
    return Command(("drbdsetup", "resume-sync", str(minor)))


def force_primary(name: str) -> Command:
    """Allowed once: on the source's own fresh resource, before any peer has connected."""
    return Command(("drbdadm", "primary", "--force", name))


def secondary(name: str) -> Command:
    return Command(("drbdadm", "secondary", name))


def disconnect(name: str) -> Command:
    """Fails when nothing is connected or waits to be."""
    return Command(("drbdadm", "disconnect", name), timeout_s=120)


def down(name: str) -> Command:
    return Command(("drbdadm", "down", name), timeout_s=120)


def down_at_once(name: str) -> Command:
    """The same by one process: drbdadm reads all resource files first, while the domain stands still."""
    return Command(("drbdsetup", "down", name), timeout_s=120)


def device(minor: int) -> str:
    return f"/dev/drbd{minor}"
