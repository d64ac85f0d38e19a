"""What the guest has open decides, not what the symlink says now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.facts import View
from reconciler.model.plan import ItemKind
from reconciler.planning.planner import plan
from tests.planning.site import changed, opened, resource, running, situation, volume


def why(view: View) -> str:
    (item,) = plan(situation(view)).items
    assert item.kind is ItemKind.REFUSED and item.order is None, item
    return item.why


def test_a_symlink_pointed_elsewhere_under_the_running_guest() -> None:
    view = running()
    view = changed(view, lvm.VOLUMES, (*view.get(lvm.VOLUMES), volume("web1-new", minor=7)))
    links = {**view.get(files.LINKS), "/etc/xen/disks/web1-root": "/dev/vg/web1-new"}
    assert (
        "web1 on xen1: disk xvda is open on /dev/vg/web1-root (253:0), but /etc/xen/disks/web1-root names "
        "/dev/vg/web1-new (253:7)"
    ) in why(changed(view, files.LINKS, links))


def test_a_volume_made_anew_under_the_same_name() -> None:
    view = running()
    root, data = view.get(lvm.VOLUMES)
    made_anew = changed(view, lvm.VOLUMES, (replace(root, major_minor=(253, 9)), data))
    assert "xvda is open on a device of no volume (253:0)" in why(made_anew)
    renamed = replace(root, name="web1-old", uuid="u")
    assert "xvda is open on /dev/vg/web1-old (253:0)" in why(
        changed(made_anew, lvm.VOLUMES, (*made_anew.get(lvm.VOLUMES), renamed))
    )


def test_every_disk_is_asked_for() -> None:
    assert "disk xvdb is open on no device" in why(opened(running(), (253, 0)))
    assert "disk xvdb is open on /dev/vg/web1-root (253:0)" in why(opened(running(), (253, 0), (253, 0)))
    backends = running().get(xl.VBDS)
    closing = (backends[0], replace(backends[1], opened=False))
    assert "disk xvdb is open on no device" in why(changed(running(), xl.VBDS, closing))
    others = tuple(replace(vbd, domid=9) for vbd in backends)
    assert "disk xvda is open on no device" in why(changed(running(), xl.VBDS, others))


def test_a_volume_that_is_not_active_is_never_what_the_guest_has_open() -> None:
    root, data = running().get(lvm.VOLUMES)
    view = opened(running(), None, (253, 1))
    inactive = changed(view, lvm.VOLUMES, (replace(root, major_minor=None), data))
    assert "xen1: /dev/vg/web1-root is not active" in why(inactive)


@pytest.mark.parametrize("numbers", [(253, 0), (147, 8), None])
def test_on_drbd_the_device_must_be_drbds(numbers: tuple[int, int] | None) -> None:
    view = changed(running(), drbd.RESOURCES, (resource(minors=(7, 8)),))
    links = {"/etc/xen/disks/web1-root": "/dev/drbd7", "/etc/xen/disks/web1-data": "/dev/drbd8"}
    view = changed(view, files.LINKS, links)
    assert plan(situation(opened(view, (147, 7), (147, 8)))).items[0].kind is ItemKind.MOVE
    assert "/etc/xen/disks/web1-root names /dev/drbd7 (147:7)" in why(opened(view, numbers, (147, 8)))


def test_devices_that_cannot_be_read_leave_the_domain_unknown() -> None:
    facts = {name: fact for name, fact in running().facts.items() if name != xl.VBDS.name}
    (item,) = plan(situation(View("xen1", facts))).items
    assert item.kind is ItemKind.UNKNOWN and "block backends is not known" in item.why
