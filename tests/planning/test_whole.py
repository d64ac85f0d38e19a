"""Whole items and orders, field by field, and the numbers on which a plan turns."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.commands.files import ConfigFiles
from reconciler.model.facts import DomainState, Unknown, View, VolumeGroup
from reconciler.model.move import CLAIMS, LOTS, Direction, Kind, MoveDisk, Order, Prediction, Reason, Status
from reconciler.model.placement import Attach, Cutover, Domain, Policy, Where
from reconciler.model.plan import Item, ItemKind
from reconciler.planning.planner import plan
from reconciler.planning.predict import Rates, Sample, predict
from reconciler.planning.preflight import Room, Rooms
from reconciler.planning.situation import Limits, Situation
from reconciler.planning.whereabouts import unmanaged
from tests.planning.crowd import crowd
from tests.planning.site import (
    HOSTS,
    MIB,
    NOW,
    UUID,
    changed,
    config,
    empty,
    resource,
    running,
    seen,
    silent,
    situation,
    volume,
)
from tests.planning.test_planner import PROVISION, one, order, past, progress, two

COMMIT = "c" * 40
ROOT = MoveDisk("xvda", "/etc/xen/disks/web1-root", "web1-root", 512 * MIB, -1, "fast", "fast")
DATA = MoveDisk("xvdb", "/etc/xen/disks/web1-data", "web1-data", 260 * MIB, -1, "fast", "fast")


def lot(move_id: str) -> int:
    return int(hashlib.sha256(f"lot/salt/{move_id}".encode()).hexdigest()[:16], 16) % LOTS


@pytest.mark.parametrize(
    ("policy", "attach", "cutover", "freezes_s"),
    [
        (Policy(max_freeze_s=60), Attach.PIVOT, Cutover.LIVE, (0.0, 2.0)),
        (Policy(Attach.PIVOT), Attach.PIVOT, Cutover.LIVE, (0.0, 2.0)),
        (Policy(cutover=Cutover.STREAM), Attach.PIVOT, Cutover.STREAM, (0.0, 4.56)),
        (Policy(cutover=Cutover.STORE), Attach.PIVOT, Cutover.STORE, (0.0, 7.12)),
        (Policy(Attach.SUSPEND, max_freeze_s=60), Attach.SUSPEND, Cutover.STORE, (4.56, 7.12)),
    ],
)
def test_the_order_of_a_move(
    policy: Policy, attach: Attach, cutover: Cutover, freezes_s: tuple[float, float]
) -> None:
    source = changed(running(), files.EPOCHS, {"web1": 4 * CLAIMS + 7})
    assert one(situation(source, wanted=(Domain("web1", "xen2", policy=policy),))).order == Order(
        kind=Kind.MOVE,
        domain="web1",
        uuid=UUID,
        epoch=5,
        commit=COMMIT,
        source=HOSTS["xen1"],
        target=HOSTS["xen2"],
        source_node="xen1.example",
        target_node="xen2.example",
        source_boot="boot-xen1",
        target_boot="boot-xen2",
        lot=lot("web1-5"),
        source_known=4 * CLAIMS + 7,
        target_known=0,
        disks=(
            replace(ROOT, minor=100, source_group="vg", source_uuid="uuid-web1-root"),
            replace(DATA, minor=101, source_group="vg", source_uuid="uuid-web1-data"),
        ),
        memory_mb=256,
        policy=policy,
        port=7800,
        secret=hashlib.sha256(b"salt/web1-5").hexdigest()[:40],
        config_text=None,
        autostart=True,
        attach=attach,
        cutover=cutover,
        prediction=Prediction(7.72, *freezes_s, 0),
    )


def test_the_order_of_a_new_domain() -> None:
    asked, policy = replace(PROVISION, autostart=False), Policy(max_freeze_s=9)
    ident = "efdad316-dd62-5d8c-ba72-416b29c15ec6"
    assert one(situation(wanted=(Domain("web1", "xen2", provision=asked, policy=policy),))) == Item(
        "web1",
        ItemKind.PROVISION,
        "xen2",
        None,
        order=Order(
            kind=Kind.PROVISION,
            domain="web1",
            uuid=ident,
            epoch=1,
            commit=COMMIT,
            source=None,
            target=HOSTS["xen2"],
            source_node="",
            target_node="xen2.example",
            target_boot="boot-xen2",
            lot=lot("web1-1"),
            target_known=0,
            disks=(ROOT,),
            memory_mb=256,
            policy=policy,
            port=0,
            secret="",
            config_text=(
                "# Written by xen-reconciler when it created the domain; it is yours to edit.\n"
                f'name = "web1"\nuuid = "{ident}"\ntype = "pv"\nmemory = 256\nvcpus = 1\nkernel = "/k"\n'
                'disk = [ "phy:/etc/xen/disks/web1-root,xvda,w" ]\nvif = [  ]\n'
            ),
            autostart=False,
            attach=Attach.SUSPEND,
            cutover=Cutover.STORE,
            prediction=Prediction(0.0, 0.0, 0.0, 0),
            provision=asked,
        ),
    )


def test_all_that_a_configuration_can_hold() -> None:
    full = replace(
        PROVISION, ramdisk="/r", extra="ro", bootloader="pygrub", vifs=("bridge=a", "bridge=b"), vcpus=2
    )
    made = one(situation(wanted=(Domain("web1", "xen2", uuid=UUID, provision=full),))).order
    assert made is not None and made.config_text is not None
    assert made.config_text.splitlines()[2:] == [
        f'uuid = "{UUID}"',
        'type = "pv"',
        "memory = 256",
        "vcpus = 2",
        'kernel = "/k"',
        'ramdisk = "/r"',
        'extra = "ro"',
        'bootloader = "pygrub"',
        'disk = [ "phy:/etc/xen/disks/web1-root,xvda,w" ]',
        'vif = [ "bridge=a", "bridge=b" ]',
    ]


AT_ONCE = "it is on xen1 (running) and xen2 (paused) at once; nothing is touched, decide which one is right"
HALF = "web1--incoming on xen1, web1--migratedaway on xen2"
TWINS = (config("a", uuid=UUID), config("b", uuid=UUID))
WHERE = Where("desired/web.yaml", 7)


@pytest.mark.parametrize(
    ("given", "kind", "found", "why"),
    [
        (
            situation(running(), changed(running("xen2"), xl.DOMAINS, (seen(state=DomainState.PAUSED),))),
            ItemKind.REFUSED,
            "xen1",
            AT_ONCE,
        ),
        (
            situation(
                changed(empty("xen1"), xl.DOMAINS, (seen("web1--incoming"),)),
                changed(empty("xen2"), xl.DOMAINS, (seen("web1--migratedaway"),)),
            ),
            ItemKind.REFUSED,
            None,
            f"a half of an interrupted migration is left: {HALF}",
        ),
        (
            situation(running(), wanted=(Domain("web1", "xen2", uuid="0", where=WHERE),)),
            ItemKind.REFUSED,
            "xen1",
            f"the domain on xen1 has uuid {UUID}, desired/web.yaml:7 says 0",
        ),
        (
            situation(running(), silent("xen2"), silent("xen3")),
            ItemKind.UNKNOWN,
            "xen1",
            "xen2, xen3 did not answer, so it may run there as well",
        ),
        (
            situation(silent("xen1"), silent("xen2")),
            ItemKind.UNKNOWN,
            None,
            "seen nowhere, but xen1, xen2 did not answer",
        ),
        (situation(), ItemKind.REFUSED, None, "is on no host and has no «provision» section"),
        (
            situation(changed(running(), xl.CONFIGS, ())),
            ItemKind.REFUSED,
            "xen1",
            "xl on xen1 lists web1 but shows no configuration of it",
        ),
        (
            situation(changed(running(), xl.CONFIGS, (config(disks=()),))),
            ItemKind.REFUSED,
            "xen1",
            "web1 on xen1 has no disk",
        ),
        (
            situation(
                running(),
                changed(empty("xen2"), xl.CONFIGS, (config("a", uuid=UUID), config("b", uuid=UUID))),
            ),
            ItemKind.REFUSED,
            "xen1",
            "web1 on xen1 has the same uuid as a on xen2, b on xen2; nothing is touched: destroy the one "
            "that is a copy, or give it a uuid of its own",
        ),
        (
            situation(running(), limits=Limits(ports=range(0))),
            ItemKind.REFUSED,
            "xen1",
            "no DRBD minor or port is free in the configured ranges",
        ),
        (
            situation(running(), wanted=(Domain("web1", "xen2", policy=Policy(max_freeze_s=1)),)),
            ItemKind.REFUSED,
            "xen1",
            "its freeze is predicted at 2.0 s, policy allows 1 s",
        ),
        (situation(running("xen2")), ItemKind.IN_PLACE, "xen2", ""),
    ],
)
def test_items(given: Situation, kind: ItemKind, found: str | None, why: str) -> None:
    assert one(given) == Item("web1", kind, "xen2", found, why)


def test_items_of_a_domain_that_is_off() -> None:
    def off(*hosts: str) -> Situation:
        files_there = ConfigFiles(frozenset({"/etc/xen/web1.cfg"}), frozenset())
        return situation(*(changed(empty(host), files.CONFIG_FILES, files_there) for host in hosts))

    why = "is not running; its configuration is on xen2"
    assert one(off("xen2")) == Item("web1", ItemKind.IN_PLACE, "xen2", None, why)
    for hosts in (("xen1",), ("xen1", "xen2")):
        why = f"is not running; its configuration is on {', '.join(hosts)}. Start it there to have it moved"
        assert one(off(*hosts)) == Item("web1", ItemKind.REFUSED, "xen2", None, why)
    unread = changed(empty("xen1"), files.CONFIG_FILES, Unknown("cut"))
    assert one(situation(unread)).why == "is on no host and has no «provision» section"


def test_notes_of_a_domain_in_place() -> None:
    links = {"/etc/xen/disks/web1-root": "/dev/drbd100", "/etc/xen/disks/web1-data": "/dev/vg/web1-data"}
    given = situation(changed(running("xen2"), files.LINKS, links), silent("xen1"), silent("xen3"))
    left = "runs on DRBD without a peer on xen2 since a move went back; its next move takes it along"
    assert one(given) == Item(
        "web1", ItemKind.IN_PLACE, "xen2", "xen2", "", notes=("could not ask xen1, xen3", left)
    )


def test_a_plan_says_of_each_host_what_it_said() -> None:
    made = plan(situation(running(), silent("xen3", "no route")))
    assert list(made.hosts) == ["xen1", "xen2", "xen3"] and made.commit == COMMIT
    names = list(silent("xen3").facts)
    assert made.hosts["xen3"] == "; ".join(f"{name}: no route" for name in names[:3])
    assert made.hosts["xen1"] == "answers"


# -- turns ------------------------------------------------------------------------------------------


def test_a_move_under_way_counts_as_one() -> None:
    def kinds(max_moves: int, *active: Any) -> list[ItemKind]:
        given = replace(two(), active=active, limits=Limits(max_moves=max_moves))
        return [found.kind for found in plan(given).items]

    other = replace(order(), domain="web0")
    assert kinds(1) == [ItemKind.MOVE, ItemKind.LATER]
    assert kinds(2) == [ItemKind.MOVE, ItemKind.MOVE]
    assert kinds(2, (other, progress())) == [ItemKind.CARRY_ON, ItemKind.MOVE, ItemKind.LATER]
    assert kinds(3, (other, progress())) == [ItemKind.CARRY_ON, ItemKind.MOVE, ItemKind.MOVE]
    waits = plan(replace(two(), limits=Limits(max_moves=0))).items[1]
    assert waits.why == "waits for its turn: 0 at a time" and waits.order is not None


def test_a_move_that_waits_for_its_window_keeps_nobody_waiting() -> None:
    """Its memory, ports and minors are taken all the same."""
    opens = (NOW + datetime.timedelta(hours=1)).strftime("%H:%M-23:59")
    busy = replace(order(), domain="web0", memory_mb=3900)
    windowed = replace(busy, policy=replace(busy.policy, cutover_window=opens))
    ready = replace(progress(), step="cutover-ready")

    def kinds(active: Order) -> list[ItemKind]:
        given = replace(two(), active=((active, ready),), limits=Limits(max_moves=1))
        return [found.kind for found in plan(given).items]

    assert kinds(replace(windowed, memory_mb=1)) == [ItemKind.CARRY_ON, ItemKind.MOVE, ItemKind.LATER]
    assert kinds(replace(busy, memory_mb=1)) == [ItemKind.CARRY_ON, ItemKind.LATER, ItemKind.LATER]
    given = replace(situation(running()), active=((windowed, ready),), limits=Limits(max_moves=1))
    crowded = [found for found in plan(given).items if found.domain == "web1"]
    assert crowded[0].why == "xen2 has 196 MiB of memory free, web1 needs 256"


def test_a_move_under_way_takes_minors_ports_and_room() -> None:
    busy = replace(order(), domain="web0", memory_mb=3900)
    given = replace(situation(running()), active=((busy, progress()),), limits=Limits(max_moves=2))
    crowded = [found for found in plan(given).items if found.domain == "web1"]
    assert crowded[0].why == "xen2 has 196 MiB of memory free, web1 needs 256"
    given = replace(given, active=((replace(busy, memory_mb=100), progress()),))
    made = one(given).order
    assert made is not None and made.port == 7801
    assert [disk.minor for disk in made.disks] == [102, 103]


def test_room_that_orders_take() -> None:
    first = order()
    other = replace(first, target=HOSTS["xen3"], port=7805, disks=(replace(first.disks[0], minor=150),))
    rooms = Rooms()
    rooms.take(first)
    rooms.take(other)
    taken = Room(frozenset({100, 101, 150}), frozenset({7800, 7805}), 256, 772 * MIB)
    assert rooms.at("xen2") == taken
    rooms.take(replace(first, port=7810, memory_mb=100), waits=True)
    assert rooms.at("xen2") == replace(taken, memory_mb=356, volume_bytes=2 * 772 * MIB)
    assert Rooms().at("xen2") == Room()


def test_domains_that_wait_keep_no_minor_and_no_port_from_others() -> None:
    given = replace(crowd(100, misplaced=8), limits=Limits(minors=range(100, 104), ports=range(7800, 7802)))
    found = [item.kind for item in plan(given).items]
    assert found == [ItemKind.MOVE, *[ItemKind.LATER] * 7, *[ItemKind.IN_PLACE] * 92]


def test_minors_and_ports_that_are_just_enough() -> None:
    assert one(situation(running(), limits=Limits(minors=range(100, 102)))).kind is ItemKind.MOVE
    assert one(situation(running(), limits=Limits(minors=range(100, 101)))).kind is ItemKind.REFUSED
    here = changed(running(), drbd.RESOURCES, (resource("xr-other", (100, 103)),))
    made = one(situation(here, limits=Limits(ports=range(7999, 8000)))).order
    assert made is not None and made.port == 7999
    assert [disk.minor for disk in made.disks] == [101, 102]


@pytest.mark.parametrize(
    ("order_", "now", "why"),
    [
        (order(), progress(), "move web1-1 is under way at step sync"),
        (order(), progress(direction=Direction.BACK), "move web1-1 is going back at step sync"),
        (
            order(),
            progress(status=Status.HELD, reason=Reason.BUSY, detail="why"),
            "move web1-1 is held at step sync (host-busy): why",
        ),
    ],
)
def test_what_is_under_way(order_: Order, now: Any, why: str) -> None:
    given = situation(running(), wanted=(Domain("web1", "xen1"),), active=((order_, now),))
    assert one(given) == Item("web1", ItemKind.CARRY_ON, "xen1", "xen1", why, order_)


# -- after a failure --------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "seconds"), [(1, 300), (2, 600), (3, 1200)])
def test_each_failure_doubles_the_wait(failures: int, seconds: int) -> None:
    def planned(ago_s: float) -> Item:
        earlier = [past(600 + n) for n in range(failures - 1)]
        return one(situation(running(), past=[past(ago_s / 60), *earlier], limits=Limits(max_attempts=4)))

    assert planned(seconds).kind is ItemKind.MOVE
    due = NOW + datetime.timedelta(seconds=1)
    why = f"went back {failures} times, last sync too slow; tried again at {due.isoformat()}"
    assert planned(seconds - 1) == Item("web1", ItemKind.LATER, "xen2", None, why)


def test_the_last_failure() -> None:
    given = situation(running(), past=[past(600), past(700)], limits=Limits(max_attempts=2))
    why = "went back 2 times, last sync too slow; it is not tried again before the next commit"
    assert one(given) == Item("web1", ItemKind.REFUSED, "xen2", None, why)
    others = [past(1, domain="web0"), past(600), past(2, domain="web0"), past(700)]
    assert one(replace(given, past=others)).why == why, "those of other domains lie in between"


# -- predictions ------------------------------------------------------------------------------------


SUSPEND, PIVOT, STREAM, STORE = Attach.SUSPEND, Attach.PIVOT, Cutover.STREAM, Cutover.STORE


def test_predictions() -> None:
    rates = Rates(link_mb_s=50.0, disk_mb_s=100.0, fixed_s=3.0)
    assert predict(1000 * MIB, 400, SUSPEND, STORE, (), rates) == Prediction(20.0, 11.0, 19.0, 0)
    assert predict(1000 * MIB, 400, PIVOT, STORE, (), rates) == Prediction(20.0, 0.0, 19.0, 0)
    assert predict(1000 * MIB, 400, PIVOT, STREAM, (), rates) == Prediction(20.0, 0.0, 11.0, 0)
    odd = replace(rates, disk_mb_s=96.0)
    assert predict(1000 * MIB, 401, SUSPEND, STORE, (), odd) == Prediction(20.0, 11.35, 19.37, 0)
    assert predict(1000 * MIB, 401, PIVOT, STREAM, (), odd) == Prediction(20.0, 0.0, 11.02, 0)
    slow_disk = replace(rates, disk_mb_s=25.0)
    assert predict(1000 * MIB, 400, SUSPEND, STORE, (), slow_disk).sync_s == 40.0
    assert predict(1000 * MIB, 400, PIVOT, STREAM, (), slow_disk) == Prediction(40.0, 0.0, 11.0, 0)


def test_predictions_from_what_was_measured() -> None:
    rates = Rates(link_mb_s=50.0, disk_mb_s=100.0, fixed_s=3.0)
    samples = [
        Sample(100 * MIB, 1.0, 100, 2.0, 5.0, STORE),
        Sample(100 * MIB, 2.0, 200, 2.0, 5.0, STORE),
        Sample(100 * MIB, 4.0, 400, 2.0, None, STORE),
        Sample(100 * MIB, 0.0, 400, None, 10.0, STORE),
        Sample(100 * MIB, 4.0, 0, 9.0, 9.0, STORE),
    ]
    assert predict(1000 * MIB, 400, SUSPEND, STORE, samples, rates) == Prediction(26.67, 4.0, 10.0, 5)
    assert predict(1000 * MIB, 400, PIVOT, STORE, samples, rates) == Prediction(26.67, 0.0, 10.0, 5)
    streamed = [
        Sample(100 * MIB, 4.0, 100, None, 1.0, STREAM),
        Sample(100 * MIB, 4.0, 0, None, 9.0, STREAM),
        Sample(100 * MIB, 4.0, 200, None, None, STREAM),
    ]
    guessed = predict(1000 * MIB, 400, PIVOT, STREAM, samples, rates)
    assert guessed == Prediction(26.67, 0.0, 11.0, 5), "through a file it took other times"
    both = [*samples, *streamed]
    assert predict(1000 * MIB, 400, PIVOT, STREAM, both, rates) == Prediction(40.0, 0.0, 4.0, 8)
    assert predict(1000 * MIB, 400, SUSPEND, STORE, both, rates) == Prediction(40.0, 4.0, 10.0, 8)
    assert predict(1000 * MIB, 400, SUSPEND, STORE, streamed, rates) == Prediction(40.0, 11.0, 19.0, 3)


def test_the_longer_freeze_counts() -> None:
    """That to attach, too: changing hosts may have been measured as quicker than was assumed."""
    quick = (Sample(512 * MIB, 4.0, 256, None, 1.0, STORE),)

    def planned(max_freeze_s: int, samples: tuple[Sample, ...] = ()) -> Item:
        wanted = (Domain("web1", "xen2", policy=Policy(Attach.SUSPEND, max_freeze_s=max_freeze_s)),)
        return one(situation(running(), wanted=wanted, samples=samples))

    for allowed_s, samples, longer_s in ((7, (), 7.12), (4, quick, 4.56)):
        assert planned(allowed_s, samples).why == (
            f"its freeze is predicted at {longer_s} s, policy allows {allowed_s} s"
        )
        assert planned(allowed_s + 1, samples).kind is ItemKind.MOVE


# -- preflight --------------------------------------------------------------------------------------


def why(*views: View) -> list[str]:
    return one(situation(*views)).why.split("; ")


def test_room_that_is_just_enough_on_the_target() -> None:
    def there(**changes: Any) -> View:
        free = changes.pop("free", 780 * MIB)
        view = changed(empty("xen2"), lvm.GROUPS, (VolumeGroup("fast", 1 << 40, free, 4 * MIB),))
        return changed(view, xl.INFO, replace(view.get(xl.INFO), free_memory_mb=changes.pop("memory", 256)))

    assert one(situation(running(), there())).kind is ItemKind.MOVE
    assert why(running(), there(memory=255)) == ["xen2 has 255 MiB of memory free, web1 needs 256"]
    said = f"xen2: volume group fast has {780 * MIB - 1} bytes free, {780 * MIB} are needed"
    assert why(running(), there(free=780 * MIB - 1)) == [said]
    reserved = {**HOSTS, "xen2": replace(HOSTS["xen2"], reserve_memory_mb=10)}
    given = situation(running(), there(memory=265))
    given = replace(given, desired=replace(given.desired, hosts=reserved))
    assert one(given).why == "xen2 has 255 MiB of memory free, web1 needs 256"


def test_room_that_is_just_enough_on_the_source() -> None:
    def here(free: int = 8 * MIB) -> View:
        return changed(running(), lvm.GROUPS, (VolumeGroup("vg", 1 << 40, free, 4 * MIB),))

    assert one(situation(here())).kind is ItemKind.MOVE
    said = f"xen1: volume group vg has {8 * MIB - 1} bytes free, {8 * MIB} are needed for DRBD's metadata"
    assert why(here(free=8 * MIB - 1)) == [said]
    (first, second) = here().get(lvm.VOLUMES)
    meta = volume("web1-root-drbdmd", 4)
    some = changed(here(free=4 * MIB), lvm.VOLUMES, (first, second, meta))
    assert one(situation(some)).kind is ItemKind.MOVE, "what is there already needs no room"


NO_ROOM = [
    f"{host} has no room below /var/lib/xen-reconciler for the saved image of web1"
    for host in ("xen1", "xen2")
]


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        (Policy(), []),
        (Policy(Attach.PIVOT, Cutover.STREAM), []),
        (Policy(cutover=Cutover.STORE), NO_ROOM),
        (Policy(Attach.SUSPEND), NO_ROOM),
        (Policy(Attach.SUSPEND, Cutover.STORE), NO_ROOM),
        (
            Policy(Attach.SUSPEND, Cutover.STREAM),
            ["policy wants cutover: stream, but it is suspended to attach", NO_ROOM[0]],
        ),
    ],
)
def test_room_for_images_where_there_are_any(policy: Policy, needed: list[str]) -> None:
    """Saved on the source to attach; there and on the target to change hosts through a file."""

    def planned(here: int, there: int) -> Item:
        views = changed(running(), files.SPACE, here), changed(empty("xen2"), files.SPACE, there)
        return one(situation(*views, wanted=(Domain("web1", "xen2", policy=policy),)))

    enough, little = 320 * MIB, 320 * MIB - 1
    for here, there, short in (
        (enough, enough, ()),
        (little, enough, NO_ROOM[:1]),
        (enough, little, NO_ROOM[1:]),
        (little, little, NO_ROOM),
    ):
        said = "; ".join(text for text in needed if text in short or text not in NO_ROOM)
        found = planned(here, there)
        assert (found.kind, found.why) == (ItemKind.REFUSED if said else ItemKind.MOVE, said)


def test_a_domain_on_a_slower_way_needs_room_for_its_images() -> None:
    """The policy leaves the way open, and a second device over a volume stands against a pivot."""
    lower = {**running().get(dm.TABLES), "xr-vg-web1--data": ("0 8 error",)}
    here = changed(changed(running(), dm.TABLES, lower), files.SPACE, 0)
    assert why(here, changed(empty("xen2"), files.SPACE, 0)) == NO_ROOM


@pytest.mark.parametrize(
    ("here", "there", "fits"),
    [
        ("4.17.5", "4.17.0", True),
        ("4.17", "4.18", True),
        ("4.17.5", "4.19.5", False),
        ("4.17.5", "4.16.5", False),
        ("4.17.5", "5.17.5", False),
        ("4", "4", False),
        ("4.17-rc1", "4.17.0", True),
    ],
)
def test_versions_of_xen(here: str, there: str, fits: bool) -> None:
    source = changed(running(), xl.INFO, replace(running().get(xl.INFO), version=here))
    target = changed(empty("xen2"), xl.INFO, replace(running().get(xl.INFO), version=there))
    found = one(situation(source, target))
    said = f"xen1 has Xen {here}, xen2 has {there}; a domain moves to the same or the next minor version only"
    assert (found.kind, found.why) == ((ItemKind.MOVE, "") if fits else (ItemKind.REFUSED, said))


def test_cpu_features() -> None:
    def caps(here: str, there: str) -> str:
        source = changed(running(), xl.INFO, replace(running().get(xl.INFO), hw_caps=here))
        target = changed(empty("xen2"), xl.INFO, replace(running().get(xl.INFO), hw_caps=there))
        return one(situation(source, target)).why

    assert caps("3:1:ff", "7:1:ff") == "", "more will do"
    said = "xen2 lacks CPU features that xen1 has (hw_caps words 0,2)"
    assert caps("7:1:ff", "3:1:fe") == said


def test_what_is_in_the_way_on_the_target_is_told_at_once() -> None:
    view = changed(empty("xen2"), drbd.RESOURCES, (resource(),))
    view = changed(view, files.LINKS, {"/etc/xen/disks/web1-data": "/dev/x"})
    view = changed(view, files.CONFIG_FILES, ConfigFiles(frozenset({"/etc/xen/web1.cfg"}), frozenset()))
    rows = (volume("web1-data", group="fast"), volume("web1-root", group="other"))
    view = changed(view, lvm.VOLUMES, rows)
    view = changed(view, drbd.VERSION, "9.1")
    view = changed(view, lvm.GROUPS, (VolumeGroup("slow", 1, 1, 1),))
    assert one(situation(running(), view)).why == (
        "xen2 runs DRBD 9.1; this version of the reconciler drives DRBD 8.4 only; "
        "xen2 has no volume group fast; "
        "xen2: /dev/fast/web1-data exists and is never reused; look what is in it, then rename or remove it; "
        "xen2: /etc/xen/disks/web1-data already points to /dev/x; "
        "xen2: /etc/xen/web1.cfg exists already; move it away; "
        "xen2: DRBD resource xr-web1 exists already; "
        "web1 is running on xen1, and there is no journey in the journal for what a move has left: xen2 has "
        "DRBD resource xr-web1 (Primary). Nothing is touched; see docs/how-to/held.md#journal-lost"
    )


DISK = "web1 on xen1: disk xvda (/etc/xen/disks/web1-root)"
ADOPT = (
    "is not named through a symlink in /etc/xen/disks; see docs/how-to/adopt.md for naming it so at the "
    "domain's next start"
)


@pytest.mark.parametrize(
    ("changes", "link", "found", "said"),
    [
        ({"backend": "qdisk"}, None, {}, "is not a writable block device (phy:); only such disks are moved"),
        ({"writable": False}, None, {}, "is not a writable block device (phy:); only such disks are moved"),
        ({}, "", {}, ADOPT),
        ({}, "/dev/sdb", {}, "points to /dev/sdb, which is no logical volume this host shows"),
        (
            {},
            "/dev/vg/web1-root",
            {"plain": False},
            "stands on /dev/vg/web1-root, a thin, snapshot or origin volume; only plain volumes are moved",
        ),
        (
            {},
            "/dev/vg/a-drbdmd",
            {"name": "a-drbdmd"},
            "stands on a volume named a-drbdmd, which cannot be moved under that name",
        ),
        (
            {},
            "/dev/mapper/v--g-web1--root",
            {"group": "v-g"},
            "points to /dev/mapper/v--g-web1--root; point the symlink to /dev/v-g/web1-root instead",
        ),
    ],
)
def test_disks_that_can_not_be_moved(
    changes: dict[str, Any], link: str | None, found: dict[str, Any], said: str
) -> None:
    whole = config(disks=("root",))
    view = changed(running(), xl.CONFIGS, (replace(whole, disks=(replace(whole.disks[0], **changes),)),))
    if link is not None:
        view = changed(view, files.LINKS, {"/etc/xen/disks/web1-root": link} if link else {})
    view = changed(view, lvm.VOLUMES, (replace(volume("web1-root"), **found),))
    view = changed(
        view, lvm.GROUPS, tuple(VolumeGroup(name, 1 << 40, 1 << 39, 4 * MIB) for name in ("vg", "v-g"))
    )
    assert one(situation(view)).why == f"{DISK} {said}"


def test_all_problems_of_the_source_are_told_at_once() -> None:
    view = changed(running(), xl.DOMAINS, (seen(state=DomainState.CRASHED),))
    view = changed(view, xl.CONFIGS, (replace(config(), kind="hvm"),))
    view = changed(view, drbd.RESOURCES, (resource(),))
    assert one(situation(view)).why == (
        "web1 is an HVM domain; its device model opens the disks by itself; "
        "web1 is crashed on xen1; only a running domain is moved; "
        "xen1: DRBD resource xr-web1 exists though web1 does not run on it; "
        "web1 is crashed on xen1, and there is no journey in the journal for what a move has left: xen1 has "
        "DRBD resource xr-web1 (Primary). Nothing is touched; see docs/how-to/held.md#journal-lost"
    )


def test_what_is_named_nowhere() -> None:
    views = {
        "xen2": changed(empty("xen2"), xl.DOMAINS, (seen("b"), seen("a"), seen("c--incoming"))),
        "xen1": changed(empty("xen1"), xl.DOMAINS, (seen("c"), seen("a"), seen("d--migratedaway"))),
        "xen3": silent("xen3"),
    }
    assert unmanaged({"c"}, views) == [
        ("a", "xen1"),
        ("a", "xen2"),
        ("b", "xen2"),
        ("d--migratedaway", "xen1"),
    ]
    (found,) = plan(situation(running(), wanted=())).items
    said = "named in no committed file; left alone"
    assert found == Item("web1", ItemKind.UNMANAGED, None, "xen1", said)
