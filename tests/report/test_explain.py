"""Every step, each way: who holds the truth, what is safe, and which requests are granted."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import mailbox
from reconciler.commands import xl
from reconciler.desk import Desk
from reconciler.errors import InputError
from reconciler.model.facts import DomainSeen, DomainState, View
from reconciler.model.move import Direction, Order, Phase, Progress, Reason, Side, Status
from reconciler.model.placement import Attach, Cutover
from reconciler.model.request import Answered, Hold, Request, Result, Verb
from reconciler.moves import machine, recipe
from reconciler.moves.authority import Holder, holder, may_rest
from reconciler.moves.journal import Journal
from reconciler.moves.requests import Decision, Journey, decide, no_abort
from reconciler.moves.step import Views
from reconciler.report.build import build
from reconciler.report.explain import explain
from reconciler.report.timings import timings
from tests.report import factory
from tests.report.factory import START, Story
from tests.report.test_advice import SECTIONS

PIVOT = replace(factory.order(), attach=Attach.PIVOT)
STREAM = replace(PIVOT, cutover=Cutover.STREAM)
LIVE = replace(PIVOT, cutover=Cutover.LIVE)
MOVES = (factory.order(), PIVOT, STREAM, LIVE)
ORDERS = (*MOVES, factory.provision())
WAYS = ("suspend", "pivot", "stream", "live")
NOW = START + datetime.timedelta(hours=1)


def forward(order: Order) -> Iterator[Progress]:
    """At every step, before and after its intent."""
    tried: frozenset[str] = frozenset()
    for step in recipe.steps(order, Direction.FORWARD):
        at = replace(machine.begin(order, START), step=step.name)
        yield replace(at, tried=tried)
        tried |= {step.name}
        yield replace(at, tried=tried, attempts=1)


def back(order: Order) -> Iterator[Progress]:
    """At every step of the way back, from every step forward that has one."""
    for before in forward(order):
        turned = machine.turn_back(order, before, Reason.STEP_FAILED, "why", START)
        for step in recipe.steps(order, Direction.BACK):
            if turned is not None:
                yield replace(turned, step=step.name)
            elif holder(order, before) is Holder.NOBODY:  # never ran there, the target said
                yield replace(before, direction=Direction.BACK, step=step.name, reason=Reason.STEP_FAILED)


def all_places() -> Iterator[tuple[Order, Progress]]:
    for order in ORDERS:
        for progress in itertools.chain(forward(order), back(order)):
            yield order, progress
            for reason in Reason:
                yield order, replace(progress, status=Status.HELD, reason=reason, detail="why")


def views(order: Order, *running: Side) -> Views:
    def facts(side: Side) -> View:
        seen = (DomainSeen(order.domain, 7, 256, 1, DomainState.RUNNING, 3.0),) if side in running else ()
        return View(order.host(side).name, {xl.DOMAINS.name: seen})

    return Views({side: facts(side) for side in order.sides})


def ask(
    verb: Verb,
    order: Order,
    progress: Progress | None,
    hold: Hold | None = None,
    move_id: str | None = None,
) -> Decision:
    request = Request("id", NOW, verb, order.domain, move_id, "said so")
    return decide(request, Journey(order, progress) if progress else None, hold, factory.COMMIT, NOW)


def test_every_place_is_explained_with_authority_safety_and_commands() -> None:
    count = 0
    for order, progress in all_places():
        for seen in (None, Views(), views(order), views(order, Side.TARGET), views(order, *order.sides)):
            told = explain(order, progress, None, seen)
            count += 1
            assert told.truth.split(" ")[0].rstrip(":,") in {"Nobody", "xen1", "xen2"}, told
            assert told.safe and told.never and told.stands
            assert any("xl list" in line.command for line in told.commands)
            assert not any(factory.SECRET in text for text in (*told.stands, *told.seen))
            assert told.page.partition("#")[2] in SECTIONS
    assert count > 10_000


def test_after_a_pivot_a_person_is_told_what_the_volumes_stand_on() -> None:
    def told(order: Order, progress: Progress) -> list[tuple[str, str]]:
        return [(line.purpose, line.command) for line in explain(order, progress, None, None).commands]

    where = ("what its volumes stand on", "ssh root@10.0.0.1 dmsetup table")
    for order, count in ((PIVOT, 1), (STREAM, 1), (MOVES[0], 0), (ORDERS[-1], 0)):
        assert told(order, machine.begin(order, START)).count(where) == count
    tried = frozenset(step.name for step in recipe.steps(PIVOT, Direction.FORWARD))
    sent = replace(machine.begin(PIVOT, START), step="go", status=Status.HELD, reason=Reason.UNREACHABLE)
    sent = replace(sent, tried=tried)
    lost = "only if xen2 is lost for good and powered off: "
    disks = []
    for n in (0, 1):
        name = f"vg-web1--{n}"
        swap = f"dmsetup table xr-{name} | dmsetup load {name} && dmsetup resume --nolockfs {name}"
        disks += [
            (f"{lost}put /dev/vg/web1-{n} back on its extents", f"ssh root@10.0.0.1 '{swap}'"),
            (
                f"{lost}and let its name mean it again",
                f"ssh root@10.0.0.1 ln -sfn /dev/vg/web1-{n} /etc/xen/disks/web1-{n}",
            ),
        ]
    first = (f"{lost}stop the daemon first", "systemctl stop reconciler")
    found = told(PIVOT, sent)
    at = found.index(first) + 1
    assert found[at : at + 4] == disks
    primary = (f"{lost}let the disks of web1 be written", "ssh root@10.0.0.1 drbdadm primary xr-web1")
    assert primary not in found
    found = told(MOVES[0], sent)
    assert found[found.index(first) + 1] == primary and not set(disks) & set(found)


def test_after_a_stream_a_person_lets_the_paused_copy_run_and_restores_no_image() -> None:
    """As it was before GO: at the source nothing else holds its memory."""
    lost = "only if xen2 is lost for good and powered off: "
    here = f"{lost}and xen1 has not rebooted since: "
    unpause = (
        f"{here}let its paused copy run, as it was before GO; what was written after that is lost",
        "ssh root@10.0.0.1 xl unpause web1",
    )
    restore = (
        f"{here}start the copy as it was before GO, once; what it wrote after that is lost",
        "ssh root@10.0.0.1 xl restore /var/lib/xen-reconciler/images/web1/cutover-3.img",
    )
    close = (
        f"{lost}ask for the move to be closed",
        "reconciler release web1 --i-have-checked",
    )
    for order, told, not_told in ((STREAM, unpause, restore), (PIVOT, restore, unpause)):
        tried = frozenset(step.name for step in recipe.steps(order, Direction.FORWARD))
        sent = replace(machine.begin(order, START), step="go", status=Status.HELD, tried=tried)
        sent = replace(sent, reason=Reason.UNREACHABLE)
        lines = explain(order, sent, None, None).commands
        found = [(line.purpose, line.command) for line in lines]
        assert found[found.index(told) + 1] == close, "the volumes come first"
        assert not_told not in found


@pytest.mark.parametrize("order", MOVES, ids=WAYS)
def test_the_truth_is_where_the_table_of_authority_says(order: Order) -> None:
    for progress in forward(order):
        phase = recipe.find(order, Direction.FORWARD, progress.step).phase
        if phase is Phase.SETTLE:
            expected = Holder.TARGET
        elif "go" in progress.tried:
            expected = Holder.NOBODY
        else:
            expected = Holder.SOURCE
        assert holder(order, progress) is expected
        told = explain(order, progress, None, views(order, Side.SOURCE, Side.TARGET))
        assert told.authority is Holder.NOBODY
        assert "runs on both hosts" in told.truth
    sent = next(p for p in forward(order) if p.step == "go" and "go" in p.tried)
    assert (
        explain(order, sent, None, views(order, Side.TARGET)).truth == "xen2: it says that web1 runs there."
    )
    assert "until xen2 says" in explain(order, sent, None, None).truth


def test_abort_is_allowed_exactly_where_the_source_holds_the_truth() -> None:
    for order, progress in all_places():
        if progress.direction is Direction.BACK:
            continue
        allowed = holder(order, progress) in (Holder.SOURCE, Holder.NO_COPY)
        assert allowed == (no_abort(order, progress) == "")
        decision = ask(Verb.ABORT, order, progress)
        assert decision.result is (Result.DONE if allowed else Result.REFUSED), (progress, decision)
        assert (decision.progress is not None) == allowed
        assert (decision.hold is not None) == allowed
        if decision.progress is not None:
            assert decision.progress.direction is Direction.BACK
            assert decision.progress.reason is Reason.ABORTED
            assert decision.progress.tried == progress.tried
            again = ask(Verb.ABORT, order, decision.progress)
            assert (again.result, again.progress) == (Result.DONE, None)


SUSPENDED = {"attach-flip", "attach-unpause"}
"""In attach, after its suspension."""


@pytest.mark.parametrize(
    ("order", "rests", "never"),
    [
        (MOVES[0], {"attach-drop-image", "cutover-suspend"}, {*SUSPENDED, "ship"}),
        (PIVOT, {"source-pivot", "cutover-suspend"}, {"ship"}),
        (STREAM, {"source-pivot", "cutover-stream"}, {"target-open", "source-destroyed"}),
        (LIVE, {"source-pivot", "cutover-live"}, {"target-open", "source-destroyed"}),
    ],
    ids=WAYS,
)
def test_a_hold_never_keeps_a_domain_suspended(
    journal: Journal, order: Order, rests: set[str], never: set[str]
) -> None:
    for number, step in enumerate(recipe.steps(order, Direction.FORWARD)):
        for sent in (False, True):
            story = Story(journal, replace(order, domain=f"web{number}{sent}")).until(step.name)
            if sent:
                story.intent()
            frozen = timings(story.record, story.events).frozen
            assert not (frozen and may_rest(order, story.progress)), (step.name, sent)
    for progress in back(order):
        names = [step.name for step in recipe.steps(order, Direction.BACK)]
        runs = names.index(progress.step) > names.index("back-source-unpause")
        assert runs or not may_rest(order, progress)
    resting = {p.step for p in forward(order) if may_rest(order, p)}
    assert {"sync", "source-drbd-down", *rests} <= resting
    assert not resting & {*never, "go", "target-runs", "target-autostart"}
    assert never <= {p.step for p in forward(order)}


def test_hold_and_resume() -> None:
    for order, progress in all_places():
        decision = ask(Verb.HOLD, order, progress)
        assert (decision.result, decision.progress) == (Result.DONE, None)
        assert ("surely runs" in decision.text) == (not may_rest(order, progress))
        assert ask(Verb.HOLD, order, progress, decision.hold).hold == decision.hold
        lifted = ask(Verb.RESUME, order, progress, decision.hold)
        assert (lifted.result, lifted.hold) == (Result.DONE, None)
        assert lifted.progress is not None
        if progress.status is Status.HELD:
            assert lifted.progress.retry_at == NOW
        assert (lifted.progress.step, lifted.progress.tried) == (progress.step, progress.tried)
        active = progress.status is Status.ACTIVE
        assert (ask(Verb.RESUME, order, progress).progress is None) == active


def test_release_closes_only_what_is_held() -> None:
    for order, progress in all_places():
        decision = ask(Verb.RELEASE, order, progress)
        assert decision.closes == (progress.status is Status.HELD)
        assert (decision.hold is not None) == decision.closes
        assert not ask(Verb.RELEASE, order, progress, move_id="web1-1000").closes
    assert ask(Verb.RELEASE, ORDERS[0], None).result is Result.REFUSED
    assert ask(Verb.ABORT, ORDERS[0], None).result is Result.REFUSED


def test_an_abort_lasts_as_long_as_its_commit_but_not_over_a_hold() -> None:
    order = ORDERS[0]
    progress = machine.begin(order, START)
    kept = ask(Verb.ABORT, order, progress).hold
    assert kept is not None
    assert kept.in_force(factory.COMMIT) and not kept.in_force("another")
    held = Hold(START, Verb.HOLD, "backup")
    both = ask(Verb.ABORT, order, progress, held).hold
    assert both is not None and both.commit is None


class TestDesk:
    """Requests as files, answers in the journal."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return mailbox.folder_of(tmp_path)

    def desk(self, journal: Journal, folder: Path) -> Desk:
        class Still:
            def now(self) -> datetime.datetime:
                return NOW

            def monotonic_s(self) -> float:
                return 0.0

            def pause(self, seconds: float) -> None:
                raise AssertionError

        return Desk(journal, Still(), folder)

    def test_a_request_is_answered_once_and_kept_over_a_restart(self, journal: Journal, folder: Path) -> None:
        request = mailbox.new(Verb.HOLD, "web1", None, "why", NOW)
        mailbox.put(folder, request)
        desk = self.desk(journal, folder)
        assert desk.calls("web1") and not desk.calls("web2")
        assert desk.attend({"web1"}, None) == 1
        assert not desk.calls()
        mailbox.put(folder, request)  # as if it had not been put away before a crash
        later = self.desk(journal, folder)
        assert later.attend({"web1"}, None) == 1
        assert [one.request for one in later.answered] == [request]
        assert later.stops("web1")

    def test_a_journey_another_thread_drives_is_left_alone(self, journal: Journal, folder: Path) -> None:
        story = Story(journal, factory.order()).until("sync")
        for verb in (Verb.ABORT, Verb.HOLD):
            mailbox.put(folder, mailbox.new(verb, "web1", None, "", NOW))
        desk = self.desk(journal, folder)
        assert desk.attend(None, factory.COMMIT, driven={"web1"}) == 1
        assert story.record.progress.direction is Direction.FORWARD
        assert desk.attend(None, factory.COMMIT, only="web1") == 1
        assert story.record.progress.direction is Direction.BACK

    def test_files_that_are_no_requests_are_dropped(self, journal: Journal, folder: Path) -> None:
        mailbox.put(folder, mailbox.new(Verb.HOLD, "web1", None, "", NOW))
        good = mailbox.names(folder)[0]
        bad = ("", "{", "[]", '{"at": 1}', "null", '{"verb": "hold"}', "x" * 10_000, "[" * 8000)
        for number, text in enumerate(bad):
            (folder / f"20260301T120000000000-{number:08x}.json").write_text(text)
        (folder / "20260301T120000000000-aaaaaaaa.json").symlink_to(folder / good)
        (folder / "notes.txt").write_text("left alone")
        desk = self.desk(journal, folder)
        assert desk.attend(None, None) == 1
        assert sorted(path.name for path in folder.iterdir()) == ["notes.txt"]

    @pytest.mark.parametrize("name", ["", "../web1", "a b", "web1--incoming", "-x", "$(reboot)"])
    def test_names_that_are_no_domains_are_refused(self, name: str) -> None:
        with pytest.raises(InputError):
            mailbox.new(Verb.HOLD, name, None, "", NOW)

    @pytest.mark.parametrize("reason", ["two\nlines", "\x1b[2J", "x" * 501])
    def test_reasons_are_one_short_line(self, reason: str) -> None:
        with pytest.raises(InputError):
            mailbox.new(Verb.HOLD, "web1", None, reason, NOW)


@pytest.mark.parametrize("step", ["sync", "ship"])
def test_the_report_shows_the_hold_and_the_answer(journal: Journal, step: str) -> None:
    story = Story(journal, factory.order()).until(step).intent()
    request = Request("id", NOW, Verb.HOLD, "web1", "web1-3", "backup")
    answered = Answered(request, Result.DONE, "it stops", NOW)
    hold = Hold(NOW, Verb.HOLD, "backup")
    standing = factory.standing(journal, factory.desired("web1"), factory.plan())
    report = build(replace(standing, holds={"web1": hold}, answered=(answered,)), story.now, "0.1.0")
    factory.assert_valid(report)
    (web1,) = report["domains"]
    assert web1["held_by_operator"]["reason"] == "backup"
    assert (web1["state"], web1["move"]["status"]) == (
        ("held", "held") if step == "sync" else ("moving", "active")
    )
    assert ("held by the operator" in (web1["why"] or "")) == (step == "sync")
    assert report["requests"][0]["outcome"] == "done"
