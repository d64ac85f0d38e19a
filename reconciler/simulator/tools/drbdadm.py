"""`drbdadm` of drbd-utils 9.22 over the 8.4 kernel module: reads resource files, acts on the kernel side."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.simulator import drbd
from reconciler.simulator.drbd import Device, Metadata, Refused, Resource
from reconciler.simulator.filesystem import FileError
from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.tools import drbdconf
from reconciler.simulator.tools.drbdconf import ResourceConf, VolumeConf
from reconciler.simulator.tools.drbdsetup import complain, down_resource

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

CONNECT_S = 0.4
CREATED = "initializing activity log\nWriting meta data...\nNew drbd meta data block successfully created.\n"


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    yield 0.12
    force = "--force" in args
    words = [arg for arg in args if not arg.startswith("-")]
    commands: dict[str, Callable[[SimHost, ResourceConf, bool], Result]] = {
        "create-md": create_md,
        "up": up,
        "adjust": adjust,
        "down": down,
        "primary": primary,
        "secondary": secondary,
        "connect": connect,
        "disconnect": disconnect,
        "role": role,
    }
    if not words or words[0] not in commands:
        raise Fail(1, f"drbdadm: Unknown command '{words[0] if words else ''}'\ntry 'drbdadm help'")
    known = drbdconf.load(host)
    if not known:
        raise Fail(1, "no resources defined!")
    if len(words) != 2 or words[1] not in known:
        raise Fail(1, f"'{words[1] if len(words) > 1 else ''}' not defined in your config (for this host).")
    return commands[words[0]](host, known[words[1]], force)


def device_of(host: SimHost, conf: ResourceConf, volume: VolumeConf, command: str) -> Device:
    resource = host.drbd.get(conf.name)
    if resource is None or volume.number not in resource.devices:
        said = "Device minor not allocated\nadditional info from kernel:\nunknown minor"
        raise Fail(10, failed(volume.minor, 127, said, f"{command} {volume.minor}"))
    return resource.devices[volume.number]


def setup_failed(said: str, what: object, code: int) -> str:
    return f"{said}\nCommand 'drbdsetup-84 {what}' terminated with exit code {code}"


def create_md(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    out = err = ""
    for volume in conf.volumes:
        try:
            device, _ = host.device_at(volume.meta)
        except FileError as error:
            command = f"drbdmeta {volume.minor} v08 {volume.meta} flex-external create-md"
            said = f"open({volume.meta}) failed: {error}\n\nopen(/dev) failed\nCommand '{command}"
            raise Fail(20, f"{said}' terminated with exit code 20", out) from error
        if device.claim:
            raise Fail(20, in_use(volume), out)
        if device.items(0, 1 << 20) and not force:
            raise Fail(
                40, f"Found some data on {volume.meta}\n\n ==> This might destroy existing data! <==\n", out
            )
        device.replace(0, min(device.size, 1 << 20), {0: Metadata()})
        out += CREATED
        err += "initializing bitmap (4 KB) to all zero\n"
    return Result(0, out, err)


def in_use(volume: VolumeConf) -> str:
    """drbdmeta's words when the metadata belongs to a device that is attached."""
    return (
        f"open({volume.meta}) failed: Device or resource busy\n\nExclusive open failed. Do it anyways?\n"
        "*** confirmation forced via --force option ***\n"
        f"# Output might be stale, since minor {volume.minor} is attached\n"
        f"Device '{volume.minor}' is configured!\nCommand 'drbdmeta {volume.minor} v08 {volume.meta} "
        "flex-external create-md --force' terminated with exit code 20"
    )


def ensure(host: SimHost, conf: ResourceConf) -> Resource:
    """new-resource and new-minor."""
    resource = host.drbd.setdefault(conf.name, Resource(conf.name))
    resource.options = dict(conf.options)
    for volume in conf.volumes:
        if volume.number in resource.devices:
            continue
        if host.minor(volume.minor):
            said = f"{volume.minor}: Failure: (161) Minor or volume exists already (delete it first)"
            raise Fail(1, setup_failed(said, f"new-minor {conf.name} {volume.minor} {volume.number}", 10))
        resource.devices[volume.number] = Device(
            drbd.MAJOR, volume.minor, 0, resource=resource, volume=volume.number
        )
    return resource


