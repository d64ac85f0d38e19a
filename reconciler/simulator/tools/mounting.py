"""mkfs.ext4, mount, umount, and tar into a mounted file system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import Directory, File, FileError
from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.storage import IOFault

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

SUPERBLOCK = 1024


@dataclass(frozen=True)
class Ext4:
    """A file system on a device: which archives were unpacked into it."""

    unpacked: tuple[str, ...] = ()


def mkfs(host: SimHost, args: list[str], stdin: str) -> Steps:
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.5
    try:
        device = host.device_at(words[0])[0]
        device.check_open(write=True)
        if device.claim or any(opener.startswith("mount") for opener in device.opens):
            raise Fail(1, f"{words[0]} is apparently in use by the system; will not make a filesystem here!")
        device.write(SUPERBLOCK, Ext4())
    except (FileError, IOFault) as error:
        raise Fail(1, f"mkfs.ext4: {error} while setting up superblock") from error
    return Result()


def mount(host: SimHost, args: list[str], stdin: str) -> Steps:
    yield 0.05
    words = [arg for arg in args if not arg.startswith("-")]
    if len(words) != 2:
        raise Fail(1, "mount: bad usage")
    source, folder = words
    try:
        device = host.device_at(source)[0]
        if not isinstance(host.files.get(folder), Directory):
            raise FileError("mount point does not exist.")
        device.check_open(write=True)
        if device.claim:
            raise Fail(32, f"mount: {folder}: {source} already mounted or mount point busy.")
        if not isinstance(device.read(SUPERBLOCK), Ext4):
            raise Fail(32, f"mount: {folder}: wrong fs type, bad option, bad superblock on {source}.")
        device.open(f"mount {folder}")
    except (FileError, IOFault) as error:
        raise Fail(32, f"mount: {folder}: {error}") from error
    device.claim = f"mount {folder}"
    host.mounts[folder.rstrip("/")] = (source, device)
    return Result()


def umount(host: SimHost, args: list[str], stdin: str) -> Steps:
    yield 0.05
    folder = args[-1].rstrip("/")
    if folder not in host.mounts:
        raise Fail(32, f"umount: {args[-1]}: not mounted.")
    _, device = host.mounts.pop(folder)
    device.close(f"mount {folder}")
    device.claim = None
    return Result()


def tar(host: SimHost, args: list[str], stdin: str) -> Steps:
    """`tar -xf FILE -C DIR`; the archive's name is what the file system remembers."""
    if len(args) != 4 or args[0] != "-xf" or args[2] != "-C":
        yield 0.01
        raise Fail(2, f"tar: simulated version does not know: {' '.join(args)}")
    try:
        archive = host.files.get(args[1])
    except FileError as error:
        raise Fail(
            2, f"tar: {args[1]}: Cannot open: {error}\ntar: Error is not recoverable: exiting now"
        ) from error
    yield (archive.size if isinstance(archive, File) else 0) / 200e6 + 0.05
    mounted = host.mounts.get(args[3].rstrip("/"))
    if mounted is None:
        if not host.files.exists(args[3]):
            raise Fail(2, f"tar: {args[3]}: Cannot open: No such file or directory")
        return Result()
    device = mounted[1]
    found = device.read(SUPERBLOCK)
    before = found.unpacked if isinstance(found, Ext4) else ()
    device.write(SUPERBLOCK, Ext4((*before, args[1])))
    return Result()
