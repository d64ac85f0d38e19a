"""Pivot or suspension, stream or file: what speaks against the faster way, and what the plan says of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.facts import Unknown, View
from reconciler.model.move import MoveDisk, Side
from reconciler.model.placement import Attach, Compression, Cutover, Domain, Policy, Transport
from reconciler.model.plan import ItemKind
from reconciler.planning.attaching import Ways, check_tables, choose, no_pivot, no_stream
from reconciler.planning.index import Found
from tests.planning.site import (
    MIB,
    changed,
    config,
    empty,
    opened,
    resource,
    running,
    seen,
    situation,
    tables,
    volume,
)
from tests.planning.test_planner import one

FOUND = Found("xen1", seen(), config())
ROOT = MoveDisk("xvda", "/etc/xen/disks/web1-root", "web1-root", 512 * MIB, -1, "vg", "fast")
DATA = replace(ROOT, device="xvdb", link="/etc/xen/disks/web1-data", volume="web1-data")
ALL = (ROOT, DATA)
SOURCE, TARGET = Side.SOURCE, Side.TARGET
LOWER = {"xr-vg-web1--data": ("0 532480 linear 254:16 4196352",)}
ATTACHED = "web1 on xen1 has /dev/drbd100 open, not the volume under it"
THERE = "xen1: /dev/mapper/xr-vg-web1--data exists already"
LOWER_THERE = {"xr-fast-web1--data": ("0 532480 linear 254:16 4196352",)}
THERE_TOO = "xen2: /dev/mapper/xr-fast-web1--data exists already"
SUSPENDED = "it is suspended to attach"


def over(view: View, *found: Mapping[str, dm.Lines]) -> View:
    """The host with these tables beside its own, or instead of them."""
    every = [view.get(dm.TABLES), *found]
    return changed(view, dm.TABLES, {name: lines for part in every for name, lines in part.items()})


def attached() -> View:
    """On DRBD since an earlier move by suspension went back."""
    view = changed(running(), drbd.RESOURCES, (resource(),))
    links = {"/etc/xen/disks/web1-root": "/dev/drbd100", "/etc/xen/disks/web1-data": "/dev/drbd101"}
    return opened(changed(view, files.LINKS, links), (147, 100), (147, 101))


def named(name: str) -> MoveDisk:
    return replace(ROOT, volume=name)


def test_what_speaks_against_a_pivot() -> None:
    assert no_pivot(FOUND, ALL, running()) == ""
    assert no_pivot(FOUND, (), running()) == ""
    assert no_pivot(FOUND, ALL, over(running(), {"xr-vg-web2--data": ("0 8 error",)})) == ""
    assert no_pivot(FOUND, ALL, over(running(), LOWER)) == THERE
    assert no_pivot(FOUND, (replace(ROOT, minor=100), DATA), running()) == ATTACHED
    assert no_pivot(FOUND, (DATA, replace(ROOT, minor=100)), running()) == ATTACHED
    assert no_pivot(FOUND, (replace(ROOT, minor=0),), running()) == ATTACHED.replace("drbd100", "drbd0")
    assert no_pivot(FOUND, (replace(ROOT, minor=100), DATA), over(running(), LOWER)) == ATTACHED


def test_a_name_too_long_for_a_second_device() -> None:
    """«xr-», the group and a hyphen, and the volume with its hyphens doubled."""
    fits, long = named("a" * 119 + "-"), named("a" * 120 + "-")
    assert (len(fits.lower_name(SOURCE)), len(long.lower_name(SOURCE))) == (127, 128)
    assert no_pivot(FOUND, (fits,), running()) == ""
    said = f"xen1: xr-vg-{'a' * 120}-- is too long for a name in device-mapper"
    assert no_pivot(FOUND, (ROOT, long), running()) == said
    assert no_pivot(FOUND, (replace(long, minor=100),), running()) == ATTACHED
    assert no_pivot(FOUND, (long,), over(running(), {long.lower_name(SOURCE): ("0 8 error",)})) == said


JOURNAL_LOST = "not on the extents that LVM gave it; see docs/how-to/held.md#journal-lost"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("0 1048576 linear 147:100 0",), "0 1048576 linear 147:100 0"),
        (("0 1048576 error",), "0 1048576 error"),
        (
            ("0 8 linear 254:16 0", "8 1048568 linear 147:100 0"),
            "0 8 linear 254:16 0; 8 1048568 linear 147:100 0",
        ),
        (("0 1048576 linear 254:16 2048",), None),
        (("0 8 linear 254:16 0", "8 1048568 striped 2 128 254:16 8 254:32 0"), None),
    ],
)
def test_what_lvm_did_not_put_there(lines: dm.Lines, told: str | None) -> None:
    view = over(running(), {"vg-web1--root": lines})
    said = [f"xen1: /dev/vg/web1-root stands on «{told}», {JOURNAL_LOST}"] if told else []
    assert check_tables(FOUND, ALL, view) == said
    assert check_tables(FOUND, (DATA,), view) == []


def test_every_volume_is_looked_at() -> None:
    broken = {"vg-web1--root": ("0 8 error",), "vg-web1--data": ("0 9 error",)}
    assert check_tables(FOUND, ALL, over(running(), broken)) == [
        f"xen1: /dev/vg/web1-root stands on «0 8 error», {JOURNAL_LOST}",
        f"xen1: /dev/vg/web1-data stands on «0 9 error», {JOURNAL_LOST}",
    ]
    others = {"vg-web2--root": ("0 8 error",), "xr-vg-web1--root": ("0 8 error",)}
    assert check_tables(FOUND, ALL, over(running(), others)) == []
    assert check_tables(FOUND, ALL, changed(running(), dm.TABLES, {})) == [], "what is not active is told of"


def test_what_speaks_against_a_stream() -> None:
    assert no_stream(PIVOT, ALL, empty("xen2")) == ""
    assert no_stream(PIVOT, (), empty("xen2")) == ""
    for attach in (SUSPEND, AUTO):
        assert no_stream(attach, ALL, empty("xen2")) == SUSPENDED
        assert no_stream(attach, ALL, over(empty("xen2"), LOWER_THERE)) == SUSPENDED
    assert no_stream(PIVOT, ALL, over(empty("xen2"), LOWER_THERE)) == THERE_TOO
    assert no_stream(PIVOT, (DATA, ROOT), over(empty("xen2"), LOWER_THERE)) == THERE_TOO
    assert no_stream(PIVOT, (ROOT,), over(empty("xen2"), LOWER_THERE)) == "", "of another domain"
    volumes = {"fast-web1--data": ("0 8 error",), "xr-vg-web1--data": ("0 8 error",)}
    assert no_stream(PIVOT, ALL, over(empty("xen2"), volumes)) == "", "not a lower device of the target's"


def test_a_name_too_long_for_a_second_device_on_the_target() -> None:
    """Its group counts, not the source's."""
    fits, long = named("a" * 117 + "-"), named("a" * 118 + "-")
    assert [len(disk.lower_name(TARGET)) for disk in (fits, long)] == [127, 128]
    assert no_stream(PIVOT, (fits,), empty("xen2")) == ""
    said = f"xen2: xr-fast-{'a' * 118}-- is too long for a name in device-mapper"
    assert no_stream(PIVOT, (ROOT, long), empty("xen2")) == said
    assert no_stream(PIVOT, (long, ROOT), empty("xen2")) == said
    assert no_stream(PIVOT, (long,), over(empty("xen2"), {long.lower_name(TARGET): ("0 8 error",)})) == said
    assert no_pivot(FOUND, (long,), running()) == "", "the source's is shorter"


