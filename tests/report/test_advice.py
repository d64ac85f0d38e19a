"""Every reason has advice, and the advice has a section in the documentation."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reconciler.commands import xl
from reconciler.model.facts import DomainConfig, DomainSeen, DomainState, View
from reconciler.model.move import Direction, Reason, Status
from reconciler.model.placement import Attach, Cutover, Problem
from reconciler.model.plan import Item, ItemKind
from reconciler.moves.journal import Journal
from reconciler.planning.planner import plan
from reconciler.planning.situation import Limits, Past, Situation
from reconciler.report import advice
from reconciler.report.domains import WENT_BACK
from reconciler.report.timings import timings
from tests.report import factory
from tests.report.factory import Story

PAGE = (factory.ROOT / advice.PAGE).read_text()
SECTIONS = {
    line[3:].strip().lower().replace(" ", "-"): line for line in PAGE.splitlines() if line[:3] == "## "
}


def section(of: str) -> str:
    """The text of a section of the page."""
    assert of.startswith(f"{advice.PAGE}#")
    heading = SECTIONS[of.partition("#")[2]]
    return PAGE.partition(f"{heading}\n")[2].partition("\n## ")[0]


def story_at(journal: Journal, step: str) -> Story:
    return Story(journal, factory.order()).until(step)


def held(story: Story, reason: Reason) -> advice.Advice:
    story.held(reason, "why")
    times = timings(story.record, story.events)
    return advice.stopped(story.order, story.progress, reason, times.frozen)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_advice_and_a_section(journal: Journal, reason: Reason) -> None:
    told = held(story_at(journal, "sync"), reason)
    assert told.safe
    assert told.what_to_do
    text = section(told.page)
    for part in ("**What happened.**", "**Where the truth is.**", "**Is it safe?", "**What to do.**"):
        assert part in text
    back = advice.went_back(factory.order(), reason)
    assert back.safe == "Safe: web1 runs on xen1 as before."
    assert section(back.page)


@pytest.mark.parametrize("reason", Reason)
def test_creating_a_domain_has_advice_for_every_reason(journal: Journal, reason: Reason) -> None:
    told = held(Story(journal, factory.provision()).until("start"), reason)
    assert told.what_to_do
    assert advice.went_back(factory.provision(), reason).safe.startswith("Safe: new1 never ran")


def test_all_links_of_the_page_lead_somewhere() -> None:
    for anchor in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert anchor in SECTIONS


def test_commands_name_the_hosts_as_ssh_reaches_them(journal: Journal) -> None:
    told = held(story_at(journal, "sync"), Reason.UNREACHABLE)
    assert "`ssh root@10.0.0.1 true`" in told.what_to_do[0]
    assert "`ssh -p 2222 root@10.0.0.2 true`" in told.what_to_do[0]


class TestSafety:
    """Who holds the truth, by how far the move is."""

    def test_while_it_syncs(self, journal: Journal) -> None:
        told = held(story_at(journal, "sync"), Reason.PRECONDITION)
        assert told.safe == "Safe: web1 runs on xen1, which holds the truth."

    def test_while_it_is_suspended_on_the_way_back(self, journal: Journal) -> None:
        story = story_at(journal, "ship").turned_back(Reason.STEP_FAILED, "no")
        told = held(story, Reason.STEP_FAILED)
        assert told.safe.startswith("Stopped, not lost")
        assert "xen1" in told.safe
        assert "/var/lib/xen-reconciler/images/web1" in told.safe

    def test_while_both_copies_are_paused(self, journal: Journal) -> None:
        """No image was made: what is kept is the copy itself."""
        order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.STREAM)
        story = Story(journal, order).until("source-demote")
        expected = (
            "Stopped, not lost: web1 is suspended. Its paused copy on xen1 and its disks there are the "
            "truth; keep both as they are."
        )
        assert held(story, Reason.UNREACHABLE).safe == expected
        assert held(story.turned_back(Reason.STEP_FAILED, "no"), Reason.STEP_FAILED).safe == expected

    def test_before_a_stream(self, journal: Journal) -> None:
        order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.STREAM)
        told = held(Story(journal, order).until("cutover-stream"), Reason.UNREACHABLE)
        assert told.safe == "Safe: web1 runs on xen1, which holds the truth."

    def test_while_memory_is_sent_live(self, journal: Journal) -> None:
        order = replace(factory.order(), attach=Attach.PIVOT, cutover=Cutover.LIVE)
        story = Story(journal, order).until("cutover-live")
        assert held(story, Reason.UNREACHABLE).safe == "Safe: web1 runs on xen1, which holds the truth."
        told = held(story.intent(), Reason.UNREACHABLE).safe
        assert told.startswith(
            "Not lost: web1 runs on xen1, or is suspended there while the last of its memory"
        )
        assert "truth; keep both" in told
        told = held(story.done(), Reason.UNREACHABLE).safe
        assert told.startswith("Stopped, not lost: web1 is suspended. Its paused copy on xen1")

    def test_after_go_was_sent(self, journal: Journal) -> None:
        told = held(story_at(journal, "go").intent(), Reason.OUTCOME_UNKNOWN)
        assert "not known: only xen2 can say" in told.safe
        assert "do not start it" in told.safe

    def test_before_go_was_sent(self, journal: Journal) -> None:
        told = held(story_at(journal, "go"), Reason.UNREACHABLE)
        assert told.safe.startswith("Stopped, not lost")

    def test_in_settle(self, journal: Journal) -> None:
        told = held(story_at(journal, "source-drbd-down"), Reason.STEP_FAILED)
        assert told.safe.startswith("Safe: web1 was seen running on xen2")

    def test_two_runners_are_never_called_safe(self, journal: Journal) -> None:
        told = held(story_at(journal, "source-drbd-down"), Reason.TWO_RUNNERS)
        assert told.safe.startswith("NOT SAFE")
        assert any("xl pause web1" in line for line in told.what_to_do)

    def test_going_back_by_itself_asks_nothing_of_a_person(self, journal: Journal) -> None:
        story = story_at(journal, "sync").turned_back(Reason.DEADLINE, "slow")
        assert (story.progress.direction, story.progress.status) == (Direction.BACK, Status.ACTIVE)
        told = advice.stopped(story.order, story.progress, Reason.DEADLINE, False)
        assert told.what_to_do[0].startswith("Nothing now")


def view(host: str, *names: str) -> View:
    seen = tuple(DomainSeen(name, 5, 256, 1, DomainState.RUNNING, 1.0) for name in names)
    configs = tuple(DomainConfig(name, 5, "u", "pv", 256, ()) for name in names)
    return View(host, {xl.DOMAINS.name: seen, xl.CONFIGS.name: configs})


def planned(views: dict[str, View], past: tuple[Past, ...] = (), limits: Limits | None = None) -> Item:
    situation = Situation(
        desired=factory.desired("web1"),
        views=views,
        active=(),
        past=past,
        samples=(),
        epochs={},
        limits=limits or Limits(),
        now=factory.START,
        salt="salt",
    )
    return plan(situation).items[0]


class TestWordsOfThePlanner:
    """The planner's reasons are texts; these are told apart by how they are worded."""

    def test_a_domain_on_two_hosts_is_not_called_safe(self) -> None:
        item = planned({"xen1": view("xen1", "web1"), "xen2": view("xen2", "web1")})
        assert item.kind is ItemKind.REFUSED
        told = advice.planned(item, None)
        assert told.safe.startswith("PERHAPS NOT SAFE")
        assert section(told.page)

    @pytest.mark.parametrize("attempts", [1, 5])
    def test_a_domain_that_went_back(self, journal: Journal, attempts: int) -> None:
        story = story_at(journal, "sync").turned_back(Reason.DEADLINE, "slow").finish()
        past = (Past(story.order, story.progress, factory.START),)
        views = {"xen1": view("xen1", "web1"), "xen2": view("xen2")}
        item = planned(views, past, Limits(max_attempts=attempts))
        assert item.kind is (ItemKind.REFUSED if attempts == 1 else ItemKind.LATER)
        assert item.why.startswith(WENT_BACK)


def test_refused_unknown_and_wrong_commits_have_sections() -> None:
    refused = Item("web1", ItemKind.REFUSED, "xen2", "xen1", "no room")
    unknown = Item("web1", ItemKind.UNKNOWN, "xen2", None, "xen1 is silent")
    problem = Problem(factory.COMMIT, "desired/a.yaml", 7, "claimed twice")
    for told in (
        advice.planned(refused, None),
        advice.planned(unknown, None),
        advice.planned(refused, problem),
        advice.commit_refused(factory.COMMIT),
        advice.commit_refused(None),
    ):
        assert told.safe.startswith("Safe")
        assert told.what_to_do
        assert section(told.page)
    assert "desired/a.yaml line 7" in advice.planned(refused, problem).what_to_do[0]
