"""What a lost journey, an earlier life or a twin left on the hosts is named, and stops what would harm it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import drbd, files, lvm, xl
from reconciler.commands.files import ConfigFiles
from reconciler.model.facts import DomainState, Query, View
from reconciler.model.placement import Domain
from reconciler.model.plan import Item, ItemKind
from reconciler.planning.planner import plan
from reconciler.report import advice
from tests.planning.site import (
    UUID,
    changed,
    config,
    empty,
    opened,
    resource,
    running,
    seen,
    situation,
    volume,
)
from tests.planning.test_planner import PROVISION

NEW = (Domain("web1", "xen2", provision=PROVISION),)
IMAGE = "/var/lib/xen-reconciler/images/web1/cutover-3.img"
SAVED = "/var/lib/xen/save/web1"
TAGGED = volume("web1-root-drbdmd", 4, 8, tags=frozenset({"xr.move.web1-3"}))


def one(*views: View, **changes: Any) -> Item:
    (item,) = [item for item in plan(situation(*views, **changes)).items if item.domain == "web1"]
    return item


def refused(*views: View, **changes: Any) -> str:
    item = one(*views, **changes)
    assert item.kind is ItemKind.REFUSED and item.order is None, item
    return item.why


def stopped(host: str = "xen1") -> View:
    return changed(changed(changed(running(host), xl.DOMAINS, ()), xl.CONFIGS, ()), xl.VBDS, ())


TRACES = [
    (files.IMAGES, {IMAGE: 9}, f"the saved image {IMAGE}"),
    (drbd.RESOURCES, (resource(),), "DRBD resource xr-web1 (Primary)"),
    (files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9}, "/etc/drbd.d/xr-web1.res"),
    (lvm.VOLUMES, (TAGGED,), "/dev/vg/web1-root-drbdmd with the tag xr.move.web1-3"),
]


@pytest.mark.parametrize(("query", "fact", "said"), TRACES)
def test_a_lost_move_is_named_wherever_the_domain_is(query: Query[Any], fact: Any, said: str) -> None:
    other = changed(empty("xen1"), query, fact)
    for item_why in (
        refused(running("xen2"), other),  # it runs where it should; leftovers on the other host
        refused(other),  # it is nowhere
        refused(other, wanted=NEW),  # and would be created
        refused(running("xen3"), other),  # it would be moved
    ):
        assert item_why.startswith("web1 is ")
        assert f"xen1 has {said}" in item_why
        assert "held.md#journal-lost" in item_why


def test_a_frozen_domain_is_not_called_stopped() -> None:
    frozen = changed(stopped(), files.IMAGES, {IMAGE: 9})
    for item_why in (refused(frozen), refused(frozen, wanted=(Domain("web1", "xen1"),))):
        assert "may be suspended in that image: do not start it" in item_why
    told = advice.planned(one(frozen), None)
    assert told.page.endswith("#journal-lost") and "NOT SURE" in told.safe


def test_what_belongs_to_another_domain_is_no_trace() -> None:
    there = changed(empty("xen1"), files.IMAGES, {IMAGE.replace("web1", "web1-b"): 9})
    there = changed(there, lvm.VOLUMES, (volume("x", tags=frozenset({"xr.move.web1-b-3", "own"})),))
    there = changed(there, drbd.RESOURCES, (resource("xr-web1-b"), resource("web1")))
    assert one(running("xen2"), there).kind is ItemKind.IN_PLACE


def left_on_drbd(host: str = "xen2") -> View:
    view = changed(running(host), drbd.RESOURCES, (resource(),))
    view = changed(view, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    view = changed(view, lvm.VOLUMES, (*view.get(lvm.VOLUMES), TAGGED))
    links = {"/etc/xen/disks/web1-root": "/dev/drbd100", "/etc/xen/disks/web1-data": "/dev/drbd101"}
    return opened(changed(view, files.LINKS, links), (147, 100), (147, 101))


def test_a_domain_that_runs_on_drbd_since_it_went_back_is_in_place() -> None:
    item = one(left_on_drbd())
    assert item.kind is ItemKind.IN_PLACE and any("without a peer" in note for note in item.notes)
    assert "xen2 has DRBD resource" in refused(opened(left_on_drbd(), (253, 0), (253, 1)))
    assert IMAGE in refused(changed(left_on_drbd(), files.IMAGES, {IMAGE: 9}))


@pytest.mark.parametrize("state", [state for state in DomainState if state is not DomainState.RUNNING])
def test_in_place_means_running(state: DomainState) -> None:
    view = changed(running("xen2"), xl.DOMAINS, (seen(state=state),))
    assert f"is on xen2 as wanted, but {state.value}" in refused(view)


def test_an_image_saved_at_a_shutdown_is_remarked_upon() -> None:
    for view in (stopped("xen2"), running("xen2")):
        item = one(changed(view, files.SAVED_AT_SHUTDOWN, {SAVED: 9}))
        assert item.kind is ItemKind.IN_PLACE
        assert any(f"xen2: {SAVED} was saved at a shutdown" in note for note in item.notes)
    down = changed(left_on_drbd(), xl.DOMAINS, ())
    down = changed(changed(down, xl.CONFIGS, ()), drbd.RESOURCES, ())
    item = one(changed(down, files.SAVED_AT_SHUTDOWN, {SAVED: 9}))
    assert item.kind is ItemKind.REFUSED and "xr-web1.res" in item.why
    assert any("remove it before that" in note for note in item.notes)


REMAINS = [
    (lvm.VOLUMES, (volume("web1-root"),), "/dev/vg/web1-root"),
    (lvm.VOLUMES, (volume("web1-swap"),), "/dev/vg/web1-swap"),
    (lvm.VOLUMES, (volume("web1"),), "/dev/vg/web1"),
    (files.LINKS, {"/etc/xen/disks/web1-root": "/dev/x"}, "/etc/xen/disks/web1-root"),
    (
        files.CONFIG_FILES,
        ConfigFiles(frozenset(), frozenset({"/etc/xen/auto/web1.cfg"})),
        "/etc/xen/auto/web1.cfg",
    ),
    (files.SAVED_AT_SHUTDOWN, {SAVED: 9}, SAVED),
]


@pytest.mark.parametrize(("query", "fact", "said"), REMAINS)
@pytest.mark.parametrize("host", ["xen1", "xen2", "xen3"])
def test_no_empty_twin_of_a_domain_that_is_shut_down(
    host: str, query: Query[Any], fact: Any, said: str
) -> None:
    item_why = refused(changed(empty(host), query, fact), wanted=NEW)
    assert f"{host} has {said}" in item_why and "nothing is created" in item_why


def test_volumes_of_a_domain_with_a_longer_name_are_its_own() -> None:
    view = running("xen1", "web1-b")
    wanted = (*NEW, Domain("web1-b", "xen1"))
    assert one(view, wanted=wanted).kind is ItemKind.PROVISION
    assert one(view, wanted=NEW).kind is ItemKind.PROVISION  # named in no file, but it runs
    gone = changed(changed(view, xl.DOMAINS, ()), xl.CONFIGS, ())
    assert "/dev/vg/web1-b-root" in refused(gone, wanted=NEW)


@pytest.mark.parametrize("query", [lvm.VOLUMES, files.LINKS, files.CONFIG_FILES, files.SAVED_AT_SHUTDOWN])
def test_nothing_is_created_before_every_host_has_said_what_it_keeps(query: Query[Any]) -> None:
    facts = {name: fact for name, fact in empty("xen3").facts.items() if name != query.name}
    assert one(View("xen3", facts), wanted=NEW).kind is ItemKind.UNKNOWN


def test_a_twin_by_uuid_on_any_host() -> None:
    third = changed(empty("xen3"), xl.CONFIGS, (config("other", domid=8),))
    for host in ("xen1", "xen2"):  # to be moved, and in place
        assert "has the same uuid as other on xen3" in refused(running(host), third)
    both = running("xen1")
    both = changed(both, xl.CONFIGS, (*both.get(xl.CONFIGS), config("other", domid=8)))
    assert "has the same uuid as other on xen1" in refused(both)
    named = (replace(NEW[0], uuid=UUID),)
    assert f"its uuid {UUID} is that of other on xen3" in refused(third, wanted=named)
    assert one(third, wanted=(replace(NEW[0], uuid=UUID[:-1] + "7"),)).kind is ItemKind.PROVISION
