"""A full sync with the resource file of a move, against what the link and the disks do raw, in one run.

    python -m tests.lab.bench.sync --mib 256 --full 5,90,100 --changed 1,5 --written 1,5 --raise --repeat 3

The target's volume is full of something else before each; or, for `--changed`, it holds what the source has
but for some blocks of 4 KiB, here and there, and the two are compared as for a mirror that is kept. For
`--written` so many blocks are written while a mirror is in step: what a move back over it has sent by then.
What is sent is counted on the replication card.
There are two rates: of the whole sync as a user waits for it, from the target's `drbdadm up` to UpToDate on
both, and of the sync alone, from where DRBD says that it has begun. Both are held against the slower of what
link and disk do raw, each by itself; on hosts of one processor they share that, so the sync alone is held
against raw TCP that is written raw to the disk as well.
The emulated processors are slow beside link and disk: with `--link-mbit` the link is the slowest part, as it
mostly is between real hosts. `--lend` lets DRBD hand the pages that it sends to TCP in place of copying them,
which no move does (`drbd.copy_pages`). `--raise` limits a sync to 20 MB a second, then lifts that.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reconciler.commands import drbd
from tests.lab.host import Host
from tests.lab.lab import Lab

MINOR, PORT, RAW_PORT = 190, 7890, 9999
RATE_MB_S = 4096
"""The most that DRBD takes, so no limit: what the link and the disks allow is measured."""
SLOW_MB_S = 20
WATCHED_S = 8
WATCH = (
    "import re, time\n"
    "def left(): return int(re.search(r'oos:(\\d+)', open('/proc/drbd').read())[1]) / 1024\n"
    "at, before = time.monotonic(), left()\n"
    f"for _ in range({WATCHED_S}):\n"
    "    time.sleep(1)\n"
    "    now, after = time.monotonic(), left()\n"
    "    print(round((before - after) / (now - at), 1))\n"
    "    at, before = now, after\n"
)
TAKE = (
    "import mmap, os, socket, sys, time\n"
    "piece = mmap.mmap(-1, 1 << 20)\n"
    "disk = os.open('/dev/vg/bench', os.O_WRONLY | os.O_DIRECT) if sys.argv[2] else -1\n"
    f"peer = socket.create_server((sys.argv[1], {RAW_PORT})).accept()[0]\n"
    "began = time.monotonic()\n"
    "while peer.recv_into(piece, 1 << 20, socket.MSG_WAITALL):\n"
    "    if disk >= 0: os.write(disk, piece)\n"
    "print(time.monotonic() - began)\n"
)
GIVE = (
    "import socket, sys, time\n"
    "for _ in range(100):\n"
    "    try:\n"
    f"        peer = socket.create_connection((sys.argv[1], {RAW_PORT}))\n"
    "        break\n"
    "    except OSError: time.sleep(0.2)\n"
    "for _ in range(int(sys.argv[2])): peer.sendall(bytes(1 << 20))\n"
)
PUT = (
    "import mmap, os, sys, time\n"
    "piece = mmap.mmap(-1, 1 << 20)\n"
    "piece.write(os.urandom(1 << 20))\n"
    "disk = os.open('/dev/vg/bench', os.O_WRONLY | os.O_DIRECT)\n"
    "began = time.monotonic()\n"
    "for _ in range(int(sys.argv[1])): os.write(disk, piece)\n"
    "print(time.monotonic() - began)\n"
)
FILL = (
    "dd if=/dev/urandom of=/dev/shm/piece bs=1M count=8 status=none; at=0; n=0; "
    'while [ "$n" -lt "{pieces}" ]; do '
    "dd if=/dev/shm/piece of=/dev/vg/bench bs=1M skip=$((n % 8)) seek=$((n * {stride} % {mib})) count=1 "
    "oflag=direct conv=notrunc status=none; n=$((n + 1)); done"
)
CHANGE = (
    "import os, random, sys\n"
    "disk = os.open(sys.argv[3], os.O_RDWR)\n"
    "places = random.Random(1).sample(range(int(sys.argv[1]) * 256), int(sys.argv[2]))\n"
    "for place in places: os.pwrite(disk, os.urandom(4096), place * 4096)\n"
    "os.fsync(disk)\n"
)
EVENTS = "/tmp/bench-events"
LISTEN = f"setsid drbdsetup events2 --timestamps bench >{EVENTS} 2>&1 </dev/null & echo $!"
WAIT = (
    "until drbdsetup events2 --now --statistics bench | "
    "grep -q 'replication:Established peer-disk:UpToDate'; do sleep 0.1; done"
)


def seconds(host: Host, command: str) -> float:
    """How long a command takes on the host, by its own clock."""
    line = f"a=$(date +%s%N); {{ {command}; }} >&2; b=$(date +%s%N); echo $((b - a))"
    return int(host.run(line, timeout_s=1800)) / 1e9


def raw_link(source: Host, target: Host, mib: int, onto: str = "") -> float:
    """MiB a second over one TCP connection between the replication addresses, `onto` the disk or nothing."""
    with ThreadPoolExecutor(1) as pool:
        take = ["python3", "-c", TAKE, target.replication_address, onto]
        took = pool.submit(target.run, take, timeout_s=1800)
        source.run(["python3", "-c", GIVE, target.replication_address, str(mib)], timeout_s=600)
        return mib / float(took.result())


def raw_disk(host: Host, mib: int) -> float:
    """MiB a second written straight to the volume, by one process."""
    return mib / float(host.run(["python3", "-c", PUT, str(mib)], timeout_s=1800))


def sent_bytes(host: Host) -> int:
    return int(host.run(["cat", "/sys/class/net/repl/statistics/tx_bytes"]))


def fill(source: Host, mib: int, full: int) -> None:
    """So much of the source's volume holds something, the rest zeros."""
    source.run("blkdiscard -z /dev/vg/bench", timeout_s=600)
    source.run(
        FILL.format(pieces=mib * full // 100, stride=1 if full == 100 else 97, mib=mib), timeout_s=1800
    )


def change(source: Host, mib: int, percent: float, device: str = "/dev/vg/bench") -> float:
    """So many of the source's blocks change; how many MiB that is."""
    blocks = round(mib * 256 * percent / 100)
    source.run(["python3", "-c", CHANGE, str(mib), str(blocks), device], timeout_s=1800)
    return blocks / 256


def up(source: Host, target: Host) -> None:
    """DRBD with fresh metadata, the source Primary and alone."""
    for host in (source, target):
        host.run("dd if=/dev/zero of=/dev/vg/bench-md bs=1M count=4 oflag=direct status=none")
        host.run("drbdadm -- --force create-md bench >/dev/null 2>&1")
    source.run("drbdadm up bench && drbdadm primary --force bench")


def down(source: Host, target: Host) -> None:
    """Both sides hold the same."""
    for host in (source, target):
        host.run("drbdadm down bench")
    sums = {host.run("md5sum </dev/vg/bench", timeout_s=600) for host in (source, target)}
    assert len(sums) == 1, "the two sides differ"


def written(source: Host, target: Host, mib: int, percents: Sequence[float]) -> Iterator[tuple[str, float]]:
    """What is sent of blocks that are written while both sides are in step, by what was written."""
    up(source, target)
    target.run("drbdadm up bench")
    source.run(WAIT, timeout_s=1800)
    for percent in percents:
        before = sent_bytes(source)
        wrote = change(source, mib, percent, drbd.device(MINOR))
        yield f"{percent:g} % written", (sent_bytes(source) - before) / 2**20 / wrote
    source.run("drbdadm secondary bench")
    down(source, target)


def alone_s(events: str) -> float:
    """How long DRBD says that it was a source of a sync, from its first word of it to its last."""
    told = [line for line in events.splitlines() if " replication:" in line]
    began = next(n for n, line in enumerate(told) if "replication:SyncSource" in line)
    assert began > 0, "it was listened to from before the sync"
    ended = next(line for line in told[began:] if "replication:Established" in line)
    first, last = (datetime.datetime.fromisoformat(line.split()[0]) for line in (told[began], ended))
    return (last - first).total_seconds()


def sync(source: Host, target: Host, mib: int) -> tuple[float, float, float]:
    """MiB a second of one whole sync and of it alone, and the MiB that were sent."""
    up(source, target)
    before = sent_bytes(source)
    listener = source.run(LISTEN).strip()
    target.run("drbdadm up bench")
    took_s = seconds(source, WAIT)
    sent = (sent_bytes(source) - before) / 2**20
    source.run(f"sleep 0.5; kill {listener}")
    alone = alone_s(source.run(["cat", EVENTS]))
    down(source, target)
    return mib / took_s, mib / alone, sent


def raised(lab: Lab, source: Host, target: Host) -> list[float]:
    """MiB a second in each of the seconds after the limit was lifted; the first comes before."""
    write(lab, compare=False, rate_mb_s=SLOW_MB_S)
    up(source, target)
    target.run("drbdadm up bench")
    time.sleep(4)
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(target.run, ["python3", "-c", WATCH])
        time.sleep(1)
        for host in (source, target):
            host.run(drbd.set_rate(MINOR, RATE_MB_S).argv)
        rates = [float(word) for word in watched.result().split()]
    source.run(WAIT, timeout_s=1800)
    source.run("drbdadm secondary bench")
    down(source, target)
    return rates


def write(lab: Lab, *, compare: bool, rate_mb_s: int = RATE_MB_S) -> None:
    """The resource file that a move would write."""
    sides = [
        drbd.ResourceSide(
            name,
            host.replication_address,
            PORT,
            (drbd.ResourceVolume(MINOR, "/dev/vg/bench", "/dev/vg/bench-md"),),
        )
        for name, host in lab.hosts.items()
    ]
    text = drbd.resource_file("bench", "secret", rate_mb_s, sides, compare=compare)
    for host in lab.hosts.values():
        host.write("/etc/drbd.d/bench.res", text)


def prepare(lab: Lab, mib: int, *, lend: bool = False) -> tuple[Host, Host]:
    """A volume on each side."""
    for host in lab.hosts.values():
        host.run(
            f"lvcreate -qq -y -Wy -Zy -L {mib}m -n bench vg; lvcreate -qq -y -Wy -Zy -L 4m -n bench-md vg"
        )
        host.run(["modprobe", "drbd"])  # drbdadm speaks DRBD 9's language without it
        host.run("dd if=/dev/urandom of=/dev/shm/piece bs=1M count=8 status=none")
        if not lend:
            copy = drbd.copy_pages()
            host.run(copy.argv, feed=copy.stdin)
    source, target = lab.hosts["xen1"], lab.hosts["xen2"]
    return source, target


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",") if word]


