"""true, uname, udevadm, blockdev, flock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import FileError
from reconciler.simulator.process import Fail, Result, Steps, takes

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost


@takes(0.002)
def true(host: SimHost, args: list[str], stdin: str) -> Result:
    return Result()


@takes(0.003)
def uname(host: SimHost, args: list[str], stdin: str) -> Result:
    words = {"-n": host.name, "-r": "6.1.0-50-amd64", "-s": "Linux", "-m": "x86_64", "": "Linux"}
    asked = args[0] if args else ""
    if asked not in words or len(args) > 1:
        raise Fail(
            1, f"uname: invalid option -- '{asked.lstrip('-')}'\nTry 'uname --help' for more information."
        )
    return Result(0, words[asked] + "\n")


def flock(host: SimHost, args: list[str], stdin: str) -> Steps:
    """Tells whether a lock is free: `flock --shared HOW --conflict-exit-code CODE FILE true`."""
    yield 0.003
    how = args[1:-4]
    patience_s = float(how[1]) if how[:1] == ["--timeout"] else 0.0
    if args[:1] != ["--shared"] or how[:1] not in (["--nonblock"], ["--timeout"]) or args[-1:] != ["true"]:
        raise Fail(1, "flock: simulated version only asks")
    until_s = host.world.now_s + patience_s
    while host.locked(args[-2].rsplit("/", 1)[1]):
        if host.world.now_s >= until_s:
            return Result(int(args[-3]))
        yield 0.1
    return Result()


@takes(0.05)
def udevadm(host: SimHost, args: list[str], stdin: str) -> Result:
    if args[:1] != ["settle"]:
        raise Fail(1, "udevadm: simulated version only settles")
    return Result()


@takes(0.005)
def blockdev(host: SimHost, args: list[str], stdin: str) -> Result:
    if len(args) < 2 or args[0] not in ("--getsize64", "--getsz"):
        raise Fail(1, f"blockdev: Unknown command: {' '.join(args)}")
    out = ""
    for path in args[1:]:
        try:
            device, _ = host.device_at(path)
        except FileError as error:
            if "Block" in str(error):
                raise Fail(
                    1, "blockdev: ioctl error on BLKGETSIZE64: Inappropriate ioctl for device", out
                ) from error
            raise Fail(1, f"blockdev: cannot open {path}: {error}", out) from error
        out += f"{device.size if args[0] == '--getsize64' else device.size // 512}\n"
    return Result(0, out)
