"""`dmsetup`: table, info, create, load, suspend, resume, remove. Linear and error targets only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.storage import SECTOR, BlockDevice, IOFault, Mapped, Segment

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

IGNORED = {"--noudevsync", "--nolockfs", "--noflush", "--verifyudev"}
ENXIO = "No such device or address"


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    yield 0.03
    words = [arg for arg in args if arg not in IGNORED]
    commands = {
        "table": table,
        "info": info,
        "create": create,
        "load": load,
        "clear": clear,
        "suspend": suspend,
        "resume": resume,
        "remove": remove,
    }
    if not words or words[0] not in commands:
        raise Fail(1, f"Unknown command\n  dmsetup {' '.join(args)}")
    return commands[words[0]](host, words[1:], stdin)


def named(host: SimHost, name: str, operation: str) -> Mapped:
    """By name or /dev/mapper path."""
    device = host.maps.get(name.removeprefix("/dev/mapper/"))
    if device is None:
        raise Fail(1, f"device-mapper: {operation} ioctl on {name}  failed: {ENXIO}\nCommand failed.")
    return device


def table(host: SimHost, args: list[str], stdin: str) -> Result:
    if args == ["--inactive"]:
        loaded = [
            f"{name}: {line}\n"
            for name, device in sorted(host.maps.items())
            for line in [segment.line() for segment in device.loaded or ()] or [""]
        ]
        return Result(0, "".join(loaded) or "No devices found\n")
    if args:
        device = host.maps.get(args[0].removeprefix("/dev/mapper/"))
        if device is None:
            raise Fail(1, f"Device {args[0]} not found\nCommand failed.")
        return Result(0, "".join(f"{segment.line()}\n" for segment in device.table))
    lines = [
        f"{name}: {segment.line()}\n"
        for name, device in sorted(host.maps.items())
        for segment in device.table
    ]
    return Result(0, "".join(lines) or "No devices found\n")


def info(host: SimHost, args: list[str], stdin: str) -> Result:
    """Columns only, and of them only those that are asked for here."""
    if args[:-1] != ["-c", "--noheadings", "--separator", ":", "-o"] or args[-1] not in COLUMNS:
        raise Fail(3, f"Unrecognised field: {' '.join(args)}\nCommand failed.")
    tell = COLUMNS[args[-1]]
    lines = [f"{name}:{tell(device)}\n" for name, device in sorted(host.maps.items())]
    return Result(0, "".join(lines) or "No devices found\n")


COLUMNS: dict[str, Callable[[Mapped], str]] = {
    "name,suspended": lambda device: "Suspended" if device.suspended else "Active",
    "name,major,minor": lambda device: device.number,
}


def parse(host: SimHost, text: str) -> tuple[Segment, ...]:
    segments = []
    for line in filter(str.strip, text.splitlines()):
        words = line.split()
        try:
            start, length = int(words[0]) * SECTOR, int(words[1]) * SECTOR
            if words[2] == "error":
                segments.append(Segment(start, length, None, 0))
                continue
            if words[2] != "linear":
                raise Fail(
                    1, f"device-mapper: reload ioctl failed: Invalid argument\nCommand failed. ({line})"
                )
            segments.append(Segment(start, length, lower(host, words[3]), int(words[4]) * SECTOR))
        except (IndexError, ValueError) as error:
            raise Fail(1, "Invalid format on line 1 of table on stdin\nCommand failed.") from error
    return tuple(segments)


def lower(host: SimHost, word: str) -> BlockDevice:
    for device in host.block_devices():
        if word in (device.number, host.node_path(device)):
            break
    else:
        try:
            device, _ = host.device_at(word)
        except Exception as error:
            raise Fail(
                1, f"device-mapper: reload ioctl on {word} failed: {ENXIO}\nCommand failed."
            ) from error
    try:
        device.check_open(write=True)
    except IOFault as error:
        raise Fail(1, "device-mapper: reload ioctl failed: Read-only file system\nCommand failed.") from error
    if device.claim not in (None, "dm"):
        raise Fail(1, "device-mapper: reload ioctl failed: Device or resource busy\nCommand failed.")
    return device


def create(host: SimHost, args: list[str], stdin: str) -> Result:
    name = args[0]
    if name in host.maps:
        raise Fail(
            1, f"device-mapper: create ioctl on {name}  failed: Device or resource busy\nCommand failed."
        )
    given = args[args.index("--table") + 1] if "--table" in args else stdin
    host.add_map(name, parse(host, given))
    return Result()


def load(host: SimHost, args: list[str], stdin: str) -> Result:
    device = named(host, args[0], "reload")
    given = args[args.index("--table") + 1] if "--table" in args else stdin
    host.load_table(device, parse(host, given))
    return Result()


def clear(host: SimHost, args: list[str], stdin: str) -> Result:
    host.load_table(named(host, args[0], "clear"), None)
    return Result()


def suspend(host: SimHost, args: list[str], stdin: str) -> Result:
    named(host, args[0], "suspend").suspended = True
    return Result()


def resume(host: SimHost, args: list[str], stdin: str) -> Result:
    """One after the other, up to the first that is not there."""
    for name in args:
        device = named(host, name, "resume")
        if device.loaded is not None:
            host.set_table(device, device.loaded)
            host.load_table(device, None)
        device.suspended = False
    return Result()


def remove(host: SimHost, args: list[str], stdin: str) -> Result:
    words = [arg for arg in args if not arg.startswith("-")]
    device = named(host, words[0], "remove")
    if device.opens:
        raise Fail(
            1, f"device-mapper: remove ioctl on {words[0]}  failed: Device or resource busy\nCommand failed."
        )
    host.remove_map(device)
    return Result()
