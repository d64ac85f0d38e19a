"""Attach by pivot: what each step makes of the tables it sees, what it sends, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.facts import Connection, DiskState, DrbdResource, Replication, Role, View
from reconciler.model.move import Direction, Order, Phase, Progress, Side
from reconciler.moves import guards, look, pivot, recipe
from reconciler.moves.common import resource_text
from reconciler.moves.pivot import Under
from reconciler.moves.step import DONE, READY, Mark, Verdict, Views, in_doubt, wait, wrong
from tests.moves import states as steps
from tests.moves.journeys import at, back, pivot_move
from tests.moves.states import (
    BESIDE,
    FLUSH_VG,
    METADATA,
    MIRRORED,
    ORDER,
    PAUSED,
    QUIET_S,
    QUIET_T,
    RUNS_S,
    RUNS_T,
    S,
    T,
    dom,
    has,
    images,
    links,
    rebooted,
    res,
    with_res,
)
from tests.planning.site import changed

PIVOT = pivot_move()
ROOT, DATA = PIVOT.disks
Tables = Mapping[str, dm.Lines]
EXTENTS: Tables = {
    "vg-web1--root": ("0 1048576 linear 254:16 2048",),
    "vg-web1--data": ("0 532480 linear 254:16 4196352",),
}
DRBD: Tables = {
    "vg-web1--root": ("0 1048576 linear 147:100 0",),
    "vg-web1--data": ("0 532480 linear 147:101 0",),
}
NOTHING: Tables = {"vg-web1--root": ("0 1048576 error",), "vg-web1--data": ("0 532480 error",)}
OTHER: Tables = {
    "vg-web1--root": ("0 1048576 linear 147:99 0",),
    "vg-web1--data": ("0 532480 crypt aes 0 254:16 0",),
}
LVMS: Tables = {
    "vg-web1--root": ("0 1048576 linear 254:16 2048", "1048576 8192 linear 254:16 9437184"),
    "vg-web1--data": ("0 532480 snapshot-origin 254:7",),
}
"""After `lvextend` of one volume and a snapshot of the other."""
LOWER: Tables = {f"xr-{name}": lines for name, lines in EXTENTS.items()}
ELSE: Tables = dict.fromkeys(LOWER, ("0 1048576 linear 254:16 99",))
IN_STEP = (
    "xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB in-flight=0 "
    "1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
)


def only(disk: str, found: Tables) -> Tables:
    return {name: lines for name, lines in found.items() if name.endswith(f"-{disk}")}


def without(disk: str, found: Tables) -> Tables:
    return {name: lines for name, lines in found.items() if not name.endswith(f"-{disk}")}


def over(view: View, *found: Tables) -> View:
    """A host with these tables and no other; of two for the same device, the later one."""
    return changed(view, dm.TABLES, {name: lines for part in found for name, lines in part.items()})


def waiting(view: View, *disks: str) -> View:
    return changed(view, dm.SUSPENDED, frozenset(f"vg-web1--{disk}" for disk in disks))


def judge(progress: Progress, source: View, target: View = T, order: Order = PIVOT) -> Verdict:
    return steps.judge(progress, source, target, order)


def sent(progress: Progress, source: View, target: View = T, order: Order = PIVOT) -> list[str]:
    """What a step that is ready sends, all of it to the source."""
    found = steps.acts(progress, source, target, order)
    assert {side for side, _ in found} == {Side.SOURCE}
    return [" ".join(command.argv) + (f" < {command.stdin}" if command.stdin else "") for _, command in found]


def swap(disk: str, table: str) -> list[str]:
    name = f"vg-web1--{disk}"
    return [f"dmsetup load {name} < {table}\n", f"dmsetup resume --noudevsync --nolockfs {name}"]


ROOT_TO_DRBD = swap("root", "0 1048576 linear 147:100 0")
DATA_TO_DRBD = swap("data", "0 532480 linear 147:101 0")
ROOT_TO_EXTENTS = swap("root", "0 1048576 linear 254:16 2048")
DATA_TO_EXTENTS = swap("data", "0 532480 linear 254:16 4196352")
ROOT_TO_NOTHING = swap("root", "0 1048576 error")
DATA_TO_NOTHING = swap("data", "0 532480 error")

ON_DRBD = over(with_res(S, res()), DRBD, LOWER)
"""Pivoted: the volumes stand on DRBD, and DRBD on the lower devices."""


# -- the recipe -----------------------------------------------------------------------------------


def test_the_steps_that_only_a_pivot_has() -> None:
    def named(order: Order) -> dict[str, tuple[Phase, int]]:
        every = [step for way in Direction for step in recipe.steps(order, way)]
        return {step.name: (step.phase, step.max_attempts) for step in every}

    here, there = named(PIVOT), named(ORDER)
    assert {name: here[name] for name in here.keys() - there.keys()} == {
        "source-lower": (Phase.ATTACH, 2),
        "source-pivot": (Phase.ATTACH, 3),
        "source-flip": (Phase.ATTACH, 2),
        "back-source-plain": (Phase.BACK, 5),
    }
    assert there.keys() - here.keys() == {
        "attach-suspend",
        "attach-flip",
        "attach-restore",
        "attach-unpause",
        "attach-drop-image",
    }
    assert all(here[name] == there[name] for name in here.keys() & there.keys())
    forward = recipe.steps(PIVOT, Direction.FORWARD)
    assert [step.name for step in forward if step.freeze_begins] == ["cutover-suspend"]


SOURCE, TARGET = Side.SOURCE, Side.TARGET
RESTORED = ("target-drbd-up", "cutover-suspend", "target-restore")
LOOKS: dict[str, dict[Side, set[Any]]] = {
    "source-lower": {SOURCE: {dm.TABLES}},
    "source-drbd-up": {SOURCE: {drbd.RESOURCES, dm.TABLES}},
    "source-drbd-primary": {SOURCE: {drbd.RESOURCES, dm.TABLES}},
    "source-pivot": {SOURCE: {files.BOOT_ID, drbd.RESOURCES, dm.TABLES, dm.SUSPENDED}},
    "cutover-ready": {
        SOURCE: {
            files.BOOT_ID,
            drbd.RESOURCES,
            xl.DOMAINS,
            xl.VBDS,
            lvm.VOLUMES,
            dm.NUMBERS,
            dm.TABLES,
            files.text_of("/etc/xen/web1.cfg"),
            files.CONFIG_FILES,
        },
        TARGET: {files.BOOT_ID, drbd.RESOURCES, xl.DOMAINS, xl.INFO, files.SPACE},
    },
    "source-demote": {SOURCE: {drbd.RESOURCES, xl.DOMAINS, dm.TABLES}, TARGET: {drbd.RESOURCES}},
    "source-volumes-removed": {
        SOURCE: {lvm.VOLUMES, drbd.RESOURCES, xl.DOMAINS, dm.TABLES},
        TARGET: {xl.DOMAINS, xl.VBDS, dm.NUMBERS},
    },
    "back-source-plain": {
        SOURCE: {drbd.RESOURCES, dm.TABLES, dm.LOADED, dm.SUSPENDED},
        TARGET: {drbd.RESOURCES},
    },
    "back-source-leftovers": {
        SOURCE: {
            xl.DOMAINS,
            xl.VBDS,
            files.BOOT_ID,
            files.IMAGES,
            lvm.VOLUMES,
            files.RESOURCE_FILES,
            files.UNFINISHED,
            drbd.RESOURCES,
            dm.TABLES,
        }
    },
}
"""Of the steps that look at what device-mapper has done."""


def named(looks: dict[Side, set[Any]]) -> dict[Side, set[str]]:
    return {side: {query.name for query in queries} for side, queries in looks.items()}


def test_who_looks_at_device_mapper() -> None:
    def looking(order: Order) -> Iterator[tuple[str, dict[Side, set[str]]]]:
        for way, progress in ((Direction.FORWARD, at), (Direction.BACK, back)):
            for step in recipe.steps(order, way):
                looks = step.looks(order, progress(step.name, *RESTORED))
                asked = {side: set(queries) for side, queries in looks.items()}
                if any(asked & {dm.TABLES, dm.SUSPENDED} for asked in asked.values()):
                    yield step.name, named(asked)

    assert dict(looking(PIVOT)) == {name: named(looks) for name, looks in LOOKS.items()}
    assert dict(looking(ORDER)) == {}


def test_drbd_stands_on_the_lower_devices_of_the_source_alone() -> None:
    def disks(order: Order) -> list[str]:
        return [line.strip() for line in resource_text(order).splitlines() if " disk /" in line]

    there = ["disk /dev/fast/web1-root;", "disk /dev/fast/web1-data;"]
    assert disks(PIVOT) == [
        "disk /dev/mapper/xr-vg-web1--root;",
        "disk /dev/mapper/xr-vg-web1--data;",
        *there,
    ]
    assert disks(ORDER) == ["disk /dev/vg/web1-root;", "disk /dev/vg/web1-data;", *there]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (("0 1048576 linear 254:16 2048",), Under.EXTENTS),
        (("0 524288 linear 254:16 2048", "524288 524288 linear 254:32 0"), Under.EXTENTS),
        (("0 1048576 striped 2 128 254:16 0 254:32 0",), Under.EXTENTS),
        (("0 1048576 linear 147:100 0",), Under.DRBD),
        (("0 1048576 linear 147:101 0",), Under.OTHER),
        (("0 1048576 linear 147:100 8",), Under.OTHER),
        (("0 1048568 linear 147:100 0",), Under.OTHER),
        (("0 524288 linear 147:100 0", "524288 524288 linear 254:16 0"), Under.OTHER),
        (("0 1048576 error",), Under.NOTHING),
        (("0 1048568 error",), Under.OTHER),
        (("0 1048576 error", "1048576 8 error"), Under.OTHER),
        (("0 1048576 snapshot 254:16 254:32 P 8",), Under.OTHER),
        (("0 1048568 error", "1048568 8 linear 254:16 99"), Under.STAND_IN),
        (("0 8 error", "8 8 linear 254:16 99"), Under.STAND_IN),
        (("0 1048568 error", "1048568 8 linear 147:100 0"), Under.OTHER),
        (("0 1048568 error", "1048568 8 error"), Under.OTHER),
        (("0 8 linear 254:16 99", "8 1048568 error"), Under.OTHER),
        (("0 8 error", "8 8 error", "16 1048560 linear 254:16 99"), Under.OTHER),
        ((), Under.OTHER),
    ],
)
def test_what_a_volume_stands_on(lines: dm.Lines, found: Under) -> None:
    assert pivot.under(over(S, only("data", DRBD), {"vg-web1--root": lines}), ROOT) is found


def test_a_volume_that_is_not_active() -> None:
    assert pivot.under(over(S, only("data", EXTENTS), LOWER), ROOT) is Under.GONE


# -- attach ---------------------------------------------------------------------------------------


def test_the_lower_devices() -> None:
    progress = at("source-lower")
    assert sent(progress, over(S, EXTENTS)) == [
        "dmsetup create xr-vg-web1--root < 0 1048576 linear 254:16 2048\n",
        "dmsetup create xr-vg-web1--data < 0 532480 linear 254:16 4196352\n",
    ]
    assert sent(progress, over(S, EXTENTS, only("root", LOWER))) == [
        "dmsetup create xr-vg-web1--data < 0 532480 linear 254:16 4196352\n"
    ]
    assert sent(progress, over(S, EXTENTS, only("root", DRBD), only("root", LOWER))) == [
        "dmsetup create xr-vg-web1--data < 0 532480 linear 254:16 4196352\n"
    ]
    two = ("0 524288 linear 254:16 2048", "524288 524288 linear 254:32 0")
    assert sent(progress, over(S, EXTENTS, only("data", LOWER), {"vg-web1--root": two})) == [
        "dmsetup create xr-vg-web1--root < 0 524288 linear 254:16 2048\n524288 524288 linear 254:32 0\n"
    ]
    assert judge(progress, over(S, EXTENTS, LOWER)) == DONE
    assert judge(progress, over(S, DRBD, LOWER)) == DONE
    assert judge(progress, over(S, EXTENTS, LOWER, only("data", DRBD))) == DONE


GONE_ROOT = without("root", EXTENTS)
VOLUME = "xen1: /dev/vg/web1-root stands on"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [EXTENTS, only("root", ELSE)],
            "xen1: /dev/mapper/xr-vg-web1--root is there and does not stand on the same extents",
        ),
        (
            [EXTENTS, LOWER, only("data", ELSE)],
            "xen1: /dev/mapper/xr-vg-web1--data is there and does not stand on the same extents",
        ),
        ([EXTENTS, only("root", DRBD)], f"{VOLUME} DRBD"),
        ([EXTENTS, only("root", DRBD), only("data", LOWER)], f"{VOLUME} DRBD"),
        ([EXTENTS, only("data", DRBD)], "xen1: /dev/vg/web1-data stands on DRBD"),
        ([EXTENTS, only("root", NOTHING)], f"{VOLUME} a table that fails every read and write"),
        ([EXTENTS, only("root", OTHER)], f"{VOLUME} a table of somebody else"),
        ([GONE_ROOT], f"{VOLUME} no table: it is not active"),
        (
            [EXTENTS, only("root", NOTHING), LOWER],
            f"{VOLUME} a table that fails every read and write",
        ),
        (
            [EXTENTS, only("root", OTHER), LOWER],
            f"{VOLUME} a table of somebody else",
        ),
        (
            [GONE_ROOT, LOWER],
            f"{VOLUME} no table: it is not active",
        ),
    ],
)
def test_no_lower_device_beside_what_is_not_understood(found: list[Tables], said: str) -> None:
    assert judge(at("source-lower"), over(S, *found)) == wrong(said)


@pytest.mark.parametrize("found", [DRBD, NOTHING, OTHER, {}])
@pytest.mark.parametrize("disk", ["root", "data"])
def test_drbd_comes_up_beside_volumes_on_their_extents(found: Tables, disk: str) -> None:
    """On anything else the guest may write through a resource that is to be made anew."""
    progress = at("source-drbd-up")
    elsewhere = over(S, without(disk, EXTENTS), only(disk, found))
    assert [line.split()[0] for line in sent(progress, over(S, EXTENTS))] == [
        "dd",
        "dd",
        "drbdadm",
        "drbdadm",
    ]
    assert judge(progress, elsewhere) == wrong("xen1: the volumes of web1 do not stand on their extents")
    assert judge(progress, links(over(S, EXTENTS), "drbd")) == READY, "its symlinks do not matter"
    half = res(volume={"disk": DiskState.DISKLESS})
    assert sent(progress, with_res(over(S, EXTENTS), half))[0] == "drbdadm down xr-web1"
    assert judge(progress, with_res(elsewhere, half)) == wrong(f"xen1: {look.describe(half)}")
    for view in (over(S, EXTENTS), elsewhere):
        attaching = res(volume={"disk": DiskState.ATTACHING})
        assert judge(progress, with_res(view, attaching)) == wait(look.describe(attaching))
        assert judge(progress, with_res(view, res())) == DONE
    other = replace(res(), volumes=res().volumes[:1])
    assert judge(progress, with_res(over(S, EXTENTS), other)) == READY
    assert judge(progress, with_res(elsewhere, other)) == wrong(f"xen1: {look.describe(other)}")


def test_the_source_is_forced_primary_only_before_a_guest_writes_through_it() -> None:
    progress = at("source-drbd-primary")
    alone = res(Role.SECONDARY, Role.UNKNOWN, connection=Connection.CONNECTING)
    assert sent(progress, with_res(over(S, EXTENTS), alone)) == ["drbdadm primary --force xr-web1"]
    for found in (NOTHING, OTHER, {}):
        assert judge(progress, with_res(over(S, found), alone)) == READY
    for disk in ("root", "data"):
        used = with_res(over(S, EXTENTS, only(disk, DRBD)), alone)
        assert judge(progress, used) == wrong(
            "xen1: web1 runs on xr-web1 Secondary/Unknown Connecting 0:UpToDate/UpToDate Established "
            "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
        )
    assert judge(progress, ON_DRBD) == DONE
    on_it = with_res(over(has(S, dom(), on="drbd"), EXTENTS), alone)
    assert judge(progress, on_it) == READY, "what the guest has open does not tell: it is the volume"
    assert judge(progress, on_it, order=ORDER).mark is Mark.WRONG
    assert judge(progress, has(on_it, None), order=ORDER) == READY
    connected = res(Role.SECONDARY)
    assert judge(progress, with_res(over(S, EXTENTS), connected)) == wrong(
        f"xen1: a peer has connected before the source was made primary: {look.describe(connected)}"
    )
    assert judge(progress, over(S, EXTENTS)) == wrong("xen1: DRBD resource xr-web1 is gone")


def test_pivoting() -> None:
    progress = at("source-pivot")
    before = over(with_res(S, res()), EXTENTS, LOWER)
    assert sent(progress, before) == [*ROOT_TO_DRBD, *DATA_TO_DRBD]
    assert sent(progress, over(before, EXTENTS, LOWER, only("root", DRBD))) == DATA_TO_DRBD
    assert sent(progress, over(before, EXTENTS, LOWER, only("data", DRBD))) == ROOT_TO_DRBD
    assert judge(progress, ON_DRBD) == DONE
    assert judge(progress, with_res(ON_DRBD)) == DONE
    assert judge(progress, waiting(ON_DRBD, "other")) == DONE


def test_a_pivot_that_was_cut_off_leaves_no_volume_waiting() -> None:
    progress = at("source-pivot")
    before = over(with_res(S, res()), EXTENTS, LOWER)
    assert sent(progress, waiting(ON_DRBD, "root")) == ROOT_TO_DRBD
    assert sent(progress, waiting(ON_DRBD, "data")) == DATA_TO_DRBD
    assert sent(progress, waiting(before, "root")) == [*ROOT_TO_DRBD, *DATA_TO_DRBD]
    stuck = waiting(with_res(ON_DRBD, res(Role.SECONDARY)), "root")
    assert judge(progress, stuck) == wrong(f"xen1: {look.describe(res(Role.SECONDARY))}")


@pytest.mark.parametrize(
    "found",
    [
        res(Role.SECONDARY),
        res(Role.UNKNOWN),
        res(volume={"disk": DiskState.INCONSISTENT}),
        replace(res(), volumes=res().volumes[:1]),
    ],
)
def test_no_pivot_onto_a_drbd_that_can_not_be_written(found: DrbdResource) -> None:
    before = over(S, EXTENTS, LOWER)
    assert judge(at("source-pivot"), with_res(before, found)) == wrong(f"xen1: {look.describe(found)}")
    assert judge(at("source-pivot"), before) == wrong("xen1: no DRBD resource")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (NOTHING, "a table that fails every read and write"),
        (OTHER, "a table of somebody else"),
        ({}, "no table: it is not active"),
    ],
)
def test_no_pivot_of_a_volume_on_something_else(found: Tables, said: str) -> None:
    for disk in ("root", "data"):
        for others in (EXTENTS, DRBD):
            view = over(with_res(S, res()), without(disk, others), only(disk, found), LOWER)
            expected = wrong(f"xen1: /dev/vg/web1-{disk} stands on {said}")
            assert judge(at("source-pivot"), view) == expected


def test_a_boot_undoes_a_pivot() -> None:
    said = wrong("xen1 has rebooted since web1-1 was planned")
    for view in (ON_DRBD, over(with_res(S, res()), EXTENTS, LOWER), over(S, NOTHING)):
        assert judge(at("source-pivot"), rebooted(view)) == said


# -- cutover --------------------------------------------------------------------------------------

READY_S = over(with_res(RUNS_S, res()), DRBD, LOWER)
BESIDE_DRBD: tuple[tuple[Tables, str], ...] = (
    (EXTENTS, "its extents"),
    (OTHER, "a table of somebody else"),
    (LVMS, "a table that LVM has put there since"),
    ({}, "no table: it is not active"),
)
"""What a guest's writes may go to, past DRBD; or nobody knows."""