AUTO, PIVOT, SUSPEND = Attach.AUTO, Attach.PIVOT, Attach.SUSPEND
FREE, LIVE, STREAM, STORE = Cutover.AUTO, Cutover.LIVE, Cutover.STREAM, Cutover.STORE
NO_PIVOT, NO_STREAM = f"policy wants attach: pivot, but {THERE}", "policy wants cutover: stream, but "
SLOW_ATTACH, SLOW_CUTOVER = f"is suspended to attach, as {THERE}", "changes hosts through a saved image, as "
CHOICES = {  # wanted, what speaks against each: what is chosen, what the policy wants in vain, remarks
    (AUTO, FREE, "", ""): (PIVOT, LIVE, [], []),
    (AUTO, FREE, "", THERE_TOO): (PIVOT, STORE, [], [SLOW_CUTOVER + THERE_TOO]),
    (AUTO, FREE, THERE, ""): (SUSPEND, STORE, [], [SLOW_ATTACH, SLOW_CUTOVER + SUSPENDED]),
    (AUTO, FREE, THERE, THERE_TOO): (SUSPEND, STORE, [], [SLOW_ATTACH, SLOW_CUTOVER + SUSPENDED]),
    (AUTO, STREAM, "", ""): (PIVOT, STREAM, [], []),
    (AUTO, STREAM, "", THERE_TOO): (PIVOT, STREAM, [NO_STREAM + THERE_TOO], []),
    (AUTO, STREAM, THERE, ""): (SUSPEND, STREAM, [NO_STREAM + SUSPENDED], [SLOW_ATTACH]),
    (AUTO, STREAM, THERE, THERE_TOO): (SUSPEND, STREAM, [NO_STREAM + SUSPENDED], [SLOW_ATTACH]),
    (AUTO, STORE, "", ""): (PIVOT, STORE, [], []),
    (AUTO, STORE, "", THERE_TOO): (PIVOT, STORE, [], []),
    (AUTO, STORE, THERE, ""): (SUSPEND, STORE, [], [SLOW_ATTACH]),
    (AUTO, STORE, THERE, THERE_TOO): (SUSPEND, STORE, [], [SLOW_ATTACH]),
    (PIVOT, FREE, "", ""): (PIVOT, LIVE, [], []),
    (PIVOT, FREE, "", THERE_TOO): (PIVOT, STORE, [], [SLOW_CUTOVER + THERE_TOO]),
    (PIVOT, FREE, THERE, ""): (PIVOT, LIVE, [NO_PIVOT], []),
    (PIVOT, FREE, THERE, THERE_TOO): (PIVOT, STORE, [NO_PIVOT], [SLOW_CUTOVER + THERE_TOO]),
    (PIVOT, STREAM, "", ""): (PIVOT, STREAM, [], []),
    (PIVOT, STREAM, "", THERE_TOO): (PIVOT, STREAM, [NO_STREAM + THERE_TOO], []),
    (PIVOT, STREAM, THERE, ""): (PIVOT, STREAM, [NO_PIVOT], []),
    (PIVOT, STREAM, THERE, THERE_TOO): (PIVOT, STREAM, [NO_PIVOT, NO_STREAM + THERE_TOO], []),
    (PIVOT, STORE, "", ""): (PIVOT, STORE, [], []),
    (PIVOT, STORE, "", THERE_TOO): (PIVOT, STORE, [], []),
    (PIVOT, STORE, THERE, ""): (PIVOT, STORE, [NO_PIVOT], []),
    (PIVOT, STORE, THERE, THERE_TOO): (PIVOT, STORE, [NO_PIVOT], []),
    (SUSPEND, FREE, "", ""): (SUSPEND, STORE, [], [SLOW_CUTOVER + SUSPENDED]),
    (SUSPEND, FREE, "", THERE_TOO): (SUSPEND, STORE, [], [SLOW_CUTOVER + SUSPENDED]),
    (SUSPEND, FREE, THERE, ""): (SUSPEND, STORE, [], [SLOW_CUTOVER + SUSPENDED]),
    (SUSPEND, FREE, THERE, THERE_TOO): (SUSPEND, STORE, [], [SLOW_CUTOVER + SUSPENDED]),
    (SUSPEND, STREAM, "", ""): (SUSPEND, STREAM, [NO_STREAM + SUSPENDED], []),
    (SUSPEND, STREAM, "", THERE_TOO): (SUSPEND, STREAM, [NO_STREAM + SUSPENDED], []),
    (SUSPEND, STREAM, THERE, ""): (SUSPEND, STREAM, [NO_STREAM + SUSPENDED], []),
    (SUSPEND, STREAM, THERE, THERE_TOO): (SUSPEND, STREAM, [NO_STREAM + SUSPENDED], []),
    (SUSPEND, STORE, "", ""): (SUSPEND, STORE, [], []),
    (SUSPEND, STORE, "", THERE_TOO): (SUSPEND, STORE, [], []),
    (SUSPEND, STORE, THERE, ""): (SUSPEND, STORE, [], []),
    (SUSPEND, STORE, THERE, THERE_TOO): (SUSPEND, STORE, [], []),
}
CHOICES |= {  # who wants it live gets it, or is told the same
    (attach, LIVE, *against): (chosen, LIVE, [text.replace("stream", "live") for text in problems], remarks)
    for (attach, cutover, *against), (chosen, _, problems, remarks) in CHOICES.items()
    if cutover is STREAM
}


