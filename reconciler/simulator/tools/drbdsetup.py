"""`drbdsetup` for DRBD 8.4, and /proc/drbd: what the kernel says of its resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.simulator.drbd import Device, Refused, Resource
from reconciler.simulator.process import Fail, Result, Steps

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

EXIT_OF = {-2: 17}
SHOWN_NET = ("max-buffers", "cram-hmac-alg", "shared-secret", "csums-alg", "verify-alg")


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    yield 0.04
    command, rest = (args[0] if args else ""), args[1:]
    if command == "events2" and sorted(rest) == ["--now", "--statistics"]:
        return Result(0, events(host))
    if command == "status" and len(rest) <= 1:
        return Result(0, status(host, rest[0] if rest else "all"))
    if command == "role" and len(rest) == 1:
        device = by_minor(host, rest[0])
        peer = device.resource.peer
        return Result(0, f"{device.role}/{peer.devices[device.volume].role if peer else 'Unknown'}\n")
    if command == "cstate" and len(rest) == 1:
        return Result(0, f"{connection_word(by_minor(host, rest[0]))}\n")
    if command == "dstate" and len(rest) == 1:
        device = by_minor(host, rest[0])
        return Result(0, f"{device.disk}/{peer_disk(device)}\n")
    if command in ("pause-sync", "resume-sync") and len(rest) == 1:
        return pause_sync(host, rest[0], paused=command == "pause-sync")
    if command == "disk-options" and rest:
        return disk_options(host, rest[0], rest[1:])
    if command == "show":
        return Result(0, "".join(show(resource) for resource in host.drbd.values()))
    if command == "down" and len(rest) == 1:
        down_resource(host, rest[0])
        return Result()
    if command in ("primary", "secondary") and rest:
        return change_role(host, command, rest)
    raise Fail(20, f"drbdsetup: simulated version does not know: {' '.join(args)}")


def by_minor(host: SimHost, word: str) -> Device:
    number = word.removeprefix("/dev/drbd")
    device = host.minor(int(number)) if number.isdigit() else None
    if device is None:
        raise Fail(10, f"{word}: Failure: (127) Device minor not allocated")
    return device


def disk_options(host: SimHost, minor: str, options: list[str]) -> Result:
    """Sets what is given and leaves the rest; the model has options for a whole resource only."""
    try:
        device = by_minor(host, minor)
    except Fail:
        said = "Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor"
        raise Fail(10, f"{minor}: {said}") from None
    for option in options:
        key, _, value = option.removeprefix("--").partition("=")
        if key not in ("resync-rate", "c-max-rate", "c-fill-target"):
            raise Fail(20, f"drbdsetup: simulated version sets no {key}")
        device.resource.options[key] = value
    return Result()


def pause_sync(host: SimHost, minor: str, *, paused: bool) -> Result:
    """Every side has a word of its own on whether a volume's syncs are paused."""
    device = by_minor(host, minor)
    if device.paused == paused:
        code, word = (135, "set") if paused else (136, "cleared")
        raise Fail(10, f"{minor}: Failure: ({code}) Sync-pause flag is already {word}")
    device.paused = paused
    return Result()


def complain(name: str, refused: Refused) -> tuple[str, int]:
    """What drbdsetup prints for a kernel refusal, and its exit status."""
    if refused.code > 0:
        return f"{name}: Failure: ({refused.code}) {refused.text}", 10
    more = f"\nadditional info from kernel:\n{refused.more}" if refused.more else ""
    said = f"{name}: State change failed: ({refused.code}) {refused.text}{more}"
    return said, EXIT_OF.get(refused.code, 11)


def change_role(host: SimHost, command: str, rest: list[str]) -> Result:
    device = by_minor(host, next(word for word in rest if not word.startswith("-")))
    try:
        if command == "primary":
            device.resource.promote(device, "--force" in rest)
        else:
            device.resource.demote(device)
    except Refused as refused:
        said, code = complain(str(device.minor), refused)
        raise Fail(code, said) from refused
    return Result()


def down_resource(host: SimHost, name: str) -> None:
    resource = host.drbd.get(name)
    if resource is None:
        return
    try:
        resource.tear_down()
    except Refused as refused:
        said, code = complain(name, refused)
        raise Fail(code, said) from refused
    del host.drbd[name]


def peer_disk(device: Device) -> str:
    return device.peer.disk if device.peer else device.peer_disk_seen


def connection_word(device: Device) -> str:
    """The 8.4 name of the connection state of one device."""
    state = device.resource.connection
    syncs = state == "Connected" and device.replication.startswith("Sync")
    return device.replication_shown if syncs else state


def kib(amount: int) -> int:
    return amount // 1024


