"""Volumes kept for a mirror: what settle leaves, what the next move takes, what the way back keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.facts import View
from reconciler.model.move import Order, Progress, Reason
from reconciler.moves import pivot
from reconciler.moves.common import resource_text
from reconciler.moves.step import DONE, Mark, wrong
from tests.moves import states as steps
from tests.moves.journeys import at, back, move, pivot_move, stream_move
from tests.moves.states import (
    BESIDE,
    FLUSH_FAST,
    FLUSH_VG,
    METADATA,
    MIRRORED,
    RUNS_T,
    S,
    T,
    dom,
    has,
    held_volumes,
)
from tests.moves.test_pivot import (
    DATA_TO_EXTENTS,
    DRBD,
    EXTENTS,
    LOWER,
    LVMS,
    NOTHING,
    OTHER,
    ROOT_TO_EXTENTS,
    Tables,
    only,
    over,
)
from tests.moves.test_stream import LOWER_T, OWN, SHUT
from tests.planning.site import changed

SETTLE = "udevadm settle --timeout=10"
KEPT, TAG = "xr.kept.web1", "xr.move.web1-1"


def keeping(order: Order, *, keep: bool = True) -> Order:
    return replace(order, policy=replace(order.policy, keep_mirror=keep))


def seeded(order: Order) -> Order:
    return replace(keeping(order), disks=tuple(replace(disk, seeded=True) for disk in order.disks))


def sent(progress: Progress, source: View, target: View, order: Order) -> list[str]:
    """What a step that is ready sends, all of it to one side."""
    found = steps.acts(progress, source, target, order)
    assert len({side for side, _ in found}) == 1
    return [" ".join(command.argv) + (f" < {command.stdin}" if command.stdin else "") for _, command in found]


def tagged(view: View, *tags: str, name: str = "") -> View:
    """The data volumes there with these tags and no others, or only one of them; nobody has them open."""
    volumes = (
        replace(found, tags=frozenset(tags), is_open=False)
        if "drbdmd" not in found.name and name in found.name
        else found
        for found in view.get(lvm.VOLUMES)
    )
    return changed(view, lvm.VOLUMES, tuple(volumes))


# -- settle ---------------------------------------------------------------------------------------

GO = at("source-volumes-removed")
GONE_S = has(S, None)
LEFT = changed(GONE_S, lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
TAGS = [f"lvchange --addtag {KEPT} vg/web1-{name}" for name in ("root", "data")]
LOWER_GO = ["dmsetup remove xr-vg-web1--root", "dmsetup remove xr-vg-web1--data"]
META_GO = ["lvremove -y vg/web1-root-drbdmd", "lvremove -y vg/web1-data-drbdmd"]


def test_the_source_keeps_what_the_domain_leaves() -> None:
    """On its extents again, which the lower devices tell; their metadata goes."""
    order = keeping(pivot_move())
    root, data = [*ROOT_TO_EXTENTS, TAGS[0]], [*DATA_TO_EXTENTS, TAGS[1]]
    for found in (NOTHING, DRBD):
        assert sent(GO, over(LEFT, found, LOWER), RUNS_T, order) == [
            SETTLE,
            *root,
            *data,
            *LOWER_GO,
            *META_GO,
            FLUSH_VG,
        ]
    bare = tagged(GONE_S, KEPT)
    assert sent(GO, over(bare, EXTENTS, LOWER), RUNS_T, order) == [SETTLE, *LOWER_GO, FLUSH_VG]
    assert sent(GO, over(GONE_S, EXTENTS), RUNS_T, order) == [SETTLE, *TAGS, FLUSH_VG], "after a reboot"
    assert steps.judge(GO, over(bare, EXTENTS), RUNS_T, order) == DONE
    assert steps.judge(GO, over(bare, NOTHING, LOWER), has(T, None), order).mark is Mark.WRONG
    plain = keeping(move())
    assert sent(GO, LEFT, RUNS_T, plain) == [SETTLE, *TAGS, *META_GO, FLUSH_VG]
    assert steps.judge(GO, bare, RUNS_T, plain) == DONE


@pytest.mark.parametrize("found", [{}, NOTHING, LVMS, OTHER])
def test_what_cannot_be_told_or_is_anothers_is_not_kept(found: Tables) -> None:
    order = keeping(pivot_move())
    removed = [f"lvremove -y vg/web1-{name}" for name in ("root", "data")]
    lower = {} if found is NOTHING else LOWER
    gone = LOWER_GO if lower else []
    assert sent(GO, over(GONE_S, found, lower), RUNS_T, order) == [SETTLE, *gone, *removed, FLUSH_VG]
    another = changed(
        GONE_S, lvm.VOLUMES, tuple(replace(volume, uuid="another") for volume in S.get(lvm.VOLUMES))
    )
    assert steps.judge(GO, over(another, EXTENTS), RUNS_T, order) == DONE


def test_what_no_mirror_could_use_goes() -> None:
    """It would be made in the host's own volume group."""
    order = keeping(pivot_move())
    assert order.source is not None
    elsewhere = replace(order, source=replace(order.source, volume_group="other"))
    removed = [f"lvremove -y vg/web1-{name}" for name in ("root", "data")]
    assert sent(GO, over(GONE_S, EXTENTS), RUNS_T, elsewhere) == [SETTLE, *removed, FLUSH_VG]