def test_ready_for_the_cutover_through_the_volumes() -> None:
    progress = at("cutover-ready")
    assert judge(progress, READY_S, BESIDE) == DONE
    assert judge(progress, over(READY_S, NOTHING), BESIDE) == DONE
    not_there = wrong("web1 does not run on DRBD on xen1")
    for view in (MIRRORED, has(READY_S, dom(), on="else"), has(READY_S, None)):
        assert judge(progress, over(view, DRBD, LOWER), BESIDE) == not_there
    assert judge(progress, READY_S, BESIDE, ORDER) == not_there, "suspended to attach, it has DRBD open"
    assert judge(progress, MIRRORED, BESIDE, ORDER) == DONE
    assert judge(progress, steps.lvextended(READY_S), BESIDE) == wrong(steps.LARGER)
    assert judge(progress, steps.lvextended(MIRRORED), BESIDE, ORDER) == DONE, "DRBD keeps its size"
    lost = res(volume={"disk": DiskState.DISKLESS})
    assert judge(progress, with_res(READY_S, lost), BESIDE) == in_doubt(
        f"a disk of web1 on xen1 has failed: {look.describe(lost)}"
    )


@pytest.mark.parametrize(("found", "said"), BESIDE_DRBD)
@pytest.mark.parametrize("disk", ["root", "data"])
def test_no_cutover_of_a_guest_that_writes_beside_drbd(found: Tables, said: str, disk: str) -> None:
    """`lvchange --refresh` puts the volume back on its extents, and the target gets nothing any more."""
    rest = without(disk, DRBD)
    expected = wrong(f"xen1: /dev/vg/web1-{disk} stands on {said}, so xen2 may lack writes")
    ready = over(READY_S, rest, only(disk, found), LOWER)
    assert judge(at("cutover-ready"), ready, BESIDE) == expected
    in_the_way = changed(BESIDE, xl.DOMAINS, (PAUSED,))
    assert judge(at("cutover-ready"), ready, in_the_way) == expected, "it comes first"
    stopped = has(ready, None)
    assert judge(at("source-demote"), stopped, BESIDE) == expected
    assert judge(at("source-demote"), with_res(stopped, *QUIET_S.get(drbd.RESOURCES)), QUIET_T) == expected
    with guards.without("on-drbd"):
        assert judge(at("cutover-ready"), ready, BESIDE) == DONE
        assert judge(at("source-demote"), stopped, BESIDE) == READY
    for progress in (at("cutover-ready"), at("source-demote")):
        view = MIRRORED if progress.step == "cutover-ready" else has(MIRRORED, None)
        assert judge(progress, over(view, rest, only(disk, found)), BESIDE, ORDER).mark is not Mark.WRONG


