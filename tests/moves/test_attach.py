"""The steps that bring DRBD under a domain on its source."""

from __future__ import annotations

from dataclasses import replace

from reconciler.commands import drbd, files, lvm
from reconciler.model.facts import (
    Connection,
    DiskState,
    Role,
    VolumeGroup,
)
from reconciler.model.move import Side
from reconciler.moves.common import resource_text
from reconciler.moves.step import Mark
from tests.moves.journeys import at
from tests.moves.states import (
    METADATA,
    ORDER,
    S,
    T,
    acts,
    argv,
    dom,
    has,
    held_volumes,
    links,
    mark,
    res,
    why,
    with_res,
)
from tests.planning.site import MIB, changed


def test_drbd_copies_what_it_sends() -> None:
    """Or a peer that dies keeps the guest's pages, and the domain's disks stay open for good."""
    assert argv(at("source-drbd-copies"), changed(S, drbd.COPIES, False), T) == [
        "dd of=/sys/module/drbd/parameters/disable_sendpage conv=nocreat,notrunc status=none"
    ]
    assert mark(at("source-drbd-copies"), changed(S, drbd.COPIES, True), T) is Mark.DONE


def test_epochs() -> None:
    mine = ORDER.claim(0).epoch
    knows = changed(S, files.EPOCHS, {"web1": mine}), changed(T, files.EPOCHS, {"web1": mine})
    assert mark(at("take-epoch")) is Mark.READY
    assert mark(at("take-epoch"), *knows) is Mark.DONE
    assert mark(at("take-epoch", serial=1), *knows) is Mark.READY
    newer = changed(T, files.EPOCHS, {"web1": mine + 9})
    assert why(at("take-epoch"), knows[0], newer) == f"xen2 already knows epoch {mine + 9} of web1"
    assert {side for side, _ in acts(at("take-epoch"), S, T)} == {Side.SOURCE, Side.TARGET}


def test_metadata_volumes_on_the_source() -> None:
    progress = at("source-metadata")
    assert len(acts(progress, S, T)) == 2
    made = changed(S, lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    assert mark(progress, made) is Mark.DONE
    earlier = [replace(v, tags=frozenset({"xr.move.web1-0"})) for v in METADATA]
    assert mark(progress, changed(S, lvm.VOLUMES, tuple(earlier))) is Mark.DONE
    small = changed(S, lvm.VOLUMES, tuple(replace(v, size_bytes=1) for v in earlier))
    assert why(progress, small) == "xen1: /dev/vg/web1-root-drbdmd has 1 bytes, 4194304 are needed"


def test_volumes_of_another_origin_are_never_used() -> None:
    foreign = held_volumes(T, tags=frozenset())
    assert (
        why(at("target-volumes"), S, foreign)
        == "xen2: /dev/fast/web1-root exists and is not of this move; it is never reused"
    )
    assert (
        why(at("target-volumes"), S, held_volumes(T, tags=frozenset({"xr.move.web1-0"})))
        == "xen2: /dev/fast/web1-root exists and is not of this move; it is never reused"
    )


def test_no_room_for_volumes() -> None:
    bare = changed(T, lvm.VOLUMES, ())
    assert why(at("target-volumes"), S, changed(bare, lvm.GROUPS, ())) == "xen2 has no volume group fast"
    full = changed(bare, lvm.GROUPS, (VolumeGroup("fast", 1 << 40, 4 * MIB, 4 * MIB),))
    assert (
        why(at("target-volumes"), S, full)
        == "xen2: 817889280 bytes needed in volume group fast, 4194304 free"
    )
    assert len(acts(at("target-volumes"), S, bare)) == 4


def test_the_resource_file_says_exactly_what_is_wanted() -> None:
    query = files.text_of("/etc/drbd.d/xr-web1.res")
    for progress in (at("source-resource-file"), at("source-resource-file-again")):
        assert mark(progress, changed(S, query, resource_text(ORDER))) is Mark.DONE
        assert mark(progress, changed(S, query, resource_text(ORDER)[:-5])) is Mark.READY
        assert mark(progress, changed(S, query, None)) is Mark.READY


def test_bringing_the_source_up() -> None:
    progress = at("source-drbd-up")
    assert [a.split()[0] for a in argv(progress, S, T)] == ["dd", "dd", "drbdadm", "drbdadm"]
    assert why(progress, links(S, "drbd")) == "xen1: the symlinks of web1 do not point to its volumes"
    assert why(progress, with_res(S, res(volume={"disk": DiskState.ATTACHING}))) == (
        "xr-web1 Primary/Secondary Connected 0:Attaching/UpToDate Established oos=0KiB in-"
        "flight=0 1:Attaching/UpToDate Established oos=0KiB in-flight=0"
    )
    assert mark(progress, with_res(S, res())) is Mark.DONE
    half = with_res(S, res(volume={"disk": DiskState.DISKLESS}))
    assert argv(progress, half, T)[0] == "drbdadm down xr-web1"
    assert why(progress, links(half, "drbd")) == (
        "xen1: xr-web1 Primary/Secondary Connected 0:Diskless/UpToDate Established oos=0KiB"
        " in-flight=0 1:Diskless/UpToDate Established oos=0KiB in-flight=0"
    )


def test_the_source_is_forced_primary_only_before_a_peer() -> None:
    progress = at("source-drbd-primary")
    alone = res(Role.SECONDARY, Role.UNKNOWN, connection=Connection.CONNECTING)
    assert argv(progress, with_res(S, alone), T) == ["drbdadm primary --force xr-web1"]
    assert mark(progress, with_res(S, res())) is Mark.DONE
    assert why(progress) == "xen1: DRBD resource xr-web1 is gone"
    assert why(progress, with_res(S, res(Role.SECONDARY))) == (
        "xen1: a peer has connected before the source was made primary: xr-web1 "
        "Secondary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB in-flight=0"
        " 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    assert (
        why(progress, with_res(S, res(volume={"size_bytes": 1})))
        == "xen1: /dev/drbd100 has 1 bytes but /dev/vg/web1-root has 536870912"
    )
    on_it = with_res(has(S, dom(), on="drbd"), alone)
    assert why(progress, on_it) == (
        "xen1: web1 runs on xr-web1 Secondary/Unknown Connecting 0:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-"
        "flight=0"
    )
