"""What each step makes of what it sees, on the states that decide."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import drbd, files, lvm, xl
from reconciler.errors import UnknownFact
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
    VolumeGroup,
)
from reconciler.model.move import Direction, Order, Progress, Side
from reconciler.moves import guards, look, recipe
from reconciler.moves.common import resource_text
from reconciler.moves.step import DONE, Action, Mark, Step, Verdict, Views, wait, wrong
from tests.moves.journeys import at, back, move, provision
from tests.planning.site import MIB, changed, config, empty, running, volume

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


def test_drbd_copies_what_it_sends() -> None:
    """Or a peer that dies keeps the guest's pages, and the domain's disks stay open for good."""
    assert argv(at("source-drbd-copies"), changed(S, drbd.COPIES, False), T) == [
        "dd of=/sys/module/drbd/parameters/disable_sendpage conv=nocreat,notrunc status=none"
    ]
    assert mark(at("source-drbd-copies"), changed(S, drbd.COPIES, True), T) is Mark.DONE


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


# -- attach ---------------------------------------------------------------------------------------


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


# -- suspending -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("name", "image"), [("attach-suspend", "attach"), ("cutover-suspend", "cutover")])
def test_suspending(name: str, image: str) -> None:
    commands = argv(at(name), RUNS_S, T)
    assert commands[0].startswith("mkdir -p -m 0700")
    assert f"{image}-1.img" in commands[1]
    assert step(name).deadline_s(ORDER) == ORDER.policy.suspend_timeout_s
    saved = images(GONE, **{image: 9})
    assert mark(at(name, name), saved) is Mark.DONE
    assert (
        why(at(name), saved) == "web1 on xen1 is not running any more and no whole saved image of it is there"
    ), "an image nobody asked for proves nothing"
    assert (
        why(at(name, name), GONE)
        == "web1 on xen1 is not running any more and no whole saved image of it is there"
    )
    assert (
        why(at(name, name), images(GONE, **{f"{image}_part": 9}))
        == "web1 on xen1 is not running any more and no whole saved image of it is there"
    )
    assert why(at(name, name), rebooted(saved)) == "xen1 has rebooted since web1-1 was planned"
    assert why(at(name), rebooted(RUNS_S)) == "xen1 has rebooted since web1-1 was planned"
    assert why(at(name), changed(RUNS_S, files.SPACE, 5)) == (
        "web1 on xen1: 335544320 bytes needed below /var/lib/xen-reconciler for its image"
    )
    assert judge(at(name), has(S, dom(DomainState.SHUTDOWN))) == wait("web1 on xen1 is shutdown")
    larger = lvextended(RUNS_S)
    if name == "attach-suspend":
        assert why(at(name), larger) == LARGER
        with guards.without("same-size"):
            assert mark(at(name), larger) is Mark.READY
    else:
        assert mark(at(name), lvextended(has(S, dom(), on="drbd"))) is Mark.READY, "DRBD keeps its size"
    assert (
        why(at(name), has(S, dom(DomainState.PAUSED)))
        == "web1 on xen1 is paused; only a running domain is suspended"
    )


@pytest.mark.parametrize("name", ["attach-suspend", "cutover-suspend"])
def test_a_domain_whose_image_could_not_be_restored_is_not_suspended(name: str) -> None:
    """Its balloon has not come down to the target, and xl restores into a domain of the target's size."""
    one_more = changed(RUNS_S, xl.CONFIGS, (config(target_memory_mb=255),))
    assert mark(at(name), one_more) is Mark.READY, "xl gives a restored domain 1 MiB more"
    assert mark(at(name), changed(RUNS_S, xl.CONFIGS, (config(target_memory_mb=0),))) is Mark.READY
    assert mark(at(name), changed(RUNS_S, xl.CONFIGS, ())) is Mark.READY
    swollen = changed(RUNS_S, xl.CONFIGS, (config(domid=2), config(target_memory_mb=254)))
    for progress in (at(name), at(name, name)):  # the second: announced, and the daemon ended before it acted
        assert why(progress, swollen) == (
            "web1 on xen1 has 256 MiB and is to have 254: a saved image of it could not be restored; wait "
            "until its balloon is there, or `xl mem-set web1 256` on xen1"
        )


def test_a_domain_on_drbd_already_is_not_suspended_to_attach() -> None:
    on_it = has(S, dom(), on="drbd")
    assert mark(at("attach-suspend"), on_it) is Mark.DONE
    assert mark(at("cutover-suspend"), on_it) is Mark.READY


@pytest.mark.parametrize(
    ("name", "host", "to", "of"),
    [("attach-flip", S, "drbd", "volumes"), ("target-flip", T, "volumes", "drbd")],
)
def test_flipping(name: str, host: View, to: str, of: str) -> None:
    def seen(view: View) -> Mark:
        return mark(at(name), view, view)

    bare = has(host, None)
    assert seen(links(bare, to)) is Mark.DONE
    assert seen(links(bare, of)) is Mark.READY
    assert "are not flipped under it" in why(
        at(name), links(has(host, dom()), of), links(has(host, dom()), of)
    )
    assert "expected" in why(at(name), links(bare, "/dev/x"), links(bare, "/dev/x"))


def test_restoring() -> None:
    ready = images(links(GONE, "drbd"), attach=9)
    assert argv(at("attach-restore"), ready, T) == [f"xl restore -p {look.image(ORDER, 'attach')}"]
    assert mark(at("attach-restore"), has(ready, PAUSED, on="drbd")) is Mark.DONE
    assert (
        why(at("attach-restore"), has(ready, PAUSED))
        == "web1 on xen1 opened other devices than meant: xvda=253:0, xvdb=253:1"
    )
    assert why(at("attach-restore"), lvextended(ready)) == LARGER
    assert mark(at("attach-restore"), lvextended(has(ready, PAUSED, on="drbd"))) is Mark.DONE
    gone = changed(ready, lvm.VOLUMES, ready.get(lvm.VOLUMES)[1:])
    assert "has 0 bytes now" in why(at("attach-restore"), gone)
    assert why(at("attach-restore"), rebooted(ready)) == "xen1 has rebooted since web1-1 was planned"
    assert (
        why(at("attach-restore"), links(ready, "volumes"))
        == "xen1: the symlinks of web1 do not point where they should"
    )
    assert (
        why(at("attach-restore"), images(ready))
        == "xen1: /var/lib/xen-reconciler/images/web1/attach-1.img is not there"
    )
    there = images(links(has(T, None), "volumes"), cutover=9)
    assert argv(at("target-restore"), GONE, there) == [f"xl restore -p {look.image(ORDER, 'cutover')}"]
    assert mark(at("target-restore"), GONE, has(there, PAUSED)) is Mark.DONE
    assert (
        why(at("target-restore"), GONE, has(there, PAUSED, on="drbd"))
        == "web1 on xen2 opened other devices than meant: xvda=147:100, xvdb=147:101"
    )
    lost = changed(has(there, PAUSED), lvm.VOLUMES, ())
    assert (
        why(at("target-restore"), GONE, lost)
        == "web1 on xen2 opened other devices than meant: xvda=253:10, xvdb=253:11"
    )


def test_unpausing_after_attach() -> None:
    assert argv(at("attach-unpause"), has(S, PAUSED), T) == ["xl unpause web1"]
    assert mark(at("attach-unpause"), RUNS_S) is Mark.DONE
    assert why(at("attach-unpause"), GONE) == "web1 on xen1 is not there"
    assert why(at("attach-unpause"), has(S, dom(DomainState.CRASHED))) == "web1 on xen1 is crashed"


