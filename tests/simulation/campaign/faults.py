"""What can go wrong at a command, by name. Pure tables; `stand.py` makes them happen."""

from __future__ import annotations

from functools import lru_cache

READS = frozenset({"cat", "uname", "lvs", "vgs", "xenstore-ls", "find", "grep", "df", "flock"})

READING = (
    ("drbdsetup", "events2"),
    ("xl", "list"),
    ("xl", "info"),
    ("dmsetup", "table"),
    ("dmsetup", "info"),
)

REQUEST = ("undelivered", "late-5", "late-70", "kill-unsent", "cut-20", "cut-900")
"""At the first command of a changing script: the request is lost, comes late, or is never sent."""

REQUEST_READ = ("undelivered", "cut-20", "cut-900")

BEFORE = (
    "fail",
    "done-but-failed",
    "nothing-but-ok",
    "hang",
    "kill-during",
    "crash-before",
    "crash-during",
    "guest-gone-during",
    "peer-crash",
    "peer-crash-long",
    "disk-full",
    "peer-disk-full",
    "link-cut",
    "drbd-alone",
    "guest-gone",
)

AFTER = ("lose-reply", "kill-after", "crash-after", "crash-after-long", "crash-ran-gone", "guest-gone-after")
"""`crash-ran-gone`: all files outlive the crash; the host boots, and if it starts the domain by itself, that
runs for a moment and stops."""

OF_TOOL = {
    ("lvcreate",): ("stranger",),
    ("drbdadm", "down"): ("replaced-soon",),
    ("xl", "restore"): ("wrong-device",),
    ("xl", "unpause"): ("ran-then-paused", "ran-then-gone"),
    ("xl", "create"): ("wrong-device",),
    ("python3", "-I"): (
        "rest-fails",
        "refresh-during",
        "extend-during",
        "copy-gone",
        "rest-crash",
        "rest-peer-crash",
        "rest-link-cut",
    ),
}
"""What only happens to one tool: somebody else made a volume of that name first, or put another one in
its place; a symlink pointed elsewhere at the moment a domain opened its disks; a domain ran for a moment, and
the command that let it run says that it failed; while memory is sent live, LVM put a volume back on its
extents; once all of it was sent, what follows failed, or a host or the copy went."""

STEP = ("abort", "abort-killed", "hold-60", "hold-900", "mem-set", "refresh", "extend", "rate", "pause")
"""What a person does between two steps; a hold is lifted after so many seconds, `mem-set` asks a guest for
memory that it does not give back, `refresh` is `lvchange --refresh` of every volume, `extend` is `lvextend`
of the domain's, whose guest uses the new room at once, `rate` a commit that lets the sync be slower, `pause`
one that pauses it, and another half a minute later that does not. The name
of the step follows, as several can come before the same command: `abort@sync`."""

BEFORE_READ = ("fail", "hang", "cut-output")

AFTER_READ = ("lose-reply", "kill-after")

PAIR_STEP = ("abort", "hold-60", "mem-set")
PAIR_REQUEST = ("late-70", "kill-unsent")
PAIR_BEFORE = ("fail", "done-but-failed", "hang", "peer-crash", "crash-during")
PAIR_AFTER = ("lose-reply", "crash-after")


@lru_cache(4096)
def reads(argv: tuple[str, ...]) -> bool:
    """Whether a command only looks."""
    return argv[0] in READS or argv[:2] in READING


@lru_cache(16384)
def kinds(place: str, argv: tuple[str, ...], *, pairs: bool = False) -> tuple[str, ...]:
    """The faults that make sense at a place: of a command, or between two steps."""
    if place == "step":
        return tuple(f"{asked}@{argv[1]}" for asked in (PAIR_STEP if pairs else STEP))
    if reads(argv):
        if pairs:
            return ()
        return {"request": REQUEST_READ, "before": BEFORE_READ, "after": AFTER_READ}[place]
    if pairs:
        return {"request": PAIR_REQUEST, "before": PAIR_BEFORE, "after": PAIR_AFTER}[place]
    if place == "before":
        return BEFORE + OF_TOOL.get(argv[:2], OF_TOOL.get(argv[:1], ()))
    return {"request": REQUEST, "after": AFTER}[place]
