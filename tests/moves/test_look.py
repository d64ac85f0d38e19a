"""The questions that every judgement rests on, each answered from facts that differ in one thing only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import files, lvm, xl
from reconciler.model.facts import Connection, DiskState, DomainState, Replication, Role, Vbd, View
from reconciler.model.move import Side
from reconciler.moves import look
from tests.moves.states import MINORS, ORDER, PAUSED, S, T, dom, has, held_volumes, links, res
from tests.planning.site import changed

ROOT, DATA = ORDER.disks
RUNS = dom()


def vbds(view: View, **changes: Any) -> View:
    """The backend of the second disk is another than it was."""
    first, second = view.get(xl.VBDS)
    return changed(view, xl.VBDS, (first, replace(second, **changes)))


def test_whether_every_disk_is_open_on_drbd() -> None:
    view = has(S, RUNS, on="drbd")
    assert look.on_drbd(view, ORDER, RUNS)
    for wrong in (
        vbds(view, opened=False),
        vbds(view, major_minor=None),
        vbds(view, major_minor=(147, 199)),
        vbds(view, major_minor=(253, MINORS[1])),
        vbds(view, domid=4),
        vbds(view, device="xvdz"),
        has(S, RUNS),
    ):
        assert not look.on_drbd(wrong, ORDER, RUNS)
    assert not look.on_drbd(view, ORDER, replace(RUNS, domid=4)), "another domain has them open"


@pytest.mark.parametrize(("side", "host"), [(Side.SOURCE, S), (Side.TARGET, T)])
def test_whether_every_disk_is_open_on_its_volume(side: Side, host: View) -> None:
    view = has(host, RUNS)
    other = Side.TARGET if side is Side.SOURCE else Side.SOURCE
    assert look.on_volumes(view, ORDER, side, RUNS)
    assert not look.on_volumes(view, ORDER, other, RUNS), "the groups of the two sides differ"
    first, second, *rest = view.get(lvm.VOLUMES)
    for wrong in (
        vbds(view, opened=False),
        vbds(view, major_minor=first.major_minor),
        vbds(view, domid=4),
        changed(view, lvm.VOLUMES, (first, *rest)),
        changed(view, lvm.VOLUMES, (first, replace(second, group="other"), *rest)),
        changed(view, lvm.VOLUMES, (first, replace(second, name="other"), *rest)),
        vbds(changed(view, lvm.VOLUMES, (first, replace(second, major_minor=None), *rest)), opened=False),
        has(host, RUNS, on="drbd"),
    ):
        assert not look.on_volumes(wrong, ORDER, side, RUNS)


def test_devices_as_people_read_them() -> None:
    view = vbds(has(S, RUNS), opened=False)
    first, second = view.get(xl.VBDS)
    view = changed(view, xl.VBDS, (second, first, Vbd(9, "xvdc", (8, 1))))
    assert look.devices_text(view, RUNS) == "xvda=253:0, xvdb=none"


def test_a_copy_that_never_ran() -> None:
    view = has(T, PAUSED)
    assert look.never_ran(view, PAUSED)
    for seen in (dom(DomainState.PAUSED, 0.1), dom(DomainState.RUNNING, 0.0), dom(DomainState.DYING, 0.0)):
        assert not look.never_ran(view, seen)
    assert not look.never_ran(vbds(view, connected=True), PAUSED), "one disk joined is enough"
    assert look.never_ran(vbds(view, connected=True, domid=4), PAUSED), "that was another domain's"


@pytest.mark.parametrize(("side", "host"), [(Side.SOURCE, S), (Side.TARGET, T)])
def test_links(side: Side, host: View) -> None:
    other = Side.TARGET if side is Side.SOURCE else Side.SOURCE
    for to, drbd_side in (("drbd", True), ("volumes", False)):
        view = links(host, to)
        assert look.links_all(view, ORDER, side, drbd_side=drbd_side)
        assert not look.links_all(view, ORDER, side, drbd_side=not drbd_side)
        assert look.stray_link(view, ORDER, side) is None
        one = dict(view.get(files.LINKS))
        del one[DATA.link]
        assert not look.links_all(changed(view, files.LINKS, one), ORDER, side, drbd_side=drbd_side)
        assert look.stray_link(changed(view, files.LINKS, one), ORDER, side) is None
    assert not look.links_all(links(host, "volumes"), ORDER, other, drbd_side=False)
    view = changed(host, files.LINKS, {ROOT.link: ROOT.backing(side), DATA.link: DATA.backing(other)})
    said = f"{DATA.link} points to {DATA.backing(other)}, expected {DATA.backing(side)} or {DATA.drbd}"
    assert look.stray_link(view, ORDER, side) == said


def test_images_and_boots() -> None:
    assert look.image(ORDER, "attach") == "/var/lib/xen-reconciler/images/web1/attach-1.img"
    later = replace(ORDER, epoch=2)
    view = changed(S, files.IMAGES, {look.image(later, "attach"): 9, look.image(ORDER, "cutover"): 7})
    assert [look.image_size(view, ORDER, name) for name in ("attach", "cutover")] == [0, 7]
    assert look.same_boot(S, ORDER, Side.SOURCE) and look.same_boot(T, ORDER, Side.TARGET)
    assert not look.same_boot(S, ORDER, Side.TARGET) and not look.same_boot(T, ORDER, Side.SOURCE)
    again = changed(S, files.BOOT_ID, "another boot")
    assert look.being_started(again, ORDER, Side.SOURCE, PAUSED)
    assert not look.being_started(again, ORDER, Side.SOURCE, RUNS)
    assert not look.being_started(S, ORDER, Side.SOURCE, PAUSED)
    assert look.rebooted_text(ORDER, Side.TARGET) == "xen2 has rebooted since web1-1 was planned"


def test_a_volume_is_known_by_group_and_name() -> None:
    view = held_volumes(T)
    found = look.volume(view, "fast", "web1-data")
    assert found is not None and found.size_bytes == DATA.size_bytes
    assert look.volume(view, "vg", "web1-data") is None
    assert look.volume(view, "fast", "web1-dat") is None


QUIET = res(Role.SECONDARY, Role.SECONDARY)


def of_second(**changes: Any) -> Any:
    first, second = QUIET.volumes
    return replace(QUIET, volumes=(first, replace(second, **changes)))


def test_in_step_and_quiet() -> None:
    assert look.in_step(QUIET, ORDER) and look.quiet(QUIET, ORDER)
    fewer = replace(QUIET, volumes=QUIET.volumes[:1])
    behind = [
        of_second(disk=DiskState.CONSISTENT),
        of_second(peer_disk=DiskState.INCONSISTENT),
        of_second(replication=Replication.OFF),
        of_second(out_of_sync_kib=1),
        fewer,
        *(replace(QUIET, connection=c) for c in (None, *Connection) if c is not Connection.CONNECTED),
    ]
    for found in behind:
        assert not look.in_step(found, ORDER) and not look.quiet(found, ORDER)
    assert not look.disks_up_to_date(fewer, ORDER)
    assert not look.disks_up_to_date(of_second(disk=DiskState.DISKLESS), ORDER)
    assert not look.disks_up_to_date(replace(QUIET, volumes=(*QUIET.volumes, QUIET.volumes[1])), ORDER)
    for found in (
        of_second(in_flight=1),
        res(Role.PRIMARY, Role.SECONDARY),
        res(Role.SECONDARY, Role.PRIMARY),
    ):
        assert look.in_step(found, ORDER) and not look.quiet(found, ORDER)


@pytest.mark.parametrize("state", DiskState)
def test_a_disk_that_is_lost(state: DiskState) -> None:
    lost = state in (DiskState.DISKLESS, DiskState.FAILED, DiskState.DETACHING)
    assert look.disk_lost(of_second(disk=state)) == lost


def test_a_target_that_may_be_newer() -> None:
    assert not look.may_be_newer(None) and not look.may_be_newer(QUIET)
    assert look.may_be_newer(res(Role.PRIMARY, Role.SECONDARY))
    for replication in Replication:
        settled = replication in (Replication.OFF, Replication.ESTABLISHED)
        assert look.may_be_newer(of_second(out_of_sync_kib=1, replication=replication)) == settled
        assert not look.may_be_newer(of_second(replication=replication))
    for state in DiskState:
        good = state is DiskState.UP_TO_DATE
        assert look.may_be_newer(of_second(out_of_sync_kib=1, disk=state)) == good


def test_minors() -> None:
    assert look.minors_match(QUIET, ORDER)
    assert not look.minors_match(of_second(minor=199), ORDER)
    assert not look.minors_match(replace(QUIET, volumes=QUIET.volumes[::-1]), ORDER)


def test_a_resource_in_a_few_words() -> None:
    assert look.describe(None) == "no DRBD resource"
    found = of_second(disk=DiskState.INCONSISTENT, out_of_sync_kib=8, in_flight=2)
    assert look.describe(found) == (
        "xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB in-flight=0 "
        "1:Inconsistent/UpToDate Established oos=8KiB in-flight=2"
    )
    assert " no connection 0:" in look.describe(replace(found, connection=None))
