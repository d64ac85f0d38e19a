"""Reports from journals, plans and problems; every one has the form of the schema."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.model.move import Phase, Reason
from reconciler.model.placement import Desired, Problem
from reconciler.model.plan import Item, ItemKind, Plan
from reconciler.moves.journal import Event, EventKind, Journal
from reconciler.report.build import HISTORY, EventsOnce, Source, Standing, build
from reconciler.report.domains import State
from tests.report import factory
from tests.report.factory import COMMIT, Story, in_place


def made(standing: Standing, now: datetime.datetime = factory.START) -> dict[str, Any]:
    report = build(standing, now, "0.1.0")
    factory.assert_valid(report)
    return report


def domain(report: dict[str, Any], name: str = "web1") -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in report["domains"] if entry["name"] == name)
    return found


def moving(story: Story) -> dict[str, Any]:
    """The entry of a domain whose move is under way, the plan being the one that ordered it."""
    item = Item("web1", ItemKind.MOVE, "xen2", "xen1", order=story.order)
    standing = factory.standing(story.journal, factory.desired("web1"), factory.plan(item))
    return domain(made(standing, story.now))


def test_the_schema_is_one_and_closed() -> None:
    schema = factory.schema()
    Draft202012Validator.check_schema(schema)
    for name, part in {"report": schema, **schema["$defs"]}.items():
        assert part["description"], name
        if part.get("type") == "object":
            assert part["additionalProperties"] is False, name
            assert part["required"] == list(part["properties"]), name
            assert all("description" in each or "$ref" in each for each in part["properties"].values()), name
    parts = schema["$defs"]
    assert {reason.value for reason in Reason} <= set(parts["reason"]["enum"])
    assert [phase.value for phase in Phase] == parts["phase"]["properties"]["phase"]["enum"]
    assert [state.value for state in State] == list(schema["properties"]["counts"]["properties"])
    assert {state.value for state in State} == set(parts["domain"]["properties"]["state"]["enum"])


def test_nothing_is_known_yet(journal: Journal) -> None:
    source = Source("/srv/placement.git", "refs/heads/main", error="no such ref")
    report = made(factory.standing(journal, None, None, source))
    assert report["commit"]["in_force"] is report["commit"]["head"] is None
    assert report["commit"]["error"] == "no such ref"
    assert report["commit"]["safe"] == "Safe: no commit is in force, so nothing is moved."
    assert report["converged"] is False
    assert report["domains"] == report["hosts"] == report["history"] == []


class TestCommit:
    """Which commit is in force, and what is wrong with the newest."""

    def test_in_place_and_converged(self, journal: Journal) -> None:
        report = made(factory.standing(journal, factory.desired("web1"), factory.plan(in_place("web1"))))
        assert report["converged"] is True
        assert report["counts"]["in-place"] == 1
        entry = domain(report)
        assert (entry["state"], entry["desired_host"], entry["observed_host"]) == ("in-place", "xen2", "xen2")
        assert entry["declared_at"] == "desired/domains.yaml:3"
        assert entry["last_error"] is None

    def test_a_refused_commit_names_file_line_value_and_what_is_allowed(self, journal: Journal) -> None:
        bad = "bad" + 37 * "0"
        problem = Problem(bad, "desired/domains.yaml", 7, "unknown host", "xen9\x1b[31m", "xen1, xen2")
        source = Source("/srv/p.git", "refs/heads/main", head=bad, problems=[problem] * 101)
        plan = factory.plan(in_place("web1"))
        report = made(factory.standing(journal, factory.desired("web1"), plan, source))
        commit = report["commit"]
        assert (commit["in_force"], commit["head"], commit["head_in_force"]) == (COMMIT, bad, False)
        assert commit["problems"][0] == {
            "commit": bad,
            "file": "desired/domains.yaml",
            "line": 7,
            "message": "unknown host",
            "value": "xen9\N{REPLACEMENT CHARACTER}[31m",
            "allowed": "xen1, xen2",
        }
        assert (len(commit["problems"]), commit["problems_left_out"]) == (100, 1)
        assert COMMIT[:12] in commit["safe"]
        assert report["converged"] is False

    def test_a_domain_two_files_claim_is_refused_with_the_line(self, journal: Journal) -> None:
        problem = Problem(COMMIT, "desired/b.yaml", 9, "claimed twice", "web2", "once")
        good = factory.desired("web1")
        desired = Desired(COMMIT, good.hosts, good.domains, {"web2": problem})
        plan = factory.plan(in_place("web1"), Item("web2", ItemKind.REFUSED, None, None, str(problem)))
        source = Source("/srv/p.git", "refs/heads/main", head=COMMIT, problems=[problem])
        report = made(factory.standing(journal, desired, plan, source))
        entry = domain(report, "web2")
        assert entry["state"] == "refused"
        assert entry["last_error"]["what_to_do"] == ["Correct desired/b.yaml line 9 and commit."]
        assert report["converged"] is False

    def test_a_plan_of_an_older_commit_does_not_count(self, journal: Journal) -> None:
        older = factory.plan(Item("web1", ItemKind.IN_PLACE, "xen1", "xen1"), commit="old")
        report = made(factory.standing(journal, factory.desired("web1", "web2"), older))
        assert domain(report)["state"] == "later"
        assert domain(report, "web2")["state"] == "unknown"
        assert report["converged"] is False


def test_hosts_say_whether_they_answered(journal: Journal) -> None:
    plan = Plan(COMMIT, (), {"xen1": "xl info: timed out"})
    report = made(factory.standing(journal, factory.desired(), plan))
    assert report["hosts"] == [
        {"name": "xen1", "answers": False, "why": "xl info: timed out"},
        {"name": "xen2", "answers": None, "why": None},
    ]


class TestPlanned:
    """Domains no move of which is under way."""

    def test_waiting_refused_unknown_and_unmanaged(self, journal: Journal) -> None:
        plan = factory.plan(
            Item("web1", ItemKind.LATER, "xen2", "xen1", "waits for its turn", order=factory.order()),
            Item("web2", ItemKind.REFUSED, "xen2", "xen1", "xen2 has 10 MiB free", notes=("a note",)),
            Item("web3", ItemKind.UNKNOWN, "xen2", None, "xen1 did not answer"),
            Item("web4", ItemKind.UNMANAGED, None, "xen1", "named in no committed file; left alone"),
        )
        report = made(factory.standing(journal, factory.desired("web1", "web2", "web3"), plan))
        states = {entry["name"]: entry["state"] for entry in report["domains"]}
        assert states == {"web1": "later", "web2": "refused", "web3": "unknown", "web4": "unmanaged"}
        assert domain(report, "web1")["predicted"]["freeze_cutover_s"] == 4.0
        assert domain(report, "web1")["last_error"] is None
        refused = domain(report, "web2")
        assert refused["last_error"]["text"] == "xen2 has 10 MiB free"
        assert refused["last_error"]["safe"].startswith("Safe")
        assert refused["notes"] == ["a note"]
        assert domain(report, "web3")["last_error"]["page"].endswith("#unknown")
        assert domain(report, "web4")["desired_host"] is None
        assert report["converged"] is False

    def test_after_going_back_the_domain_waits_on_its_source(self, journal: Journal) -> None:
        Story(journal, factory.order()).until("sync").turned_back(Reason.DEADLINE, "too slow").finish()
        item = Item(
            "web1", ItemKind.LATER, "xen2", None, "went back 1 times, last too slow; tried again at …"
        )
        entry = domain(made(factory.standing(journal, factory.desired("web1"), factory.plan(item))))
        assert (entry["state"], entry["observed_host"]) == ("later", "xen1")
        assert entry["last_error"]["reason"] == "deadline"
        assert "sync_deadline_s" in entry["last_error"]["what_to_do"][0]


class TestUnderWay:
    """A move, from its first step to its end."""

    def test_progress_and_time_left_of_the_sync(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("sync").wait(30).waits(25.0)
        entry = moving(story)
        assert (entry["state"], entry["desired_host"], entry["observed_host"]) == ("moving", "xen2", "xen1")
        move = entry["move"]
        assert (move["id"], move["phase"], move["step"], move["status"]) == (
            "web1-3",
            "mirror",
            "sync",
            "active",
        )
        assert move["sync"] == {"percent": 25.0, "eta_s": 90.0}
        assert [phase["phase"] for phase in move["phases"]] == ["attach", "mirror"]
        assert move["phases"][-1]["ended"] is None
        assert move["phases"][-1]["duration_s"] > 30
        (freeze,) = move["freezes"]
        assert (freeze["kind"], freeze["predicted_s"], freeze["exact"]) == ("attach", 3.0, True)
        assert freeze["measured_s"] > 0

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            ("connect", None),
            ("sync", {"percent": None, "eta_s": None}),
            ("ship", {"percent": 100.0, "eta_s": None}),
        ],
    )
    def test_there_is_no_time_left_without_a_rate(
        self, journal: Journal, step: str, expected: object
    ) -> None:
        assert moving(Story(journal, factory.order()).until(step))["move"]["sync"] == expected

    def test_a_sync_that_has_just_begun_promises_nothing(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("sync").wait(20).waits(0.0)
        assert moving(story)["move"]["sync"] == {"percent": 0.0, "eta_s": None}

    def test_the_domain_is_where_the_last_sure_word_says(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("go")
        entry = moving(story)
        assert (entry["observed_host"], entry["move"]["frozen"]) == ("xen1", True)
        story.intent()
        assert moving(story)["observed_host"] is None
        story.wait(1).outcome().done()
        entry = moving(story)
        assert (entry["observed_host"], entry["move"]["frozen"]) == ("xen2", False)

    def test_a_command_that_failed_and_is_tried_again(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("target-drbd-up").intent()
        story.outcome(exit=11, stderr="State change failed\n", host="xen2")
        error = moving(story)["last_error"]
        assert error["text"] == "xen2: «xl it»: exit 11 State change failed"
        assert error["safe"] == "Safe: web1 runs on xen1, which holds the truth."
        story.intent().outcome().done()
        assert moving(story)["last_error"] is None

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"exit": None, "no_answer": "connection lost"}, "connection lost"),
            ({"exit": None, "skipped": "busy"}, "busy"),
        ],
    )
    def test_a_command_without_an_answer(self, journal: Journal, row: dict[str, Any], words: str) -> None:
        story = Story(journal, factory.order()).until("target-drbd-up").intent().outcome(**row)
        assert moving(story)["last_error"]["text"] == f"xen1: «xl it»: {words}"

    def test_a_host_that_is_silent_for_a_moment(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("ship").wait(5)
        story.progress = replace(story.progress, unknown_since=story.now)
        error = moving(story.waits(why="xen2: no answer"))["last_error"]
        assert (error["text"], error["reason"]) == ("xen2: no answer", None)
        assert error["safe"].startswith("Stopped, not lost")
        assert error["page"].endswith("#retried")

    def test_two_runners(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("source-drbd-down")
        entry = moving(story.held(Reason.TWO_RUNNERS, "web1 is running on xen1 as well"))
        assert entry["observed_host"] is None
        assert entry["last_error"]["safe"].startswith("NOT SAFE")

    def test_held(self, journal: Journal) -> None:
        story = (
            Story(journal, factory.order())
            .until("go")
            .intent()
            .held(Reason.OUTCOME_UNKNOWN, "xen2 is silent")
        )
        entry = moving(story)
        assert (entry["state"], entry["why"], entry["observed_host"]) == ("held", "xen2 is silent", None)
        assert entry["move"]["retry_at"] is not None
        error = entry["last_error"]
        assert (error["reason"], error["page"]) == (
            "start-outcome-unknown",
            "docs/how-to/held.md#start-outcome-unknown",
        )
        assert error["at"] is not None

    def test_going_back_tells_why_it_turned(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("sync").waits(50.0)
        story.turned_back(Reason.DEADLINE, "after 86401 s: not in step").waits(why="something later")
        entry = moving(story)
        assert (entry["state"], entry["move"]["phase"], entry["move"]["sync"]) == ("going-back", "back", None)
        assert entry["last_error"]["text"] == "after 86401 s: not in step"

    def test_a_domain_no_longer_in_the_files_is_still_shown(self, journal: Journal) -> None:
        Story(journal, factory.order()).until("sync")
        entry = domain(made(factory.standing(journal, factory.desired(), None)))
        assert (entry["state"], entry["desired_host"]) == ("moving", None)

    def test_creating(self, journal: Journal) -> None:
        story = Story(journal, factory.provision()).until("populate")
        report = made(factory.standing(journal, factory.desired("new1"), None), story.now)
        entry = domain(report, "new1")
        assert (entry["state"], entry["observed_host"], entry["move"]["source"]) == ("moving", None, None)
        story.finish()
        report = made(factory.standing(journal, factory.desired("new1"), None), story.now)
        assert report["history"][0]["kind"] == "provision"


class TestEnded:
    """A move that ended after the plan was made, and the history."""

    def test_moved(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).finish()
        item = Item("web1", ItemKind.MOVE, "xen2", "xen1", order=story.order)
        report = made(factory.standing(journal, factory.desired("web1"), factory.plan(item)))
        assert (domain(report)["state"], domain(report)["observed_host"]) == ("in-place", "xen2")
        assert report["converged"] is True
        (past,) = report["history"]
        assert (past["domain"], past["outcome"], past["reason"]) == ("web1", "moved", None)
        assert (past["source"], past["target"], past["epoch"], past["commit"]) == ("xen1", "xen2", 3, COMMIT)
        assert [phase["phase"] for phase in past["phases"]] == ["attach", "mirror", "cutover", "settle"]
        assert [freeze["kind"] for freeze in past["freezes"]] == ["attach", "cutover"]
        assert past["duration_s"] == pytest.approx(sum(phase["duration_s"] for phase in past["phases"]))

    def test_moved_while_another_host_was_committed(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).finish()
        item = Item("web1", ItemKind.MOVE, "xen2", "xen1", order=story.order)
        desired = factory.desired("web1", host="xen1")
        entry = domain(made(factory.standing(journal, desired, factory.plan(item))))
        assert (entry["state"], entry["desired_host"], entry["observed_host"]) == ("later", "xen1", "xen2")

    def test_gone_back_keeps_the_first_reason(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("ship").turned_back(Reason.STEP_FAILED, "no route")
        story.held(Reason.UNREACHABLE, "xen1 is silent").finish()
        item = Item("web1", ItemKind.MOVE, "xen2", "xen1", order=story.order)
        report = made(factory.standing(journal, factory.desired("web1"), factory.plan(item)))
        entry = domain(report)
        assert (entry["state"], entry["observed_host"]) == ("later", "xen1")
        assert entry["last_error"]["safe"] == "Safe: web1 runs on xen1 as before."
        (past,) = report["history"]
        assert (past["outcome"], past["reason"], past["detail"]) == ("back", "step-failed", "no route")

    def test_released_by_a_person(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("go").intent().held(Reason.STALE_EPOCH, "epoch 4")
        journal.release(story.order, story.progress, story.now, "seen to")
        assert journal.active() == []
        assert story.events[-1].kind is EventKind.RELEASED
        report = made(factory.standing(journal, None, None))
        assert report["history"][0]["outcome"] == "closed"

    def test_the_history_is_bounded_and_newest_first(self, journal: Journal) -> None:
        now = factory.START
        for epoch in range(1, 4):
            now = Story(journal, factory.provision(f"new{epoch}"), now).finish().now
        finished = journal.finished(100)
        standing = factory.standing(journal, None, None)
        report = made(Standing(standing.source, None, None, (), finished * HISTORY, standing.events), now)
        assert len(report["history"]) == HISTORY
        assert [past["domain"] for past in report["history"][:3]] == ["new3", "new2", "new1"]


def test_events_of_an_ended_journey_are_read_once(journal: Journal) -> None:
    read: list[str] = []

    def reading(order: Any) -> list[Event]:
        read.append(order.move_id)
        return journal.events(order)

    events = EventsOnce(reading)
    story = Story(journal, factory.order()).until("sync")
    assert events(story.order) == events(story.order) == story.events
    assert len(read) == 2
    story.finish()
    assert events(story.order) == events(story.order) == story.events
    assert len(read) == 3
    other = Story(journal, factory.provision()).finish()
    events._keep = 1
    assert events(other.order)
    assert events(story.order)
    assert read[3:] == [other.order.move_id, story.order.move_id]
