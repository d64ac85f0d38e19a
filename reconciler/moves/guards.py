"""The checks that keep a journey safe, by name, so that tests can take one away and see what breaks.

In production every guard is on: nothing but tests calls `without`. A step asks `passed(name, fact)`,
which is the fact itself. The fault simulation removes each guard in turn and must find the harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

GUARDS = {
    "own-volumes": "a volume of the target's is used only if this move made it",
    "devices-proven": "after a start, xenstore proves which devices are open",
    "image-this-boot": "a saved image counts only until its host has rebooted",
    "image-once": "a saved image is not restored again once the domain may have run after it",
    "restorable": "a domain is not suspended while an image of it could not be restored",
    "same-size": "a guest is put on DRBD only while its volumes have the size that DRBD took from them",
    "on-drbd": "DRBD changes sides only if the guest's last writes went through it",
    "on-drbd-live": "the program that sends memory live cuts a volume off only while it stands on DRBD",
    "cut-off": "a paused copy may stay on the source at GO only over volumes that fail every request",
    "gate": "DRBD is taken down at the target only while both sides are quiet and in step",
    "go-source-secondary": "the target is started only while the source is not Primary",
    "authority": "after GO was tried, going back needs proof that the domain never ran on the target",
    "never-ran": "only a paused copy whose disks were never connected counts as one that never ran",
    "back-target-gone": "going back, the source starts only after the target's copy is gone",
    "back-ran-there": "going back ends once the target's copy may have run",
    "late": "after an answer that did not come, hosts refuse the command if it comes late",
    "settled": "the source's copy is removed only while the target is seen running on its own volumes",
    "source-volume-uuid": "a volume of the source's is removed only if its LVM uuid is the one planned",
    "intent-first": "a step's commands are sent only after its intent is durable",
}

_removed: set[str] = set()


def passed(name: str, fact: bool) -> bool:
    """The fact; True when a test has removed the guard."""
    if name not in GUARDS:
        raise KeyError(name)
    return fact or name in _removed


def on(name: str) -> bool:
    """Whether the guard is there; always, but in tests."""
    return not passed(name, False)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """For tests only: take guards away."""
    for name in names:
        passed(name, True)
    _removed.update(names)
    try:
        yield
    finally:
        _removed.difference_update(names)