def test_an_image_is_dropped_once_the_domain_runs() -> None:
    saved = images(RUNS_S, attach=9)
    assert mark(at("attach-drop-image"), RUNS_S) is Mark.DONE
    assert argv(at("attach-drop-image"), saved, T)[0].startswith("rm -rf")
    assert why(at("attach-drop-image"), has(saved, None)) == "web1 does not run on xen1; its image is kept"


# -- mirror ---------------------------------------------------------------------------------------


def test_bringing_the_target_up() -> None:
    progress = at("target-drbd-up")
    assert mark(progress) is Mark.READY
    assert mark(progress, S, with_res(T, res(Role.SECONDARY))) is Mark.DONE
    assert why(progress, S, with_res(T, res())) == (
        "xen2: xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB"
        " in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; the target must"
        " be Secondary"
    )
    attaching = res(Role.SECONDARY, volume={"disk": DiskState.ATTACHING})
    assert judge(progress, S, with_res(T, attaching)) == wait(
        "xr-web1 Secondary/Secondary Connected 0:Attaching/UpToDate Established oos=0KiB "
        "in-flight=0 1:Attaching/UpToDate Established oos=0KiB in-flight=0"
    )
    half = res(Role.SECONDARY, volume={"disk": DiskState.DISKLESS})
    assert argv(progress, S, with_res(T, half))[0] == "drbdadm down xr-web1"


def test_links_and_configuration_on_the_target() -> None:
    assert mark(at("target-links"), S, links(T, "drbd")) is Mark.DONE
    assert mark(at("target-links")) is Mark.READY
    assert (
        why(at("target-links"), S, links(T, "/dev/x"))
        == "xen2: /etc/xen/disks/web1-root already points to /dev/x"
    )
    query = files.text_of(ORDER.config_path)
    assert mark(at("target-config"), S, changed(T, query, None)) is Mark.READY
    assert mark(at("target-config"), S, changed(T, query, ORDER.config_text)) is Mark.DONE
    assert (
        why(at("target-config"), S, changed(T, query, "mine"))
        == "xen2: /etc/xen/web1.cfg already exists with other content"
    )
    assert mark(at("target-config"), order=replace(ORDER, config_text=None)) is Mark.DONE