def test_without_a_mirror_all_goes() -> None:
    order = keeping(pivot_move(), keep=False)
    removed = [f"lvremove -y vg/web1-{name}" for name in ("root", "data")]
    assert sent(GO, over(GONE_S, EXTENTS), RUNS_T, order) == [SETTLE, *removed, FLUSH_VG]


def test_where_the_extents_are() -> None:
    root, data = pivot_move().disks
    for disk, name in ((root, "root"), (data, "data")):
        (lines,) = only(name, EXTENTS).values()
        assert pivot.extents(disk, over(S, EXTENTS)) == lines
        assert pivot.extents(disk, over(S, DRBD, LOWER)) == lines
        assert pivot.extents(disk, over(S, NOTHING, LOWER)) == lines
        assert pivot.extents(disk, over(S, NOTHING)) == ()
        assert pivot.extents(disk, over(S, OTHER, LOWER)) == ()
        for bad in (("0 8 linear 254:16 2048",), ("0 1048576 linear 147:1 0",), ("0 1048576 error",)):
            assert pivot.extents(disk, over(S, NOTHING, dict.fromkeys(LOWER, bad))) == ()


# -- the next move ----------------------------------------------------------------------------------

VOLUMES = at("target-volumes")
ADOPT = [f"lvchange --addtag {TAG} --deltag {KEPT} fast/web1-{name}" for name in ("root", "data")]


def test_a_mirror_takes_what_was_kept() -> None:
    order = seeded(stream_move())
    kept = tagged(held_volumes(T, meta=False), KEPT)
    opened = changed(kept, lvm.VOLUMES, tuple(replace(each, is_open=True) for each in kept.get(lvm.VOLUMES)))
    assert "never reused" in steps.judge(VOLUMES, S, opened, order).why, "somebody uses it"
    commands = sent(VOLUMES, S, kept, order)
    assert [command.split()[0] for command in commands] == ["lvcreate", "lvcreate", "lvchange", "lvchange"]
    assert all("-drbdmd" in command for command in commands[:2])
    assert commands[2:] == ADOPT
    whole = held_volumes(T)
    assert steps.judge(VOLUMES, S, whole, order) == DONE
    assert sent(VOLUMES, S, tagged(whole, KEPT, name="data"), order) == ADOPT[1:]
    exists = "exists and is not of this move; it is never reused"
    assert exists in steps.judge(VOLUMES, S, kept, keeping(stream_move())).why, "planned without it"
    assert exists in steps.judge(VOLUMES, S, tagged(kept, "xr.kept.web2"), order).why
    assert exists in steps.judge(VOLUMES, S, tagged(whole, KEPT), stream_move()).why
    of_metadata = changed(
        whole,
        lvm.VOLUMES,
        tuple(replace(each, tags=frozenset({KEPT})) for each in whole.get(lvm.VOLUMES)),
    )
    assert exists in steps.judge(VOLUMES, S, of_metadata, order).why, "metadata is made anew"
    small = tuple(replace(each, size_bytes=each.size_bytes - 4096) for each in kept.get(lvm.VOLUMES))
    assert "are needed" in steps.judge(VOLUMES, S, changed(kept, lvm.VOLUMES, small), order).why


def test_the_source_never_takes_what_was_kept() -> None:
    """Only data of a target are; the source's are the domain's own."""
    order = seeded(stream_move())
    tags = tuple(replace(each, tags=frozenset({KEPT})) for each in METADATA)
    found = changed(S, lvm.VOLUMES, (*S.get(lvm.VOLUMES), *tags))
    assert "never reused" in steps.judge(at("source-metadata"), found, T, order).why


def test_only_what_differs_is_sent() -> None:
    plain, compared = resource_text(stream_move()), resource_text(seeded(stream_move()))
    assert "csums-alg" not in plain
    pieces = compared.replace("rs-discard-granularity 4096;", "rs-discard-granularity 65536;")
    assert pieces.replace("    csums-alg sha256;\n", "") == plain
    assert drbd.rateless(compared) != drbd.rateless(plain)


# -- going back -------------------------------------------------------------------------------------

