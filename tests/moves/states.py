"""What a host shows in the states that decide, and what a step makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.command import Command
from reconciler.model.facts import (
    Connection,
    DiskState,
    DomainSeen,
    DomainState,
    DrbdResource,
    DrbdVolume,
    Replication,
    Role,
    Vbd,
    View,
)
from reconciler.model.move import Direction, Order, Progress, Side
from reconciler.moves import look, recipe
from reconciler.moves.step import DONE, Mark, Step, Verdict, Views
from tests.moves.journeys import at, move, provision
from tests.planning.site import MIB, changed, empty, running, volume

ORDER = move()
TAG = frozenset({ORDER.tag})
MINORS = tuple(disk.minor for disk in ORDER.disks)


def step(name: str, order: Order = ORDER, direction: Direction = Direction.FORWARD) -> Step:
    return recipe.find(order, direction, name)


def shown(progress: Progress, source: View, target: View, order: Order = ORDER) -> Views:
    """What the step asked for and nothing else: no judgement may lean on what an earlier step has read."""
    looks = step(progress.step, order, progress.direction).looks(order, progress)
    names = {side: {query.name for query in queries} for side, queries in looks.items()}
    found = {
        side: View(
            view.host, {name: fact for name, fact in view.facts.items() if name in names.get(side, ())}
        )
        for side, view in ((Side.SOURCE, source), (Side.TARGET, target))
    }
    return Views(found)


def judge(
    progress: Progress, source: View | None = None, target: View | None = None, order: Order = ORDER
) -> Verdict:
    found = step(progress.step, order, progress.direction)
    return found.judge(order, progress, shown(progress, source or S, target or T, order))


def acts(progress: Progress, source: View, target: View, order: Order = ORDER) -> list[tuple[Side, Command]]:
    assert judge(progress, source, target, order).mark is Mark.READY
    views = shown(progress, source, target, order)
    actions = step(progress.step, order, progress.direction).act(order, progress, views)
    return [(action.side, command) for action in actions for command in action.commands]


def argv(progress: Progress, source: View, target: View, order: Order = ORDER) -> list[str]:
    return [" ".join(command.argv) for _, command in acts(progress, source, target, order)]


def res(role: Role = Role.PRIMARY, peer: Role = Role.SECONDARY, **changes: Any) -> DrbdResource:
    """Connected and in step, unless changed; `volume` changes both volumes."""
    first = DrbdVolume(
        0,
        MINORS[0],
        DiskState.UP_TO_DATE,
        DiskState.UP_TO_DATE,
        Replication.ESTABLISHED,
        512 * MIB,
        0,
        0,
        None,
    )
    second = replace(first, number=1, minor=MINORS[1], size_bytes=260 * MIB)
    of_volume = changes.pop("volume", {})
    volumes = tuple(replace(each, **of_volume) for each in (first, second))
    whole = DrbdResource(ORDER.resource, role, Connection.CONNECTED, peer, volumes)
    return replace(whole, **changes)


def with_res(view: View, *found: DrbdResource) -> View:
    return changed(view, drbd.RESOURCES, found)


def dom(state: DomainState = DomainState.RUNNING, cpu_s: float = 5.0) -> DomainSeen:
    return DomainSeen("web1", 3, 256, 1, state, cpu_s)


PAUSED = dom(DomainState.PAUSED, 0.0)


def has(view: View, found: DomainSeen | None, *, on: str = "volumes", joined: bool = False) -> View:
    """The domain is there with its disks on the volumes, on DRBD, or on something else."""
    numbers: dict[str, list[tuple[int, int]]] = {
        "volumes": [(253, 0), (253, 1)] if view.host == "xen1" else [(253, 10), (253, 11)],
        "drbd": [(147, minor) for minor in MINORS],
        "else": [(8, 0), (8, 1)],
    }
    vbds = tuple(
        Vbd(3, disk.device, pair, joined) for disk, pair in zip(ORDER.disks, numbers[on], strict=True)
    )
    view = changed(view, xl.DOMAINS, (found,) if found else ())
    return changed(view, xl.VBDS, vbds if found else ())


AFRESH = ["rm -f /var/lib/xen/save/web1", "sync -f /var/lib", "xl create -p /etc/xen/web1.cfg"]
"""An image that a shutdown saved must be gone before the domain runs on without it."""


def links(view: View, to: str) -> View:
    side = Side.SOURCE if view.host == "xen1" else Side.TARGET
    where = {
        d.link: d.drbd if to == "drbd" else d.backing(side) if to == "volumes" else to for d in ORDER.disks
    }
    return changed(view, files.LINKS, where)


def images(view: View, **sizes: int) -> View:
    return changed(
        view,
        files.IMAGES,
        {f"{look.image(ORDER, k.split('_')[0])}{'.part' if '_' in k else ''}": v for k, v in sizes.items()},
    )


def rebooted(view: View) -> View:
    return changed(view, files.BOOT_ID, "another boot")


def held_volumes(view: View, *, tags: frozenset[str] = TAG, meta: bool = True) -> View:
    """The domain's volumes as this move makes them on the target."""
    rows = [("web1-root", 512, 10), ("web1-data", 260, 11)]
    if meta:
        rows += [("web1-root-drbdmd", 4, 12), ("web1-data-drbdmd", 4, 13)]
    found = [volume(name, mib, minor, "fast", tags=tags) for name, mib, minor in rows]
    return changed(view, lvm.VOLUMES, tuple(found))