def test_connecting() -> None:
    both = with_res(S, res()), with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    assert mark(at("connect"), *both) is Mark.DONE
    apart = with_res(S, res(connection=Connection.CONNECTING)), both[1]
    assert mark(at("connect"), *apart) is Mark.READY
    assert judge(at("connect", "connect"), *apart) == wait(
        "source: xr-web1 Primary/Secondary Connecting 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; "
        "target: xr-web1 Secondary/Primary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    alone = with_res(S, res(connection=Connection.STANDALONE)), both[1]
    assert argv(at("connect", "connect"), *alone) == ["drbdadm adjust xr-web1"] * 2
    assert why(at("connect")) == "source: no DRBD resource; target: no DRBD resource"


@pytest.mark.parametrize(
    ("source", "target", "said", "in_doubt"),
    [
        (res(Role.SECONDARY), res(Role.SECONDARY), "unexpected roles", False),
        (res(), res(Role.SECONDARY, volume={"disk": DiskState.DISKLESS}), "a disk on xen2 has failed", False),
        (res(), res(), "xen2 may hold writes", True),
        (res(), res(Role.SECONDARY, volume={"out_of_sync_kib": 4}), "xen2 may hold writes", True),
        (
            res(volume={"disk": DiskState.DISKLESS}),
            res(Role.SECONDARY),
            "disk of web1 on xen1 has fail",
            True,
        ),
        (
            res(volume={"disk": DiskState.FAILED}),
            res(Role.SECONDARY),
            "disk of web1 on xen1 has failed",
            True,
        ),
        (res(connection=Connection.STANDALONE), res(Role.SECONDARY), "gave up the connection", True),
        (res(volume={"replication": Replication.SYNC_TARGET}), res(Role.SECONDARY), "overwritten", True),
    ],
)
def test_a_sync_that_is_wrong(source: DrbdResource, target: DrbdResource, said: str, in_doubt: bool) -> None:
    verdict = judge(at("sync"), with_res(S, source), with_res(T, target))
    assert said in verdict.why
    assert (verdict.mark, verdict.in_doubt) == (Mark.WRONG, in_doubt)


def test_a_sync_goes_on_until_both_sides_are_in_step() -> None:
    behind = res(volume={"out_of_sync_kib": 193 * 1024, "peer_disk": DiskState.INCONSISTENT})
    other = with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    told = look.describe(behind)
    assert judge(at("sync"), with_res(S, behind), other) == wait(told, 50.0)
    assert mark(at("sync"), with_res(S, res()), other) is Mark.DONE
    begun = res(Role.SECONDARY, volume={"out_of_sync_kib": 4, "replication": Replication.WF_BITMAP_T})
    assert judge(at("sync"), with_res(S, res()), with_res(T, begun)) == wait(look.describe(res()), 100.0)
    assert why(at("sync")) == "source: no DRBD resource; target: no DRBD resource"
    assert step("sync").deadline_s(ORDER) == ORDER.policy.sync_deadline_s


BEHIND = {"out_of_sync_kib": 193 * 1024, "peer_disk": DiskState.INCONSISTENT}


def test_a_sync_takes_another_rate_while_it_runs() -> None:
    behind = with_res(S, res(volume=BEHIND))
    beside = with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    slower = replace(ORDER, policy=replace(ORDER.policy, resync_rate_mb_s=7))
    path = "/etc/drbd.d/xr-web1.res"

    def views(source: str | None, target: str | None) -> tuple[View, View]:
        query = files.text_of(path)
        return changed(behind, query, source), changed(beside, query, target)

    old, new = resource_text(ORDER), resource_text(slower)
    assert "resync-rate 7M;" in new and "c-max-rate 7M;" in new
    older = re.sub(r"    c-fill-target .*\n", "", old.replace("max-buffers 20000;", "max-buffers 8000;"))
    assert len(older) < len(old) - 20, "an older version began it"
    for source, target, sides in (
        (old, old, [Side.SOURCE, Side.TARGET]),
        (new, old, [Side.TARGET]),
        (old, new, [Side.SOURCE]),
        (older, older, [Side.SOURCE, Side.TARGET]),
        ("somebody's own", old, [Side.TARGET]),
    ):
        told = f"{look.describe(res(volume=BEHIND))}; its rate is to be 7 MB a second"
        assert judge(at("sync"), *views(source, target), slower) == Verdict(
            Mark.READY, told, sync_percent=50.0
        )
        sent = acts(at("sync"), *views(source, target), slower)
        expected = [*files.write(path, new), *(drbd.set_rate(minor, 7) for minor in MINORS)]
        assert sent == [(side, command) for side in sides for command in expected]
    for text in (new, None, new.replace("7850", "7851"), old.replace("secret", "other"), "somebody's own"):
        assert judge(at("sync"), *views(text, text), slower).mark is Mark.WAIT, "not this move's, or right"
    assert judge(at("sync"), behind, beside, slower).mark is Mark.WAIT, "files that cannot be read"
    done = changed(with_res(S, res()), files.text_of(path), old)
    assert judge(at("sync"), done, beside, slower) == DONE
    unsure = replace(at("sync", "sync"), unsure=True)
    assert judge(unsure, *views(new, new), slower).mark is Mark.READY, "the file is there, is it in force?"
    assert {side for side, _ in acts(unsure, *views(new, new), slower)} == {Side.SOURCE, Side.TARGET}
    assert judge(unsure, *views("somebody's own", None), slower).mark is Mark.WAIT
    assert step("sync").patient


def test_a_sync_is_paused_and_goes_on() -> None:
    """The resource file says that it was the tool: a pause that somebody made by hand stays."""
    none = replace(ORDER, policy=replace(ORDER.policy, resync_rate_mb_s=0))
    beside = with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    query, path = files.text_of("/etc/drbd.d/xr-web1.res"), "/etc/drbd.d/xr-web1.res"
    going, paused = resource_text(ORDER), resource_text(none)

    def views(text: str, **volume: Any) -> tuple[View, View]:
        behind = with_res(S, res(volume={**BEHIND, **volume}))
        return changed(behind, query, text), changed(beside, query, text)

    def sent(order: Order, *seen: View, progress: Progress | None = None) -> list[Command]:
        return [each for side, each in acts(progress or at("sync"), *seen, order) if side is Side.SOURCE]

    pause, resume = ([of(minor) for minor in MINORS] for of in (drbd.pause_sync, drbd.resume_sync))
    slowest = [drbd.set_rate(minor, 0) for minor in MINORS]
    rates = [drbd.set_rate(minor, ORDER.policy.resync_rate_mb_s) for minor in MINORS]
    assert judge(at("sync"), *views(going), none).why.endswith("; it is to be paused")
    assert sent(none, *views(going)) == [*files.write(path, paused), *slowest, *pause]
    assert sent(none, *views(paused)) == pause, "begun, or lifted by somebody"
    assert not [side for side, _ in acts(at("sync"), *views(paused), none) if side is Side.TARGET]
    at_rest = judge(at("sync"), *views(paused, paused_here=True), none)
    assert (at_rest.mark, at_rest.at_rest, at_rest.sync_percent) == (Mark.WAIT, True, 50.0)
    assert at_rest.why.startswith("paused, as the commit in force says; ")
    nothing_left = with_res(S, res(volume={"peer_disk": DiskState.INCONSISTENT}))
    seen = changed(nothing_left, query, paused), changed(beside, query, paused)
    assert judge(at("sync"), *seen, none).at_rest, "a volume that lacks nothing is not paused"
    unsure = replace(at("sync", "sync"), unsure=True)
    assert sent(none, *views(paused, paused_here=True), progress=unsure) == [
        *files.write(path, paused),
        *slowest,
    ]
    assert sent(ORDER, *views(paused, paused_here=True)) == resume, "until it is seen to go on"
    beside_it = [
        each for side, each in acts(at("sync"), *views(paused, paused_here=True)) if side is Side.TARGET
    ]
    assert beside_it == [*files.write(path, going), *rates], "whatever the source lacks"
    assert sent(ORDER, *views(paused)) == [*files.write(path, going), *rates]
    by_hand = judge(at("sync"), *views(going, paused_here=True))
    assert (by_hand.mark, by_hand.at_rest) == (Mark.WAIT, False)
    foreign = judge(at("sync"), *views("somebody's own"), none)
    assert (foreign.mark, foreign.at_rest) == (Mark.WAIT, False), "not this move's: it syncs on"
    cut = res(volume={**BEHIND, "paused_here": True}, connection=Connection.CONNECTING)
    alone = judge(at("sync"), changed(with_res(S, cut), query, paused), changed(beside, query, paused), none)
    assert (alone.mark, alone.at_rest) == (Mark.WAIT, False), "a cut link has its deadline"
    backwards = views(paused, paused_here=True, replication=Replication.PAUSED_SYNC_T)
    assert judge(at("sync"), *backwards).in_doubt


def test_a_pause_does_not_outlive_its_sync() -> None:
    """Set in the moment the sync ended, or by a move that was taken back: it would stop the next one."""
    none = replace(ORDER, policy=replace(ORDER.policy, resync_rate_mb_s=0))
    query, resume = files.text_of("/etc/drbd.d/xr-web1.res"), [drbd.resume_sync(minor) for minor in MINORS]
    both = res(volume={"paused_here": True})
    for order in (none, ORDER):
        for text, lifted in ((resource_text(none), resume), (resource_text(ORDER), [])):
            source = changed(with_res(S, both), query, text)
            target = changed(with_res(T, res(Role.SECONDARY, Role.PRIMARY)), query, text)
            verdict = judge(at("sync"), source, target, order)
            assert verdict.mark is (Mark.READY if lifted else Mark.DONE)
            assert not lifted or verdict.why.endswith("; its pause is to be lifted")
            assert not lifted or acts(at("sync"), source, target, order) == [
                (Side.SOURCE, command) for command in lifted
            ]
    runs = with_res(has(S, dom(), on="drbd"), both)
    for text, lifted in ((resource_text(none), resume), (resource_text(ORDER), []), (None, [])):
        verdict = judge(left := back("back-source-leftovers"), seen := changed(runs, query, text), T)
        assert verdict.mark is (Mark.READY if lifted else Mark.DONE)
        assert not lifted or [each for _, each in acts(left, seen, T)] == lifted


# -- cutover --------------------------------------------------------------------------------------

MIRRORED = with_res(has(S, dom(), on="drbd", joined=True), res())
BESIDE = with_res(has(T, None), res(Role.SECONDARY, Role.PRIMARY))


def test_ready_for_cutover() -> None:
    progress = at("cutover-ready")
    assert mark(progress, MIRRORED, BESIDE) is Mark.DONE
    assert why(progress, MIRRORED, rebooted(BESIDE)) == "xen2 has rebooted since web1-1 was planned"
    assert why(progress, with_res(RUNS_S, res()), BESIDE) == "web1 does not run on DRBD on xen1"
    assert why(progress, with_res(GONE, res()), BESIDE) == "web1 does not run on DRBD on xen1"
    for name in ("web1", "web1--incoming", "web1--migratedaway"):
        other = changed(BESIDE, xl.DOMAINS, (replace(PAUSED, name=name),))
        assert f"already has a domain {name}" in why(progress, MIRRORED, other)
    unlike = changed(BESIDE, xl.DOMAINS, (replace(PAUSED, name="web10"),))
    assert mark(progress, MIRRORED, unlike) is Mark.DONE
    assert judge(progress, with_res(MIRRORED), BESIDE) == wrong(
        "source: no DRBD resource; target: xr-web1 Secondary/Primary Connected "
        "0:UpToDate/UpToDate Established oos=0KiB in-flight=0 1:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0"
    )
    lagging = with_res(MIRRORED, res(volume={"out_of_sync_kib": 4}))
    assert judge(progress, lagging, BESIDE) == wait(
        "not in step; source: xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate "
        "Established oos=4KiB in-flight=0 1:UpToDate/UpToDate Established oos=4KiB "
        "in-flight=0; target: xr-web1 Secondary/Primary Connected 0:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB "
        "in-flight=0"
    )
    crowded = changed(BESIDE, xl.INFO, replace(T.get(xl.INFO), free_memory_mb=10))
    assert why(progress, MIRRORED, crowded) == "xen2 has 10 MiB free, web1 needs 256"
    assert (
        why(progress, MIRRORED, changed(BESIDE, files.SPACE, 9))
        == "xen2 has no room below /var/lib/xen-reconciler for the image of web1"
    )
    assert step("cutover-ready").deadline_s(ORDER) == ORDER.policy.sync_deadline_s


def test_autostart_goes_off() -> None:
    assert argv(at("source-autostart-off"), S, T)[0] == "rm -f /etc/xen/auto/web1.cfg"
    assert mark(at("source-autostart-off"), empty("xen1")) is Mark.DONE


def test_shipping() -> None:
    saved = images(GONE, cutover=9)
    assert [a.split()[0] for a in argv(at("ship"), saved, T)] == ["mkdir", "scp", "mv"]
    assert mark(at("ship"), saved, images(T, cutover=8)) is Mark.READY
    assert mark(at("ship"), saved, images(T, cutover=9)) is Mark.DONE
    assert why(at("ship"), GONE) == "the image of web1 is not on xen1"
    assert why(at("ship"), rebooted(saved)) == "xen1 has rebooted since web1-1 was planned"


QUIET_S = with_res(GONE, res(Role.SECONDARY))
QUIET_T = with_res(has(T, None), res(Role.SECONDARY))


def test_the_gate() -> None:
    still = with_res(GONE, res())
    assert argv(at("source-demote"), still, BESIDE) == ["drbdadm secondary xr-web1"]
    assert mark(at("source-demote"), QUIET_S, QUIET_T) is Mark.DONE
    assert why(at("source-demote"), MIRRORED, BESIDE) == "web1 is still on xen1"
    assert judge(at("source-demote"), GONE, BESIDE) == wrong(
        "source: no DRBD resource; target: xr-web1 Secondary/Primary Connected "
        "0:UpToDate/UpToDate Established oos=0KiB in-flight=0 1:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0"
    )
    busy = with_res(GONE, res(Role.SECONDARY, volume={"in_flight": 1}))
    assert judge(at("source-demote"), busy, QUIET_T) == wait(
        "source: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=1 1:UpToDate/UpToDate Established oos=0KiB in-flight=1; "
        "target: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    apart = with_res(GONE, res(connection=Connection.CONNECTING))
    assert judge(at("source-demote"), apart, QUIET_T) == wait(
        "source: xr-web1 Primary/Secondary Connecting 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; "
        "target: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )


def test_taking_the_target_down() -> None:
    progress, again = at("target-drbd-down"), at("target-drbd-down", "target-drbd-down")
    assert argv(progress, QUIET_S, QUIET_T) == ["drbdsetup down xr-web1"]
    second = argv(replace(again, attempts=2), QUIET_S, QUIET_T)
    assert second == ["udevadm settle --timeout=10", "drbdsetup down xr-web1"]
    assert mark(again, QUIET_S, has(T, None)) is Mark.DONE
    assert why(progress, QUIET_S, has(T, None)) == "xen2: xr-web1 is gone though nobody took it down"
    assert judge(progress, with_res(GONE, res()), BESIDE) == wrong(
        "xen1 can write again: xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB "
        "in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    cut = with_res(QUIET_T, res(Role.SECONDARY, connection=Connection.STANDALONE))
    assert judge(progress, QUIET_S, cut) == wait(
        "source: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; "
        "target: xr-web1 Secondary/Secondary StandAlone 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    assert mark(again, QUIET_S, cut) is Mark.READY


GO_S = with_res(GONE, res(Role.SECONDARY, connection=Connection.CONNECTING))


def test_go() -> None:
    ready = has(T, PAUSED)
    assert judge(at("go"), GO_S, ready) == Verdict(Mark.READY, never_ran=True)
    assert argv(at("go"), GO_S, ready) == ["xl unpause web1"]
    assert mark(at("go"), GO_S, RUNS_T) is Mark.DONE
    assert mark(at("go"), View("xen1"), RUNS_T) is Mark.DONE, "the target's word is enough once it runs"
    assert judge(at("go"), RUNS_S, RUNS_T) == Verdict(Mark.WRONG, "web1 runs on both hosts", two_runners=True)
    assert mark(at("go"), has(S, PAUSED), RUNS_T) is Mark.DONE
    assert why(at("go"), GO_S, has(T, dom(DomainState.SHUTDOWN))) == "web1 is shutdown on xen2"
    with pytest.raises(UnknownFact):
        judge(at("go"), View("xen1"), ready)


def test_what_stands_in_the_way_of_go() -> None:
    ready = has(T, PAUSED)
    for source, target, said in (
        (with_res(has(S, PAUSED), res(Role.SECONDARY)), ready, "web1 is on xen1 as well"),
        (with_res(GONE, res()), ready, f"xen1 could still write: {look.describe(res())}"),
        (GO_S, has(T, PAUSED, on="drbd"), "web1 on xen2 has other devices open: xvda=147:100, xvdb=147:101"),
    ):
        assert judge(at("go"), source, target) == Verdict(Mark.WRONG, said, never_ran=True)


@pytest.mark.parametrize(
    "copy",
    [
        has(T, PAUSED, joined=True),
        has(T, dom(DomainState.PAUSED, 0.1)),
        rebooted(has(T, PAUSED)),
    ],
)
def test_what_does_not_prove_that_the_copy_never_ran(copy: View) -> None:
    assert not judge(at("go", "go"), GO_S, copy).never_ran


def test_a_target_without_the_domain_at_go() -> None:
    gone = has(T, None)
    assert why(at("go"), GO_S, gone) == "web1 is not on xen2 any more"
    assert why(replace(at("go", "go"), unsure=True), GO_S, gone) == (
        "web1 is not on xen2 any more though that host has not rebooted; whether it ran there is not known"
    )
    assert argv(at("go", "go"), GO_S, rebooted(gone)) == AFRESH
    assert why(at("go", "go"), RUNS_S, rebooted(gone)) == "web1 is on xen1 as well"
    for order in (replace(ORDER, autostart=False), replace(ORDER, config_text=None)):
        assert why(at("go", "go"), GO_S, rebooted(gone), order) == (
            "web1 is not on xen2 any more: that host has rebooted, and the domain is not "
            "one that starts with its host"
        )


def test_a_guest_that_stops_right_after_go_has_run_on_the_target() -> None:
    """As one did in the lab that ran out of memory: what follows says where its disks are."""
    answered = replace(at("go", "go"), attempts=1)
    unsure, again = replace(answered, unsure=True), at("go", "go")
    crashed, off = has(T, dom(DomainState.CRASHED)), has(T, dom(DomainState.SHUTDOWN))
    stopped = [(progress, target) for progress in (answered, unsure, again) for target in (crashed, off)]
    for progress, target in [(answered, has(T, None)), *stopped]:
        assert judge(progress, GO_S, target) == DONE
        assert why(progress, RUNS_S, target) == "web1 is on xen1 as well"
        assert mark(progress, GO_S, rebooted(target)) is not Mark.DONE
    for target in (crashed, off):
        assert mark(at("go"), GO_S, target) is Mark.WRONG
    for progress in (unsure, again):
        assert why(progress, GO_S, has(T, None)).endswith("whether it ran there is not known")
    assert mark(answered, GO_S, has(T, dom(DomainState.DYING))) is Mark.WRONG


# -- settle ---------------------------------------------------------------------------------------


def test_the_target_runs_on() -> None:
    progress = at("target-runs", "go")
    gone = rebooted(has(T, None))
    assert mark(progress, S, RUNS_T) is Mark.DONE
    assert why(progress, S, has(T, None)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert why(progress, S, gone, replace(ORDER, autostart=False)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert argv(progress, S, gone) == AFRESH
    assert argv(progress, S, rebooted(has(T, PAUSED))) == ["xl unpause web1"]
    assert (
        why(progress, S, rebooted(has(T, PAUSED, on="else")))
        == "web1 on xen2 has other devices open: xvda=8:0, xvdb=8:1"
    )
    assert judge(progress, S, rebooted(has(T, PAUSED, on="else"))) == wait(
        "web1 on xen2 has other devices open: xvda=8:0, xvdb=8:1"
    )
    assert judge(progress, S, rebooted(has(T, dom(DomainState.DYING)))) == wait("web1 is dying on xen2")


@pytest.mark.parametrize("name", ["source-drbd-down", "source-links-removed", "source-volumes-removed"])
def test_nothing_of_the_source_goes_before_the_target_is_seen_running(name: str) -> None:
    left = GONE if name != "source-drbd-down" else with_res(GONE, res(Role.SECONDARY))
    assert mark(at(name), left, RUNS_T) is Mark.READY
    assert why(at(name), left, has(T, None)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert why(at(name), left, has(T, PAUSED)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert (
        why(at(name), left, has(T, dom(), on="drbd"))
        == "web1 on xen2 is not on its own volumes: xvda=147:100, xvdb=147:101"
    )
    both = has(left, dom())
    said = "web1 is running on xen1 as well"
    assert judge(at(name), both, RUNS_T) == Verdict(Mark.WRONG, said, two_runners=True)
    assert judge(at(name), has(left, PAUSED), RUNS_T) == wrong("web1 is paused on xen1 as well")
    assert mark(at(name), empty("xen1"), has(T, None)) is Mark.DONE


def test_each_thing_that_could_start_the_domain_goes() -> None:
    bare, path = empty("xen1"), f"/etc/drbd.d/xr-{ORDER.domain}.res"
    configs = bare.get(files.CONFIG_FILES)
    for left in (
        changed(bare, files.LINKS, {ORDER.disks[1].link: "/dev/vg/web1-data"}),
        changed(bare, files.CONFIG_FILES, replace(configs, configs=frozenset({ORDER.config_path}))),
        changed(bare, files.CONFIG_FILES, replace(configs, autostart=frozenset({ORDER.auto_path}))),
        changed(bare, files.RESOURCE_FILES, {path: 9}),
        changed(bare, files.UNFINISHED, {f"{path}.xr-new": 9}),
    ):
        assert mark(at("source-links-removed"), left, RUNS_T) is Mark.READY
    assert mark(at("source-links-removed"), bare, RUNS_T) is Mark.DONE


def test_which_volumes_go() -> None:
    other = changed(GONE, lvm.VOLUMES, (volume("web1-root", uuid="of somebody else"),))
    assert mark(at("source-volumes-removed"), other, RUNS_T) is Mark.DONE
    held = with_res(GONE, res(Role.SECONDARY))
    assert why(at("source-volumes-removed"), held, RUNS_T) == "xen1: DRBD still holds the volumes of web1"
    assert "lvremove -y vg/web1-root" in argv(at("source-volumes-removed"), GONE, RUNS_T)


def test_leftovers_on_the_target() -> None:
    commands = argv(at("target-leftovers"), S, T)
    assert "lvremove -y fast/web1-root-drbdmd" in commands
    assert "lvchange --deltag xr.move.web1-1 fast/web1-root" in commands
    clean = held_volumes(T, tags=frozenset(), meta=False)
    assert mark(at("target-leftovers"), S, clean) is Mark.DONE
    filed = changed(clean, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    assert argv(at("target-leftovers"), S, filed)[0] == "rm -f /etc/drbd.d/xr-web1.res"
    assert why(at("target-leftovers"), S, with_res(T, res())) == "xen2: DRBD still holds the volumes of web1"


WRITTEN = (
    "/etc/drbd.d/xr-web1.res",
    "/etc/xen/web1.cfg",
    "/etc/xen/disks/web1-root",
    "/etc/xen/disks/web1-data",
)


def test_what_a_full_disk_leaves_is_cleared_up() -> None:
    """Files and symlinks under the names that they have until they are whole; no others."""
    left = {f"{path}{files.NEW}": 0 for path in WRITTEN}
    left |= {"/etc/xen/web1.cfg.new": 9, "/etc/xen/disks/web2-root.xr-new": 0}
    removed = " ".join(f"{path}.xr-new" for path in WRITTEN)
    clean = held_volumes(has(T, None), tags=frozenset(), meta=False)
    for progress, here, there, commands in (
        (at("source-links-removed"), empty("xen1"), RUNS_T, f"{' '.join(_all_links())} {removed}"),
        (at("target-leftovers"), S, clean, removed),
        (back("back-source-leftovers"), RUNS_S, T, removed),
        (back("back-target-cleaned"), S, clean, removed),
    ):
        side = S if progress.step in ("source-links-removed", "back-source-leftovers") else T
        assert mark(progress, here, there) is Mark.DONE
        if side is S:
            here = changed(here, files.UNFINISHED, left)
        else:
            there = changed(there, files.UNFINISHED, left)
        assert f"rm -f {commands}" in argv(progress, here, there)


def _all_links() -> tuple[str, ...]:
    return (ORDER.auto_path, *(disk.link for disk in ORDER.disks), ORDER.config_path, WRITTEN[0])


def test_autostart_on_the_target() -> None:
    assert mark(at("target-autostart")) is Mark.READY
    assert (
        mark(at("target-autostart"), S, changed(T, files.CONFIG_FILES, S.get(files.CONFIG_FILES)))
        is Mark.DONE
    )
    assert mark(at("target-autostart"), order=replace(ORDER, autostart=False)) is Mark.DONE


# -- going back -----------------------------------------------------------------------------------

RESTORED = ("cutover-suspend", "target-restore")


def test_the_fence() -> None:
    early, late_ = back("back-target-fence"), back("back-target-fence", *RESTORED)
    assert (
        mark(early) is Mark.DONE
        and step("back-target-fence", direction=Direction.BACK).looks(ORDER, early) == {}
    )
    assert mark(late_) is Mark.READY
    assert mark(late_, S, changed(T, files.EPOCHS, {"web1": ORDER.claim(1).epoch})) is Mark.DONE
    newer = ORDER.claim(2).epoch
    knows = changed(S, files.EPOCHS, {"web1": newer})
    assert why(back("back-source-fence"), knows) == f"xen1 already knows epoch {newer} of web1"
    knows = changed(T, files.EPOCHS, {"web1": newer})
    assert why(late_, S, knows) == f"xen2 already knows epoch {newer} of web1"
    assert mark(back("back-target-fence-late")) is Mark.READY
    assert argv(back("back-source-fence"), S, T) == ["true"]


def test_the_targets_copy_goes_first() -> None:
    name = "back-target-destroyed"
    assert mark(back(name)) is Mark.DONE
    assert mark(back(name, *RESTORED), GONE, has(T, None)) is Mark.DONE
    assert argv(back(name, *RESTORED), GONE, has(T, PAUSED)) == ["xl destroy web1"]
    ran = Verdict(Mark.WRONG, "web1 may have run on xen2", ran_there=True)
    assert judge(back(name, *RESTORED, "go"), GONE, has(T, None)) == ran
    assert mark(back(name, *RESTORED, "go", name), GONE, has(T, None)) is Mark.DONE
    assert judge(back(name, *RESTORED, "go"), GONE, RUNS_T) == ran
    assert (
        why(back(name, *RESTORED, "go"), GONE, has(T, dom(DomainState.PAUSED)))
        == "web1 is paused on xen2 and may have run there"
    )


def test_a_wrong_copy_on_the_source() -> None:
    name = "back-source-wrong-destroyed"
    saved = images(has(S, PAUSED, on="else"), attach=9)
    tried = ("attach-suspend",)
    assert argv(back(name, *tried), saved, T) == ["xl destroy web1"]
    assert (
        why(back(name, *tried), images(saved))
        == "web1 is paused on xen1 with wrong devices and has no saved image"
    )
    assert judge(back(name, *tried), has(S, dom(DomainState.DYING))) == wait("web1 is dying on xen1")
    assert judge(back(name, *tried), rebooted(saved)) == wait(
        "web1 is being started by xen1, which has just rebooted"
    ), "its host may be starting it just now"
    assert judge(back("back-source-restore", *tried), rebooted(saved)) == wait(
        "web1 is being started by xen1, which has just rebooted"
    )
    for fine in (GONE, RUNS_S, has(S, PAUSED), has(S, PAUSED, on="drbd")):
        assert mark(back(name, *tried), fine) is Mark.DONE


def test_drbd_leaves_the_source() -> None:
    name = "back-source-drbd-down"
    assert mark(back(name)) is Mark.DONE
    assert mark(back(name), MIRRORED) is Mark.DONE, "the domain runs on it"
    assert argv(back(name), with_res(GONE, res()), T)[-1] == "drbdadm down xr-web1"
    bad = with_res(links(GONE, "drbd"), res(volume={"disk": DiskState.DISKLESS}))
    assert why(back(name), bad) == (
        "the source's own disk is not good: xr-web1 Primary/Secondary Connected "
        "0:Diskless/UpToDate Established oos=0KiB in-flight=0 1:Diskless/UpToDate "
        "Established oos=0KiB in-flight=0"
    )


def test_links_on_the_way_back() -> None:
    name = "back-source-flip"
    assert mark(back(name), links(GONE, "drbd")) is Mark.READY
    assert mark(back(name), links(MIRRORED, "drbd")) is Mark.DONE
    assert why(back(name), links(GONE, "/dev/x")) == (
        "xen1: /etc/xen/disks/web1-root points to /dev/x, expected /dev/vg/web1-root or /dev/drbd100"
    )


@pytest.mark.parametrize(
    ("tried", "source", "command"),
    [
        (("attach-suspend",), images(GONE, attach=9), "xl restore -p"),
        (("attach-suspend", "attach-unpause", "cutover-suspend"), images(GONE, cutover=9), "xl restore -p"),
        (("attach-suspend",), rebooted(images(GONE, attach=9)), "xl create -p"),
        (("attach-suspend", "attach-unpause"), rebooted(GONE), "xl create -p"),
    ],
)
def test_the_way_home(tried: tuple[str, ...], source: View, command: str) -> None:
    assert argv(back("back-source-restore", *tried), source, T)[-1].startswith(command)
    assert (
        why(back("back-source-unpause", *tried), source) == "web1 is not on xen1 any more; nothing is removed"
    )


@pytest.mark.parametrize(
    ("tried", "source"),
    [
        ((), GONE),
        (("attach-suspend",), GONE),
        (("attach-suspend", "attach-unpause"), images(GONE, attach=9)),
        (("cutover-suspend", "back-source-unpause"), images(GONE, cutover=9)),
    ],
)
def test_a_domain_that_stopped_by_itself_stays_down(tried: tuple[str, ...], source: View) -> None:
    """Above all, an image from before it ran on is never restored again."""
    for name in ("back-source-restore", "back-source-unpause"):
        assert mark(back(name, *tried), source) is Mark.DONE
    assert mark(back("back-source-leftovers", *tried), source) in (Mark.DONE, Mark.READY)


def test_a_host_that_rebooted_and_does_not_start_the_domain() -> None:
    order = replace(ORDER, autostart=False)
    progress = back("back-source-restore", "cutover-suspend")
    assert mark(progress, rebooted(images(GONE, cutover=9)), order=order) is Mark.DONE


def test_an_image_that_is_not_whole() -> None:
    source = images(GONE, cutover_part=9)
    assert why(back("back-source-restore", "cutover-suspend"), source) == (
        "web1 is not on xen1 and its image in /var/lib/xen-reconciler/images/web1 is not "
        "whole; its disks are: start it there with «xl create /etc/xen/web1.cfg»"
    )
    assert (
        why(back("back-source-leftovers", "cutover-suspend"), source)
        == "web1 is not on xen1 any more; nothing is removed"
    )


def test_a_domain_back_on_the_source() -> None:
    name = "back-source-restore"
    assert mark(back(name), RUNS_S) is Mark.DONE
    assert mark(back(name), has(S, PAUSED, on="drbd")) is Mark.DONE
    assert (
        why(back(name), has(S, PAUSED, on="else"))
        == "web1 on xen1 has wrong devices open: xvda=8:0, xvdb=8:1"
    )
    assert argv(back("back-source-unpause"), has(S, PAUSED), T) == ["xl unpause web1"]
    assert mark(back("back-source-unpause"), RUNS_S) is Mark.DONE
    assert judge(back("back-source-unpause"), has(S, dom(DomainState.DYING))) == wait("web1 is dying")


def test_the_source_starts_only_once_the_target_has_nothing() -> None:
    progress = back("back-source-unpause", *RESTORED)
    paused = has(S, PAUSED)
    assert mark(progress, paused, has(T, None)) is Mark.READY
    assert judge(progress, paused, has(T, PAUSED)) == wrong("web1 is paused on xen2")
    assert judge(progress, paused, RUNS_T) == Verdict(Mark.WRONG, "web1 is running on xen2", two_runners=True)


def test_clearing_up_on_the_way_back() -> None:
    assert mark(back("back-source-autostart")) is Mark.DONE
    assert mark(back("back-source-autostart"), empty("xen1")) is Mark.READY
    left = changed(images(RUNS_S, cutover=9), lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    left = changed(left, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    commands = " ; ".join(argv(back("back-source-leftovers"), left, T))
    assert "rm -rf" in commands and "lvremove -y vg/web1-root-drbdmd" in commands
    assert "lvremove -y vg/web1-root " not in commands + " "
    assert mark(back("back-source-leftovers"), MIRRORED) is Mark.DONE
    for state in (DomainState.PAUSED, DomainState.DYING):
        assert (
            why(back("back-source-leftovers"), has(left, dom(state)))
            == "web1 does not run on xen1; nothing is removed"
        )
    gone = judge(back("back-source-leftovers", "cutover-suspend"), images(GONE, cutover=9), T)
    assert (gone.mark, gone.start_over) == (Mark.WRONG, True), (
        "its image is the only thing that is left of it"
    )
    lost = judge(back("back-source-leftovers", "cutover-suspend"), images(GONE, cutover_part=9), T)
    assert (lost.mark, lost.start_over) == (Mark.WRONG, False)
    assert mark(back("back-target-drbd-down"), S, BESIDE) is Mark.READY
    assert mark(back("back-target-drbd-down")) is Mark.DONE


def test_the_source_at_the_end_of_the_way_back() -> None:
    progress = back("back-source-still")
    assert mark(progress, RUNS_S) is Mark.DONE
    assert mark(progress, GONE) is Mark.DONE, "it stopped by itself and can start again"
    again = Verdict(Mark.WRONG, "web1 is not on xen1 any more", start_over=True)
    assert judge(progress, links(GONE, "drbd"), T) == again
    assert judge(progress, rebooted(GONE), T) == again
    assert judge(progress, has(S, PAUSED)) == wait("web1 is paused on xen1")


def test_the_target_keeps_nothing_of_this_move_and_all_else() -> None:
    query = files.text_of(ORDER.config_path)
    full = images(changed(links(has(T, None), "drbd"), query, ORDER.config_text), cutover=9)
    full = changed(full, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    commands = " ; ".join(argv(back("back-target-cleaned", "target-links", "target-config"), S, full))
    for part in (
        "web1-root",
        "/etc/xen/web1.cfg",
        "xr-web1.res",
        "rm -rf",
        "lvremove -y fast/web1-data-drbdmd",
    ):
        assert part in commands
    foreign = changed(links(held_volumes(has(T, None), tags=frozenset()), "drbd"), query, "mine")
    assert mark(back("back-target-cleaned", "target-config"), S, foreign) is Mark.DONE
    assert (
        why(back("back-target-cleaned"), S, has(T, PAUSED))
        == "web1 is paused on xen2; nothing is removed there"
    )


def test_what_was_removed_stays_so_after_a_loss_of_power() -> None:
    """A command that has done its work and says it failed ends the script before what makes it last."""
    clean_t = held_volumes(has(T, dom()), tags=frozenset(), meta=False)
    of_config = files.text_of(ORDER.config_path)
    gone_t = changed(changed(empty("xen2"), of_config, None), files.text_of(NEW.config_path), None)
    sync, sync_xen = files.sync_folder(drbd.FOLDER), files.sync_folder("/etc/xen")
    for step_name, progress, order, source, target, expected in (
        ("target-leftovers", at, ORDER, S, clean_t, [*lvm.flush("fast"), sync]),
        ("back-source-leftovers", back, ORDER, has(S, dom()), T, [*lvm.flush("vg"), sync]),
        ("back-target-cleaned", back, ORDER, S, gone_t, [files.SETTLE, sync_xen, *lvm.flush("fast")]),
        ("new-untagged", at, NEW, empty("xen1"), empty("xen2"), [sync_xen, *lvm.flush("fast")]),
        ("back-provision-removed", back, NEW, empty("xen1"), gone_t, [sync_xen, *lvm.flush("fast")]),
    ):
        found = step(step_name, order, progress(step_name).direction)
        assert found.lasting
        assert judge(progress(step_name), source, target, order) == DONE, step_name
        unsure = replace(progress(step_name, step_name), unsure=True)
        (action,) = found.act(order, unsure, Views({Side.SOURCE: source, Side.TARGET: target}))
        assert list(action.commands) == expected, step_name


def again(progress: Progress, source: View, target: View, order: Order = ORDER) -> list[Command]:
    """What a step that finds its work done, but not known to last, does once more."""
    found = step(progress.step, order, progress.direction)
    assert found.lasting
    assert judge(progress, source, target, order) == DONE
    unsure = replace(progress, unsure=True)
    views = shown(progress, source, target, order)
    return [command for action in found.act(order, unsure, views) for command in action.commands]


@pytest.mark.parametrize(
    ("progress", "to"),
    [
        (at("attach-flip"), "drbd"),
        (at("target-links"), "drbd"),
        (at("target-flip"), "volumes"),
        (back("back-source-flip"), "volumes"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.step,
)
def test_what_was_made_stays_so_after_a_loss_of_power(progress: Progress, to: str) -> None:
    commands = again(progress, links(GONE, to), links(has(T, None), to))
    assert commands == [files.sync_folder(files.LINKS_DIR)]


def test_a_file_that_was_written_stays_so_after_a_loss_of_power() -> None:
    there = changed(T, files.text_of(ORDER.config_path), ORDER.config_text)
    assert again(at("target-config"), S, there) == [files.sync_folder("/etc/xen")]
    assert again(at("target-config"), S, T, replace(ORDER, config_text=None)) == []
    written = changed(S, files.text_of(WRITTEN[0]), resource_text(ORDER))
    assert again(at("source-resource-file"), written, T) == [files.sync_folder(drbd.FOLDER)]


def test_links_that_a_running_domain_needs_are_left_alone() -> None:
    """It came back on DRBD meanwhile: those that lead to the volumes would lead past it."""
    on_drbd = has(S, dom(), on="drbd")
    assert again(back("back-source-flip"), links(on_drbd, "drbd"), T) == []


def test_an_entry_that_was_removed_is_removed_again_when_that_is_not_known() -> None:
    none = replace(S.get(files.CONFIG_FILES), autostart=frozenset())
    commands = again(at("source-autostart-off"), changed(S, files.CONFIG_FILES, none), T)
    assert commands == [files.remove(ORDER.auto_path), files.sync_folder(files.AUTO_DIR)]


# -- a new domain -----------------------------------------------------------------------------------

NEW = provision()
NEW_LINK = NEW.disks[0].link
MADE = changed(
    changed(empty("xen2"), lvm.VOLUMES, (volume("web1-root", 512, 10, "fast", tags=frozenset({NEW.tag})),)),
    files.LINKS,
    {NEW_LINK: "/dev/fast/web1-root"},
)
NEW_TEXT = files.text_of(NEW.config_path)


def test_what_was_made_for_a_new_domain_stays_so_after_a_loss_of_power() -> None:
    written = changed(MADE, NEW_TEXT, NEW.config_text)
    assert again(at("new-links"), empty("xen1"), MADE, NEW) == [files.sync_folder(files.LINKS_DIR)]
    assert again(at("new-config"), empty("xen1"), written, NEW) == [files.sync_folder("/etc/xen")]


def new(name: str, *tried: str, view: View = MADE, order: Order = NEW) -> Verdict:
    return judge(at(name, *tried), empty("xen1"), view, order)


def test_new_volumes() -> None:
    bare = empty("xen2")
    assert new("new-volumes").mark is Mark.DONE
    assert new("new-volumes", view=bare).mark is Mark.READY
    two = replace(NEW, disks=(*NEW.disks, replace(NEW.disks[0], volume="web1-data")))
    (created,) = acts(at("new-volumes"), empty("xen1"), MADE, two)
    assert "web1-data" in created[1].argv, "what is there is not made again"
    assert (
        "never reused"
        in new("new-volumes", view=changed(bare, lvm.VOLUMES, (volume("web1-root", group="fast"),))).why
    )
    full = changed(bare, lvm.GROUPS, (VolumeGroup("fast", 1 << 40, 4 * MIB, 4 * MIB),))
    assert "bytes needed" in new("new-volumes", view=full).why
    assert new("new-links").mark is Mark.DONE
    assert "already points to" in new("new-links", view=changed(MADE, files.LINKS, {NEW_LINK: "/dev/x"})).why


def test_new_contents() -> None:
    assert new("populate").mark is Mark.READY
    there = changed(MADE, xl.DOMAINS, (PAUSED,))
    assert "its disks are not written" in new("populate", view=there).why
    marked = frozenset({NEW.tag, "xr.populated"})
    filled = changed(there, lvm.VOLUMES, (volume("web1-root", 512, 10, "fast", tags=marked),))
    assert new("populate", view=filled).mark is Mark.DONE
    assert NEW.provision is not None
    disk = NEW.provision.disks[0]
    tarball = replace(disk, source=replace(disk.source, image=None, tarball="/t.tar"))
    order = replace(NEW, provision=replace(NEW.provision, disks=(tarball,)))
    commands = [c.argv[0] for _, c in acts(at("populate"), empty("xen1"), MADE, order)]
    assert commands[0] == "mkfs.ext4" and commands[-1] == "lvchange"
    nothing = replace(disk, source=replace(disk.source, image=None))
    order = replace(NEW, provision=replace(NEW.provision, disks=(nothing,)))
    assert [c.argv[0] for _, c in acts(at("populate"), empty("xen1"), MADE, order)] == ["lvchange"]


def test_new_configuration() -> None:
    assert new("new-config", view=changed(MADE, NEW_TEXT, None)).mark is Mark.READY
    assert new("new-config", view=changed(MADE, NEW_TEXT, NEW.config_text)).mark is Mark.DONE
    assert "other content" in new("new-config", view=changed(MADE, NEW_TEXT, "mine")).why


def test_a_new_domain_is_created_and_started() -> None:
    def copy(found: DomainSeen, numbers: tuple[int, int] = (253, 10), joined: bool = False) -> View:
        view = changed(MADE, xl.DOMAINS, (found,))
        return changed(view, xl.VBDS, (Vbd(3, NEW.disks[0].device, numbers, joined),))

    assert new("create").mark is Mark.READY
    assert new("create", view=copy(PAUSED)).mark is Mark.DONE
    assert "other devices open" in new("create", view=copy(PAUSED, (8, 0))).why
    ready = new("start", view=copy(PAUSED))
    assert (ready.mark, ready.never_ran) == (Mark.READY, True)
    assert not new("start", view=rebooted(copy(PAUSED))).never_ran
    assert "other devices open" in new("start", view=copy(PAUSED, (8, 0))).why
    assert new("start", view=rebooted(copy(PAUSED, (8, 0)))).mark is Mark.WAIT
    assert new("start", view=copy(dom())).mark is Mark.DONE
    assert "is not there" in new("start").why
    created = acts(at("start"), empty("xen1"), rebooted(MADE), NEW)
    assert created[-1][1].argv[:3] == ("xl", "create", "-p")


def test_a_new_domain_leaves_nothing_but_itself() -> None:
    clean = changed(MADE, lvm.VOLUMES, (volume("web1-root", 512, 10, "fast"),))
    assert new("new-untagged").mark is Mark.READY
    assert new("new-untagged", view=clean).mark is Mark.DONE
    half = changed(clean, files.UNFINISHED, {f"{NEW_LINK}.xr-new": 0, f"{NEW.config_path}.xr-new": 9})
    assert new("new-untagged", view=half).mark is Mark.READY
    removed = [command for _, command in acts(at("new-untagged"), empty("xen1"), half, NEW)]
    assert removed == [
        files.remove(f"{NEW.config_path}.xr-new", f"{NEW_LINK}.xr-new"),
        files.sync_folder("/etc/xen"),
    ]


def test_a_new_domain_that_is_given_up() -> None:
    def going(view: View, *tried: str) -> Verdict:
        return judge(back("back-provision-removed", *tried), empty("xen1"), view, NEW)

    there = changed(changed(MADE, xl.DOMAINS, (PAUSED,)), NEW_TEXT, NEW.config_text)
    tried = ("create", "new-config", "new-autostart")
    auto = changed(there, files.CONFIG_FILES, S.get(files.CONFIG_FILES))
    commands = [
        " ".join(c.argv) for _, c in acts(back("back-provision-removed", *tried), empty("xen1"), auto, NEW)
    ]
    assert commands[0] == "xl destroy web1"
    assert commands[1].startswith("rm -f /etc/xen/auto/web1.cfg") and commands[-2:] == [
        "lvremove -y fast/web1-root",
        FLUSH_FAST,
    ]
    nothing = changed(empty("xen2"), NEW_TEXT, None)
    assert going(nothing).mark is Mark.DONE
    link_only = changed(nothing, files.LINKS, {NEW_LINK: "/dev/fast/web1-root"})
    assert going(link_only).mark is Mark.DONE, "not this order's"
    given_up = acts(back("back-provision-removed", "new-links"), empty("xen1"), link_only, NEW)
    assert [command for _, command in given_up] == [files.remove(NEW_LINK), files.sync_folder("/etc/xen")]
    of_another = changed(link_only, lvm.VOLUMES, (volume("web1-root", 512, 10, "fast"),))
    assert going(of_another, "new-links").mark is Mark.DONE, "it may be that one's"
    full = changed(nothing, files.UNFINISHED, {f"{NEW.config_path}.xr-new": 0})
    removed = acts(back("back-provision-removed"), empty("xen1"), full, NEW)
    assert removed[0][1] == files.remove(f"{NEW.config_path}.xr-new")
    assert going(changed(changed(MADE, xl.DOMAINS, (dom(),)), NEW_TEXT, None)).ran_there
    paused = changed(changed(MADE, xl.DOMAINS, (dom(DomainState.PAUSED),)), NEW_TEXT, None)
    assert "nothing is removed" in going(paused).why
    assert going(rebooted(paused)).mark is Mark.WAIT
    stopped = changed(auto, xl.DOMAINS, ())
    assert going(stopped, *tried).mark is Mark.READY
    assert going(rebooted(stopped), *tried).ran_there  # its host started it at the boot, and it has stopped
    assert going(rebooted(stopped), "create", "new-config").mark is Mark.READY


# -- the rest -------------------------------------------------------------------------------------


def test_what_was_not_read_is_not_absent() -> None:
    with pytest.raises(UnknownFact, match="nothing was read from the target"):
        _ = Views({Side.SOURCE: S}).target
    for name in ("sync", "ship", "source-volumes-removed", "cutover-ready"):
        with pytest.raises(UnknownFact):
            judge(at(name), View("xen1"), View("xen2"))


def test_what_is_sent_claims_the_domain() -> None:
    order = replace(ORDER, source_known=5, target_known=6)
    for side, known in ((Side.SOURCE, 5), (Side.TARGET, 6)):
        script = Action(side, (files.NOTHING,)).script(order, at("sync", serial=7))
        assert (script.commands, script.claim) == ((files.NOTHING,), order.claim(7, side))
        assert script.claim is not None and script.claim.after == known


def test_an_abstract_step_does_nothing() -> None:
    for call in (
        lambda: Step().looks(ORDER, at("sync")),
        lambda: Step().judge(ORDER, at("sync"), Views()),
        lambda: Step().act(ORDER, at("sync"), Views()),
    ):
        with pytest.raises(NotImplementedError):
            call()


LOST = {"disk": DiskState.DISKLESS}
AHEAD = {"out_of_sync_kib": 8, "replication": Replication.OFF}


def doubt(progress: Progress, source: View, target: View) -> str:
    verdict = judge(progress, source, target)
    assert verdict.in_doubt, verdict
    return verdict.why


def test_a_disk_lost_before_the_cutover_is_for_a_person() -> None:
    found = with_res(MIRRORED, res(volume=LOST))
    assert "a disk of web1 on xen1 has failed" in doubt(at("cutover-ready"), found, BESIDE)


def test_going_back_removes_no_better_copy() -> None:
    """The domain lives on the target's disk, or the target was written to: it keeps what it has."""
    living = with_res(MIRRORED, res(volume=LOST))
    assert "lives on the target's" in doubt(back("back-source-drbd-down"), living, T)
    for other in (res(Role.PRIMARY), res(Role.SECONDARY, volume=AHEAD)):
        there = with_res(T, other)
        assert "may hold writes" in doubt(back("back-target-drbd-down"), S, there)
        flipping = back("back-source-flip", "target-drbd-up")
        assert "may hold writes" in doubt(flipping, rebooted(links(GONE, "drbd")), there)
    behind = with_res(T, res(Role.SECONDARY, volume={"disk": DiskState.INCONSISTENT, "out_of_sync_kib": 8}))
    assert mark(back("back-target-drbd-down"), S, behind) is Mark.READY


def test_going_back_does_not_wait_for_a_silent_target_to_flip() -> None:
    flipping = back("back-source-flip", "target-drbd-up")
    assert mark(flipping, rebooted(links(GONE, "drbd")), View("xen2")) is Mark.READY


def test_only_a_domain_on_its_own_volumes_is_suspended_for_attach() -> None:
    """Symlinks that were pointed elsewhere meanwhile would bring its memory onto another disk."""
    elsewhere = changed(S, xl.VBDS, ())
    assert "has other devices open than its volumes" in why(at("attach-suspend"), elsewhere, T)


def test_a_guest_that_crashed_by_itself_is_back_as_it_is() -> None:
    """With `on_crash = "preserve"` it stays for somebody to look at; the move has nothing to mend."""
    crashed = changed(MIRRORED, xl.DOMAINS, (dom(DomainState.CRASHED),))
    for name in ("back-source-unpause", "back-source-still"):
        assert mark(back(name), crashed, T) is Mark.DONE
    dying = changed(MIRRORED, xl.DOMAINS, (dom(DomainState.DYING),))
    assert mark(back("back-source-unpause"), dying, T) is Mark.WAIT
    assert "does not run on xen1" in why(back("back-source-leftovers"), dying, T)


def test_a_domain_that_was_never_stopped_keeps_what_it_has_open() -> None:
    elsewhere = changed(S, xl.VBDS, ())
    assert mark(back("back-source-restore"), elsewhere, T) is Mark.DONE
    assert "wrong devices open" in why(back("back-source-restore", "attach-suspend"), elsewhere, T)


def test_a_host_that_knows_a_newer_claim_ends_the_way_back() -> None:
    """As with a journal from a backup: it is not this journey's turn any more, whatever it remembers."""
    newer = changed(S, files.EPOCHS, {"web1": ORDER.claim(9).epoch})
    verdict = judge(back("back-source-fence"), newer, T)
    assert (verdict.mark, verdict.stale) == (Mark.WRONG, True)
