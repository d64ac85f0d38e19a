"""What holds for all steps: what was not read, claims, disks that were lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import files, xl
from reconciler.errors import UnknownFact
from reconciler.model.facts import (
    DiskState,
    DomainState,
    Replication,
    Role,
    View,
)
from reconciler.model.move import Progress, Side
from reconciler.moves.step import Action, Mark, Step, Views
from tests.moves.journeys import at, back
from tests.moves.states import (
    BESIDE,
    GONE,
    MIRRORED,
    ORDER,
    S,
    T,
    dom,
    judge,
    links,
    mark,
    rebooted,
    res,
    why,
    with_res,
)
from tests.planning.site import changed


def test_what_was_not_read_is_not_absent() -> None:
    with pytest.raises(UnknownFact, match="nothing was read from the target"):
        _ = Views({Side.SOURCE: S}).target
    for name in ("sync", "ship", "source-volumes-removed", "cutover-ready"):
        with pytest.raises(UnknownFact):
            judge(at(name), View("xen1"), View("xen2"))


def test_what_is_sent_claims_the_domain() -> None:
    order = replace(ORDER, source_known=5, target_known=6)
    for side, known in ((Side.SOURCE, 5), (Side.TARGET, 6)):
        script = Action(side, (files.NOTHING,)).script(order, at("sync", serial=7))
        assert (script.commands, script.claim) == ((files.NOTHING,), order.claim(7, side))
        assert script.claim is not None and script.claim.after == known


def test_an_abstract_step_does_nothing() -> None:
    for call in (
        lambda: Step().looks(ORDER, at("sync")),
        lambda: Step().judge(ORDER, at("sync"), Views()),
        lambda: Step().act(ORDER, at("sync"), Views()),
    ):
        with pytest.raises(NotImplementedError):
            call()


LOST = {"disk": DiskState.DISKLESS}
AHEAD = {"out_of_sync_kib": 8, "replication": Replication.OFF}


def doubt(progress: Progress, source: View, target: View) -> str:
    verdict = judge(progress, source, target)
    assert verdict.in_doubt, verdict
    return verdict.why


def test_a_disk_lost_before_the_cutover_is_for_a_person() -> None:
    found = with_res(MIRRORED, res(volume=LOST))
    assert "a disk of web1 on xen1 has failed" in doubt(at("cutover-ready"), found, BESIDE)


def test_going_back_removes_no_better_copy() -> None:
    """The domain lives on the target's disk, or the target was written to: it keeps what it has."""
    living = with_res(MIRRORED, res(volume=LOST))
    assert "lives on the target's" in doubt(back("back-source-drbd-down"), living, T)
    for other in (res(Role.PRIMARY), res(Role.SECONDARY, volume=AHEAD)):
        there = with_res(T, other)
        assert "may hold writes" in doubt(back("back-target-drbd-down"), S, there)
        flipping = back("back-source-flip", "target-drbd-up")
        assert "may hold writes" in doubt(flipping, rebooted(links(GONE, "drbd")), there)
    behind = with_res(T, res(Role.SECONDARY, volume={"disk": DiskState.INCONSISTENT, "out_of_sync_kib": 8}))
    assert mark(back("back-target-drbd-down"), S, behind) is Mark.READY


def test_going_back_does_not_wait_for_a_silent_target_to_flip() -> None:
    flipping = back("back-source-flip", "target-drbd-up")
    assert mark(flipping, rebooted(links(GONE, "drbd")), View("xen2")) is Mark.READY


def test_only_a_domain_on_its_own_volumes_is_suspended_for_attach() -> None:
    """Symlinks that were pointed elsewhere meanwhile would bring its memory onto another disk."""
    elsewhere = changed(S, xl.VBDS, ())
    assert "has other devices open than its volumes" in why(at("attach-suspend"), elsewhere, T)


def test_a_guest_that_crashed_by_itself_is_back_as_it_is() -> None:
    """With `on_crash = "preserve"` it stays for somebody to look at; the move has nothing to mend."""
    crashed = changed(MIRRORED, xl.DOMAINS, (dom(DomainState.CRASHED),))
    for name in ("back-source-unpause", "back-source-still"):
        assert mark(back(name), crashed, T) is Mark.DONE
    dying = changed(MIRRORED, xl.DOMAINS, (dom(DomainState.DYING),))
    assert mark(back("back-source-unpause"), dying, T) is Mark.WAIT
    assert "does not run on xen1" in why(back("back-source-leftovers"), dying, T)


def test_a_domain_that_was_never_stopped_keeps_what_it_has_open() -> None:
    elsewhere = changed(S, xl.VBDS, ())
    assert mark(back("back-source-restore"), elsewhere, T) is Mark.DONE
    assert "wrong devices open" in why(back("back-source-restore", "attach-suspend"), elsewhere, T)


def test_a_host_that_knows_a_newer_claim_ends_the_way_back() -> None:
    """As with a journal from a backup: it is not this journey's turn any more, whatever it remembers."""
    newer = changed(S, files.EPOCHS, {"web1": ORDER.claim(9).epoch})
    verdict = judge(back("back-source-fence"), newer, T)
    assert (verdict.mark, verdict.stale) == (Mark.WRONG, True)