def test_the_sources_symlinks_are_flipped_under_the_running_domain() -> None:
    progress = at("source-flip")
    assert sent(progress, RUNS_S) == [
        "mkdir -p /etc/xen/disks",
        "ln -sfn /dev/drbd100 /etc/xen/disks/web1-root.xr-new",
        "mv -T /etc/xen/disks/web1-root.xr-new /etc/xen/disks/web1-root",
        "mkdir -p /etc/xen/disks",
        "ln -sfn /dev/drbd101 /etc/xen/disks/web1-data.xr-new",
        "mv -T /etc/xen/disks/web1-data.xr-new /etc/xen/disks/web1-data",
        "sync -f /etc/xen/disks",
    ]
    assert judge(progress, links(RUNS_S, "drbd")) == DONE
    half = dict(S.get(files.LINKS)) | {ROOT.link: ROOT.drbd}
    assert judge(progress, changed(RUNS_S, files.LINKS, half)) == READY
    assert judge(progress, links(RUNS_S, "/dev/x")) == wrong(
        "xen1: /etc/xen/disks/web1-root points to /dev/x, expected /dev/vg/web1-root or /dev/drbd100"
    )
    asked = steps.step("source-flip", PIVOT).looks(PIVOT, progress)
    assert asked == {Side.SOURCE: (files.LINKS,)}


