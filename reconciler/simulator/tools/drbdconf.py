"""Resource files in /etc/drbd.d: nested sections and statements, and what one host needs of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import File
from reconciler.simulator.process import Fail

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

TOKEN = re.compile(r'#[^\n]*|\s+|"((?:[^"\\\n]|\\.)*)"|([{};])|([^\s{};"#]+)')
NET_OPTIONS = """protocol cram-hmac-alg shared-secret verify-alg csums-alg max-buffers after-sb-0pri
after-sb-1pri after-sb-2pri allow-two-primaries ping-int ping-timeout timeout connect-int
ko-count sndbuf-size rcvbuf-size rr-conflict data-integrity-alg use-rle max-epoch-size
tcp-cork always-asbp unplug-watermark"""
DISK_OPTIONS = """on-io-error resync-rate c-plan-ahead c-max-rate c-min-rate c-fill-target c-delay-target
fencing disk-flushes disk-barrier disk-drain md-flushes al-extents rs-discard-granularity
size resync-after disk-timeout read-balancing discard-zeroes-if-aligned"""


@dataclass
class Section:
    """`words { … }`; a statement is a section without a body."""

    words: list[str]
    body: list[Section] = field(default_factory=list)

    def one(self, key: str) -> list[str]:
        """The arguments of the statement `key`, [] when it is not there."""
        return next((each.words[1:] for each in self.body if each.words[0] == key), [])

    def all(self, key: str) -> list[Section]:
        return [each for each in self.body if each.words[0] == key]


@dataclass(frozen=True)
class VolumeConf:
    """One volume as one host has it."""

    number: int
    minor: int
    disk: str
    meta: str


@dataclass(frozen=True)
class ResourceConf:
    """What `drbdadm` on one host knows of a resource."""

    name: str
    local: str
    remote: str
    volumes: tuple[VolumeConf, ...]
    options: dict[str, str]


@lru_cache(64)
def parse(text: str, path: str) -> list[Section]:
    """The sections of a file, which nobody changes: the same text is read at every command."""
    stack, line, position = [Section([])], 1, 0
    words: list[str] = []
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise Fail(10, f"{path}:{line}: Parse error: unexpected character {text[position]!r}")
        quoted, mark, word = match.groups()
        if mark == "{" and words:
            section = Section(words)
            stack[-1].body.append(section)
            stack.append(section)
            words = []
        elif mark == ";" and words:
            stack[-1].body.append(Section(words))
            words = []
        elif mark == "}" and not words and len(stack) > 1:
            stack.pop()
        elif mark:
            raise Fail(10, f"{path}:{line}: Parse error: unexpected '{mark}'")
        elif quoted is not None or word:
            words.append(quoted if quoted is not None else word)
        line += match.group().count("\n")
        position = match.end()
    if words or len(stack) > 1:
        raise Fail(10, f"{path}:{line}: Parse error: unexpected end of file")
    return stack[0].body


def load(host: SimHost) -> dict[str, ResourceConf]:
    """Every resource this host has a part in."""
    found: dict[str, ResourceConf] = {}
    for path in host.files.children("/etc/drbd.d"):
        node = host.files.nodes[path]
        if not path.endswith(".res") or not isinstance(node, File):
            continue
        for section in parse(node.text, path):
            if section.words[0] != "resource" or len(section.words) != 2:
                raise Fail(10, f"{path}:1: Parse error: 'resource' expected, but got '{section.words[0]}'")
            conf = resource(host, section, path)
            if conf.name in found:
                raise Fail(10, f"{path}:1: conflicting use of resource-name '{conf.name}'")
            found[conf.name] = conf
    return found


def resource(host: SimHost, section: Section, path: str) -> ResourceConf:
    name = section.words[1]
    sides = {each.words[1]: each for each in section.all("on")}
    if host.name not in sides or len(sides) != 2:
        raise Fail(
            1, f"'{name}' ignored, since this host ({host.name}) is not mentioned with an 'on' keyword."
        )
    options: dict[str, str] = {}
    for group, known in (("net", NET_OPTIONS.split()), ("disk", DISK_OPTIONS.split())):
        for each in section.all(group):
            for statement in each.body:
                if statement.words[0] not in known:
                    raise Fail(10, f"{path}: Parse error: unknown {group} option '{statement.words[0]}'")
                if len(statement.words) != 2:
                    raise Fail(10, f"{path}: Parse error: expected one value for '{statement.words[0]}'")
                options[statement.words[0]] = statement.words[1]
    mine = sides.pop(host.name)
    (theirs,) = sides.values()
    volumes = tuple(volume(each, path) for each in mine.all("volume")) or (volume(mine, path),)
    return ResourceConf(name, address(mine, path), address(theirs, path), volumes, options)


def address(side: Section, path: str) -> str:
    words = side.one("address")
    if not words:
        raise Fail(10, f"{path}: in resource, on {side.words[1]}: IP not defined here.")
    return words[-1]


def volume(section: Section, path: str) -> VolumeConf:
    number = int(section.words[1]) if section.words[0] == "volume" else 0
    device, disk = section.one("device"), section.one("disk")
    meta = section.one("flexible-meta-disk") or section.one("meta-disk")
    if not device or not disk or not meta:
        raise Fail(10, f"{path}: volume {number}: device, disk and meta-disk are needed")
    minor = (
        int(device[device.index("minor") + 1])
        if "minor" in device
        else int(device[0].removeprefix("/dev/drbd"))
    )
    return VolumeConf(number, minor, disk[0], meta[0])
