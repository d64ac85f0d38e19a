"""From entries the schema allows to the model's values, with the checks a schema cannot make."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

from reconciler.model import names
from reconciler.model.placement import (
    Attach,
    Compression,
    Cutover,
    DiskSource,
    Domain,
    Host,
    NewDisk,
    Policy,
    Problem,
    Provision,
    Transport,
)
from reconciler.source.entries import Entry

Report = Callable[[Problem], None]

_NIL_UUID = "00000000-0000-0000-0000-000000000000"
# Names LVM keeps for itself: lvm(8), «VALID NAMES».
_LVM_OWN = re.compile(
    r"(?:snapshot|pvmove).*|.*_(?:cdata|cmeta|corig|cvol|iorig|imeta|mimage|mlog|pmspare|rimage|rmeta"
    r"|tdata|tmeta|vdata|vorigin|wcorig).*"
)


def host(entry: Entry, report: Report) -> Host:
    """The host. What is wrong with it goes to `report`; the value is then of no use."""
    data = entry.data
    made = Host(**{"name": entry.name, "replication_address": data["address"], **data})
    if not names.is_host(made.name):
        report(entry.problem("a name that cannot be used", made.name, "a host name"))
    numeric = not made.address.strip("0123456789.")
    if not names.is_host(made.address) or (numeric and not _is_ipv4(made.address)):
        report(entry.problem("cannot be used", made.address, "a host name or an IPv4 address", ("address",)))
    elif not _is_ipv4(made.replication_address):
        key = "replication_address"
        text = "no address for DRBD" if key in data else "no address for DRBD; give a replication_address too"
        allowed = "a numeric IPv4 address, DRBD looks up no names"
        at = key if key in data else "address"
        report(entry.problem(text, made.replication_address, allowed, (at,)))
    return made


def policy(data: dict[str, Any] | None, defaults: Policy) -> Policy:
    """The policy; what it does not say comes from the defaults."""
    given = {**vars(defaults), **(data or {})}
    named = {"attach": Attach, "cutover": Cutover, "compression": Compression, "transport": Transport}
    return Policy(**{**given, **{key: kind(given[key]) for key, kind in named.items()}})


def domain(entry: Entry, defaults: Policy, report: Report) -> Domain:
    """The domain. What is wrong with it goes to `report`; the value is then of no use."""
    data = entry.data
    uuid = data["uuid"].lower() if "uuid" in data else None
    if not names.is_domain(entry.name):
        allowed = f"a name that does not end in {' or '.join(names.SUFFIXES)}"
        report(entry.problem("a name that cannot be used", entry.name, allowed))
    if uuid == _NIL_UUID:
        report(entry.problem("this is the UUID of domain 0", uuid, "a domain's own", ("uuid",)))
    return Domain(
        name=entry.name,
        host=data["host"],
        uuid=uuid,
        policy=policy(data.get("policy"), defaults),
        provision=_provision(entry, data["provision"], report) if "provision" in data else None,
        where=entry.where,
    )


def volume(domain_name: str, disk_name: str) -> str:
    """The logical volume of a new disk."""
    return f"{domain_name}-{disk_name}"


def _provision(entry: Entry, data: dict[str, Any], report: Report) -> Provision:
    if ("kernel" in data) == ("bootloader" in data):
        both = "both are there" if "kernel" in data else "neither is there"
        report(
            entry.problem(f"{both}; a domain starts by one of them", "", "kernel or bootloader", _PROVISION)
        )
    if "ramdisk" in data and "kernel" not in data:
        report(entry.problem("of no use without a kernel", "", "", (*_PROVISION, "ramdisk")))
    disks = data["disks"]
    _once(entry, "name", (disk["name"] for disk in disks), report)
    _once(entry, "device", (disk["device"] for disk in disks), report)
    made = tuple(_disk(entry, index, disk, report) for index, disk in enumerate(disks))
    return Provision(**{**data, "disks": made, "vifs": tuple(data.get("vifs") or ())})


_PROVISION = ("provision",)


def _disk(entry: Entry, index: int, data: dict[str, Any], report: Report) -> NewDisk:
    at = (*_PROVISION, "disks", index)
    name = volume(entry.name, data["name"])
    if not names.is_volume(name) or name.endswith(names.METADATA_SUFFIX) or _LVM_OWN.fullmatch(name):
        allowed = f"at most 100 characters, not ending in {names.METADATA_SUFFIX}, none of LVM's own names"
        report(entry.problem("its volume cannot have this name", name, allowed, (*at, "name")))
    source = data.get("source", {})
    if "image" in source and "tarball" in source:
        report(entry.problem("image and tarball are both there", "", "one of them", (*at, "source")))
    if "filesystem" in source and "tarball" not in source:
        message = "of no use without a tarball"
        report(entry.problem(message, "", "", (*at, "source", "filesystem")))
    return NewDisk(**{**data, "source": DiskSource(**source)})


def _once(entry: Entry, key: str, values: Iterable[str], report: Report) -> None:
    """Report the disks that repeat what an earlier one has."""
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        at = (*_PROVISION, "disks", index, key)
        if value in first:
            line = entry.document.line((*entry.path, *_PROVISION, "disks", first[value], key))
            report(entry.problem(f"another disk has it, on line {line}", value, "each once", at))
        first.setdefault(value, index)


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
