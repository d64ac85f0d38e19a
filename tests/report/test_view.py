"""The page on a terminal and the plan as text: what a person reads, in 100 columns without colour."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from reconciler.model.move import Order, Prediction, Reason
from reconciler.model.placement import Attach, Problem
from reconciler.model.plan import Item, ItemKind, Plan
from reconciler.moves.journal import Journal
from reconciler.report.build import Source, build
from reconciler.report.view import render, render_plan
from reconciler.report.words import clean, size, span
from tests.report import factory
from tests.report.factory import COMMIT, Story, in_place

WIDTH = 100


def console() -> Console:
    return Console(file=io.StringIO(), width=WIDTH, color_system=None)


def text_of(used: Console) -> str:
    assert isinstance(used.file, io.StringIO)
    text = used.file.getvalue()
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return text


def page(journal: Journal, plan: Plan, *names: str, story: Story | None = None, **source: object) -> str:
    where = replace(Source("/srv/p.git", "refs/heads/main", head=COMMIT), **source)  # type: ignore[arg-type]
    standing = factory.standing(journal, factory.desired(*names), plan, where)
    report = build(standing, story.now if story else factory.START, "0.1.0")
    factory.assert_valid(report)
    used = console()
    render(report, used)
    return text_of(used)


def flat(text: str) -> str:
    """Without line breaks and alignment."""
    return " ".join(text.split())


class TestPage:
    """`reconciler status`."""

    def test_in_place(self, journal: Journal) -> None:
        text = page(journal, factory.plan(in_place("web1")), "web1")
        assert f"Commit in force: {COMMIT[:12]}" in text
        assert "Hosts: xen1 answers, xen2 answers" in text
        assert "web1 xen2 xen2 in-place" in flat(text)
        assert text.splitlines()[-1] == "Converged: 1 in-place"

    def test_a_move_in_its_sync(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("sync").wait(30).waits(25.0)
        text = flat(page(journal, factory.plan(), "web1", story=story))
        assert "web1 xen1 -> xen2 moving, mirror: sync" in text
        assert "25.0 % about 1 min 30 s left" in text
        assert "━━━━" in text
        assert "suspended: attach 1.8 s (predicted 3.0 s)" in text
        assert "so far" in text
        assert "Not converged: 1 moving" in text

    def test_a_held_move_says_whether_it_is_safe_and_what_to_do(self, journal: Journal) -> None:
        story = Story(journal, factory.order()).until("go").intent().wait(9)
        story.held(Reason.OUTCOME_UNKNOWN, "xen2 [red]does not answer[/red]")
        text = flat(page(journal, factory.plan(), "web1", story=story))
        assert "xen2 [red]does not answer[/red]" in text
        assert "only xen2 can say" in text
        assert "ssh -p 2222 root@10.0.0.2 xl list" in text
        assert "docs/how-to/held.md#start-outcome-unknown" in text
        assert "suspended when last seen" in text
        assert "so far (predicted 4.0 s)" in text

    def test_a_refused_commit(self, journal: Journal) -> None:
        problem = Problem("bad", "desired/web.yaml", 7, "unknown host", "xen9", "xen1, xen2")
        plan = factory.plan(in_place("web1"))
        text = page(journal, plan, "web1", head="bad", problems=(problem,) * 101)
        assert "Problems of commit bad (101):" in text
        assert "desired/web.yaml:7: unknown host; found xen9; allowed: xen1, xen2" in text
        assert "and 1 more" in text
        assert "stays in force" in text

    def test_a_host_that_does_not_answer(self, journal: Journal) -> None:
        text = page(journal, Plan(COMMIT, (), {"xen1": "xl info: timed out"}), error="no such ref")
        assert "xen1 does not answer fully, xen2 not asked yet" in text
        assert "xen1: xl info: timed out" in text
        assert "The repository cannot be read: no such ref" in text

    def test_the_history(self, journal: Journal) -> None:
        moved = Story(journal, factory.order()).until("go").intent().wait(60).done().finish()
        back = Story(journal, factory.order("web2"), moved.now).until("ship")
        back.turned_back(Reason.STEP_FAILED, "at step ship: no route to host").finish()
        Story(journal, factory.provision(), back.now).finish()
        text = flat(page(journal, factory.plan(in_place("web1")), "web1"))
        assert "web1 xen1 -> xen2 moved" in text
        assert "new1 new -> xen2 moved" in text
        assert "cutover at most 1 min 0" in text
        for words in ("step-failed:", "no route to host", "settle", "mirror"):
            assert words in text

    def test_colour_only_helps(self, journal: Journal) -> None:
        report = build(
            factory.standing(journal, factory.desired("web1"), factory.plan(in_place("web1"))),
            factory.START,
            "0.1.0",
        )
        colourful = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system="standard")
        render(report, colourful)
        assert isinstance(colourful.file, io.StringIO)
        assert "\x1b[32min-place" in colourful.file.getvalue()


def plan_text(*items: Item, hosts: dict[str, str] | None = None) -> str:
    used = console()
    render_plan(Plan(COMMIT, items, hosts or {"xen1": "answers"}), used)
    return text_of(used)


class TestPlan:
    """`reconciler plan`."""

    def test_one_of_each(self) -> None:
        text = plan_text(
            Item("web1", ItemKind.MOVE, "xen2", "xen1", order=factory.order()),
            in_place("web2"),
            Item("web3", ItemKind.REFUSED, "xen2", "xen1", "xen2 has 10 MiB free\x1b[31m"),
            Item("web4", ItemKind.IN_PLACE, "xen2", "xen2", notes=("could not ask xen1",)),
            Item("web5", ItemKind.UNKNOWN, "xen2", None, "xen1 did not answer"),
            Item("web6", ItemKind.LATER, "xen2", "xen1", "waits for its turn", factory.order("web6")),
            Item(
                "web7", ItemKind.CARRY_ON, "xen2", "xen1", "move web7-3 is under way", factory.order("web7")
            ),
            Item("web8", ItemKind.UNMANAGED, None, "xen1", "left alone"),
        )
        lines = text.splitlines()
        assert "~ web1 xen1 -> xen2" in lines
        assert "! web3 refused because xen2 has 10 MiB free\N{REPLACEMENT CHARACTER}[31m" in lines
        assert "? web5 unknown because xen1 did not answer" in lines
        assert ". web6 xen1 -> xen2, later: waits for its turn" in lines
        assert "> web7 move web7-3 is under way" in lines
        assert "      could not ask xen1" in lines
        assert "web2" not in text
        assert lines[-1] == (
            "Plan: 1 to move, 0 to create, 1 under way, 1 later, 2 in place, "
            "1 refused, 1 unknown, 1 unmanaged"
        )

    def test_nothing_to_do(self) -> None:
        assert plan_text(in_place("web1")).splitlines()[-1] == (
            "Plan: 0 to move, 0 to create, 1 in place, 0 refused"
        )

    @pytest.mark.parametrize(
        ("learned", "words"),
        [
            (0, "(assumed: no move has been measured yet)"),
            (1, "(learned from 1 move)"),
            (4, "(learned from 4 moves)"),
        ],
    )
    def test_what_is_expected_and_from_where(self, learned: int, words: str) -> None:
        order: Order = replace(factory.order(), prediction=Prediction(130.0, 3.04, 12.4, learned))
        text = flat(plan_text(Item("web1", ItemKind.MOVE, "xen2", "xen1", order=order)))
        assert "sync of 2.0 GiB in about 2 min 10 s" in text
        assert "suspended about 3.0 s to attach and 12 s to change hosts (" in text
        assert words in text
        pivot = replace(order, attach=Attach.PIVOT)
        text = flat(plan_text(Item("web1", ItemKind.MOVE, "xen2", "xen1", order=pivot)))
        assert "in about 2 min 10 s; suspended about 12 s to change hosts only (" in text
        assert words in text

    def test_creating_and_a_silent_host(self) -> None:
        new = Item("new1", ItemKind.PROVISION, "xen2", None, order=factory.provision())
        text = plan_text(new, hosts={"xen1": "xl info: timed out", "xen2": "answers"})
        assert "+ new1 create on xen2" in text
        assert "! host xen1: xl info: timed out" in text
        assert "Plan: 0 to move, 1 to create" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0.00 s"), (0.42, "0.42 s"), (3.14, "3.1 s"), (9.96, "10.0 s"), (41.4, "41 s"),
     (59.7, "1 min 00 s"), (130, "2 min 10 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_sizes() -> None:
    assert [size(n) for n in (0, 1023, 2**20, 3 * 2**30, 5 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 MiB",
        "3.0 GiB",
        "5.0 TiB",
    ]


def test_texts_from_elsewhere_are_made_harmless() -> None:
    assert clean("a\nb\x1b[2J\u202egnp\ud800") == "a\nb\ufffd[2J\ufffdgnp\ufffd"
    assert clean("x" * 3000) == "x" * 2000 + " …"
