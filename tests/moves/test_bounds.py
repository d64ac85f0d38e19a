"""Where a judgement turns on a number: what is just enough, and what is one too few."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import files, lvm, xl
from reconciler.model.facts import View, VolumeGroup
from reconciler.model.move import Order, Progress
from reconciler.moves import recipe
from reconciler.moves.mirror import sync_percent
from reconciler.moves.step import Mark
from tests.moves.journeys import at, back
from tests.moves.states import (
    BESIDE,
    METADATA,
    MIRRORED,
    NEW,
    ORDER,
    RUNS_S,
    S,
    T,
    judge,
    mark,
    res,
    why,
)
from tests.planning.site import MIB, changed, empty

ROOM = (ORDER.memory_mb + 64) * MIB


@pytest.mark.parametrize("name", ["attach-suspend", "cutover-suspend"])
def test_room_for_the_image_on_the_source(name: str) -> None:
    assert mark(at(name), changed(RUNS_S, files.SPACE, ROOM)) is Mark.READY
    said = f"web1 on xen1: {ROOM} bytes needed below /var/lib/xen-reconciler for its image"
    assert why(at(name), changed(RUNS_S, files.SPACE, ROOM - 1)) == said


def test_room_on_the_target_before_the_cutover() -> None:
    progress = at("cutover-ready")
    assert mark(progress, MIRRORED, changed(BESIDE, files.SPACE, ROOM)) is Mark.DONE
    said = "xen2 has no room below /var/lib/xen-reconciler for the image of web1"
    assert why(progress, MIRRORED, changed(BESIDE, files.SPACE, ROOM - 1)) == said


def test_memory_on_the_target_before_the_cutover() -> None:
    progress = at("cutover-ready")
    order = replace(ORDER, target=replace(ORDER.target, reserve_memory_mb=100))

    def free(mib: int) -> View:
        return changed(BESIDE, xl.INFO, replace(BESIDE.get(xl.INFO), free_memory_mb=mib))

    assert mark(progress, MIRRORED, free(356), order) is Mark.DONE
    said = "xen2 has 255 MiB free, web1 needs 256"
    assert why(progress, MIRRORED, free(355), order) == said


def groups(view: View, free_bytes: int, group: str) -> View:
    return changed(view, lvm.GROUPS, (VolumeGroup(group, 1 << 40, free_bytes, 4 * MIB),))


@pytest.mark.parametrize(
    ("progress", "group", "need"),
    [
        (at("source-metadata"), "vg", 8 * MIB),
        (at("target-volumes"), "fast", (512 + 4 + 260 + 4) * MIB),
    ],
)
def test_room_for_volumes(progress: Progress, group: str, need: int) -> None:
    bare = changed(S if group == "vg" else T, lvm.VOLUMES, ())

    def found(free_bytes: int, group: str = group) -> tuple[View, View]:
        view = groups(bare, free_bytes, group)
        return (view, T) if view.host == "xen1" else (S, view)

    host = "xen1" if group == "vg" else "xen2"
    assert mark(progress, *found(need)) is Mark.READY
    said = f"{host}: {need} bytes needed in volume group {group}, {need - 1} free"
    assert why(progress, *found(need - 1)) == said
    assert why(progress, *found(need, "other")) == f"{host} has no volume group {group}"


def test_room_for_volumes_in_two_groups() -> None:
    """What each group needs counts there alone, and extents are whole."""
    first, second = ORDER.disks
    order = replace(ORDER, disks=(replace(first, size_bytes=5 * MIB), replace(second, target_group="slow")))

    bare = changed(T, lvm.VOLUMES, ())

    def found(fast: int, slow: int) -> View:
        rows = (VolumeGroup("fast", 1 << 40, fast, 4 * MIB), VolumeGroup("slow", 1 << 40, slow, 16 * MIB))
        return changed(bare, lvm.GROUPS, rows)

    fast, slow = (8 + 4) * MIB, (272 + 16) * MIB
    assert mark(at("target-volumes"), S, found(fast, slow), order) is Mark.READY
    for view in (found(fast - 1, slow), found(fast, slow - 1)):
        assert "bytes needed in volume group" in why(at("target-volumes"), S, view, order)
    some = changed(T, lvm.VOLUMES, T.get(lvm.VOLUMES)[:1])
    ready = judge(at("target-volumes"), S, groups(some, (4 + 260 + 4) * MIB, "fast"), ORDER)
    assert ready.mark is Mark.READY, "what is there already needs no room"


def test_volumes_that_are_too_small() -> None:
    *most, last = METADATA
    view = changed(S, lvm.VOLUMES, (*most, replace(last, size_bytes=4 * MIB)))
    assert mark(at("source-metadata"), view) is Mark.DONE
    view = changed(S, lvm.VOLUMES, (*most, replace(last, size_bytes=4 * MIB - 1)))
    said = "xen1: /dev/vg/web1-data-drbdmd has 4194303 bytes, 4194304 are needed"
    assert why(at("source-metadata"), view) == said


def test_room_for_a_new_domain() -> None:
    progress, need = at("new-volumes"), 512 * MIB
    one = groups(empty("xen2"), need, "fast")
    assert mark(progress, S, one, NEW) is Mark.READY
    said = f"xen2: {need} bytes needed in volume group fast, {need - 1} free"
    assert why(progress, S, groups(empty("xen2"), need - 1, "fast"), NEW) == said
    other = VolumeGroup("other", 1 << 40, 0, 4 * MIB)
    both = changed(one, lvm.GROUPS, (other, *one.get(lvm.GROUPS)))
    assert mark(progress, S, both, NEW) is Mark.READY, "that one is not asked for anything"


def test_the_share_that_is_in_step() -> None:
    def behind(kib: int) -> float:
        return sync_percent(res(volume={"out_of_sync_kib": kib}), ORDER)

    assert [behind(kib) for kib in (0, 1, 193 * 1024, 386 * 1024, 900 * 1024)] == [
        100.0,
        100.0,
        50.0,
        0.0,
        0.0,
    ]
    assert behind(39) == 99.99


@pytest.mark.parametrize(
    ("progress", "order", "seconds"),
    [
        (at("ship"), ORDER, 120.0),
        (at("sync"), ORDER, 86400),
        (at("cutover-ready"), ORDER, 86400),
        (at("attach-suspend"), ORDER, 300),
        (at("cutover-suspend"), ORDER, 300),
        (back("back-source-restore"), ORDER, 120.0),
        (at("populate"), NEW, 120.0),
    ],
)
def test_how_long_a_step_waits(progress: Progress, order: Order, seconds: float) -> None:
    assert recipe.find(order, progress.direction, progress.step).deadline_s(order) == seconds


def test_an_epoch_never_heard_of_is_the_oldest() -> None:
    source, target = changed(S, files.EPOCHS, {"web2": 1 << 60}), changed(T, files.EPOCHS, {})
    for progress in (at("take-epoch"), back("back-source-fence")):
        assert mark(progress, source, target) is Mark.READY
