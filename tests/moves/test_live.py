"""Cutover live: what its step makes of a domain that runs while its memory is sent, and the way back."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace

import pytest

from reconciler.commands import dm, drbd, files, xl
from reconciler.model.facts import DomainState, Role, View
from reconciler.model.move import Direction, Order, Progress, Side
from reconciler.model.placement import Transport
from reconciler.moves import guards, look, recipe, stream
from reconciler.moves.authority import may_rest
from reconciler.moves.step import DONE, READY, Verdict, wait, wrong
from tests.moves import states as steps
from tests.moves.journeys import at, back, live_move, move, pivot_move, stream_move
from tests.moves.states import MINORS, PAUSED, S, T, dom, has, res, with_res
from tests.moves.test_pivot import DRBD, NOTHING, Tables, over
from tests.moves.test_stream import BOTH_PAUSED, FROM, LOWER_T, SHUT, TO, with_tables
from tests.planning.site import changed, config

LIVE = live_move()
AT = at("cutover-live")
AFTER = replace(at("cutover-live", "cutover-live"), attempts=1, unsure=True)
"""The daemon does not know how the command went."""
ANSWERED = replace(AFTER, unsure=False)
LOCKED = files.lock_of("web1")
ON_ITS_WAY = wait("the memory of web1 is on its way to xen2")
ARRIVING = replace(dom(DomainState.PAUSED), name="web1--incoming", cpu_s=0.0)


def arriving(view: View) -> View:
    """A copy that xl is receiving."""
    return changed(view, xl.DOMAINS, (ARRIVING,))


def judge(progress: Progress, source: View, target: View, order: Order = LIVE) -> Verdict:
    return steps.judge(progress, source, target, order)


def quiet_source(view: View, cut: Tables = NOTHING, role: Role = Role.SECONDARY) -> View:
    """What is left of the source once all memory is sent."""
    return changed(with_res(over(view, cut), res(role)), LOCKED, True)


def test_what_differs_from_a_stream() -> None:
    for way in Direction:
        live, stream = ([step.name for step in recipe.steps(o, way)] for o in (LIVE, stream_move()))
        if way is Direction.FORWARD:
            stream[stream.index("cutover-stream")] = "cutover-live"
            stream.insert(stream.index("go"), "target-received")
        assert live == stream


def test_the_memory_goes_while_the_domain_runs() -> None:
    then, links = stream.at_rest(LIVE), ["/etc/xen/disks/web1-root", "/etc/xen/disks/web1-data"]
    ((side, command),) = steps.acts(AT, FROM, TO, LIVE)
    assert (side, command) == (Side.SOURCE, xl.migrate("web1", "root", "10.99.0.2", 3900, then, disks=links))
    proven = "'add /etc/xen/disks/web1-root'|'add /etc/xen/disks/web1-data'"
    assert f'DISKS = "{proven}"\n' in command.stdin
    assert command.argv == ("python3", "-I", "-", "web1", "root@10.99.0.2")
    assert (command.timeout_s, command.unit, command.early) == (3900, "migrate", True)
    assert "xl migrate-receive" in command.stdin
    plain = replace(LIVE, policy=replace(LIVE.policy, transport=Transport.TCP))
    ((_, by_tcp),) = steps.acts(AT, FROM, TO, plain)
    assert by_tcp == xl.migrate("web1", "root", "10.99.0.2", 3900, then, disks=links, transport=Transport.TCP)
    assert by_tcp.argv == command.argv
    assert command.stdin != by_tcp.stdin
    policy = replace(LIVE.policy, suspend_timeout_s=7, ship_timeout_s=11)
    order = replace(LIVE, policy=policy, target=replace(LIVE.target, user="mover"))
    ((_, command),) = steps.acts(AT, FROM, TO, order)
    assert (command.argv[-1], command.timeout_s) == ("mover@10.99.0.2", 18)


def test_what_is_done_at_the_source_once_all_is_sent() -> None:
    ((_, command),) = steps.acts(AT, FROM, TO, LIVE)
    resume = ["dmsetup", "resume", "--noudevsync", "--nolockfs"]
    root, data = "vg-web1--root", "vg-web1--data"
    (line,) = re.findall("^THEN = (.*)$", command.stdin, re.MULTILINE)
    assert json.loads(ast.literal_eval(line)) == [
        [["dmsetup", "table", root], "", f"0 1048576 linear 147:{MINORS[0]} 0\n"],
        [["dmsetup", "table", data], "", f"0 532480 linear 147:{MINORS[1]} 0\n"],
        [["dmsetup", "load", root], "0 1048576 error\n", None],
        [["dmsetup", "load", data], "0 532480 error\n", None],
        [[*resume, root, data], "", None],
        [["drbdadm", "secondary", "xr-web1"], "", None],
    ]


def test_without_its_guard_a_volume_is_cut_off_whatever_it_stands_on() -> None:
    with guards.without("on-drbd-live"):
        assert [expected for _, expected in stream.at_rest(LIVE)] == [None] * 6


def test_what_is_still_sent_is_waited_for() -> None:
    """The domain runs, or is suspended for the rest; of its copy there is nothing yet, a part, or all."""
    there = (TO, arriving(TO), BOTH_PAUSED[1])
    on_drbd = quiet_source(has(S, PAUSED), DRBD), quiet_source(has(S, PAUSED), NOTHING, Role.PRIMARY)
    one = quiet_source(has(S, PAUSED), {**NOTHING, "vg-web1--data": DRBD["vg-web1--data"]})
    for view in there:
        for source in (changed(FROM, LOCKED, True), *on_drbd, one, with_res(on_drbd[0])):
            assert judge(AFTER, source, view) == ON_ITS_WAY
        suspended = changed(has(S, dom(DomainState.SHUTDOWN)), LOCKED, True)
        assert judge(AFTER, suspended, view) == wait("web1 on xen1 is shutdown")


def test_it_goes_on_once_nothing_can_write_on_the_source() -> None:
    """Whatever there is of the copy."""
    source = quiet_source(has(S, PAUSED))
    for progress in (AFTER, ANSWERED):
        for view in (TO, arriving(TO), BOTH_PAUSED[1]):
            assert judge(progress, source, view) == DONE
    over_now = changed(source, LOCKED, False)
    for view in (TO, arriving(TO)):
        assert judge(AFTER, over_now, view) == wrong("xen2 did not take the memory of web1")
    assert judge(AFTER, over_now, BOTH_PAUSED[1]) == DONE


def test_what_was_answered_for_is_looked_for_at_the_source_alone() -> None:
    """The target opens disks meanwhile, and the domain stands still until it has."""
    looks = steps.step("cutover-live", LIVE).looks(LIVE, ANSWERED)
    names = {side: [query.name for query in queries] for side, queries in looks.items()}
    assert names == {
        Side.SOURCE: [each.name for each in (LOCKED, files.BOOT_ID, xl.DOMAINS, dm.TABLES, drbd.RESOURCES)],
    }
    still_writes = quiet_source(has(S, PAUSED), DRBD)
    assert judge(ANSWERED, still_writes, TO) == ON_ITS_WAY
    assert judge(ANSWERED, changed(still_writes, LOCKED, False), TO) == DONE, "the next step sees to it"
    again = wrong("web1 was suspended on xen1 and runs there again")
    assert judge(ANSWERED, with_res(FROM), TO) == again
    assert judge(ANSWERED, with_res(changed(FROM, LOCKED, True)), TO) == again


def test_the_end_of_the_memorys_way_is_waited_for_before_it_starts() -> None:
    order = replace(LIVE, policy=replace(LIVE.policy, suspend_timeout_s=77))
    received = steps.step("target-received", order)
    ((side, (asked,)),) = received.looks(order, AFTER).items()
    assert (side, asked.name) == (Side.SOURCE, files.lock_after("web1").name)
    assert (received.fresh, received.deadline_s(order)) == (True, 77)
    at_it = at("target-received", "cutover-live")
    assert judge(at_it, S, T) == DONE
    still = wait("xen2 still opens the disks of web1")
    assert judge(at_it, changed(S, files.lock_after("web1"), True), T) == still


@pytest.mark.parametrize("progress", [AT, AFTER])
def test_what_was_not_sent_whole(progress: Progress) -> None:
    assert judge(progress, FROM, TO) == READY
    said = wrong("web1 runs on xen1, and xen2 has a copy of it")
    for view in (arriving(TO), BOTH_PAUSED[1]):
        assert judge(progress, FROM, view) == said
    swollen = changed(FROM, xl.CONFIGS, (config(domid=2), config(target_memory_mb=254)))
    assert "could not be restored" in judge(progress, swollen, TO).why


def test_both_copies_are_paused_in_the_end() -> None:
    assert judge(AFTER, *BOTH_PAUSED) == DONE
    here, _ = BOTH_PAUSED
    assert judge(AFTER, here, arriving(TO)) == wrong("xen2 did not take the memory of web1")
    assert judge(AFTER, here, TO) == wrong("xen2 did not take the memory of web1")


def test_which_copy_is_meant() -> None:
    both = changed(T, xl.DOMAINS, (ARRIVING, dom()))
    for order in (LIVE, stream_move(), pivot_move(), move()):
        assert look.copy(both, order) == dom()
        assert look.copy(arriving(T), order) == (ARRIVING if order.live else None), "of somebody else's"
        assert look.copy(has(T, None), order) is None


def test_going_back_destroys_a_copy_that_was_being_received() -> None:
    turned = back("back-target-destroyed", "cutover-live")
    there = with_tables(arriving(has(T, None)), SHUT, LOWER_T)
    assert judge(turned, FROM, there) == READY
    assert steps.acts(turned, FROM, there, LIVE) == [(Side.TARGET, xl.destroy("web1--incoming"))]
    assert steps.acts(turned, FROM, BOTH_PAUSED[1], LIVE) == [(Side.TARGET, xl.destroy("web1"))]
    assert judge(turned, FROM, has(T, None)) == DONE


def test_nothing_is_done_at_the_source_or_removed_while_a_copy_is_there() -> None:
    turned = back("back-source-unpause", "cutover-live")
    verdict = judge(turned, has(S, PAUSED), arriving(T))
    assert (verdict.why, verdict.start_over) == ("web1 is paused on xen2", True)
    cleaned = back("back-target-cleaned", "cutover-live")
    said = "web1--incoming is paused on xen2; nothing is removed there"
    assert judge(cleaned, S, arriving(T)) == wrong(said)


def test_a_person_may_stop_it_before_it_is_suspended_and_not_after() -> None:
    assert may_rest(LIVE, AT)
    assert not may_rest(LIVE, AFTER)
    assert not may_rest(LIVE, at("source-demote", "cutover-live"))
