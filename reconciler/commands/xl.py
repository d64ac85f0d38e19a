"""Xen 4.17's `xl`, and the backend entries it leaves in xenstore."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from reconciler.commands import read
from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command, whole_lines
from reconciler.model.facts import DiskSeen, DomainConfig, DomainSeen, DomainState, Query, Vbd, XenInfo
from reconciler.model.placement import Transport

_FLAGS = {
    "p": DomainState.PAUSED,
    "s": DomainState.SHUTDOWN,
    "c": DomainState.CRASHED,
    "d": DomainState.DYING,
}
_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<id>\d{1,10})\s+(?P<mem>\d{1,15})\s+(?P<cpus>\d{1,10})\s+"
    r"(?P<state>[rbpscd-]{6})\s+(?P<time>\d{1,15}(?:\.\d{1,9})?)\s*$",
    re.ASCII,
)


_KEYS = frozenset({"dev", "physical-device", "state", "type"})
"""What a block backend's entry must show before anything is made of it; `type` is printed last."""


def _lines(answer: Answer, tool: str) -> list[str]:
    _succeeded(answer, tool)
    return whole_lines(answer, tool)


def _succeeded(answer: Answer, tool: str) -> None:
    if not answer.ok:
        raise ParseError(f"{tool} exited {answer.exit}: {answer.stderr.strip()[:200]}")


def parse_info(answer: Answer) -> XenInfo:
    """Read `xl info`."""
    values = {}
    for line in _lines(answer, "xl info"):
        key, colon, value = line.partition(":")
        if colon:
            values[key.strip()] = value.strip()
    try:
        return XenInfo(
            node=values["host"],
            version=values["xen_version"],
            free_memory_mb=int(values["free_memory"]),
            caps=tuple(values["xen_caps"].split()),
            hw_caps=values["hw_caps"],
        )
    except (KeyError, ValueError) as error:
        raise ParseError(f"xl info: {error} is missing or no number") from None


def parse_list(answer: Answer) -> tuple[DomainSeen, ...]:
    """Read `xl list`; dom0 is left out.

    dom0 is in every whole list. A list that ends right after a row looks whole: that the transport and
    the guard never cut an output at all is what keeps such a list from being taken for the truth.
    """
    lines = _lines(answer, "xl list")
    if not lines or not lines[0].startswith("Name"):
        raise ParseError("xl list: no heading; the output is cut or not xl's")
    seen = []
    dom0 = False
    for line in lines[1:]:
        row = _ROW.match(line)
        if row is None:
            raise ParseError(f"xl list: cannot read {line!r}")
        if row["id"] == "0":
            dom0 = True
            continue
        flags = [state for letter, state in _FLAGS.items() if letter in row["state"]]
        seen.append(
            DomainSeen(
                name=row["name"],
                domid=int(row["id"]),
                memory_mb=int(row["mem"]),
                vcpus=int(row["cpus"]),
                state=flags[-1] if flags else DomainState.RUNNING,
                cpu_s=float(row["time"]),
            )
        )
    if not dom0:
        raise ParseError("xl list: dom0 is not in the list; the output is cut or not xl's")
    return tuple(seen)


def parse_long_list(answer: Answer) -> tuple[DomainConfig, ...]:
    """Read `xl list -l`; dom0 is left out."""
    _succeeded(answer, "xl list -l")
    entries = read.document(answer.stdout, "xl list -l")
    if not isinstance(entries, list):
        raise ParseError("xl list -l: no list")
    rows = [read.Row(entry, "xl list -l") for entry in entries]
    if not any(row.whole("domid") == 0 for row in rows):
        raise ParseError("xl list -l: dom0 is not in the list")
    return tuple(_config(row) for row in rows if row.whole("domid") != 0)