def hosts(no_pivot: str, no_stream: str) -> tuple[View, View]:
    """A source and a target where that speaks against the faster ways."""
    return over(running(), LOWER if no_pivot else {}), over(empty("xen2"), LOWER_THERE if no_stream else {})


def test_the_choices_are_all_there_are() -> None:
    assert set(CHOICES) == set(itertools.product(Attach, Cutover, ("", THERE), ("", THERE_TOO)))


@pytest.mark.parametrize("given", CHOICES)
def test_who_chooses(given: tuple[Attach, Cutover, str, str]) -> None:
    attach, cutover, problems, remarks = CHOICES[given]
    found = choose(Policy(*given[:2]), FOUND, ALL, *hosts(*given[2:]))
    assert found == Ways(attach, cutover, tuple(problems), tuple(remarks))


@pytest.mark.parametrize("given", CHOICES)
def test_what_the_plan_makes_of_every_choice(given: tuple[Attach, Cutover, str, str]) -> None:
    attach, cutover, problems, remarks = CHOICES[given]
    wanted = (Domain("web1", "xen2", policy=Policy(*given[:2])),)
    item = one(situation(*hosts(*given[2:]), wanted=wanted))
    if problems:
        assert (item.kind, item.why, item.order) == (ItemKind.REFUSED, "; ".join(problems), None)
        return
    assert item.order is not None
    assert (item.kind, item.why, item.notes) == (ItemKind.MOVE, "", tuple(remarks))
    assert (item.order.attach, item.order.cutover) == (attach, cutover)
    assert (item.order.pivots, item.order.streams) == (attach is PIVOT, cutover in (LIVE, STREAM))
    assert item.order.live is (cutover is LIVE)


