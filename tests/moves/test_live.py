"""Cutover live: what its step makes of a domain that runs while its memory is sent, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import files, xl
from reconciler.model.facts import DomainState, View
from reconciler.model.move import Direction, Order, Progress, Side
from reconciler.model.placement import Transport
from reconciler.moves import look, recipe
from reconciler.moves.authority import may_rest
from reconciler.moves.step import DONE, READY, Verdict, wait, wrong
from tests.moves import test_steps as steps
from tests.moves.journeys import at, back, live_move, move, pivot_move, stream_move
from tests.moves.test_steps import PAUSED, S, T, dom, has
from tests.moves.test_stream import BOTH_PAUSED, FROM, LOWER_T, SHUT, TO, with_tables
from tests.planning.site import changed, config

LIVE = live_move()
AT, AFTER = at("cutover-live"), at("cutover-live", "cutover-live")
LOCKED = files.lock_of("web1")
ON_ITS_WAY = wait("the memory of web1 is on its way to xen2")
ARRIVING = replace(dom(DomainState.PAUSED), name="web1--incoming", cpu_s=0.0)


def arriving(view: View) -> View:
    """A copy that xl is receiving."""
    return changed(view, xl.DOMAINS, (ARRIVING,))


def judge(progress: Progress, source: View, target: View, order: Order = LIVE) -> Verdict:
    return steps.judge(progress, source, target, order)


def test_only_one_step_differs_from_a_stream() -> None:
    for way in Direction:
        live, stream = ([type(step) for step in recipe.steps(o, way)] for o in (LIVE, stream_move()))
        differ = [(one.name, other.name) for one, other in zip(live, stream, strict=True) if one is not other]
        assert differ == ([("cutover-live", "cutover-stream")] if way is Direction.FORWARD else [])


def test_the_memory_goes_while_the_domain_runs() -> None:
    ((side, command),) = steps.acts(AT, FROM, TO, LIVE)
    assert (side, command) == (Side.SOURCE, xl.migrate("web1", "root", "10.99.0.2", 3900))
    assert command.argv == ("python3", "-I", "-", "web1", "root@10.99.0.2")
    assert (command.timeout_s, command.unit) == (3900, "migrate")
    assert "xl migrate-receive" in command.stdin
    plain = replace(LIVE, policy=replace(LIVE.policy, transport=Transport.TCP))
    ((_, by_tcp),) = steps.acts(AT, FROM, TO, plain)
    assert by_tcp == xl.migrate("web1", "root", "10.99.0.2", 3900, plain=True)
    assert by_tcp.argv == command.argv
    assert command.stdin != by_tcp.stdin
    policy = replace(LIVE.policy, suspend_timeout_s=7, ship_timeout_s=11)
    order = replace(LIVE, policy=policy, target=replace(LIVE.target, user="mover"))
    ((_, command),) = steps.acts(AT, FROM, TO, order)
    assert (command.argv[-1], command.timeout_s) == ("mover@10.99.0.2", 18)


def test_what_is_still_sent_is_waited_for() -> None:
    """The domain runs, or is suspended for the rest; of its copy there is nothing yet, a part, or all."""
    there = (TO, arriving(TO), BOTH_PAUSED[1])
    for view in there:
        assert judge(AFTER, changed(FROM, LOCKED, True), view) == ON_ITS_WAY
        assert judge(AFTER, changed(has(S, PAUSED), LOCKED, True), view) == ON_ITS_WAY
        suspended = changed(has(S, dom(DomainState.SHUTDOWN)), LOCKED, True)
        assert judge(AFTER, suspended, view) == wait("web1 on xen1 is shutdown")


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