def _config(row: read.Row) -> DomainConfig:
    config = row.row("config")
    about = config.row("c_info")
    return DomainConfig(
        name=about.text("name"),
        domid=row.whole("domid"),
        uuid=about.text("uuid"),
        kind=about.text("type"),
        max_memory_mb=config.row("b_info").whole("max_memkb", 0) // 1024,
        disks=tuple(
            DiskSeen(
                path=disk.text("pdev_path", ""),
                device=disk.text("vdev"),
                writable=disk.flag("readwrite"),
                backend=disk.text("backend", "phy"),
            )
            for disk in config.rows("disks", optional=True)
        ),
        target_memory_mb=config.row("b_info").whole("target_memkb", 0) // 1024,
    )


def parse_vbds(answer: Answer) -> tuple[Vbd, ...]:
    """Read `xenstore-ls -f /local/domain/0/backend/vbd`. No such path means no block backend.

    A backend that does not show all its keys, because the output is cut or because it is just being
    made or taken away, makes the whole fact unknown.
    """
    if answer.exit != 0:
        if "No such file" in answer.stderr or "couldn't open" in answer.stderr.lower():
            return ()
        _succeeded(answer, "xenstore-ls")
    nodes: dict[tuple[int, str], dict[str, str]] = {}
    for line in whole_lines(answer, "xenstore-ls"):
        match = re.match(r'/local/domain/0/backend/vbd/(\d+)/(\d+)/([a-z-]+) = "(.*)"\s*$', line)
        if match:
            nodes.setdefault((int(match[1]), match[2]), {})[match[3]] = match[4]
    for (domid, device), keys in nodes.items():
        if missing := sorted(_KEYS - keys.keys()):
            raise ParseError(f"xenstore-ls: disk {device} of domain {domid} shows no {', '.join(missing)}")
    return tuple(
        Vbd(
            domid=domid,
            device=keys["dev"],
            major_minor=_numbers(keys["physical-device"]),
            connected=keys["state"] not in _NEVER_CONNECTED,
            opened=keys["state"] in _OPENED,
        )
        for (domid, _), keys in sorted(nodes.items())
    )


_OPENED = ("2", "3", "4")
"""InitWait, Initialised, Connected. In the lab a restore onto a Secondary device left 5, Closing."""
_NEVER_CONNECTED = ("1", "2")
"""XenbusStateInitialising and XenbusStateInitWait: no front end has joined, so no request was ever made."""


def _numbers(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"([0-9a-f]+):([0-9a-f]+)", text)
    return (int(match[1], 16), int(match[2], 16)) if match else None


def cannot_be_restored(seen: DomainSeen, config: DomainConfig | None, host: str) -> str:
    """Why a saved image of the domain could not be restored; empty when nothing is known against it.

    An image holds all the memory the guest has, and xl restores it into a domain that may have the target
    and 1 MiB: more than that does not fit («Failed to populate physmap», seen in the lab), and by then the
    guest is gone. It comes about when `xl mem-set` asked for less and the guest has not given it back.
    """
    if config is None or not config.target_memory_mb or seen.memory_mb <= config.target_memory_mb + 1:
        return ""
    return (
        f"{seen.name} on {host} has {seen.memory_mb} MiB and is to have {config.target_memory_mb}: "
        f"a saved image of it could not be restored; wait until its balloon is there, or "
        f"`xl mem-set {seen.name} {seen.memory_mb}` on {host}"
    )


INFO: Query[XenInfo] = Query("Xen's facts", Command(("xl", "info")), parse_info)
DOMAINS: Query[tuple[DomainSeen, ...]] = Query("the list of domains", Command(("xl", "list")), parse_list)
CONFIGS: Query[tuple[DomainConfig, ...]] = Query(
    "the configuration of domains", Command(("xl", "list", "-l")), parse_long_list
)
VBDS: Query[tuple[Vbd, ...]] = Query(
    "the block backends", Command(("xenstore-ls", "-f", "/local/domain/0/backend/vbd")), parse_vbds
)


_SAVE = 'xl save "$1" "$2.part" && mv -T "$2.part" "$2"'


_SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 "
    "-o ServerAliveInterval=15 -c aes128-gcm@openssh.com,aes128-ctr"
)
_PROGRAMS = Path(__file__).parents[1] / "execution"
_PLAIN = (_PROGRAMS / "carrier.py").read_text(encoding="utf-8")
_CARRIERS = {
    Transport.SSH: "",
    Transport.TLS: _PLAIN.replace("TLS = False\n", "TLS = True\n", 1),
    Transport.TCP: _PLAIN,
}


