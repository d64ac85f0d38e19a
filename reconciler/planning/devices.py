"""What the guest really has open, against what the symlinks of its disks say now. Pure.

A symlink that was pointed elsewhere while the guest ran, or a volume that was made anew under its old
name, would put the guest's memory on the wrong disk at attach: xl opens what the symlink says then.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.commands import drbd, lvm, xl
from reconciler.model.facts import View
from reconciler.model.move import MoveDisk
from reconciler.planning.index import Found

Numbers = tuple[int, int]


def check_open(found: Found, disks: Sequence[MoveDisk], view: View) -> list[str]:
    """Every disk must be open on the device that its symlink names; else both devices are named."""
    mine = [vbd for vbd in view.get(xl.VBDS) if vbd.domid == found.seen.domid]
    opened = {vbd.device: vbd.major_minor for vbd in mine if vbd.opened}
    problems = []
    for disk in disks:
        meant, name = _meant(disk, view)
        if meant is None:
            problems.append(f"{found.host}: {name} is not active, though {disk.link} names it")
        elif opened.get(disk.device) != meant:
            problems.append(
                f"{found.seen.name} on {found.host}: disk {disk.device} is open on "
                f"{_device(opened.get(disk.device), view)}, but {disk.link} names {_device(meant, view)}; "
                "point the symlink back to what the guest has open, or have the domain shut down and started "
                "on the other device, see docs/how-to/held.md#refused"
            )
    return problems


def _meant(disk: MoveDisk, view: View) -> tuple[Numbers | None, str]:
    """Numbers, None for a volume that is not active, and name. `resolve_disk` has found the volume."""
    if disk.minor >= 0:
        return (drbd.MAJOR, disk.minor), disk.drbd
    named = (v for v in view.get(lvm.VOLUMES) if (v.group, v.name) == (disk.source_group, disk.volume))
    volume = next(named)
    return volume.major_minor, volume.path


def _device(numbers: Numbers | None, view: View) -> str:
    """Device numbers with the name that they go by now."""
    if numbers is None:
        return "no device"
    if numbers[0] == drbd.MAJOR:
        return f"/dev/drbd{numbers[1]} ({numbers[0]}:{numbers[1]})"
    names = [volume.path for volume in view.get(lvm.VOLUMES) if volume.major_minor == numbers]
    return f"{names[0] if names else 'a device of no volume'} ({numbers[0]}:{numbers[1]})"
