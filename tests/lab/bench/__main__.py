"""`make bench`: moves by hand and by the tool, each from the same snapshot of the same guest, in one run.

    python -m tests.lab.bench --ways seed,dual,live --memory 96,256 --repeat 3 --out bench.md
    python -m tests.lab.bench --ways seed,live --disk 64:5,64:90,1024:5,1024:90

What is measured comes from outside: the guest's heartbeats as the observer hears them, and the bytes that
the source's replication card has sent. Times of emulated hosts mean nothing by themselves: the table gives
them as multiples of the first way's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reconciler.commands import drbd
from tests.lab.lab import Lab
from tests.lab.moving import MEMORY_MB, MOVE_S, in_place, start_with
from tests.lab.records import repeated
from tests.site import Site

BY_HAND = ("seed", "dual", "cold")
OURS = {
    "suspend": "{attach: suspend, cutover: store}",
    "store": "{attach: pivot, cutover: store}",
    "stream": "{attach: pivot, cutover: stream}",
    "stream-tls": "{attach: pivot, cutover: stream, transport: tls}",
    "stream-tcp": "{attach: pivot, cutover: stream, transport: tcp}",
    "live": "{attach: pivot, cutover: live}",
    "live-tls": "{attach: pivot, cutover: live, transport: tls}",
    "live-tcp": "{attach: pivot, cutover: live, transport: tcp}",
}
WAYS = (*BY_HAND, *OURS)
DATA = "/dev/vg/web1-data"
SILENCE_S = 1.0
"""A guest that beats five times a second was suspended when nothing was heard of it for so long."""


@dataclass(frozen=True)
class Taken:
    """One move. `frozen_s` is all its silences together."""

    way: str
    memory_mb: int
    disk: str
    suspensions: int
    frozen_s: float
    longest_s: float
    total_s: float
    sent_mib: float
    two_primaries_ms: int


def resource_text(lab: Lab, two_primaries: bool) -> str:
    """What a person would write for `dual` and `seed`."""
    sides = [
        drbd.ResourceSide(
            name,
            host.replication_address,
            7850,
            tuple(
                drbd.ResourceVolume(minor, f"/dev/vg/web1-{disk}", f"/dev/vg/web1-{disk}-drbdmd")
                for minor, disk in ((150, "root"), (151, "data"))
            ),
        )
        for name, host in lab.hosts.items()
    ]
    text = drbd.resource_file("web1", "secret", 100, sides)
    return text.replace("protocol C;", "protocol C; allow-two-primaries yes;") if two_primaries else text


def by_hand(lab: Lab, way: str) -> int:
    """Run the script on the source; how long both sides were primary, in ms."""
    for host in lab.hosts.values():
        host.write("/etc/drbd.d/web1.res", resource_text(lab, way == "dual"))
    script = Path(__file__).with_name("by_hand.sh").read_text()
    source, target = lab.hosts["xen1"], lab.hosts["xen2"]
    source.write("/root/by_hand.sh", script, "755")
    said = source.run(["/root/by_hand.sh", way, target.replication_address], timeout_s=MOVE_S)
    found = re.search(r"two primaries for (\d+) ms", said)
    return int(found[1]) if found else 0


def by_commit(lab: Lab, policy: str) -> int:
    """The daemon does it; two primaries are never allowed."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), lab.hosts, lab.key_file, lab.known_hosts)
        site.write("domains.yaml", f"domains:\n  web1: {{host: xen2, policy: {policy}}}\n")
        site.commit("web1 to xen2")
        site.start()
        try:
            site.wait("web1 on xen2", in_place("xen2"), MOVE_S)
            done = site.report()["history"][0]
            assert done["outcome"] == "moved"
            print(json.dumps(done["freezes"]), flush=True)
        finally:
            site.close()
    return 0


def sent_bytes(lab: Lab) -> int:
    return int(lab.hosts["xen1"].run(["cat", "/sys/class/net/repl/statistics/tx_bytes"]))


def grow(lab: Lab, disk: str) -> None:
    """The second disk gets that size, in MiB, and so many of its hundredths something to be sent.

    The guest is ended before: where it puts its blocks follows from the size.
    """
    size, full = (int(word) for word in disk.split(":"))
    source = lab.hosts["xen1"]
    source.run(["xl", "destroy", "web1"], timeout_s=120)
    source.run(["lvextend", "-qq", "-y", "-L", f"{size}m", DATA])
    source.run(["blkdiscard", "-z", DATA], timeout_s=600)
    count = size * full // 100
    fill = f"dd if=/dev/urandom of={DATA} bs=1M count={count} oflag=direct status=none"
    source.run(fill, timeout_s=600)


