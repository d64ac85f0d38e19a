"""The steps that make the target and its mirror, and the sync."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import drbd, files
from reconciler.model.command import Command
from reconciler.model.facts import (
    Connection,
    DiskState,
    DrbdResource,
    Replication,
    Role,
    View,
)
from reconciler.model.move import Order, Progress, Side
from reconciler.moves import look
from reconciler.moves.common import resource_text
from reconciler.moves.step import DONE, Mark, Verdict, wait
from tests.moves.journeys import at, back
from tests.moves.states import (
    MINORS,
    ORDER,
    S,
    T,
    acts,
    argv,
    dom,
    has,
    judge,
    links,
    mark,
    res,
    step,
    why,
    with_res,
)
from tests.planning.site import changed


def test_bringing_the_target_up() -> None:
    progress = at("target-drbd-up")
    assert mark(progress) is Mark.READY
    assert mark(progress, S, with_res(T, res(Role.SECONDARY))) is Mark.DONE
    assert why(progress, S, with_res(T, res())) == (
        "xen2: xr-web1 Primary/Secondary Connected 0:UpToDate/UpToDate Established oos=0KiB"
        " in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; the target must"
        " be Secondary"
    )
    attaching = res(Role.SECONDARY, volume={"disk": DiskState.ATTACHING})
    assert judge(progress, S, with_res(T, attaching)) == wait(
        "xr-web1 Secondary/Secondary Connected 0:Attaching/UpToDate Established oos=0KiB "
        "in-flight=0 1:Attaching/UpToDate Established oos=0KiB in-flight=0"
    )
    half = res(Role.SECONDARY, volume={"disk": DiskState.DISKLESS})
    assert argv(progress, S, with_res(T, half))[0] == "drbdadm down xr-web1"


def test_links_and_configuration_on_the_target() -> None:
    assert mark(at("target-links"), S, links(T, "drbd")) is Mark.DONE
    assert mark(at("target-links")) is Mark.READY
    assert (
        why(at("target-links"), S, links(T, "/dev/x"))
        == "xen2: /etc/xen/disks/web1-root already points to /dev/x"
    )
    query = files.text_of(ORDER.config_path)
    assert mark(at("target-config"), S, changed(T, query, None)) is Mark.READY
    assert mark(at("target-config"), S, changed(T, query, ORDER.config_text)) is Mark.DONE
    assert (
        why(at("target-config"), S, changed(T, query, "mine"))
        == "xen2: /etc/xen/web1.cfg already exists with other content"
    )
    assert mark(at("target-config"), order=replace(ORDER, config_text=None)) is Mark.DONE


def test_connecting() -> None:
    both = with_res(S, res()), with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    assert mark(at("connect"), *both) is Mark.DONE
    apart = with_res(S, res(connection=Connection.CONNECTING)), both[1]
    assert mark(at("connect"), *apart) is Mark.READY
    assert judge(at("connect", "connect"), *apart) == wait(
        "source: xr-web1 Primary/Secondary Connecting 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0; "
        "target: xr-web1 Secondary/Primary Connected 0:UpToDate/UpToDate Established "
        "oos=0KiB in-flight=0 1:UpToDate/UpToDate Established oos=0KiB in-flight=0"
    )
    alone = with_res(S, res(connection=Connection.STANDALONE)), both[1]
    assert argv(at("connect", "connect"), *alone) == ["drbdadm adjust xr-web1"] * 2
    assert why(at("connect")) == "source: no DRBD resource; target: no DRBD resource"


@pytest.mark.parametrize(
    ("source", "target", "said", "in_doubt"),
    [
        (res(Role.SECONDARY), res(Role.SECONDARY), "unexpected roles", False),
        (res(), res(Role.SECONDARY, volume={"disk": DiskState.DISKLESS}), "a disk on xen2 has failed", False),
        (res(), res(), "xen2 may hold writes", True),
        (res(), res(Role.SECONDARY, volume={"out_of_sync_kib": 4}), "xen2 may hold writes", True),
        (
            res(volume={"disk": DiskState.DISKLESS}),
            res(Role.SECONDARY),
            "disk of web1 on xen1 has fail",
            True,
        ),
        (
            res(volume={"disk": DiskState.FAILED}),
            res(Role.SECONDARY),
            "disk of web1 on xen1 has failed",
            True,
        ),
        (res(connection=Connection.STANDALONE), res(Role.SECONDARY), "gave up the connection", True),
        (res(volume={"replication": Replication.SYNC_TARGET}), res(Role.SECONDARY), "overwritten", True),
    ],
)
def test_a_sync_that_is_wrong(source: DrbdResource, target: DrbdResource, said: str, in_doubt: bool) -> None:
    verdict = judge(at("sync"), with_res(S, source), with_res(T, target))
    assert said in verdict.why
    assert (verdict.mark, verdict.in_doubt) == (Mark.WRONG, in_doubt)


def test_a_sync_goes_on_until_both_sides_are_in_step() -> None:
    behind = res(volume={"out_of_sync_kib": 193 * 1024, "peer_disk": DiskState.INCONSISTENT})
    other = with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    told = look.describe(behind)
    assert judge(at("sync"), with_res(S, behind), other) == wait(told, 50.0)
    assert mark(at("sync"), with_res(S, res()), other) is Mark.DONE
    begun = res(Role.SECONDARY, volume={"out_of_sync_kib": 4, "replication": Replication.WF_BITMAP_T})
    assert judge(at("sync"), with_res(S, res()), with_res(T, begun)) == wait(look.describe(res()), 100.0)
    assert why(at("sync")) == "source: no DRBD resource; target: no DRBD resource"
    assert step("sync").deadline_s(ORDER) == ORDER.policy.sync_deadline_s


BEHIND = {"out_of_sync_kib": 193 * 1024, "peer_disk": DiskState.INCONSISTENT}


def test_a_sync_takes_another_rate_while_it_runs() -> None:
    behind = with_res(S, res(volume=BEHIND))
    beside = with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    slower = replace(ORDER, policy=replace(ORDER.policy, resync_rate_mb_s=7))
    path = "/etc/drbd.d/xr-web1.res"

    def views(source: str | None, target: str | None) -> tuple[View, View]:
        query = files.text_of(path)
        return changed(behind, query, source), changed(beside, query, target)

    old, new = resource_text(ORDER), resource_text(slower)
    assert "resync-rate 7M;" in new and "c-max-rate 7M;" in new
    older = re.sub(r"    c-fill-target .*\n", "", old.replace("max-buffers 20000;", "max-buffers 8000;"))
    assert len(older) < len(old) - 20, "an older version began it"
    for source, target, sides in (
        (old, old, [Side.SOURCE, Side.TARGET]),
        (new, old, [Side.TARGET]),
        (old, new, [Side.SOURCE]),
        (older, older, [Side.SOURCE, Side.TARGET]),
        ("somebody's own", old, [Side.TARGET]),
    ):
        told = f"{look.describe(res(volume=BEHIND))}; its rate is to be 7 MB a second"
        assert judge(at("sync"), *views(source, target), slower) == Verdict(
            Mark.READY, told, sync_percent=50.0
        )
        sent = acts(at("sync"), *views(source, target), slower)
        expected = [*files.write(path, new), *(drbd.set_rate(minor, 7) for minor in MINORS)]
        assert sent == [(side, command) for side in sides for command in expected]
    for text in (new, None, new.replace("7850", "7851"), old.replace("secret", "other"), "somebody's own"):
        assert judge(at("sync"), *views(text, text), slower).mark is Mark.WAIT, "not this move's, or right"
    assert judge(at("sync"), behind, beside, slower).mark is Mark.WAIT, "files that cannot be read"
    done = changed(with_res(S, res()), files.text_of(path), old)
    assert judge(at("sync"), done, beside, slower) == DONE
    unsure = replace(at("sync", "sync"), unsure=True)
    assert judge(unsure, *views(new, new), slower).mark is Mark.READY, "the file is there, is it in force?"
    assert {side for side, _ in acts(unsure, *views(new, new), slower)} == {Side.SOURCE, Side.TARGET}
    assert judge(unsure, *views("somebody's own", None), slower).mark is Mark.WAIT
    assert step("sync").patient


def test_a_sync_is_paused_and_goes_on() -> None:
    """The resource file says that it was the tool: a pause that somebody made by hand stays."""
    none = replace(ORDER, policy=replace(ORDER.policy, resync_rate_mb_s=0))
    beside = with_res(T, res(Role.SECONDARY, Role.PRIMARY))
    query, path = files.text_of("/etc/drbd.d/xr-web1.res"), "/etc/drbd.d/xr-web1.res"
    going, paused = resource_text(ORDER), resource_text(none)

    def views(text: str, **volume: Any) -> tuple[View, View]:
        behind = with_res(S, res(volume={**BEHIND, **volume}))
        return changed(behind, query, text), changed(beside, query, text)

    def sent(order: Order, *seen: View, progress: Progress | None = None) -> list[Command]:
        return [each for side, each in acts(progress or at("sync"), *seen, order) if side is Side.SOURCE]

    pause, resume = ([of(minor) for minor in MINORS] for of in (drbd.pause_sync, drbd.resume_sync))
    slowest = [drbd.set_rate(minor, 0) for minor in MINORS]
    rates = [drbd.set_rate(minor, ORDER.policy.resync_rate_mb_s) for minor in MINORS]
    assert judge(at("sync"), *views(going), none).why.endswith("; it is to be paused")
    assert sent(none, *views(going)) == [*files.write(path, paused), *slowest, *pause]
    assert sent(none, *views(paused)) == pause, "begun, or lifted by somebody"
    assert not [side for side, _ in acts(at("sync"), *views(paused), none) if side is Side.TARGET]
    at_rest = judge(at("sync"), *views(paused, paused_here=True), none)
    assert (at_rest.mark, at_rest.at_rest, at_rest.sync_percent) == (Mark.WAIT, True, 50.0)
    assert at_rest.why.startswith("paused, as the commit in force says; ")
    nothing_left = with_res(S, res(volume={"peer_disk": DiskState.INCONSISTENT}))
    seen = changed(nothing_left, query, paused), changed(beside, query, paused)
    assert judge(at("sync"), *seen, none).at_rest, "a volume that lacks nothing is not paused"
    unsure = replace(at("sync", "sync"), unsure=True)
    assert sent(none, *views(paused, paused_here=True), progress=unsure) == [
        *files.write(path, paused),
        *slowest,
    ]
    assert sent(ORDER, *views(paused, paused_here=True)) == resume, "until it is seen to go on"
    beside_it = [
        each for side, each in acts(at("sync"), *views(paused, paused_here=True)) if side is Side.TARGET
    ]
    assert beside_it == [*files.write(path, going), *rates], "whatever the source lacks"
    assert sent(ORDER, *views(paused)) == [*files.write(path, going), *rates]
    by_hand = judge(at("sync"), *views(going, paused_here=True))
    assert (by_hand.mark, by_hand.at_rest) == (Mark.WAIT, False)
    foreign = judge(at("sync"), *views("somebody's own"), none)
    assert (foreign.mark, foreign.at_rest) == (Mark.WAIT, False), "not this move's: it syncs on"
    cut = res(volume={**BEHIND, "paused_here": True}, connection=Connection.CONNECTING)
    alone = judge(at("sync"), changed(with_res(S, cut), query, paused), changed(beside, query, paused), none)
    assert (alone.mark, alone.at_rest) == (Mark.WAIT, False), "a cut link has its deadline"
    backwards = views(paused, paused_here=True, replication=Replication.PAUSED_SYNC_T)
    assert judge(at("sync"), *backwards).in_doubt


def test_a_pause_does_not_outlive_its_sync() -> None:
    """Set in the moment the sync ended, or by a move that was taken back: it would stop the next one."""
    none = replace(ORDER, policy=replace(ORDER.policy, resync_rate_mb_s=0))
    query, resume = files.text_of("/etc/drbd.d/xr-web1.res"), [drbd.resume_sync(minor) for minor in MINORS]
    both = res(volume={"paused_here": True})
    for order in (none, ORDER):
        for text, lifted in ((resource_text(none), resume), (resource_text(ORDER), [])):
            source = changed(with_res(S, both), query, text)
            target = changed(with_res(T, res(Role.SECONDARY, Role.PRIMARY)), query, text)
            verdict = judge(at("sync"), source, target, order)
            assert verdict.mark is (Mark.READY if lifted else Mark.DONE)
            assert not lifted or verdict.why.endswith("; its pause is to be lifted")
            assert not lifted or acts(at("sync"), source, target, order) == [
                (Side.SOURCE, command) for command in lifted
            ]
    runs = with_res(has(S, dom(), on="drbd"), both)
    for text, lifted in ((resource_text(none), resume), (resource_text(ORDER), []), (None, [])):
        verdict = judge(left := back("back-source-leftovers"), seen := changed(runs, query, text), T)
        assert verdict.mark is (Mark.READY if lifted else Mark.DONE)
        assert not lifted or [each for _, each in acts(left, seen, T)] == lifted
