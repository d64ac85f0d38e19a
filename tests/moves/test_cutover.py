"""The steps of the cutover by an image: the gate, the teardown and GO."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import files, xl
from reconciler.errors import UnknownFact
from reconciler.model.facts import (
    Connection,
    DomainState,
    Role,
    View,
)
from reconciler.moves import look
from reconciler.moves.step import DONE, Mark, Verdict, wait, wrong
from tests.moves.journeys import at
from tests.moves.states import (
    AFRESH,
    BESIDE,
    GO_S,
    GONE,
    MIRRORED,
    ORDER,
    PAUSED,
    QUIET_S,
    QUIET_T,
    RUNS_S,
    RUNS_T,
    S,
    T,
    argv,
    dom,
    has,
    images,
    judge,
    mark,
    rebooted,
    res,
    step,
    why,
    with_res,
)
from tests.planning.site import changed, empty


def test_ready_for_cutover() -> None:
    progress = at("cutover-ready")
    assert mark(progress, MIRRORED, BESIDE) is Mark.DONE
    assert why(progress, MIRRORED, rebooted(BESIDE)) == "xen2 has rebooted since web1-1 was planned"
    assert why(progress, with_res(RUNS_S, res()), BESIDE) == "web1 does not run on DRBD on xen1"
    assert why(progress, with_res(GONE, res()), BESIDE) == "web1 does not run on DRBD on xen1"
    for name in ("web1", "web1--incoming", "web1--migratedaway"):
        other = changed(BESIDE, xl.DOMAINS, (replace(PAUSED, name=name),))
        assert f"already has a domain {name}" in why(progress, MIRRORED, other)
    unlike = changed(BESIDE, xl.DOMAINS, (replace(PAUSED, name="web10"),))
    assert mark(progress, MIRRORED, unlike) is Mark.DONE
    assert judge(progress, with_res(MIRRORED), BESIDE) == wrong(
        "source: no DRBD resource; target: xr-web1 Secondary/Primary Connected "
        "0:UpToDate/UpToDate Established oos=0KiB in-flight=0 1:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0"
    )
    lagging = with_res(MIRRORED, res(volume={"out_of_sync_kib": 4}))
    assert judge(progress, lagging, BESIDE) == wait(
        "not in step; source: xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate "
        "Established oos=4KiB in-flight=0 1:UpToDate/UpToDate Established oos=4KiB "
        "in-flight=0; target: xr-web1 Secondary/Primary Connected 0:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB "
        "in-flight=0"
    )
    crowded = changed(BESIDE, xl.INFO, replace(T.get(xl.INFO), free_memory_mb=10))
    assert why(progress, MIRRORED, crowded) == "xen2 has 10 MiB free, web1 needs 256"
    assert (
        why(progress, MIRRORED, changed(BESIDE, files.SPACE, 9))
        == "xen2 has no room below /var/lib/xen-reconciler for the image of web1"
    )
    assert step("cutover-ready").deadline_s(ORDER) == ORDER.policy.sync_deadline_s


def test_autostart_goes_off() -> None:
    assert argv(at("source-autostart-off"), S, T)[0] == "rm -f /etc/xen/auto/web1.cfg"
    assert mark(at("source-autostart-off"), empty("xen1")) is Mark.DONE


def test_shipping() -> None:
    saved = images(GONE, cutover=9)
    assert [a.split()[0] for a in argv(at("ship"), saved, T)] == ["mkdir", "scp", "mv"]
    assert mark(at("ship"), saved, images(T, cutover=8)) is Mark.READY
    assert mark(at("ship"), saved, images(T, cutover=9)) is Mark.DONE
    assert why(at("ship"), GONE) == "the image of web1 is not on xen1"
    assert why(at("ship"), rebooted(saved)) == "xen1 has rebooted since web1-1 was planned"


def test_the_gate() -> None:
    still = with_res(GONE, res())
    assert argv(at("source-demote"), still, BESIDE) == ["drbdadm secondary xr-web1"]
    assert mark(at("source-demote"), QUIET_S, QUIET_T) is Mark.DONE
    assert why(at("source-demote"), MIRRORED, BESIDE) == "web1 is still on xen1"
    assert judge(at("source-demote"), GONE, BESIDE) == wrong(
        "source: no DRBD resource; target: xr-web1 Secondary/Primary Connected "
        "0:UpToDate/UpToDate Established oos=0KiB in-flight=0 1:UpToDate/UpToDate "
        "Established oos=0KiB in-flight=0"
    )
    busy = with_res(GONE, res(Role.SECONDARY, volume={"in_flight": 1}))
    assert judge(at("source-demote"), busy, QUIET_T) == wait(
        "source: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=1 1:UpToDate/UpToDate Established oos=0KiB in-flight=1; "
        "target: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    apart = with_res(GONE, res(connection=Connection.CONNECTING))
    assert judge(at("source-demote"), apart, QUIET_T) == wait(
        "source: xr-web1 Primary/Secondary Connecting 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; "
        "target: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )


def test_taking_the_target_down() -> None:
    progress, again = at("target-drbd-down"), at("target-drbd-down", "target-drbd-down")
    assert argv(progress, QUIET_S, QUIET_T) == ["drbdsetup down xr-web1"]
    second = argv(replace(again, attempts=2), QUIET_S, QUIET_T)
    assert second == ["udevadm settle --timeout=10", "drbdsetup down xr-web1"]
    assert mark(again, QUIET_S, has(T, None)) is Mark.DONE
    assert why(progress, QUIET_S, has(T, None)) == "xen2: xr-web1 is gone though nobody took it down"
    assert judge(progress, with_res(GONE, res()), BESIDE) == wrong(
        "xen1 can write again: xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB "
        "in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    cut = with_res(QUIET_T, res(Role.SECONDARY, connection=Connection.STANDALONE))
    assert judge(progress, QUIET_S, cut) == wait(
        "source: xr-web1 Secondary/Secondary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; "
        "target: xr-web1 Secondary/Secondary StandAlone 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    assert mark(again, QUIET_S, cut) is Mark.READY


def test_go() -> None:
    ready = has(T, PAUSED)
    assert judge(at("go"), GO_S, ready) == Verdict(Mark.READY, never_ran=True)
    assert argv(at("go"), GO_S, ready) == ["xl unpause web1"]
    assert mark(at("go"), GO_S, RUNS_T) is Mark.DONE
    assert mark(at("go"), View("xen1"), RUNS_T) is Mark.DONE, "the target's word is enough once it runs"
    assert judge(at("go"), RUNS_S, RUNS_T) == Verdict(Mark.WRONG, "web1 runs on both hosts", two_runners=True)
    assert mark(at("go"), has(S, PAUSED), RUNS_T) is Mark.DONE
    assert why(at("go"), GO_S, has(T, dom(DomainState.SHUTDOWN))) == "web1 is shutdown on xen2"
    with pytest.raises(UnknownFact):
        judge(at("go"), View("xen1"), ready)


def test_what_stands_in_the_way_of_go() -> None:
    ready = has(T, PAUSED)
    for source, target, said in (
        (with_res(has(S, PAUSED), res(Role.SECONDARY)), ready, "web1 is on xen1 as well"),
        (with_res(GONE, res()), ready, f"xen1 could still write: {look.describe(res())}"),
        (GO_S, has(T, PAUSED, on="drbd"), "web1 on xen2 has other devices open: xvda=147:100, xvdb=147:101"),
    ):
        assert judge(at("go"), source, target) == Verdict(Mark.WRONG, said, never_ran=True)


@pytest.mark.parametrize(
    "copy",
    [
        has(T, PAUSED, joined=True),
        has(T, dom(DomainState.PAUSED, 0.1)),
        rebooted(has(T, PAUSED)),
    ],
)
def test_what_does_not_prove_that_the_copy_never_ran(copy: View) -> None:
    assert not judge(at("go", "go"), GO_S, copy).never_ran


def test_a_target_without_the_domain_at_go() -> None:
    gone = has(T, None)
    assert why(at("go"), GO_S, gone) == "web1 is not on xen2 any more"
    assert why(replace(at("go", "go"), unsure=True), GO_S, gone) == (
        "web1 is not on xen2 any more though that host has not rebooted; whether it ran there is not known"
    )
    assert argv(at("go", "go"), GO_S, rebooted(gone)) == AFRESH
    assert why(at("go", "go"), RUNS_S, rebooted(gone)) == "web1 is on xen1 as well"
    for order in (replace(ORDER, autostart=False), replace(ORDER, config_text=None)):
        assert why(at("go", "go"), GO_S, rebooted(gone), order) == (
            "web1 is not on xen2 any more: that host has rebooted, and the domain is not "
            "one that starts with its host"
        )


def test_a_guest_that_stops_right_after_go_has_run_on_the_target() -> None:
    """As one did in the lab that ran out of memory: what follows says where its disks are."""
    answered = replace(at("go", "go"), attempts=1)
    unsure, again = replace(answered, unsure=True), at("go", "go")
    crashed, off = has(T, dom(DomainState.CRASHED)), has(T, dom(DomainState.SHUTDOWN))
    stopped = [(progress, target) for progress in (answered, unsure, again) for target in (crashed, off)]
    for progress, target in [(answered, has(T, None)), *stopped]:
        assert judge(progress, GO_S, target) == DONE
        assert why(progress, RUNS_S, target) == "web1 is on xen1 as well"
        assert mark(progress, GO_S, rebooted(target)) is not Mark.DONE
    for target in (crashed, off):
        assert mark(at("go"), GO_S, target) is Mark.WRONG
    for progress in (unsure, again):
        assert why(progress, GO_S, has(T, None)).endswith("whether it ran there is not known")
    assert mark(answered, GO_S, has(T, dom(DomainState.DYING))) is Mark.WRONG
