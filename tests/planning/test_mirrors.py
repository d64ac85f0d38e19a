"""Mirrors that are kept: when one is begun, when none is and why, and what moves have before them."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import files, lvm, xl
from reconciler.model.facts import DomainState, Unknown, VolumeGroup
from reconciler.model.move import CLAIMS, Direction, Order, Progress, Reason, Status
from reconciler.model.placement import Attach, Desired, Domain, Policy, Problem
from reconciler.model.plan import Item, ItemKind
from reconciler.planning import mirrors
from reconciler.planning.planner import plan
from reconciler.planning.preflight import Rooms
from reconciler.planning.situation import Limits, Past, Situation
from tests.moves.journeys import provision
from tests.planning.site import HOSTS, MIB, NOW, changed, empty, running, seen, silent, situation, volume
from tests.planning.test_planner import one, order, progress, two

KEPT = Domain("web1", "xen2", policy=Policy(keep_mirror=True))


def kept(*views: Any, domain: Domain = KEPT, **changes: Any) -> Situation:
    """web1 runs on xen2, where it is wanted; it has come from xen1."""
    given = situation(*(views or (running("xen2"),)), wanted=(domain,))
    return replace(given, came_from={"web1": "xen1"}, **changes)


def mirror(given: Situation | None = None) -> Order:
    found = one(given or kept()).order
    assert found is not None
    return found


def desired(**policy: Any) -> Desired:
    return Desired("d" * 40, HOSTS, {"web1": Domain("web1", "xen2", policy=Policy(**policy))})


def test_a_mirror_is_a_move_back_that_stands_by() -> None:
    item = one(kept())
    assert (item.kind, item.wanted, item.found) == (ItemKind.MIRROR, "xen2", "xen2")
    made = mirror()
    assert made.standby and made.source is not None
    assert (made.source.name, made.target.name, made.policy) == ("xen2", "xen1", KEPT.policy)
    found = plan(kept())
    assert (found.exit_code, found.hopeful) == (2, True)


def test_only_a_domain_that_has_come_from_somewhere_has_one() -> None:
    assert one(replace(kept(), came_from={})).kind is ItemKind.IN_PLACE
    moves = one(kept(running("xen1")))
    assert (moves.kind, moves.notes) == (ItemKind.MOVE, ())


def went_back(times: int = 1, ago: float = 10, **changes: Any) -> tuple[Past, ...]:
    back = replace(progress(), status=Status.BACK, reason=Reason.PRECONDITION, detail="xen1 has rebooted")
    ended = NOW - datetime.timedelta(seconds=ago)
    return (Past(replace(order(), **{"standby": True, **changes}), back, ended),) * times


def test_a_mirror_that_went_back_counts_for_a_day() -> None:
    """It may have stood for months before."""
    assert "not tried again before" in one(kept(past=went_back(3))).notes[-1]
    assert one(kept(past=went_back(3, ago=86401))).kind is ItemKind.MIRROR
    assert one(kept(past=went_back(3, ago=86401, standby=False))).kind is ItemKind.IN_PLACE
    assert one(kept(past=went_back(3, commit="e" * 40))).kind is ItemKind.MIRROR


NOT_KNOWN = changed(running("xen2"), xl.INFO, Unknown("xl info: no answer"))
CROWDED = {"limits": Limits(max_moves=0)}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (replace(kept(), came_from={"web1": "xen9"}), "xen9: it is not among the committed hosts"),
        (kept(running("xen2"), silent("xen1")), "xen1: xen1 did not answer"),
        (kept(changed(running("xen2"), xl.DOMAINS, ())), "xen1: the domain is not running"),
        (kept(held={"web1": "held by the operator"}), "xen1: held by the operator"),
        (kept(past=went_back()), "xen1: went back 1 times, last xen1 has rebooted; tried again at"),
        (kept(NOT_KNOWN), "xen1: xen2: Xen's facts is not known: xl info: no answer"),
        (
            kept(domain=replace(KEPT, policy=replace(KEPT.policy, attach=Attach.SUSPEND))),
            "xen1: it would be suspended to attach",
        ),
        (
            kept(domain=replace(KEPT, policy=replace(KEPT.policy, max_freeze_s=1))),
            "xen1: its freeze is predicted at 2.0 s, policy allows 1 s",
        ),
        (kept(**CROWDED), "xen1: waits for its turn: 0 at a time"),
    ],
)
def test_why_there_is_none(given: Situation, why: str) -> None:
    """The domain is in place all the same: nothing is refused."""
    item = one(given)
    assert (item.kind, item.order) == (ItemKind.IN_PLACE, None)
    assert item.notes[-1].startswith(f"no mirror is kept on {why}")


def test_what_a_move_would_be_refused_for_keeps_it_from_a_mirror_too() -> None:
    no_room = replace(kept(), limits=Limits(ports=range(0)))
    assert (
        one(no_room)
        .notes[-1]
        .endswith("no mirror is kept on xen1: no DRBD minor or port is free in the configured ranges")
    )


def test_moves_do_not_wait_for_mirrors() -> None:
    """web1 and web2 are to move; a mirror of web0 comes about meanwhile, and one of web3 waits."""
    going = replace(order(), domain="web0", standby=True)
    wanted = two().desired
    desired = replace(wanted, domains={**wanted.domains, "web0": Domain("web0", "xen1", policy=KEPT.policy)})

    def kinds(max_moves: int, at: Progress, *, standby: bool = True) -> list[ItemKind]:
        active = ((replace(going, standby=standby), at),)
        given = replace(two(), desired=desired, active=active, limits=Limits(max_moves=max_moves))
        return [found.kind for found in plan(given).items]

    moves = [ItemKind.MOVE, ItemKind.LATER]
    assert kinds(1, progress()) == [ItemKind.IN_PLACE, *moves]
    assert kinds(1, progress(step="cutover-ready")) == [ItemKind.IN_PLACE, *moves]
    assert kinds(1, progress(), standby=False) == [ItemKind.CARRY_ON, ItemKind.LATER, ItemKind.LATER]


def test_mirrors_take_turns_with_each_other_and_with_moves_that_begin() -> None:
    """web1 and web2 are in place on xen1; both have come from xen2."""
    both = tuple(Domain(name, "xen1", policy=KEPT.policy) for name in ("web1", "web2"))

    def kinds(max_moves: int, *wanted: Domain) -> list[ItemKind]:
        desired = replace(two().desired, domains={domain.name: domain for domain in wanted})
        came_from = {"web1": "xen2", "web2": "xen2"}
        given = replace(two(), desired=desired, came_from=came_from, limits=Limits(max_moves=max_moves))
        found = [item for item in plan(given).items if item.domain in desired.domains]
        late = [item for item in found if item.kind is ItemKind.IN_PLACE]
        assert all(f"waits for its turn: {max_moves} at a time" in item.notes[-1] for item in late)
        return [item.kind for item in found]

    assert kinds(1, *both) == [ItemKind.MIRROR, ItemKind.IN_PLACE]
    assert kinds(2, *both) == [ItemKind.MIRROR, ItemKind.MIRROR]
    moves = Domain("web2", "xen2")
    assert kinds(1, both[0], moves) == [ItemKind.IN_PLACE, ItemKind.MOVE]
    assert kinds(2, both[0], moves) == [ItemKind.MIRROR, ItemKind.MOVE]


@pytest.mark.parametrize(("step", "kind"), [("sync", ItemKind.IN_PLACE), ("cutover-ready", ItemKind.MIRROR)])
def test_one_mirror_comes_about_after_the_other(step: str, kind: ItemKind) -> None:
    """One that is in step keeps nobody waiting."""
    other = replace(order(), domain="web0", standby=True)
    given = kept(active=((other, progress(step=step)),))
    domains = {**given.desired.domains, "web0": Domain("web0", "xen1", policy=KEPT.policy)}
    assert one(replace(given, desired=replace(given.desired, domains=domains))).kind is kind


def test_a_mirror_takes_no_memory_from_moves() -> None:
    other = replace(order(), domain="web0", memory_mb=4000)
    domains = {"web0": Domain("web0", "xen1"), "web1": Domain("web1", "xen2")}
    given = situation(running(), wanted=tuple(domains.values()), limits=Limits(max_moves=2))
    for standby, kind in ((True, ItemKind.MOVE), (False, ItemKind.REFUSED)):
        active = ((replace(other, standby=standby), progress(step="cutover-ready")),)
        assert one(replace(given, active=active)).kind is kind


def test_how_one_under_way_is_shown() -> None:
    made = replace(mirror(), domain="web1")
    in_step = progress(step="cutover-ready", detail="in step")
    shown = one(kept(active=((made, in_step),)))
    assert shown == Item("web1", ItemKind.IN_PLACE, "xen2", "xen2", notes=("mirror on xen1: in step",))
    assert one(kept(active=((made, progress()),))).notes == ("mirror on xen1: sync",)
    for trouble in (
        progress(status=Status.HELD, reason=Reason.DISKS),
        progress(direction=Direction.BACK, step="back-source-fence"),
        progress(step="go", tried=frozenset({"cutover-live"})),
    ):
        assert one(kept(active=((made, trouble),))).kind is ItemKind.CARRY_ON
    home = situation(running("xen2"), wanted=(Domain("web1", "xen1"),), active=((made, in_step),))
    assert one(home).kind is ItemKind.CARRY_ON, "a commit wants it there now"
    dropped = situation(running("xen2"), wanted=(), active=((made, in_step),))
    assert (one(dropped).kind, one(dropped).wanted) == (ItemKind.IN_PLACE, "xen2")


def test_what_ends_one() -> None:
    made = mirror()
    commit = f"commit {'d' * 12}"
    elsewhere = replace(desired(), domains={"web1": Domain("web1", "xen3")})
    refused = Desired("d" * 40, HOSTS, {}, {"web1": Problem("d", "f", 1, "no")})
    for wanted, why in (
        (desired(keep_mirror=True), ""),
        (desired(), f"{commit} keeps no mirror of web1"),
        (replace(desired(), domains={}), f"{commit} does not name web1 any more"),
        (elsewhere, f"{commit} wants web1 on xen3"),
        (replace(desired(), domains={"web1": Domain("web1", "xen1")}), ""),
        (refused, ""),
    ):
        assert mirrors.unwanted(made, wanted) == why
    move = replace(made, standby=False)
    assert mirrors.unwanted(move, desired(keep_mirror=True)) == f"{commit} wants web1 on xen2"
    assert mirrors.unwanted(move, replace(desired(), domains={})) == ""
    assert mirrors.unwanted(provision(), desired()) == ""


def test_a_mirror_with_a_host_that_was_dropped_or_changed_ends() -> None:
    """What the hosts share, and how much memory they reserve, is no reason."""
    made, commit = mirror(), f"commit {'d' * 12}"
    for host in ("xen1", "xen2"):
        gone = {name: found for name, found in HOSTS.items() if name != host}
        moved = HOSTS | {host: replace(HOSTS[host], address="10.0.2.99")}
        for hosts in (gone, moved):
            changed = replace(desired(keep_mirror=True), hosts=hosts)
            assert mirrors.unwanted(made, changed) == f"{commit} drops or changes {host}"
        same = HOSTS | {host: replace(HOSTS[host], sync_mb_s=0, reserve_memory_mb=9)}
        assert mirrors.unwanted(made, replace(desired(keep_mirror=True), hosts=same)) == ""
    none = replace(desired(keep_mirror=True), hosts={})
    assert mirrors.unwanted(made, none) == f"{commit} drops or changes xen2 and xen1"


def test_what_is_wrong_with_a_domain_is_told_though_it_has_a_mirror() -> None:
    made, in_step = mirror(), progress(step="cutover-ready", detail="in step")

    def item(*views: Any, domain: Domain = KEPT) -> Item:
        return one(kept(*views, domain=domain, active=((made, in_step),)))

    twice = item(running("xen2"), running("xen3"))
    assert (twice.kind, twice.order) == (ItemKind.REFUSED, None) and "at once" in twice.why
    paused = changed(running("xen2"), xl.DOMAINS, (seen(state=DomainState.PAUSED),))
    assert "paused" in item(paused).why and item(paused).kind is ItemKind.REFUSED
    unread = changed(running("xen2"), files.LINKS, Unknown("ls: no answer"))
    assert item(unread).kind is ItemKind.IN_PLACE
    elsewhere = changed(running("xen3"), xl.INFO, Unknown("xl info: no answer"))
    assert item(empty("xen2"), elsewhere).kind is ItemKind.IN_PLACE
    gone = changed(running("xen2"), xl.DOMAINS, ())
    assert item(gone).kind is ItemKind.IN_PLACE, "its journey sees to that"
    problem = Problem("d", "desired/web.yaml", 1, "no such host")
    refused = replace(kept().desired, domains={}, refused={"web1": problem})
    told = one(replace(kept(active=((made, in_step),)), desired=refused))
    assert (told.kind, told.found, told.why) == (ItemKind.REFUSED, "xen2", str(problem))


def test_a_host_that_was_put_back_keeps_no_mirror_and_is_no_trouble_to_the_domain() -> None:
    rewound = changed(empty("xen1"), files.EPOCHS, {})
    given = replace(kept(running("xen2"), rewound), accepted={"xen1": {"web7": 5 * CLAIMS}})
    item = one(given)
    assert (item.kind, item.order) == (ItemKind.IN_PLACE, None)
    assert item.notes[-1].startswith("no mirror is kept on xen1: xen1")


def test_so_many_mirrors_become_moves_at_a_time() -> None:
    """Those behind the gate go on; the others in the order in which they began."""
    home = {f"web{n}": Domain(f"web{n}", "xen1") for n in range(1, 5)}
    wanted = replace(desired(), domains=home)
    made = {n: replace(mirror(), domain=f"web{n}") for n in range(1, 5)}
    gate, far = progress(step="cutover-ready"), progress(step="go", tried=frozenset({"cutover-live"}))

    def called(*active: tuple[Order, Progress], most: int = 1, day: datetime.datetime = NOW) -> set[str]:
        return {name.partition("-")[0] for name in mirrors.called(active, wanted, most, day)}

    assert called((made[1], gate), (made[2], gate)) == {"web1"}
    assert called((made[1], gate), (made[2], gate), (made[3], gate), most=2) == {"web1", "web2"}
    assert called((made[1], gate), (made[2], far)) == {"web2"}
    assert called((made[1], gate), (replace(made[2], standby=False), gate)) == set()
    too_late = replace(made[2], domain="web9")
    assert called((made[1], gate), (too_late, far)) == {"web9"}, "a commit wants it home; it is on its way"
    other = replace(made[2], domain="web9")
    assert called((made[1], gate), (other, gate)) == {"web1"}, "a mirror takes no turn"
    later = replace(made[3].policy, cutover_window="22:00-23:00")
    windowed = replace(wanted, domains=home | {"web3": replace(home["web3"], policy=later)})
    for active in ((made[3], gate), (replace(made[3], standby=False), gate)):
        found = mirrors.called((active, (made[1], gate)), windowed, 1, NOW)
        assert {name.partition("-")[0] for name in found} == {"web1"}, "what waits for its window neither"


def test_what_a_commit_says_of_an_order() -> None:
    made = mirror()
    policy = Policy(cutover_window="22:00-23:00", resync_rate_mb_s=7)
    home = replace(desired(), domains={"web1": Domain("web1", "xen1", policy=policy)})
    now = mirrors.as_committed(made, home)
    assert not now.standby
    assert now.policy == replace(made.policy, cutover_window="22:00-23:00", keep_mirror=False)
    assert mirrors.as_committed(made, None) == made


def test_who_stands_by() -> None:
    made = mirror()
    assert mirrors.stands_by(made, None) and mirrors.stands_by(made, desired())
    assert mirrors.stands_by(made, replace(desired(), domains={}))
    assert not mirrors.stands_by(made, replace(desired(), domains={"web1": Domain("web1", "xen1")}))
    assert not mirrors.stands_by(replace(made, standby=False), desired())


# -- what was kept --------------------------------------------------------------------------------------


def left_on(host: str, *tags: str, **changes: Any) -> Any:
    """A host with the volumes that web1 has left, in that host's volume group."""
    group = HOSTS[host].volume_group
    rows = (volume("web1-root", group=group), volume("web1-data", 260, 1, group))
    return changed(
        empty(host),
        lvm.VOLUMES,
        tuple(replace(row, tags=frozenset(tags), **{"is_open": False, **changes}) for row in rows),
    )