def main() -> int:
    """Print a table and write it to a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.bench.sync", description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--full", type=numbers, default=[5, 90, 100])
    parser.add_argument("--changed", type=numbers, default=[])
    parser.add_argument("--written", type=numbers, default=[])
    parser.add_argument("--raise", action="store_true", dest="lifted")
    parser.add_argument("--link-mbit", type=int, help="what the link is to allow")
    parser.add_argument("--lend", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench-sync.md"))
    given = parser.parse_args()
    lines = [
        "| volume | whole sync by the slower of link and disk | the sync alone | by link and disk at once "
        "| sent, share of the volume | by what changed |",
        "|---|---|---|---|---|---|",
    ]
    with Lab(2) as lab:
        source, target = prepare(lab, given.mib, lend=given.lend)
        if given.link_mbit:
            shape = f"tc qdisc replace dev repl root tbf rate {given.link_mbit}mbit burst 256k latency 50ms"
            for host in (source, target):
                host.run(f"modprobe sch_tbf; {shape}")
        found: dict[str, list[tuple[float, ...]]] = {}
        in_step: dict[str, list[float]] = {}

        def one(what: str, wanted_mib: float) -> None:
            whole, alone, sent = sync(source, target, given.mib)
            raw = min(link, disk)
            rates = whole / raw, alone / raw, alone / both
            found.setdefault(what, []).append((*rates, sent / given.mib, sent / wanted_mib))
            print(
                f"{what}: link {link:.1f}, disk {disk:.1f}, both {both:.1f}, sync {whole:.1f}, "
                f"alone {alone:.1f} MiB/s; sent {sent:.1f}",
                flush=True,
            )

        for _ in range(given.repeat):
            write(lab, compare=False)
            link, disk = raw_link(source, target, given.mib), raw_disk(target, given.mib)
            both = raw_link(source, target, given.mib, "disk")
            for full in given.full:
                fill(source, given.mib, round(full))
                one(f"{full:g} % full", given.mib * full / 100)
            if given.lifted:
                print(f"limit lifted, MiB/s each second: {raised(lab, source, target)}", flush=True)
            write(lab, compare=True)
            for percent in given.changed:
                one(f"{percent:g} % changed", change(source, given.mib, percent))
            for what, times in written(source, target, given.mib, given.written) if given.written else ():
                in_step.setdefault(what, []).append(times)
                print(f"{what}: sent {times:.2f} times that", flush=True)
    for what, taken in found.items():
        *rates, shares, by = zip(*taken, strict=True)
        spread = [f"{statistics.median(n):.2f} ({min(n):.2f}–{max(n):.2f})" for n in rates]
        sizes = (f"{statistics.median(shares):.3f}", f"{statistics.median(by):.2f}")
        lines.append(f"| {' | '.join((what, *spread, *sizes))} |")
    lines += [
        f"| {what} | – | – | – | – | {statistics.median(times):.2f} |" for what, times in in_step.items()
    ]
    given.out.write_text("\n".join([*lines, ""]))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