NOT_LIVE = "is suspended while its memory is sent, as what is sent while the domain runs is not compressed"
BY_ZSTD = Policy(compression=Compression.ZSTD)


@pytest.mark.parametrize(
    ("here", "there", "problems"),
    [
        (True, True, ()),
        (False, True, ("xen1",)),
        (True, False, ("xen2",)),
        (False, False, ("xen1", "xen2")),
    ],
)
def test_both_hosts_need_what_compresses(here: bool, there: bool, problems: tuple[str, ...]) -> None:
    """Asked of them only where memory is streamed, and only if the policy wants it."""

    def program(view: View, has: bool) -> View:
        return changed(view, files.PROGRAMS, frozenset({"zstd"} if has else ()))

    source, target = program(running(), here), program(empty("xen2"), there)
    told = tuple(f"policy wants compression: zstd, but {host} has no /usr/bin/zstd" for host in problems)
    assert choose(BY_ZSTD, FOUND, ALL, source, target) == Ways(PIVOT, STREAM, told, (NOT_LIVE,))
    assert choose(Policy(), FOUND, ALL, source, target) == Ways(PIVOT, LIVE, (), ())
    for cutover in (Policy(cutover=STORE), Policy(SUSPEND)):
        wanted = replace(cutover, compression=Compression.ZSTD)
        assert choose(wanted, FOUND, ALL, source, target).problems == ()
    item = one(situation(source, target, wanted=(Domain("web1", "xen2", policy=BY_ZSTD),)))
    assert (item.kind, item.why) == (ItemKind.REFUSED if told else ItemKind.MOVE, "; ".join(told))


def test_what_is_sent_live_is_not_compressed() -> None:
    found = choose(replace(BY_ZSTD, cutover=LIVE), FOUND, ALL, *hosts("", ""))
    why = "what is sent while the domain runs is not compressed"
    told = f"policy wants cutover: live and compression: zstd, but {why}"
    assert found == Ways(PIVOT, LIVE, (told,), ())