FLUSH_VG, FLUSH_FAST = (" ".join(lvm.flush(group)[0].argv) for group in ("vg", "fast"))
CONFIGURED = changed(running(), files.text_of(ORDER.config_path), ORDER.config_text)
S, T = CONFIGURED, held_volumes(empty("xen2"))
METADATA = tuple(replace(found, group="vg") for found in T.get(lvm.VOLUMES) if "drbdmd" in found.name)
"""As the move makes it on the source."""
GONE = has(S, None)
RUNS_S = has(S, dom(), joined=True)
RUNS_T = has(T, dom(), joined=True)


def mark(progress: Progress, source: View = S, target: View = T, order: Order = ORDER) -> Mark:
    return judge(progress, source, target, order).mark


def why(progress: Progress, source: View = S, target: View = T, order: Order = ORDER) -> str:
    verdict = judge(progress, source, target, order)
    assert verdict.mark in (Mark.WRONG, Mark.WAIT), verdict
    return verdict.why


LARGER = (
    "xen1: /dev/vg/web1-data has 272629764 bytes now and had 272629760 when web1-1 was planned; "
    "DRBD on it has the old size"
)


def lvextended(view: View) -> View:
    """The second volume, as `lvextend` leaves it."""
    found = view.get(lvm.VOLUMES)
    return changed(
        view,
        lvm.VOLUMES,
        tuple(replace(v, size_bytes=v.size_bytes + 4) if v.name == "web1-data" else v for v in found),
    )


MIRRORED = with_res(has(S, dom(), on="drbd", joined=True), res())
BESIDE = with_res(has(T, None), res(Role.SECONDARY, Role.PRIMARY))
QUIET_S = with_res(GONE, res(Role.SECONDARY))
QUIET_T = with_res(has(T, None), res(Role.SECONDARY))
GO_S = with_res(GONE, res(Role.SECONDARY, connection=Connection.CONNECTING))
WRITTEN = (
    "/etc/drbd.d/xr-web1.res",
    "/etc/xen/web1.cfg",
    "/etc/xen/disks/web1-root",
    "/etc/xen/disks/web1-data",
)
RESTORED = ("cutover-suspend", "target-restore")


def again(progress: Progress, source: View, target: View, order: Order = ORDER) -> list[Command]:
    """What a step that finds its work done, but not known to last, does once more."""
    found = step(progress.step, order, progress.direction)
    assert found.lasting
    assert judge(progress, source, target, order) == DONE
    unsure = replace(progress, unsure=True)
    views = shown(progress, source, target, order)
    return [command for action in found.act(order, unsure, views) for command in action.commands]


NEW = provision()
NEW_LINK = NEW.disks[0].link
MADE = changed(
    changed(empty("xen2"), lvm.VOLUMES, (volume("web1-root", 512, 10, "fast", tags=frozenset({NEW.tag})),)),
    files.LINKS,
    {NEW_LINK: "/dev/fast/web1-root"},
)
NEW_TEXT = files.text_of(NEW.config_path)


def new(name: str, *tried: str, view: View = MADE, order: Order = NEW) -> Verdict:
    return judge(at(name, *tried), empty("xen1"), view, order)