def test_the_volumes_are_cut_off_before_the_source_is_demoted() -> None:
    progress = at("source-demote")
    still = has(READY_S, None)
    assert sent(progress, still, BESIDE) == [
        *ROOT_TO_NOTHING,
        *DATA_TO_NOTHING,
        "drbdadm secondary xr-web1",
    ]
    half = over(still, DRBD, LOWER, only("root", NOTHING))
    assert sent(progress, half, BESIDE) == [*DATA_TO_NOTHING, "drbdadm secondary xr-web1"]
    assert sent(progress, over(still, NOTHING, LOWER), BESIDE) == ["drbdadm secondary xr-web1"]
    assert sent(progress, still, BESIDE, ORDER) == ["drbdadm secondary xr-web1"]
    assert judge(progress, over(QUIET_S, NOTHING, LOWER), QUIET_T) == DONE
    assert judge(progress, over(QUIET_S, DRBD, LOWER), QUIET_T) == DONE
    assert judge(progress, READY_S, BESIDE) == wrong("web1 is still on xen1")
    gone = over(has(S, None), DRBD)
    said = f"source: no DRBD resource; target: {look.describe(res(Role.SECONDARY, Role.PRIMARY))}"
    assert judge(progress, gone, BESIDE) == wrong(said)


# -- settle ---------------------------------------------------------------------------------------