def test_a_mirror_begins_from_what_was_kept() -> None:
    made = mirror(kept(running("xen2"), left_on("xen1", "xr.kept.web1")))
    assert made.seeded and [disk.seeded for disk in made.disks] == [True, True]
    larger = mirror(kept(running("xen2"), left_on("xen1", "xr.kept.web1", size_bytes=600 * MIB)))
    assert larger.seeded
    assert not mirror().seeded


def test_so_does_a_move_back() -> None:
    back = situation(running("xen2"), left_on("xen1", "xr.kept.web1"), wanted=(Domain("web1", "xen1"),))
    item = one(back)
    assert item.kind is ItemKind.MOVE and item.order is not None and item.order.seeded


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (left_on("xen1"), "xen1: /dev/vg/web1-root exists and is never reused"),
        (left_on("xen1", "xr.kept.web2"), "xen1: /dev/vg/web1-root exists and is never reused"),
        (
            left_on("xen1", "xr.kept.web1", size_bytes=4 * MIB),
            "xen1: /dev/vg/web1-root, kept for a mirror, is open, too small by now or no plain volume; look",
        ),
        (
            left_on("xen1", "xr.kept.web1", is_open=True),
            "xen1: /dev/vg/web1-root, kept for a mirror, is open",
        ),
        (left_on("xen1", "xr.kept.web1", plain=False), "xen1: /dev/vg/web1-root, kept for a mirror, is"),
    ],
)
def test_what_is_no_earlier_state_of_it(view: Any, why: str) -> None:
    assert why in one(kept(running("xen2"), view)).notes[-1]