@pytest.mark.parametrize("cutover", list(Cutover))
def test_for_tls_the_target_needs_what_makes_certificates(cutover: Cutover) -> None:
    wanted, (source, target) = Policy(cutover=cutover, transport=Transport.TLS), hosts("", "")
    told = "policy wants transport: tls, but xen2 has no /usr/bin/openssl"
    assert choose(wanted, FOUND, ALL, source, target).problems == (() if cutover is STORE else (told,))
    able = changed(target, files.PROGRAMS, frozenset({"openssl"}))
    assert choose(wanted, FOUND, ALL, source, able).problems == ()


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_what_goes_as_a_file_goes_by_ssh(transport: Transport) -> None:
    found = choose(Policy(cutover=STORE, transport=transport), FOUND, ALL, *hosts("", ""))
    assert found == Ways(PIVOT, STORE, (), ("its memory goes by ssh, as it is sent as a file",))
    for cutover in (LIVE, STREAM):
        wanted = Policy(cutover=cutover, transport=Transport.TCP)
        assert choose(wanted, FOUND, ALL, *hosts("", "")) == Ways(PIVOT, cutover, (), ())


def test_hosts_that_do_not_tell_their_programs() -> None:
    unread = changed(running(), files.PROGRAMS, Unknown("cut"))
    item = one(situation(unread, wanted=(Domain("web1", "xen2", policy=BY_ZSTD),)))
    why = "xen1: the programs that memory goes through is not known: cut"
    assert (item.kind, item.why) == (ItemKind.UNKNOWN, why)
    assert one(situation(unread)).kind is ItemKind.MOVE, "nobody has asked for it"


def test_all_that_a_policy_wants_in_vain_is_told_at_once() -> None:
    wanted = Policy(PIVOT, STREAM, Compression.ZSTD)
    zstd = [f"policy wants compression: zstd, but {host} has no /usr/bin/zstd" for host in ("xen1", "xen2")]
    found = choose(wanted, FOUND, ALL, *hosts(THERE, THERE_TOO))
    assert found.problems == (NO_PIVOT, NO_STREAM + THERE_TOO, *zstd)


# -- in the plan ------------------------------------------------------------------------------------

WANTED = {attach: (Domain("web1", "xen2", policy=Policy(attach)),) for attach in Attach}


def test_the_policy_unless_told_otherwise() -> None:
    assert Policy() == Policy(AUTO, FREE, Compression.NONE)


@pytest.mark.parametrize(
    ("view", "why_not", "wanted", "chosen"),
    [
        (running(), "", AUTO, PIVOT),
        (running(), "", PIVOT, PIVOT),
        (running(), "", SUSPEND, SUSPEND),
        (attached(), ATTACHED, AUTO, SUSPEND),
        (attached(), ATTACHED, PIVOT, None),
        (attached(), ATTACHED, SUSPEND, SUSPEND),
        (over(running(), LOWER), THERE, AUTO, SUSPEND),
        (over(running(), LOWER), THERE, PIVOT, None),
        (over(running(), LOWER), THERE, SUSPEND, SUSPEND),
    ],
)
def test_what_the_plan_makes_of_it(view: View, why_not: str, wanted: Attach, chosen: Attach | None) -> None:
    item = one(situation(view, wanted=WANTED[wanted]))
    if chosen is None:
        refused = (ItemKind.REFUSED, f"policy wants attach: pivot, but {why_not}", ())
        assert (item.kind, item.why, item.notes) == refused and item.order is None
        return
    assert item.order is not None
    assert (item.kind, item.why, item.order.attach) == (ItemKind.MOVE, "", chosen)
    slower = [f"is suspended to attach, as {why_not}"] if wanted is AUTO and chosen is SUSPEND else []
    slower += [SLOW_CUTOVER + SUSPENDED] if chosen is SUSPEND else []
    assert item.notes == tuple(slower)
    assert item.order.pivots is (chosen is PIVOT)
    assert (item.order.prediction.freeze_attach_s == 0.0) is (chosen is PIVOT)


@pytest.mark.parametrize("wanted", Attach)
def test_volumes_on_drbd_without_a_journey_are_not_moved(wanted: Attach) -> None:
    """The next step would suspend or pivot on extents that lack what was written through DRBD."""
    view = over(running(), {"vg-web1--data": ("0 532480 linear 147:101 0",)})
    item = one(situation(view, wanted=WANTED[wanted]))
    assert (item.kind, item.why) == (
        ItemKind.REFUSED,
        f"xen1: /dev/vg/web1-data stands on «0 532480 linear 147:101 0», {JOURNAL_LOST}",
    )


