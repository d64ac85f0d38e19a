"""true, uname, udevadm, blockdev, flock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import FileError
from reconciler.simulator.process import Fail, Result, takes

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


@takes(0.003)
def flock(host: SimHost, args: list[str], stdin: str) -> Result:
    """Tells whether a lock is free: `flock --shared --nonblock --conflict-exit-code CODE FILE true`."""
    if args[:3] != ["--shared", "--nonblock", "--conflict-exit-code"] or args[5:] != ["true"]:
        raise Fail(1, "flock: simulated version only asks")
    return Result(int(args[3]) if host.locked(args[4].rsplit("/", 1)[1]) else 0)


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