def test_what_was_kept_needs_no_room() -> None:
    """Room for metadata is enough, and other orders lose none for it."""
    small = (VolumeGroup("vg", 64 << 30, 16 * MIB, 4 * MIB),)
    view = changed(left_on("xen1", "xr.kept.web1"), lvm.GROUPS, small)
    made = mirror(kept(running("xen2"), view))
    rooms = Rooms()
    rooms.take(made)
    assert rooms.at("xen1") == replace(rooms.at("xen1"), volume_bytes=0, memory_mb=0)
    rooms.take(replace(made, standby=False))
    assert rooms.at("xen1").memory_mb == 256
    rooms.take(mirror(), made=True)
    assert rooms.at("xen1").volume_bytes == 0, "its volumes are there"
    rooms.take(mirror())
    assert rooms.at("xen1").volume_bytes == 772 * MIB
    anew = one(kept(running("xen2"), changed(empty("xen1"), lvm.GROUPS, small)))
    assert "volume group vg has 16777216 bytes free" in anew.notes[-1]


def test_what_was_kept_elsewhere_is_told() -> None:
    view = left_on("xen1", "xr.kept.web1")
    told = (
        "xen1 keeps /dev/vg/web1-root, /dev/vg/web1-data, as web1 left them, for a mirror; nothing uses "
        "them: remove them there once you need the room"
    )
    assert one(replace(kept(running("xen2"), view), came_from={})).notes == (told,)
    assert one(replace(kept(running("xen2"), view), came_from={"web1": "xen3"})).notes[0] == told
    assert told in one(kept(running("xen2"), view, **CROWDED)).notes, "no mirror uses it"
    assert told not in one(kept(running("xen2"), view)).notes
    other = left_on("xen1", "somebody's", "xr.kept.web1")
    assert told in one(replace(kept(running("xen2"), other), came_from={})).notes
    opened = left_on("xen1", "xr.kept.web1", is_open=True)
    assert one(replace(kept(running("xen2"), opened), came_from={})).notes == ()
    here = changed(
        running("xen2"),
        lvm.VOLUMES,
        tuple(
            replace(volume, tags=frozenset({"xr.kept.web1"}), is_open=False)
            for volume in running("xen2").get(lvm.VOLUMES)
        ),
    )
    assert one(replace(kept(here), came_from={})).notes == (), "it runs on them"