def attach(host: SimHost, resource: Resource, volume: VolumeConf) -> str:
    """Empty when it worked, else what the tools print; `up` goes on with the other volumes."""
    meta = f"drbdmeta {volume.minor} v08 {volume.meta} flex-external apply-al"
    try:
        lower, _ = host.device_at(volume.disk)
        lower_md, _ = host.device_at(volume.meta)
    except FileError as error:
        return f"open({volume.meta}) failed: {error}\nCommand '{meta}' terminated with exit code 20\n"
    device = resource.devices[volume.number]
    if device.lower is not None:
        return f"Device '{volume.minor}' is configured!\nCommand '{meta}' terminated with exit code 20\n"
    if not isinstance(lower_md.read(0), Metadata):
        return "No valid meta data found\n"
    try:
        device.attach(lower, lower_md)
        device.lower_path, device.lower_md_path = volume.disk, volume.meta
    except Refused as refused:
        command = f"attach {volume.minor} {volume.disk} {volume.meta} flexible"
        return failed(volume.minor, refused.code, refused.text, command)
    return ""


def failed(what: object, code: int, text: str, command: str) -> str:
    return setup_failed(f"{what}: Failure: ({code}) {text}", command, 10) + "\n"


def join(host: SimHost, conf: ResourceConf, resource: Resource) -> str:
    command = f"connect {conf.name} ipv4:{conf.local} ipv4:{conf.remote}"
    if resource.connection != "StandAlone":
        return failed(conf.name, 125, "Device has a net-config (use disconnect first)", command)
    others = [other for other in host.drbd.values() if other is not resource]
    if any(other.local == conf.local and other.connection != "StandAlone" for other in others):
        return failed(conf.name, 102, "Local address(port) already in use.", command)
    resource.local, resource.remote = conf.local, conf.remote
    resource.connection, resource.retry_at_s = "WFConnection", host.world.now_s + CONNECT_S
    return ""


def up(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    resource = ensure(host, conf)
    trouble = "".join(attach(host, resource, volume) for volume in conf.volumes)
    if not trouble:
        trouble = join(host, conf, resource)
    return Result(1 if trouble else 0, "", trouble)


def adjust(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    resource = ensure(host, conf)
    missing = [volume for volume in conf.volumes if resource.devices[volume.number].lower is None]
    trouble = "".join(attach(host, resource, volume) for volume in missing)
    if not trouble and resource.connection == "StandAlone":
        trouble = join(host, conf, resource)
    return Result(1 if trouble else 0, "", trouble)


def connect(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    if conf.name not in host.drbd:
        raise Fail(
            10, setup_failed(f"{conf.name}: Failure: (158) Unknown resource", f"connect {conf.name}", 10)
        )
    trouble = join(host, conf, host.drbd[conf.name])
    return Result(10 if trouble else 0, "", trouble)


def disconnect(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    resource = host.drbd.get(conf.name)
    if resource is None:
        said = "Invalid configuration request\nadditional info from kernel:\nunknown connection"
        raise Fail(10, failed("??", 162, said, f"disconnect ipv4:{conf.local} ipv4:{conf.remote}"))
    resource.drop_link("StandAlone", "WFConnection", host.world.now_s + CONNECT_S)
    return Result()


def down(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    try:
        down_resource(host, conf.name)
    except Fail as fail:
        code = fail.result.exit
        raise Fail(code, setup_failed(fail.result.stderr.rstrip("\n"), f"down {conf.name}", code)) from fail
    return Result()


def primary(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    for volume in conf.volumes:
        device = device_of(host, conf, volume, "primary")
        try:
            device.resource.promote(device, force)
        except Refused as refused:
            said, code = complain(str(volume.minor), refused)
            command = f"primary {volume.minor}{' --force' if force else ''}"
            raise Fail(code, setup_failed(said, command, code)) from refused
    return Result()


def secondary(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    for volume in conf.volumes:
        device = device_of(host, conf, volume, "secondary")
        try:
            device.resource.demote(device)
        except Refused as refused:
            said, code = complain(str(volume.minor), refused)
            raise Fail(code, setup_failed(said, f"secondary {volume.minor}", code)) from refused
    return Result()


def role(host: SimHost, conf: ResourceConf, force: bool) -> Result:
    out = ""
    for volume in conf.volumes:
        device = device_of(host, conf, volume, "role")
        peer = device.resource.peer
        out += f"{device.role}/{peer.devices[device.volume].role if peer else 'Unknown'}\n"
    return Result(0, out)
