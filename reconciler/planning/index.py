"""What all hosts have said, by domain: made once a plan, so that a domain costs a few look-ups. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.facts import DomainConfig, DomainSeen, View
from reconciler.model.names import kept_tag, whole

KEPT = kept_tag("")
TAG = re.compile(r"xr\.move\.(.+)-[0-9]+", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """A domain on a host."""

    host: str
    seen: DomainSeen
    config: DomainConfig | None


@dataclass(frozen=True)
class Left:
    """What moves have left of a domain on one host, in words."""

    images: list[str] = field(default_factory=list)
    drbd: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Index:
    """Lists are in the order of hosts. A host is silent that could not say which domains it has."""

    views: Mapping[str, View]
    silent: tuple[str, ...]
    found: Mapping[str, list[Found]]
    halves: Mapping[str, list[str]]
    configs_on: Mapping[str, list[str]]
    by_uuid: Mapping[str, list[tuple[str, str]]]
    """UUID -> name and host of every domain that has it."""
    left: Mapping[str, Mapping[str, Left]]
    """Domain -> host -> what is left there."""
    saved_on: Mapping[str, list[str]]
    """Domain -> the hosts that have an image of it from a shutdown."""
    kept: Mapping[str, Mapping[str, list[str]]]
    """Domain -> host -> the volumes that are kept there for a mirror of it, and nobody has open."""


def index(views: Mapping[str, View]) -> Index:
    """Read every fact once."""
    ordered = sorted(views.items())
    silent = [host for host, view in ordered if not (view.knows(xl.DOMAINS) and view.knows(xl.CONFIGS))]
    found: dict[str, list[Found]] = defaultdict(list)
    halves: dict[str, list[str]] = defaultdict(list)
    configs_on: dict[str, list[str]] = defaultdict(list)
    by_uuid: dict[str, list[tuple[str, str]]] = defaultdict(list)
    saved_on: dict[str, list[str]] = defaultdict(list)
    kept: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    left: dict[str, dict[str, Left]] = defaultdict(lambda: defaultdict(Left))
    for host, view in ordered:
        if view.knows(xl.DOMAINS) and view.knows(xl.CONFIGS):
            configs = {config.domid: config for config in view.get(xl.CONFIGS)}
            for seen in view.get(xl.DOMAINS):
                found[seen.name].append(Found(host, seen, configs.get(seen.domid)))
                if whole(seen.name) != seen.name:
                    halves[whole(seen.name)].append(f"{seen.name} on {host}")
            if view.knows(files.CONFIG_FILES):
                for config_file in view.get(files.CONFIG_FILES).configs:
                    configs_on[_stem(config_file, ".cfg")].append(host)
        if view.knows(xl.CONFIGS):
            for config in view.get(xl.CONFIGS):
                by_uuid[config.uuid].append((config.name, host))
        if view.knows(files.SAVED_AT_SHUTDOWN):
            for path in view.get(files.SAVED_AT_SHUTDOWN):
                saved_on[path.removeprefix(f"{files.SAVE_DIR}/")].append(host)
        for volume in view.get(lvm.VOLUMES) if view.knows(lvm.VOLUMES) else ():
            for tag in () if volume.is_open else volume.tags:
                if tag.startswith(KEPT):
                    kept[tag.removeprefix(KEPT)][host].append(volume.path)
        for domain, text in _images(view):
            left[domain][host].images.append(text)
        for domain, text in _drbd(view):
            left[domain][host].drbd.append(text)
    return Index(views, tuple(silent), found, halves, configs_on, by_uuid, left, saved_on, kept)


def _stem(path: str, suffix: str) -> str:
    """The name of a file without its folder and suffix."""
    return path.rsplit("/", 1)[1].removesuffix(suffix)


def _images(view: View) -> Iterator[tuple[str, str]]:
    if view.knows(files.IMAGES):
        images = view.get(files.IMAGES)
        for path in sorted(images):
            yield path.removeprefix(f"{files.STATE}/images/").partition("/")[0], f"the saved image {path}"


def _drbd(view: View) -> Iterator[tuple[str, str]]:
    if view.knows(drbd.RESOURCES):
        for resource in view.get(drbd.RESOURCES):
            if resource.name.startswith("xr-"):
                text = f"DRBD resource {resource.name} ({resource.role.value})"
                yield resource.name.removeprefix("xr-"), text
    if view.knows(files.RESOURCE_FILES):
        for path in view.get(files.RESOURCE_FILES):
            yield _stem(path, ".res").removeprefix("xr-"), path
    if view.knows(lvm.VOLUMES):
        for volume in view.get(lvm.VOLUMES):
            for tag in sorted(volume.tags):
                if domain := TAG.fullmatch(tag):
                    yield domain[1], f"{volume.path} with the tag {tag}"
