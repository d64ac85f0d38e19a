"""State in, plan out: every kind of item, and what a plan never does."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from reconciler.commands import files, xl
from reconciler.model.facts import DomainState, Unknown, View
from reconciler.model.move import CLAIMS, Direction, Kind, Order, Progress, Reason, Status
from reconciler.model.placement import (
    Attach,
    Cutover,
    Desired,
    DiskSource,
    Domain,
    NewDisk,
    Policy,
    Problem,
    Provision,
)
from reconciler.model.plan import Item, ItemKind
from reconciler.planning.planner import plan
from reconciler.planning.predict import Sample
from reconciler.planning.situation import Limits, Past, Situation
from tests.planning.site import (
    HOSTS,
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
)

PROVISION = Provision(256, (NewDisk("root", "xvda", 512, DiskSource(image="/i")),), kernel="/k")


def one(given: Situation, name: str = "web1") -> Item:
    (item,) = [item for item in plan(given).items if item.domain == name]
    return item


def order() -> Order:
    found = one(situation(running())).order
    assert found is not None
    return found


def progress(**changes: object) -> Progress:
    whole = Progress(Direction.FORWARD, "sync", Status.ACTIVE, 0, NOW)
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_move() -> None:
    item = one(situation(running()))
    assert (item.kind, item.wanted, item.found) == (ItemKind.MOVE, "xen2", "xen1")
    made = item.order
    assert made is not None and item.prediction is made.prediction
    assert (made.kind, made.epoch, made.uuid, made.port) == (Kind.MOVE, 1, UUID, 7800)
    assert (made.source_node, made.target_node) == ("xen1.example", "xen2.example")
    assert (made.source_boot, made.target_boot) == ("boot-xen1", "boot-xen2")
    assert [(d.device, d.volume, d.minor) for d in made.disks] == [
        ("xvda", "web1-root", 100),
        ("xvdb", "web1-data", 101),
    ]
    assert made.disks[0].source_uuid == "uuid-web1-root"
    assert made.autostart and made.config_text is None
    assert len(made.secret) == 40


def test_the_same_situation_gives_the_same_plan() -> None:
    assert plan(situation(running())) == plan(situation(running()))


def test_exit_codes_and_host_words() -> None:
    moving = plan(situation(running()))
    assert (moving.exit_code, moving.changes, moving.errors) == (2, True, False)
    assert moving.hosts == {"xen1": "answers", "xen2": "answers"}
    still = plan(situation(running("xen2")))
    assert (still.exit_code, still.changes) == (0, False)
    lost = plan(situation(running(), silent("xen2", "no route")))
    assert lost.exit_code == 1
    assert "no route" in lost.hosts["xen2"]


def test_in_place() -> None:
    item = one(situation(running("xen2")))
    assert (item.kind, item.why, item.notes) == (ItemKind.IN_PLACE, "", ())
    item = one(situation(running("xen2"), silent("xen1")))
    assert (item.kind, item.notes) == (ItemKind.IN_PLACE, ("could not ask xen1",))


def test_a_domain_left_on_drbd_is_remarked_upon() -> None:
    links = {"/etc/xen/disks/web1-root": "/dev/drbd100", "/etc/xen/disks/web1-data": "/dev/drbd101"}
    item = one(situation(changed(running("xen2"), files.LINKS, links)))
    assert item.kind is ItemKind.IN_PLACE
    assert [note for note in item.notes if "DRBD without a peer on xen2" in note]


def test_whether_it_is_left_on_drbd_is_not_said_where_it_is_not_known() -> None:
    links = {"/etc/xen/disks/web1-root": "/dev/drbd100", "/etc/xen/disks/web1-data": "/dev/drbd101"}
    there = changed(running("xen2"), files.LINKS, links)
    unread = changed(there, files.LINKS, Unknown("find: no answer"))
    for view in (unread, changed(there, xl.CONFIGS, ())):
        item = one(situation(view))
        assert (item.kind, item.notes) == (ItemKind.IN_PLACE, ())


def test_the_epoch_is_newer_than_any_seen() -> None:
    view = changed(running(), files.EPOCHS, {"web1": 7 * CLAIMS, "other": 90 * CLAIMS})
    assert one(situation(view)).order.epoch == 8  # type: ignore[union-attr]
    there = changed(empty("xen2"), files.EPOCHS, {"web1": 9 * CLAIMS + 3})
    assert one(situation(view, there)).order.epoch == 10  # type: ignore[union-attr]
    assert one(situation(view, epochs={"web1": 20})).order.epoch == 21  # type: ignore[union-attr]


def test_a_silent_host_may_run_the_domain_too() -> None:
    item = one(situation(running(), silent("xen3")))
    assert item.kind is ItemKind.UNKNOWN and "xen3 did not answer" in item.why
    item = one(situation(running(), silent("xen2")))
    assert item.kind is ItemKind.UNKNOWN
    item = one(situation(silent("xen1")))
    assert item.kind is ItemKind.UNKNOWN and "seen nowhere" in item.why


def test_a_fact_that_is_missing_makes_the_domain_unknown() -> None:
    view = running()
    facts = dict(view.facts)
    del facts[files.BOOT_ID.name]
    item = one(situation(View("xen1", facts)))
    assert item.kind is ItemKind.UNKNOWN and "the boot id is not known" in item.why


def test_on_two_hosts_at_once() -> None:
    item = one(situation(running("xen1"), running("xen2")))
    assert item.kind is ItemKind.REFUSED and "xen1 (running) and xen2 (running) at once" in item.why


@pytest.mark.parametrize("half", ["web1--incoming", "web1--migratedaway"])
def test_half_of_a_migration(half: str) -> None:
    there = changed(empty("xen2"), xl.DOMAINS, (seen(half, state=DomainState.PAUSED),))
    (item,) = plan(situation(running(), there)).items
    assert item.kind is ItemKind.REFUSED and f"{half} on xen2" in item.why


def test_another_uuid_than_committed() -> None:
    other = "00000000-0000-4000-8000-000000000000"
    item = one(situation(running(), wanted=(Domain("web1", "xen2", uuid=other),)))
    assert item.kind is ItemKind.REFUSED and other in item.why and UUID in item.why
    assert one(situation(running(), wanted=(Domain("web1", "xen2", uuid=UUID),))).kind is ItemKind.MOVE


def test_the_same_uuid_under_another_name_on_the_target() -> None:
    there = changed(empty("xen2"), xl.CONFIGS, (config("other", uuid=UUID),))
    item = one(situation(running(), there))
    assert item.kind is ItemKind.REFUSED and "has the same uuid as other on xen2" in item.why


def test_no_configuration_shown() -> None:
    item = one(situation(changed(running(), xl.CONFIGS, ())))
    assert item.kind is ItemKind.REFUSED and "shows no configuration" in item.why


def test_a_domain_without_disks() -> None:
    item = one(situation(changed(running(), xl.CONFIGS, (config(disks=()),))))
    assert item.kind is ItemKind.REFUSED and "has no disk" in item.why


def test_a_host_that_is_not_committed() -> None:
    given = situation(running())
    hosts = {"xen2": HOSTS["xen2"]}
    item = one(replace(given, desired=Desired("c" * 40, hosts, given.desired.domains)))
    assert item.kind is ItemKind.REFUSED and "not among the committed hosts" in item.why


def test_no_minor_or_port_left() -> None:
    for limits in (Limits(minors=range(100, 101)), Limits(ports=range(0))):
        item = one(situation(running(), limits=limits))
        assert item.kind is ItemKind.REFUSED and "no DRBD minor or port is free" in item.why


def test_minors_in_use_are_left_out() -> None:
    from reconciler.commands import drbd

    there = changed(empty("xen2"), drbd.RESOURCES, (resource("xr-other", (100, 102)),))
    made = one(situation(running(), there)).order
    assert made is not None and [disk.minor for disk in made.disks] == [101, 103]


def test_a_freeze_longer_than_allowed() -> None:
    item = one(situation(running(), wanted=(Domain("web1", "xen2", policy=Policy(max_freeze_s=1)),)))
    assert item.kind is ItemKind.REFUSED and "policy allows 1 s" in item.why
    item = one(situation(running(), wanted=(Domain("web1", "xen2", policy=Policy(max_freeze_s=60)),)))
    assert item.kind is ItemKind.MOVE


# -- nowhere ----------------------------------------------------------------------------------------


def test_absent_and_not_provisioned() -> None:
    item = one(situation())
    assert item.kind is ItemKind.REFUSED and "no «provision» section" in item.why


def test_absent_with_a_configuration() -> None:
    stopped = changed(running("xen2"), xl.DOMAINS, ())
    item = one(situation(changed(stopped, xl.CONFIGS, ())))
    assert item.kind is ItemKind.IN_PLACE and "is not running" in item.why
    stopped = changed(running("xen1"), xl.DOMAINS, ())
    item = one(situation(changed(stopped, xl.CONFIGS, ())))
    assert item.kind is ItemKind.REFUSED and "its configuration is on xen1" in item.why


def test_provision() -> None:
    item = one(situation(wanted=(Domain("web1", "xen2", provision=PROVISION),)))
    assert item.kind is ItemKind.PROVISION
    made = item.order
    assert made is not None and made.source is None and made.sides
    assert (made.kind, made.epoch, made.target_boot) == (Kind.PROVISION, 1, "boot-xen2")
    assert made.config_text is not None and 'name = "web1"' in made.config_text
    assert [disk.link for disk in made.disks] == ["/etc/xen/disks/web1-root"]
    fixed = one(situation(wanted=(Domain("web1", "xen2", uuid=UUID, provision=PROVISION),))).order
    assert fixed is not None and fixed.uuid == UUID != made.uuid


def test_provision_without_room() -> None:
    big = replace(PROVISION, memory_mb=9000)
    item = one(situation(wanted=(Domain("web1", "xen2", provision=big),)))
    assert item.kind is ItemKind.REFUSED and "MiB of memory free" in item.why


# -- more than one --------------------------------------------------------------------------------


def two() -> Situation:
    from reconciler.commands import lvm

    first, second = running(name="web1"), running(name="web2")
    both = first
    for query in (xl.DOMAINS, xl.CONFIGS, lvm.VOLUMES, xl.VBDS):
        facts = [*first.get(query), *second.get(query)]
        if query is xl.VBDS:
            facts = [*facts[:2], *[replace(vbd, domid=4) for vbd in facts[2:]]]
        elif query is not lvm.VOLUMES:
            facts = [facts[0], replace(facts[1], domid=4)]
        if query is xl.CONFIGS:
            facts[1] = replace(facts[1], uuid=UUID.replace("a1", "a2"))
        both = changed(both, query, tuple(facts))
    both = changed(both, files.LINKS, {**first.get(files.LINKS), **second.get(files.LINKS)})
    return situation(both, wanted=(Domain("web1", "xen2"), Domain("web2", "xen2")))


def test_a_window_is_said_in_the_plan() -> None:
    policy = Policy(cutover_window="22:00-04:00")
    item = one(situation(running(), wanted=(Domain("web1", "xen2", policy=policy),)))
    assert item.notes[-1] == "changes hosts between 22:00 and 04:00 UTC"


def test_turns_are_taken() -> None:
    given = two()
    assert [item.kind for item in plan(given).items] == [ItemKind.MOVE, ItemKind.LATER]
    assert "waits for its turn" in one(given, "web2").why
    both = replace(given, limits=Limits(max_moves=2))
    orders = [item.order for item in plan(both).items]
    assert [item.kind for item in plan(both).items] == [ItemKind.MOVE, ItemKind.MOVE]
    first, second = orders
    assert first is not None and second is not None
    assert first.port != second.port
    assert not {d.minor for d in first.disks} & {d.minor for d in second.disks}


def test_a_domain_that_a_person_holds_is_planned_and_not_begun() -> None:
    given = replace(two(), held={"web1": "held by the operator"})
    first, second = plan(given).items
    assert (first.kind, first.why) == (ItemKind.LATER, "held by the operator")
    assert first.order is not None, "the plan shows what would be done"
    assert second.kind is ItemKind.MOVE, "it takes nobody's turn"
    absent = replace(situation(), held={"web1": "held by the operator"})
    assert one(absent).kind is ItemKind.REFUSED, "there is nothing to hold"


def test_a_move_under_way_takes_its_turn_and_goes_on() -> None:
    given = replace(two(), active=((order(), progress()),))
    assert [item.kind for item in plan(given).items] == [ItemKind.CARRY_ON, ItemKind.LATER]
    assert "move web1-1 is under way at step sync" in one(given).why
    back = replace(given, active=((order(), progress(direction=Direction.BACK)),))
    assert "is going back" in one(back).why
    held = progress(status=Status.HELD, reason=Reason.DEADLINE, detail="too slow")
    assert "held at step sync (deadline): too slow" in one(replace(given, active=((order(), held),))).why


def test_a_move_of_a_domain_no_longer_named_is_carried_on() -> None:
    given = situation(running(), wanted=(), active=((order(), progress()),))
    item = one(given)
    assert (item.kind, item.wanted, item.found) == (ItemKind.CARRY_ON, "xen2", "xen1")
    made = one(situation(wanted=(Domain("web1", "xen2", provision=PROVISION),))).order
    assert made is not None
    assert one(situation(active=((made, progress(step="create")),))).found is None


def test_refused_documents_and_unmanaged_domains() -> None:
    given = situation(running(), wanted=())
    assert [(i.domain, i.kind) for i in plan(given).items] == [("web1", ItemKind.UNMANAGED)]
    problem = Problem("c" * 40, "web1.yaml", 3, "unknown host", "xen9", "xen1")
    refused = replace(given, desired=replace(given.desired, refused={"web1": problem}))
    item = one(refused)
    assert item.kind is ItemKind.REFUSED and "web1.yaml:3" in item.why
    assert [i.kind for i in plan(situation(silent("xen1"), wanted=())).items] == []


# -- after going back -----------------------------------------------------------------------------


def past(minutes: float, status: Status = Status.BACK, **changes: object) -> Past:
    made = replace(order(), **changes)  # type: ignore[arg-type]
    ended = NOW - datetime.timedelta(minutes=minutes)
    return Past(made, progress(status=status, detail="sync too slow"), ended)


def test_a_move_that_went_back_is_tried_later_and_then_not() -> None:
    item = one(situation(running(), past=[past(1)]))
    assert item.kind is ItemKind.LATER and "went back 1 times" in item.why and "tried again at" in item.why
    assert one(situation(running(), past=[past(6)])).kind is ItemKind.MOVE
    assert one(situation(running(), past=[past(6), past(20)])).kind is ItemKind.LATER
    assert one(situation(running(), past=[past(11), past(20)])).kind is ItemKind.MOVE
    item = one(situation(running(), past=[past(600), past(700), past(800)]))
    assert item.kind is ItemKind.REFUSED and "not tried again before the next commit" in item.why


def test_what_ends_the_waiting() -> None:
    assert one(situation(running(), past=[past(1, commit="d" * 40)])).kind is ItemKind.MOVE
    assert one(situation(running(), past=[past(1, Status.MOVED), past(2)])).kind is ItemKind.MOVE
    assert one(situation(running(), past=[past(1, domain="other")])).kind is ItemKind.MOVE
    wanted = (Domain("web1", "xen2", provision=PROVISION),)
    assert one(situation(wanted=wanted, past=[past(1)])).kind is ItemKind.LATER


def test_a_move_that_was_aborted_is_no_failure() -> None:
    aborted = past(1)
    aborted = replace(aborted, progress=replace(aborted.progress, reason=Reason.ABORTED))
    assert one(situation(running(), past=[aborted, past(2), past(3), past(4)])).kind is ItemKind.MOVE
    item = one(situation(running(), past=[past(1), aborted, past(2), past(3)]))
    assert item.kind is ItemKind.LATER and "went back 1 times" in item.why


def test_predictions_learn() -> None:
    suspend = (Domain("web1", "xen2", policy=Policy(Attach.SUSPEND)),)
    guessed = one(situation(running(), wanted=suspend)).prediction
    sample = Sample(1024 * 1024**2, 10.0, 256, 3.0, 4.0, Cutover.STORE)
    samples = [sample, replace(sample, sync_s=0.0)]
    learned = one(situation(running(), wanted=suspend, samples=samples)).prediction
    assert guessed is not None and learned is not None
    assert (guessed.learned, learned.learned) == (0, 2)
    assert (learned.freeze_attach_s, learned.freeze_cutover_s) == (3.0, 4.0)
    assert learned.sync_s == pytest.approx(7.54, abs=0.02)
    assert guessed.sync_s == pytest.approx(7.72, abs=0.02)
    unknown = replace(sample, attach_s=None, cutover_s=None)
    again = one(situation(running(), wanted=suspend, samples=[unknown])).prediction
    assert again is not None and again.freeze_attach_s == guessed.freeze_attach_s
    store = (Domain("web1", "xen2", policy=Policy(cutover=Cutover.STORE)),)
    for given in ([], samples):
        pivot = one(situation(running(), wanted=store, samples=given)).prediction
        assert pivot == replace(learned if given else guessed, freeze_attach_s=0.0)
    streams = [replace(sample, attach_s=None, cutover_s=1.0, cutover=Cutover.STREAM)]
    for given, freeze_s in (([], 4.56), (samples, 4.56), (streams, 1.0), ([*samples, *streams], 1.0)):
        wanted = (Domain("web1", "xen2", policy=Policy(cutover=Cutover.STREAM)),)
        stream = one(situation(running(), wanted=wanted, samples=given)).prediction
        assert stream is not None
        assert (stream.freeze_attach_s, stream.freeze_cutover_s) == (0.0, freeze_s)
        assert stream.learned == len(given)


def test_a_live_freeze_does_not_grow_with_memory() -> None:
    sample = Sample(1024 * 1024**2, 10.0, 64, None, 1.5, Cutover.LIVE)
    for given, freeze_s in (
        ([], 2.0),
        ([sample], 1.5),
        ([sample, replace(sample, cutover=Cutover.STREAM)], 1.5),
    ):
        live = one(situation(running(), samples=given)).prediction
        assert live is not None
        assert (live.freeze_attach_s, live.freeze_cutover_s) == (0.0, freeze_s)