def stream(
    domain: str,
    user: str,
    address: str,
    timeout_s: float,
    *,
    compressed: bool,
    transport: Transport = Transport.SSH,
) -> Command:
    """Suspend, send the memory into a paused copy on another host, and leave the domain paused here.

    When the receiver fails, xl resumes the guest here by itself (lab). `cat`, as a socket cannot be opened by
    its name. The names are arguments, not shell text. `execution/carrier.py` says how it goes past ssh.
    """
    packed, unpacked = (" zstd -1 -q |", "zstd -dqc") if compressed else ("", "cat")
    carrier = _CARRIERS[transport]
    begins, carry = ("carrier=$(cat); ", 'python3 -I -c "$carrier"') if carrier else ("", _SSH)
    line = (
        f'{begins}xl save -p "$1" /dev/stdout |{packed} {carry} "$2" '
        f"'{unpacked} | xl restore -p /dev/stdin'"
    )
    argv = ("sh", "-c", line, "stream", domain, f"{user}@{address}")
    return Command(argv, stdin=carrier, timeout_s=timeout_s, unit="stream")


_SENDER = (_PROGRAMS / "sender.py").read_text(encoding="utf-8")
_SUSPENDED = re.compile(r"^suspended for (\d{1,9}\.\d{3}) s$", re.MULTILINE | re.ASCII)


Then = tuple[Command, str | None]
"""A command, and all that it must print; None if that does not matter."""


def migrate(
    domain: str,
    user: str,
    address: str,
    timeout_s: float,
    then: Sequence[Then],
    *,
    disks: Sequence[str] = (),
    transport: Transport = Transport.SSH,
) -> Command:
    """Send the memory of the running domain, suspend it for the rest, and leave it paused on both hosts.

    `then` is run here once all is sent; if it all ends well that is answered for, though the copy's disks are
    still to be opened: those of these paths without Xen's script. `execution/sender.py` says how,
    `execution/carrier.py` what is otherwise when it does not go by ssh. If it fails before all is sent, xl
    resumes the guest here by itself (lab).
    """
    told = json.dumps([[command.argv, command.stdin, expected] for command, expected in then])
    argv = ("python3", "-I", "-", domain, f"{user}@{address}")
    program = _SENDER.replace('CARRIER = ""\n', f"CARRIER = {_CARRIERS[transport]!r}\n", 1)
    program = program.replace('THEN = "[]"\n', f"THEN = {told!r}\n", 1)
    if disks:
        proven = "|".join(shlex.quote(f"add {path}") for path in disks)
        program = program.replace("DISKS = \"''\"\n", f"DISKS = {proven!r}\n", 1)
    return Command(argv, stdin=program, timeout_s=timeout_s, unit="migrate", early=True)


def suspended_s(said: str) -> float | None:
    """How long a domain had been suspended when `migrate` was answered for, in seconds; None if not told."""
    found = _SUSPENDED.search(said)
    return float(found[1]) if found else None


def save(domain: str, image: str, timeout_s: float) -> Command:
    """Suspend, write the image and destroy. On failure xl resumes the guest by itself.

    The file gets its name only after xl has ended well, in the same process, so that a lost connection
    can't come between: an image that has its name is whole. The names are arguments, not shell text.
    """
    return Command(("sh", "-c", _SAVE, "save", domain, image), timeout_s=timeout_s, unit="save")


def restore_paused(image: str, timeout_s: float) -> Command:
    """Restore and leave paused, so that its devices can be checked before it runs.

    No unit of its own: it is in the freeze, and its monitor would keep the unit as long as the guest lives.
    """
    return Command(("xl", "restore", "-p", image), timeout_s=timeout_s)


def create_paused(config: str) -> Command:
    return Command(("xl", "create", "-p", config), timeout_s=180)


def unpause(domain: str) -> Command:
    return Command(("xl", "unpause", domain))


def destroy(domain: str) -> Command:
    return Command(("xl", "destroy", domain), timeout_s=120)