def prepare(lab: Lab, memory_mb: int, disk: str) -> None:
    """The lab as it was, with a guest of that size."""
    lab.reset("guest")
    if disk:
        grow(lab, disk)
    if disk or memory_mb != MEMORY_MB:
        start_with(lab, memory_mb)
    lab.observer.set_rates(heartbeats_per_s=5, writes_per_s=3)
    lab.observer.wait_for_heartbeats(count=20, side="xen1", timeout_s=120)


def move(lab: Lab, way: str, memory_mb: int, disk: str = "") -> Taken:
    """One move, and that it lost nothing."""
    prepare(lab, memory_mb, disk)
    sent, began = sent_bytes(lab), lab.observer.now()
    two_primaries_ms = by_commit(lab, OURS[way]) if way in OURS else by_hand(lab, way)
    ended = lab.observer.now()
    lab.observer.wait_for_heartbeats(count=20, side="xen2", timeout_s=120)
    beats = lab.observer.heartbeats(since_s=began)
    pairs = itertools.pairwise(beat.arrived_s for beat in beats)
    silences = [after - before for before, after in pairs if after - before > SILENCE_S]
    assert repeated(beats) == [], "a heartbeat number was heard twice"
    problems = lab.observer.verify().problems
    assert problems == [], problems
    return Taken(
        way,
        memory_mb,
        disk,
        len(silences),
        round(sum(silences), 2),
        round(max(silences, default=0.0), 2),
        round(ended - began, 1),
        round((sent_bytes(lab) - sent) / 2**20, 1),
        two_primaries_ms,
    )


HEAD = (
    "way", "memory MiB", "disk MiB:% full", "moves", "suspensions",
    "frozen", "longest", "total", "sent MiB", "two primaries ms",
)  # fmt: skip


def rows(taken: Sequence[Taken]) -> Iterator[tuple[str, ...]]:
    """Medians, and the spread of what is a multiple of the first way's at the same memory and disk."""
    keys = list(dict.fromkeys((one.memory_mb, one.disk, one.way) for one in taken))
    for memory_mb, disk, way in keys:
        alike = [one for one in taken if (one.memory_mb, one.disk) == (memory_mb, disk)]
        these = [one for one in alike if one.way == way]
        base = [one for one in alike if one.way == taken[0].way]

        def times(name: str, these: list[Taken] = these, base: list[Taken] = base) -> str:
            unit = statistics.median(getattr(one, name) for one in base)
            values = sorted(getattr(one, name) / unit for one in these) if unit else [0.0]
            spread = f" ({values[0]:.2f}–{values[-1]:.2f})" if len(values) > 1 else ""
            return f"{statistics.median(values):.2f}{spread}"

        def middle(name: str, these: list[Taken] = these) -> str:
            return f"{statistics.median(getattr(one, name) for one in these):g}"

        yield (
            way, str(memory_mb), disk or "as is", str(len(these)), middle("suspensions"),
            times("frozen_s"), times("longest_s"), times("total_s"),
            middle("sent_mib"), middle("two_primaries_ms"),
        )  # fmt: skip


def table(taken: Sequence[Taken]) -> str:
    """Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *rows(taken)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Run what is asked for; what was taken is written after each move."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.bench", description=__doc__)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--memory", default=str(MEMORY_MB))
    parser.add_argument("--disk", default="", help="sizes of the second disk and how full: 64:5,1024:90")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench.md"))
    given = parser.parse_args()
    ways = given.ways.split(",")
    if unknown := [way for way in ways if way not in WAYS]:
        raise SystemExit(f"no way {unknown[0]!r}; there are {', '.join(WAYS)}")
    taken: list[Taken] = []
    with Lab(2) as lab:
        moves = itertools.product(range(given.repeat), given.memory.split(","), given.disk.split(","), ways)
        for _, memory, disk, way in moves:
            taken.append(move(lab, way, int(memory), disk))
            print(time.strftime("%H:%M:%S"), taken[-1], flush=True)
            given.out.write_text(table(taken))
            given.out.with_suffix(".json").write_text(json.dumps([asdict(one) for one in taken], indent=1))
    print(table(taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
