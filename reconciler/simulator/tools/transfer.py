"""scp and ssh from one simulated host to another."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from reconciler.simulator.domain import Image
from reconciler.simulator.filesystem import File, FileError
from reconciler.simulator.process import Fail, Result, Steps

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

PIECES = 10
HANDSHAKE_S = 0.3


def target_of(host: SimHost, word: str) -> SimHost:
    """The host behind root@ADDRESS, or ssh's complaint."""
    user, _, address = word.rpartition("@")
    other = host.world.host_at(address)
    if other is None:
        raise Fail(255, f"ssh: Could not resolve hostname {address}: Name or service not known")
    if not host.world.reachable(host.replication_address, address):
        raise Fail(255, f"ssh: connect to host {address} port 22: Connection timed out")
    if user not in ("", "root") or other.name in host.unreachable_by_ssh:
        raise Fail(255, f"root@{address}: Permission denied (publickey).")
    return other


def words_of(args: list[str]) -> list[str]:
    """Arguments without options; -o takes one."""
    words, rest = [], iter(args)
    for arg in rest:
        if arg in ("-o", "-i", "-P", "-p", "-l", "-c"):
            next(rest, None)
        elif not arg.startswith("-"):
            words.append(arg)
    return words


def ssh(host: SimHost, args: list[str], stdin: str) -> Steps:
    words = words_of(args)
    yield HANDSHAKE_S
    if len(words) < 2:
        raise Fail(255, "usage: ssh [-o option] destination [command [argument ...]]")
    return (yield from target_of(host, words[0]).run(" ".join(words[1:]).split(), stdin))


def scp(host: SimHost, args: list[str], stdin: str) -> Steps:
    words = words_of(args)
    yield HANDSHAKE_S
    if len(words) != 2 or ":" not in words[1]:
        raise Fail(1, "usage: scp [-346ABCOpqRrsTv] source ... target")
    destination, _, path = words[1].partition(":")
    try:
        source = host.files.get(words[0])
    except FileError as error:
        raise Fail(1, f'scp: stat local "{words[0]}": {error}') from error
    if not isinstance(source, File):
        raise Fail(1, f'scp: local "{words[0]}" is not a regular file')
    try:
        other = target_of(host, destination)
    except Fail as fail:
        raise Fail(255, fail.result.stderr + "scp: Connection closed") from fail
    arrived = File(source.text, mode=source.mode)
    if isinstance(source.thing, Image):
        arrived.thing = copy.copy(source.thing)
        arrived.thing.guest = copy.copy(source.thing.guest)
        arrived.thing.complete = False
    else:
        arrived.thing, arrived.bulk = copy.copy(source.thing), 0
    yield from send(host, other, destination, path, source, arrived)
    if isinstance(source.thing, Image) and isinstance(arrived.thing, Image):
        arrived.thing.complete = source.thing.complete
    return Result()


def send(host: SimHost, other: SimHost, destination: str, path: str, source: File, arrived: File) -> Steps:
    address = destination.rpartition("@")[2]
    rate = host.world.rate(host.replication_address, address)
    try:
        other.files.put(path, arrived)
        for piece in range(1, PIECES + 1):
            yield source.size / rate / PIECES
            if not host.world.reachable(host.replication_address, address):
                raise Fail(255, "client_loop: send disconnect: Broken pipe\nscp: Connection closed")
            if source.bulk // PIECES > other.files.available:
                raise FileError("Failure")
            arrived.bulk = source.bulk * piece // PIECES
    except FileError as error:
        raise Fail(1, f'scp: dest open "{path}": {error}') from error
    return Result()