def events(host: SimHost) -> str:
    """`events2 --now --statistics`: every object once, sizes in KiB, then «exists -»."""
    groups: tuple[list[str], list[str], list[str], list[str]] = ([], [], [], [])
    for resource in host.drbd.values():
        peer, name = resource.peer, f"name:{resource.name}"
        groups[0].append(f"resource {name} role:{resource.role} suspended:no write-ordering:flush")
        link = f"{name} peer-node-id:0" + (" conn-name:peer" if resource.connection != "StandAlone" else "")
        state = {"WFConnection": "Connecting"}.get(resource.connection, resource.connection)
        groups[1].append(
            f"connection {link} connection:{state} role:{peer.role if peer else 'Unknown'} congested:no"
        )
        for device in resource.devices.values():
            groups[2].append(
                f"device {name} volume:{device.volume} minor:{device.minor} disk:{device.disk} "
                f"size:{kib(device.size)} read:{kib(device.was_read)} written:{kib(device.written)} "
                "al-writes:0 bm-writes:0 upper-pending:0 lower-pending:0 al-suspended:no blocked:no"
            )
            groups[3].append(
                f"peer-device {link} volume:{device.volume} replication:{device.replication_shown} "
                f"peer-disk:{peer_disk(device)} resync-suspended:{suspended(device)} "
                f"received:{kib(device.received)} "
                f"sent:{kib(device.sent)} out-of-sync:{kib(device.out_of_sync())} pending:0 unacked:0"
            )
    return "".join(f"exists {line}\n" for group in groups for line in group) + "exists -\n"


def suspended(device: Device) -> str:
    """By whose word syncs are paused."""
    words = ["user"] if device.paused else []
    if device.peer is not None and device.peer.paused:
        words.append("peer")
    return ",".join(words) or "no"


def status(host: SimHost, name: str) -> str:
    if name != "all" and name not in host.drbd:
        raise Fail(10, f"{name}: No such resource")
    out = []
    for resource in sorted(host.drbd.values(), key=lambda resource: resource.name):
        if name not in ("all", resource.name):
            continue
        devices = list(resource.devices.values())
        single = len(devices) == 1 and devices[0].volume == 0
        out.append(f"{resource.name} role:{resource.role}\n")
        for device in devices:
            out.append(f"  {'' if single else f'volume:{device.volume} '}disk:{device.disk}\n")
        if resource.peer:
            out.append(f"  peer role:{resource.peer.role}\n")
            for device in devices:
                out.append(f"    {'' if single else f'volume:{device.volume} '}{replication_text(device)}\n")
        else:
            state = {"WFConnection": "Connecting"}.get(resource.connection, resource.connection)
            out.append(f"  peer connection:{state}\n")
        out.append("\n")
    return "".join(out)


def replication_text(device: Device) -> str:
    if not device.replication.startswith("Sync"):
        return f"peer-disk:{peer_disk(device)}"
    done = 100 * (1 - device.out_of_sync() / device.size)
    return f"replication:{device.replication_shown} peer-disk:{peer_disk(device)} done:{done:.2f}"


def show(resource: Resource) -> str:
    """The kernel's configuration, as far as it differs from the defaults."""
    out = f"resource {resource.name} {{\n    options {{\n    }}\n"
    if resource.connection != "StandAlone":
        net = "".join(option(resource, key) for key in SHOWN_NET)
        address = f"        address\t\t\tipv4 {resource.remote};\n"
        out += f"    net {{\n{net}    }}\n    _remote_host {{\n{address}    }}\n"
    out += "    _this_host {\n"
    if resource.connection != "StandAlone":
        out += f"        address\t\t\tipv4 {resource.local};\n"
    for device in resource.devices.values():
        out += f"        volume {device.volume} {{\n            device\t\t\tminor {device.minor};\n"
        if device.lower is not None:
            out += f'            disk\t\t\t"{device.lower_path}";\n'
            out += f'            meta-disk\t\t\t"{device.lower_md_path}";\n'
        out += "        }\n"
    return out + "    }\n}\n"


def option(resource: Resource, key: str) -> str:
    value = resource.options.get(key)
    quoted = value if value is None or value.isdigit() else f'"{value}"'
    return f"        {key:<16}\t{quoted};\n" if value is not None else ""


def proc_drbd(host: SimHost) -> str:
    """/proc/drbd of 8.4.11."""
    out = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: B536C32A3EADA868561EFD9 \n"
    devices = [device for resource in host.drbd.values() for device in resource.devices.values()]
    out += "\n" if devices else ""
    for device in sorted(devices, key=lambda device: device.minor):
        peer = device.peer
        if device.lower is None and device.resource.connection == "StandAlone":
            out += f"{device.minor:2}: cs:Unconfigured\n"
            continue
        roles = f"{device.role}/{peer.role if peer else 'Unknown'}"
        states = f"ro:{roles} ds:{device.disk}/{peer_disk(device)}"
        flags = f"r-{'p' if peer and peer.paused else '-'}{'u' if device.paused else '-'}--"
        protocol = " " if device.resource.connection == "StandAlone" else "C"
        traffic = f"ns:{kib(device.sent)} nr:{kib(device.received)} dw:{kib(device.written)}"
        out += (
            f"{device.minor:2}: cs:{connection_word(device)} {states} {protocol} {flags}\n"
            f"    {traffic} dr:{kib(device.was_read)} al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f "
            f"oos:{kib(device.out_of_sync())}\n"
        )
        if device.replication_shown.startswith("Sync"):
            left, size = device.out_of_sync(), device.size
            done = 100 * (1 - left / size)
            bars = ("=" * int(done / 5.1) + ">").ljust(20, ".")
            out += f"\t[{bars}] sync'ed:{done:5.1f}% ({kib(left)}/{kib(size)})K\n"
            out += "\tfinish: 0:00:10 speed: 100,000 (100,000) K/sec\n"
    return out