CLEANED = back("back-target-cleaned", reason=Reason.PRECONDITION)
BACK_TAGS = [f"lvchange --addtag {KEPT} --deltag {TAG} fast/web1-{name}" for name in ("root", "data")]
BACK_META = [f"lvremove -y fast/web1-{name}-drbdmd" for name in ("root", "data")]


def cleaned(order: Order, progress: Progress = CLEANED) -> list[str]:
    view = changed(has(T, None), files.text_of(order.config_path), None)
    return sent(progress, S, over(view, SHUT, LOWER_T), order)


@pytest.mark.parametrize(
    "order", [seeded(stream_move()), replace(keeping(stream_move()), standby=True)], ids=["seeded", "standby"]
)
def test_a_mirror_that_failed_is_kept_for_the_next(order: Order) -> None:
    commands = cleaned(order)
    opened = [command.split(" < ")[0] for command in commands[1:4]]
    assert opened == [
        "dmsetup load fast-web1--root",
        "dmsetup load fast-web1--data",
        "dmsetup resume --noudevsync --nolockfs fast-web1--root fast-web1--data",
    ]
    assert commands[4:6] == ["dmsetup remove xr-fast-web1--root", "dmsetup remove xr-fast-web1--data"]
    assert commands[6:] == [BACK_TAGS[0], BACK_META[0], BACK_TAGS[1], BACK_META[1], FLUSH_FAST]
    after = held_volumes(has(T, None), tags=frozenset({KEPT}), meta=False)
    after = changed(after, files.text_of(order.config_path), None)
    assert steps.judge(CLEANED, S, over(after, OWN), order) == DONE
    begun = changed(over(after, OWN), dm.LOADED, only("root", SHUT))
    assert sent(CLEANED, S, begun, order) == [commands[0], "dmsetup clear fast-web1--root"]


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (seeded(stream_move()), Reason.PLACEMENT_CHANGED),
        (seeded(stream_move()), Reason.ABORTED),
        (keeping(seeded(stream_move()), keep=False), Reason.PRECONDITION),
        (keeping(stream_move()), Reason.PRECONDITION),
    ],
)
def test_what_nobody_wants_goes(order: Order, reason: Reason) -> None:
    commands = cleaned(order, back("back-target-cleaned", reason=reason))
    assert not [command for command in commands if KEPT in command or "dmsetup load" in command]
    assert len([command for command in commands if command.startswith("lvremove")]) == 4


def test_through_a_file_no_table_is_touched() -> None:
    order = replace(keeping(pivot_move()), standby=True)
    view = changed(has(T, None), files.text_of(order.config_path), None)
    commands = sent(CLEANED, S, over(view, OWN), order)
    assert commands == [SETTLE, BACK_TAGS[0], BACK_META[0], BACK_TAGS[1], BACK_META[1], FLUSH_FAST]
    copy = steps.judge(CLEANED, S, over(RUNS_T, OWN), order)
    assert copy == wrong("web1 is running on xen2; nothing is removed there")


# -- at the gate ------------------------------------------------------------------------------------

READY_AT = at("cutover-ready")


@pytest.mark.parametrize("order", [pivot_move(), stream_move()])
def test_a_mirror_in_step_needs_no_room_yet(order: Order) -> None:
    here = over(MIRRORED, DRBD, LOWER)
    here = has(here, dom(), joined=True)
    little = replace(T.get(xl.INFO), free_memory_mb=10)
    there = changed(changed(BESIDE, xl.INFO, little), files.SPACE, 0)
    assert steps.judge(READY_AT, here, there, replace(order, standby=True)) == DONE
    assert "10 MiB free, web1 needs 256" in steps.judge(READY_AT, here, there, order).why


def test_what_was_edited_meanwhile_is_not_lost() -> None:
    """The target has the configuration as it was when the move was planned."""
    order = move()
    for standby in (False, True):
        planned = replace(order, standby=standby)
        edited = changed(MIRRORED, files.text_of(order.config_path), "vcpus = 2\n")
        why = "since this was planned, so that it has to be planned anew"
        assert steps.judge(READY_AT, edited, BESIDE, planned) == wrong(
            f"/etc/xen/web1.cfg on xen1 was edited {why}"
        )
        off = changed(
            MIRRORED, files.CONFIG_FILES, replace(MIRRORED.get(files.CONFIG_FILES), autostart=frozenset())
        )
        assert steps.judge(READY_AT, off, BESIDE, planned) == wrong(
            f"/etc/xen/auto/web1.cfg on xen1 was removed {why}"
        )
        assert steps.judge(READY_AT, MIRRORED, BESIDE, replace(planned, autostart=False)) == wrong(
            f"/etc/xen/auto/web1.cfg on xen1 was made {why}"
        )
        again = at("cutover-ready", "source-autostart-off")
        assert steps.judge(again, off, BESIDE, planned) == DONE, "the move itself has removed it"
