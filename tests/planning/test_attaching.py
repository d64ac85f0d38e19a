"""Pivot or suspension: what speaks against a pivot, and what the plan says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.model.facts import Unknown, View
from reconciler.model.move import MoveDisk
from reconciler.model.placement import Attach, Domain, Policy
from reconciler.model.plan import ItemKind
from reconciler.planning.attaching import check_tables, choose, no_pivot
from reconciler.planning.whereabouts import Found
from tests.planning.site import (
    MIB,
    changed,
    config,
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
LOWER = {"xr-vg-web1--data": ("0 532480 linear 254:16 4196352",)}
ATTACHED = "web1 on xen1 has /dev/drbd100 open, not the volume under it"
THERE = "xen1: /dev/mapper/xr-vg-web1--data exists already"


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
    assert (len(fits.lower_name), len(long.lower_name)) == (127, 128)
    assert no_pivot(FOUND, (fits,), running()) == ""
    said = f"xen1: xr-vg-{'a' * 120}-- is too long for a name in device-mapper"
    assert no_pivot(FOUND, (ROOT, long), running()) == said
    assert no_pivot(FOUND, (replace(long, minor=100),), running()) == ATTACHED
    assert no_pivot(FOUND, (long,), over(running(), {long.lower_name: ("0 8 error",)})) == said


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


@pytest.mark.parametrize(
    ("wanted", "why_not", "chosen"),
    [
        (Attach.AUTO, "", Attach.PIVOT),
        (Attach.AUTO, "why", Attach.SUSPEND),
        (Attach.PIVOT, "", Attach.PIVOT),
        (Attach.PIVOT, "why", Attach.PIVOT),
        (Attach.SUSPEND, "", Attach.SUSPEND),
        (Attach.SUSPEND, "why", Attach.SUSPEND),
    ],
)
def test_who_chooses(wanted: Attach, why_not: str, chosen: Attach) -> None:
    assert choose(wanted, why_not) is chosen


# -- in the plan ------------------------------------------------------------------------------------

WANTED = {attach: (Domain("web1", "xen2", policy=Policy(attach)),) for attach in Attach}
AUTO, PIVOT, SUSPEND = Attach.AUTO, Attach.PIVOT, Attach.SUSPEND


def test_the_policy_unless_told_otherwise() -> None:
    assert Policy().attach is AUTO


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
    slower = wanted is AUTO and chosen is SUSPEND
    assert item.notes == ((f"is suspended to attach, as {why_not}",) if slower else ())
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
    facts = {name: fact for name, fact in running().facts.items() if name != dm.SUSPENDED.name}
    assert one(situation(View("xen1", facts))).kind is ItemKind.MOVE, "who waits is asked later"


def test_names_with_hyphens_are_those_of_device_mapper() -> None:
    """Of the source's own group, whatever the target's is called."""
    disk = replace(ROOT, source_group="v-g", volume="web1-a-b", target_group="x-y")
    assert (disk.mapped, disk.lower_name) == ("v--g-web1--a--b", "xr-v--g-web1--a--b")
    assert disk.lower == "/dev/mapper/xr-v--g-web1--a--b"
    assert list(tables(volume("web1-a", group="v-g"))) == ["v--g-web1--a"]
    moved = one(situation(running())).order
    assert moved is not None
    assert [d.lower for d in moved.disks] == ["/dev/mapper/xr-vg-web1--root", "/dev/mapper/xr-vg-web1--data"]


def test_a_domain_with_a_long_name_of_a_volume_is_suspended() -> None:
    name = "web1-" + "r-" * 40 + "d"
    view = changed(running(), lvm.VOLUMES, (volume(name), running().get(lvm.VOLUMES)[1]))
    whole = config()
    first = replace(whole.disks[0], path=f"/etc/xen/disks/{name}")
    view = changed(view, xl.CONFIGS, (replace(whole, disks=(first, whole.disks[1])),))
    links = {f"/etc/xen/disks/{name}": f"/dev/vg/{name}", "/etc/xen/disks/web1-data": "/dev/vg/web1-data"}
    view = changed(view, files.LINKS, links)
    view = changed(view, dm.TABLES, tables(*view.get(lvm.VOLUMES)))
    item = one(situation(view))
    assert item.order is not None and item.order.attach is SUSPEND
    lower = f"xr-vg-web1--{'r--' * 40}d"
    said = f"is suspended to attach, as xen1: {lower} is too long for a name in device-mapper"
    assert item.notes == (said,)
