"""Which names may be used: the only gate between documents and argv."""

from __future__ import annotations

import re

DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}")
HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
VOLUME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,99}")
INCOMING = "--incoming"
SUFFIXES = (INCOMING, "--migratedaway")
"""What `xl migrate` adds to the name of a copy that is being received, and of one that has left."""
METADATA_SUFFIX = "-drbdmd"
LOWER_PREFIX = "xr-"


def mapped(group: str, volume: str) -> str:
    """The name that LVM gives a volume in device-mapper."""
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def is_domain(name: str) -> bool:
    """A domain name this tool will handle; the suffixes `xl migrate` uses for halves of a domain are not."""
    return DOMAIN.fullmatch(name) is not None and not name.endswith(SUFFIXES)


def whole(name: str) -> str:
    """The domain that a half belongs to, or the name itself."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def is_host(name: str) -> bool:
    """A host name or a numeric address without a leading dash, blank or shell character."""
    return len(name) <= 253 and HOST.fullmatch(name) is not None


def is_volume(name: str) -> bool:
    """A logical volume name that LVM and this tool's suffixes leave room for."""
    return VOLUME.fullmatch(name) is not None and name not in {".", ".."}


def kept_tag(domain: str) -> str:
    """The tag of volumes that a domain has left, kept for a mirror of it."""
    return f"xr.kept.{domain}"
