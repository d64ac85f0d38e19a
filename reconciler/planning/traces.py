"""What earlier moves and earlier lives of a domain have left on the hosts, when no journey knows of it. Pure.

The journal may have been wiped or restored. Then a frozen guest looks like one that is merely not running,
and a half-made copy like one that is in place: the traces on the hosts tell them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.facts import DomainState, View
from reconciler.planning.index import Found, Index

NO_JOURNEY = "no journey in the journal"
"""How a refusal says it; the report's advice looks for it."""


def traces(domain: str, seen: Index, found: Found | None) -> tuple[str, ...]:
    """What is left of a move, host by host, but for the DRBD that the domain plainly runs on.

    To be asked only for a domain without a journey under way.
    """
    left = []
    for host, parts in seen.left.get(domain, {}).items():
        here = found if found is not None and found.host == host else None
        rows = list(parts.images)
        if here is None or not runs_on_drbd(here, seen.views[host]):
            rows += parts.drbd
        if rows:
            left.append(f"{host} has {', '.join(rows)}")
    return tuple(left)


def runs_on_drbd(found: Found, view: View) -> bool:
    """Whether it runs with every disk on DRBD, as a move that went back leaves it."""
    if found.seen.state is not DomainState.RUNNING or not view.knows(xl.VBDS):
        return False
    disks = [vbd for vbd in view.get(xl.VBDS) if vbd.domid == found.seen.domid]
    return bool(disks) and all(vbd.major_minor and vbd.major_minor[0] == drbd.MAJOR for vbd in disks)


def untold(domain: str, left: tuple[str, ...], found: Found | None) -> str:
    """The refusal for a domain with traces of a move that the journal does not know."""
    state = f"is {found.seen.state.value} on {found.host}" if found else "is on no host that answered"
    text = f"{domain} {state}, and there is {NO_JOURNEY} for what a move has left: {'; '.join(left)}"
    if found is None and "the saved image" in text:
        return (
            f"{text}. It may be suspended in that image: do not start it anywhere, and remove nothing, "
            "before you have read docs/how-to/held.md#journal-lost"
        )
    return f"{text}. Nothing is touched; see docs/how-to/held.md#journal-lost"


def saved_notes(domain: str, seen: Index) -> tuple[str, ...]:
    """Images that xendomains kept of it at a shutdown: a boot would restore them over newer disks."""
    return tuple(
        f"{host}: {files.SAVE_DIR}/{domain} was saved at a shutdown and not restored; once you start "
        f"{domain} in another way, it is void: remove it before that"
        for host in seen.saved_on.get(domain, ())
    )


def kept_notes(domain: str, here: str, seen: Index) -> tuple[str, ...]:
    """Volumes that other hosts than that of the domain have kept for a mirror."""
    return tuple(
        f"{host} keeps {', '.join(paths)}, as {domain} left them, for a mirror; nothing uses them: remove "
        "them there once you need the room"
        for host, paths in seen.kept.get(domain, {}).items()
        if host != here
    )


def remains(domain: str, views: Mapping[str, View], others: Collection[str]) -> tuple[str, ...]:
    """Volumes, symlinks and files by which a domain that runs nowhere may exist all the same.

    Every host must be able to say: UnknownFact otherwise. A name is another's if a longer name fits it.
    """
    longer = [name for name in others if name.startswith(f"{domain}-")]

    def mine(name: str) -> bool:
        if any(name == other or name.startswith(f"{other}-") for other in longer):
            return False
        return name == domain or name.startswith(f"{domain}-")

    found = []
    for host, view in sorted(views.items()):
        rows = [volume.path for volume in view.get(lvm.VOLUMES) if mine(volume.name)]
        links = view.get(files.LINKS)
        rows += [path for path in sorted(links) if mine(path.rsplit("/", 1)[1])]
        configs = view.get(files.CONFIG_FILES)
        ends = (f"/{domain}.cfg",)
        rows += [path for path in sorted(configs.configs | configs.autostart) if path.endswith(ends)]
        rows += [path for path in view.get(files.SAVED_AT_SHUTDOWN) if path == f"{files.SAVE_DIR}/{domain}"]
        if rows:
            found.append(f"{host} has {', '.join(rows)}")
    return tuple(found)


def exists(domain: str, left: tuple[str, ...]) -> str:
    """The refusal to create a domain that a host still has."""
    return (
        f"{domain} runs nowhere, but {'; '.join(left)}; nothing is created, as it may be shut down there. "
        f"Start it there to have it moved, or, once it is surely not needed, rename or remove these"
    )


def twins(domain: str, uuid: str | None, seen: Index) -> tuple[str, ...]:
    """Domains of other names with the same uuid, on any host that said."""
    known = seen.by_uuid.get(uuid, ()) if uuid else ()
    return tuple(f"{name} on {host}" for name, host in known if name != domain)