def test_the_lower_devices_go_before_the_volumes_under_them() -> None:
    progress = at("source-volumes-removed")
    both = changed(has(S, None), lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    lvs = [
        "lvremove -y vg/web1-root",
        "lvremove -y vg/web1-root-drbdmd",
        "lvremove -y vg/web1-data",
        "lvremove -y vg/web1-data-drbdmd",
    ]
    lower = ["dmsetup remove xr-vg-web1--root", "dmsetup remove xr-vg-web1--data"]
    settle = "udevadm settle --timeout=10"
    assert sent(progress, over(both, NOTHING, LOWER), RUNS_T) == [settle, *lower, *lvs, FLUSH_VG]
    assert sent(progress, over(both, EXTENTS, only("data", LOWER)), RUNS_T) == [
        settle,
        lower[1],
        *lvs,
        FLUSH_VG,
    ]
    assert sent(progress, over(both, EXTENTS), RUNS_T) == [settle, *lvs, FLUSH_VG]
    assert sent(progress, over(both, NOTHING, LOWER), RUNS_T, ORDER) == [settle, *lvs, FLUSH_VG]
    bare = changed(has(S, None), lvm.VOLUMES, ())
    assert judge(progress, over(bare), RUNS_T) == DONE
    for disk, command in zip(("root", "data"), lower, strict=True):
        left = over(bare, only(disk, LOWER))
        assert sent(progress, left, RUNS_T) == [settle, command, FLUSH_VG]
        held = with_res(left, res(Role.SECONDARY))
        assert judge(progress, held, RUNS_T) == wrong("xen1: DRBD still holds the volumes of web1")
        assert judge(progress, left, has(T, None)) == wrong(
            "web1 ran on xen2 and is not seen running there now; its disks there are the right ones, nothing "
            "of the source is removed before it runs again: «xl create /etc/xen/web1.cfg» on xen2"
        )
        assert judge(progress, left, RUNS_T, ORDER) == DONE


# -- going back -----------------------------------------------------------------------------------

PLAIN = "back-source-plain"
ALONE = with_res(ON_DRBD, res(connection=Connection.STANDALONE))
"""Pivoted, and nobody relies on what is written through DRBD."""


def test_coming_off_drbd() -> None:
    """First the connection goes; only once that is seen may the guest write past DRBD."""
    progress = back(PLAIN)
    for connection in Connection:
        view = with_res(ON_DRBD, res(connection=connection))
        expected = (
            [*ROOT_TO_EXTENTS, *DATA_TO_EXTENTS]
            if connection is Connection.STANDALONE
            else ["drbdadm disconnect xr-web1"]
        )
        assert sent(progress, view) == expected
    ((_, disconnect),) = steps.acts(progress, ON_DRBD, T, PIVOT)
    assert disconnect.timeout_s == 120
    for view in (with_res(ON_DRBD, res(connection=None)), with_res(ON_DRBD)):
        assert sent(progress, view) == [*ROOT_TO_EXTENTS, *DATA_TO_EXTENTS]


def test_coming_off_whatever_is_left() -> None:
    progress = back(PLAIN)
    half = over(ALONE, EXTENTS, LOWER, only("data", DRBD))
    assert sent(progress, half) == DATA_TO_EXTENTS
    assert sent(progress, over(ALONE, NOTHING, LOWER)) == [*ROOT_TO_EXTENTS, *DATA_TO_EXTENTS]
    assert sent(progress, over(ALONE, EXTENTS, LOWER, only("root", NOTHING))) == ROOT_TO_EXTENTS
    plain = over(ALONE, EXTENTS, LOWER)
    assert judge(progress, plain) == DONE
    assert judge(progress, over(with_res(S, res()), EXTENTS, LOWER)) == DONE, "connected or not"
    assert judge(progress, over(S, EXTENTS)) == DONE
    assert judge(progress, over(S)) == DONE, "a volume that is not active is on nothing"
    assert sent(progress, waiting(plain, "root")) == ROOT_TO_EXTENTS
    assert sent(progress, waiting(over(ALONE, EXTENTS), "data")) == DATA_TO_EXTENTS, "its own table will do"
    two = ("0 524288 linear 254:16 2048", "524288 524288 linear 254:32 0")
    assert sent(progress, over(ALONE, DRBD, LOWER, only("data", EXTENTS), {"xr-vg-web1--root": two})) == swap(
        "root", "\n".join(two)
    )
    assert sent(progress, waiting(over(ALONE, EXTENTS, ELSE), "root")) == ROOT_TO_EXTENTS, "its own is right"


def test_what_a_pivot_that_was_cut_short_has_loaded_is_forgotten() -> None:
    """It holds DRBD open, and anybody's resume would put it in use."""
    progress, plain = back(PLAIN), over(with_res(S, res()), EXTENTS, LOWER)
    begun = changed(plain, dm.LOADED, only("data", DRBD))
    assert sent(progress, begun) == ["dmsetup clear vg-web1--data"], "nobody writes through DRBD"
    half = changed(over(ALONE, EXTENTS, LOWER, only("root", DRBD)), dm.LOADED, only("data", DRBD))
    assert sent(progress, half) == ["dmsetup clear vg-web1--data", *ROOT_TO_EXTENTS]
    for view in (
        changed(plain, dm.LOADED, only("data", LVMS)),
        changed(plain, dm.LOADED, {"vg-web2--data": DRBD["vg-web1--data"]}),
    ):
        assert judge(progress, view) == DONE, "it is LVM's, or another domain's"
    assert sent(progress, changed(ALONE, dm.LOADED, DRBD)) == [*ROOT_TO_EXTENTS, *DATA_TO_EXTENTS]


def test_what_lvm_has_put_there_is_left_alone() -> None:
    """Then the guest is past DRBD already, and every write is in the volume's extents."""
    progress = back(PLAIN)
    for view in (over(ALONE, LVMS, LOWER), over(with_res(S, res()), LVMS, LOWER), over(S, LVMS)):
        assert judge(progress, view) == DONE
        assert judge(progress, waiting(view, "root", "data")) == DONE, "LVM resumes what it has suspended"
    half = over(ALONE, DRBD, LOWER, only("data", LVMS))
    assert sent(progress, half) == ROOT_TO_EXTENTS
    assert sent(progress, waiting(half, "data")) == ROOT_TO_EXTENTS


@pytest.mark.parametrize("step", ["source-lower", "source-pivot"])
def test_no_pivot_of_a_volume_that_lvm_has_changed(step: str) -> None:
    for disk in ("root", "data"):
        view = over(with_res(S, res()), without(disk, EXTENTS), only(disk, LVMS))
        expected = wrong(f"xen1: /dev/vg/web1-{disk} stands on a table that LVM has put there since")
        assert judge(at(step), view) == expected


def test_a_stranger_under_a_volume_is_left_alone() -> None:
    stand_in = dict.fromkeys(EXTENTS, ("0 8 error", "8 8 linear 254:16 99"))
    for found, words in (
        (OTHER, "a table of somebody else"),
        (stand_in, "what stands in for its extents until DRBD is taken down"),
    ):
        for disk in ("root", "data"):
            for others in (EXTENTS, DRBD):
                said = wrong(f"xen1: /dev/vg/web1-{disk} stands on {words}")
                view = over(ALONE, without(disk, others), only(disk, found), LOWER)
                assert judge(back(PLAIN), view) == said


@pytest.mark.parametrize("state", [DiskState.DISKLESS, DiskState.FAILED, DiskState.DETACHING])
def test_a_guest_that_lives_on_the_targets_disk_stays_on_drbd(state: DiskState) -> None:
    """Past DRBD it would see its disk as it was when that failed."""
    lost = res(volume={"disk": state})
    living = with_res(ON_DRBD, lost)
    expected = in_doubt(f"web1 has lost a disk on xen1 and lives on the target's: {look.describe(lost)}")
    assert judge(back(PLAIN), living) == expected
    newer = with_res(T, res())
    assert judge(back(PLAIN, "target-drbd-up"), living, newer) == expected, "it comes first"
    assert judge(back(PLAIN), over(living, EXTENTS, LOWER)) == DONE


def test_going_back_past_a_newer_copy_on_the_target() -> None:
    asked, silent = back(PLAIN, "target-drbd-up"), back(PLAIN)
    ahead = res(Role.SECONDARY, volume={"out_of_sync_kib": 8, "replication": Replication.OFF})
    for other in (res(), ahead):
        there = with_res(T, other)
        expected = in_doubt(f"xen2 may hold writes that the volumes on xen1 lack: {look.describe(other)}")
        assert judge(asked, ALONE, there) == expected
        bad = with_res(ON_DRBD, res(volume={"disk": DiskState.INCONSISTENT}))
        assert judge(asked, bad, there) == expected, "it comes first"
        assert judge(asked, over(ALONE, EXTENTS, LOWER), there) == DONE
        assert judge(silent, ALONE, there) == READY, "DRBD was never up there"
    assert judge(asked, ALONE, with_res(T, res(Role.SECONDARY, Role.PRIMARY))) == READY
    assert judge(asked, ALONE, T) == READY
    assert judge(asked, ALONE, View("xen2")) == READY, "going back does not wait for it"
    plain = steps.step(PLAIN, PIVOT, Direction.BACK)
    assert plain.judge(PIVOT, asked, Views({Side.SOURCE: ALONE})) == READY
    looks = steps.step(PLAIN, PIVOT, Direction.BACK).looks(PIVOT, silent)
    assert looks == {Side.SOURCE: (drbd.RESOURCES, dm.TABLES, dm.LOADED, dm.SUSPENDED)}


def test_after_a_reboot_the_target_is_asked_before_the_symlinks_lead_somewhere() -> None:
    """The volumes are plain again then, but the newer copy may be the target's: its disk had failed."""
    flip, ahead = back("back-source-flip", "target-drbd-up"), with_res(T, res())
    view = links(rebooted(has(S, None)), "drbd")
    expected = in_doubt(f"xen2 may hold writes that the volumes on xen1 lack: {look.describe(res())}")
    assert judge(flip, view, ahead) == expected
    assert judge(flip, view, T) == READY


def test_going_back_past_a_disk_that_is_not_good() -> None:
    for found in (res(volume={"disk": DiskState.INCONSISTENT}), replace(res(), volumes=res().volumes[:1])):
        bad = with_res(ON_DRBD, found)
        said = wrong(f"the source's own disk is not good: {look.describe(found)}")
        assert judge(back(PLAIN), bad) == said
        assert judge(back(PLAIN), over(bad, DRBD)) == said, "it comes first"
        assert judge(back(PLAIN), over(bad, EXTENTS)) == DONE
    assert look.describe(res()) == IN_STEP


def test_extents_that_nothing_leads_to_any_more() -> None:
    for found, words in ((DRBD, "DRBD"), (NOTHING, "a table that fails every read and write")):
        for disk in ("root", "data"):
            lower = f"/dev/mapper/xr-vg-web1--{disk}"
            said = f"xen1: /dev/vg/web1-{disk} stands on {words}, and {lower} does not tell its extents"
            assert judge(back(PLAIN), over(ALONE, found, without(disk, LOWER))) == wrong(said)
            short = {f"xr-vg-web1--{disk}": ("0 8 linear 254:16 2048",)}
            assert judge(back(PLAIN), over(ALONE, found, LOWER, short)) == wrong(said), "not all of them"
    without_one = over(ALONE, DRBD, only("root", LOWER), only("data", EXTENTS))
    assert sent(back(PLAIN), without_one) == ROOT_TO_EXTENTS


def test_after_a_pivot_home_is_on_the_volumes() -> None:
    """Nothing on the source ever opens DRBD: what does was started by the wrong symlinks."""
    wrong_destroyed = back("back-source-wrong-destroyed", "cutover-suspend")
    on_drbd = images(has(S, PAUSED, on="drbd"), cutover=9)
    assert sent(wrong_destroyed, on_drbd) == ["xl destroy web1"]
    assert judge(wrong_destroyed, on_drbd, order=ORDER) == DONE
    assert judge(wrong_destroyed, has(S, PAUSED)) == DONE
    restore = back("back-source-restore", "cutover-suspend")
    assert judge(restore, on_drbd) == wrong("web1 on xen1 has wrong devices open: xvda=147:100, xvdb=147:101")
    assert judge(restore, on_drbd, order=ORDER) == DONE
    assert judge(restore, has(S, PAUSED)) == DONE
    gone = images(has(S, None), cutover=9)
    assert sent(restore, gone) == [f"xl restore -p {look.image(PIVOT, 'cutover')}"]
    assert sent(restore, rebooted(gone))[-1] == "xl create -p /etc/xen/web1.cfg"


def test_drbd_and_the_symlinks_go_whatever_the_domain_has_open() -> None:
    for view in (MIRRORED, with_res(RUNS_S, res())):
        down = ["udevadm settle --timeout=10", "drbdadm down xr-web1"]
        assert sent(back("back-source-drbd-down"), view) == down
        flipped = links(view, "drbd")
        assert "ln -sfn /dev/vg/web1-root /etc/xen/disks/web1-root.xr-new" in sent(
            back("back-source-flip"), flipped
        )
    for name in ("back-source-drbd-down", "back-source-flip"):
        assert judge(back(name), links(MIRRORED, "drbd"), order=ORDER) == DONE


def test_the_lower_devices_go_on_the_way_back() -> None:
    progress = back("back-source-leftovers")
    lower = ["dmsetup remove xr-vg-web1--root", "dmsetup remove xr-vg-web1--data"]
    runs = over(RUNS_S, EXTENTS, LOWER)
    assert sent(progress, runs) == lower
    assert sent(progress, over(RUNS_S, EXTENTS, only("data", LOWER))) == lower[1:]
    assert judge(progress, over(RUNS_S, EXTENTS)) == DONE
    assert judge(progress, runs, order=ORDER) == DONE
    assert judge(progress, with_res(runs, res())) == DONE, "DRBD stands on them"
    assert judge(progress, has(runs, PAUSED)) == wrong("web1 does not run on xen1; nothing is removed")
    left = changed(runs, lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    assert sent(progress, images(left, cutover=9)) == [
        "rm -rf /var/lib/xen-reconciler/images/web1",
        "sync -f /var/lib/xen-reconciler",
        *lower,
        "lvremove -y vg/web1-root-drbdmd",
        "lvremove -y vg/web1-data-drbdmd",
        FLUSH_VG,
    ]