def test_all_that_speaks_against_it_is_told_at_once() -> None:
    view = over(running(), {"vg-web1--data": ("0 532480 error",)}, LOWER)
    assert one(situation(view, wanted=WANTED[PIVOT])).why == (
        f"xen1: /dev/vg/web1-data stands on «0 532480 error», {JOURNAL_LOST}; "
        f"policy wants attach: pivot, but {THERE}"
    )


def test_tables_that_can_not_be_read_leave_the_domain_unknown() -> None:
    view = changed(running(), dm.TABLES, Unknown("cut"))
    for wanted in Attach:
        item = one(situation(view, wanted=WANTED[wanted]))
        assert (item.kind, item.why) == (
            ItemKind.UNKNOWN,
            "xen1: the tables of device-mapper is not known: cut",
        )
    there = changed(empty("xen2"), dm.TABLES, Unknown("cut"))
    for wanted in (AUTO, PIVOT):
        item = one(situation(running(), there, wanted=WANTED[wanted]))
        assert (item.kind, item.why) == (
            ItemKind.UNKNOWN,
            "xen2: the tables of device-mapper is not known: cut",
        )
    assert one(situation(running(), there, wanted=WANTED[SUSPEND])).kind is ItemKind.MOVE, "not needed"
    facts = {name: fact for name, fact in running().facts.items() if name != dm.SUSPENDED.name}
    assert one(situation(View("xen1", facts))).kind is ItemKind.MOVE, "who waits is asked later"


def test_names_with_hyphens_are_those_of_device_mapper() -> None:
    """Of each side's own group, whatever the other's is called."""
    disk = replace(ROOT, source_group="v-g", volume="web1-a-b", target_group="x-y")
    assert (disk.mapped(SOURCE), disk.lower_name(SOURCE)) == ("v--g-web1--a--b", "xr-v--g-web1--a--b")
    assert (disk.mapped(TARGET), disk.lower_name(TARGET)) == ("x--y-web1--a--b", "xr-x--y-web1--a--b")
    assert disk.mapped_metadata(SOURCE) == "v--g-web1--a--b--drbdmd"
    assert disk.mapped_metadata(TARGET) == "x--y-web1--a--b--drbdmd"
    assert disk.lower(SOURCE) == "/dev/mapper/xr-v--g-web1--a--b"
    assert disk.lower(TARGET) == "/dev/mapper/xr-x--y-web1--a--b"
    assert list(tables(volume("web1-a", group="v-g"))) == ["v--g-web1--a"]
    moved = one(situation(running())).order
    assert moved is not None
    for side, group in ((SOURCE, "vg"), (TARGET, "fast")):
        expected = [f"/dev/mapper/xr-{group}-web1--root", f"/dev/mapper/xr-{group}-web1--data"]
        assert [disk.lower(side) for disk in moved.disks] == expected


def with_volume(name: str) -> View:
    """The host with another name of the domain's first volume."""
    view = changed(running(), lvm.VOLUMES, (volume(name), running().get(lvm.VOLUMES)[1]))
    whole = config()
    first = replace(whole.disks[0], path=f"/etc/xen/disks/{name}")
    view = changed(view, xl.CONFIGS, (replace(whole, disks=(first, whole.disks[1])),))
    links = {f"/etc/xen/disks/{name}": f"/dev/vg/{name}", "/etc/xen/disks/web1-data": "/dev/vg/web1-data"}
    view = changed(view, files.LINKS, links)
    return changed(view, dm.TABLES, tables(*view.get(lvm.VOLUMES)))


def test_a_domain_with_a_long_name_of_a_volume_is_suspended() -> None:
    item = one(situation(with_volume("web1-" + "r-" * 40 + "d")))
    assert item.order is not None and item.order.attach is SUSPEND
    lower = f"xr-vg-web1--{'r--' * 40}d"
    said = f"is suspended to attach, as xen1: {lower} is too long for a name in device-mapper"
    assert item.notes == (said, SLOW_CUTOVER + SUSPENDED)


def test_a_name_that_is_too_long_on_the_target_alone() -> None:
    item = one(situation(with_volume("web1-" + "r-" * 38 + "d")))
    assert item.order is not None
    assert (item.order.attach, item.order.cutover) == (PIVOT, STORE)
    lower = f"xr-fast-web1--{'r--' * 38}d"
    said = f"changes hosts through a saved image, as xen2: {lower} is too long for a name in device-mapper"
    assert item.notes == (said,)
