"""The table of authority, written out: who holds the truth at each step, and where a journey may rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.move import Direction, Order, Progress, Reason, Status
from reconciler.moves import recipe
from reconciler.moves.authority import Holder, holder, may_rest, untouchable
from tests.moves.journeys import at, back, move, pivot_move, provision, stream_move

MOVE, PIVOT, STREAM, NEW = move(), pivot_move(), stream_move(), provision()
SOURCE, TARGET, NOBODY, NO_COPY = Holder.SOURCE, Holder.TARGET, Holder.NOBODY, Holder.NO_COPY

FORWARD = {  # step: (who holds the truth before its intent, who after, may it rest before, and after)
    "take-epoch": (SOURCE, SOURCE, True, True),
    "source-drbd-copies": (SOURCE, SOURCE, True, True),
    "source-metadata": (SOURCE, SOURCE, True, True),
    "source-resource-file": (SOURCE, SOURCE, True, True),
    "source-drbd-up": (SOURCE, SOURCE, True, True),
    "source-drbd-primary": (SOURCE, SOURCE, True, True),
    "attach-suspend": (SOURCE, SOURCE, True, False),
    "attach-flip": (SOURCE, SOURCE, False, False),
    "attach-restore": (SOURCE, SOURCE, False, False),
    "attach-unpause": (SOURCE, SOURCE, False, False),
    "attach-drop-image": (SOURCE, SOURCE, True, True),
    "target-volumes": (SOURCE, SOURCE, True, True),
    "target-resource-file": (SOURCE, SOURCE, True, True),
    "source-resource-file-again": (SOURCE, SOURCE, True, True),
    "target-drbd-up": (SOURCE, SOURCE, True, True),
    "target-links": (SOURCE, SOURCE, True, True),
    "target-config": (SOURCE, SOURCE, True, True),
    "connect": (SOURCE, SOURCE, True, True),
    "sync": (SOURCE, SOURCE, True, True),
    "cutover-ready": (SOURCE, SOURCE, True, True),
    "source-autostart-off": (SOURCE, SOURCE, True, True),
    "cutover-suspend": (SOURCE, SOURCE, True, False),
    "ship": (SOURCE, SOURCE, False, False),
    "source-demote": (SOURCE, SOURCE, False, False),
    "target-drbd-down": (SOURCE, SOURCE, False, False),
    "target-flip": (SOURCE, SOURCE, False, False),
    "target-restore": (SOURCE, SOURCE, False, False),
    "go": (SOURCE, NOBODY, False, False),
    "target-runs": (TARGET, TARGET, False, False),
    "target-autostart": (TARGET, TARGET, False, False),
    "target-runs-on": (TARGET, TARGET, False, False),
    "source-drbd-down": (TARGET, TARGET, True, True),
    "source-links-removed": (TARGET, TARGET, True, True),
    "source-volumes-removed": (TARGET, TARGET, True, True),
    "source-image-removed": (TARGET, TARGET, True, True),
    "target-image-removed": (TARGET, TARGET, True, True),
    "target-leftovers": (TARGET, TARGET, True, True),
}
BACK = {  # step: (who holds the truth once GO was tried, may it rest)
    "back-target-fence": (NOBODY, False),
    "back-target-destroyed": (NOBODY, False),
    "back-source-fence": (SOURCE, False),
    "back-source-wrong-destroyed": (SOURCE, False),
    "back-source-drbd-down": (SOURCE, False),
    "back-source-flip": (SOURCE, False),
    "back-source-restore": (SOURCE, False),
    "back-source-unpause": (SOURCE, False),
    "back-source-autostart": (SOURCE, False),
    "back-source-leftovers": (SOURCE, True),
    "back-target-fence-late": (SOURCE, True),
    "back-target-drbd-down": (SOURCE, True),
    "back-target-cleaned": (SOURCE, True),
    "back-source-still": (SOURCE, True),
}


PIVOT_FORWARD = {
    "take-epoch": (SOURCE, SOURCE, True, True),
    "source-drbd-copies": (SOURCE, SOURCE, True, True),
    "source-metadata": (SOURCE, SOURCE, True, True),
    "source-lower": (SOURCE, SOURCE, True, True),
    "source-resource-file": (SOURCE, SOURCE, True, True),
    "source-drbd-up": (SOURCE, SOURCE, True, True),
    "source-drbd-primary": (SOURCE, SOURCE, True, True),
    "source-pivot": (SOURCE, SOURCE, True, True),
    "source-flip": (SOURCE, SOURCE, True, True),
    "target-volumes": (SOURCE, SOURCE, True, True),
    "target-resource-file": (SOURCE, SOURCE, True, True),
    "source-resource-file-again": (SOURCE, SOURCE, True, True),
    "target-drbd-up": (SOURCE, SOURCE, True, True),
    "target-links": (SOURCE, SOURCE, True, True),
    "target-config": (SOURCE, SOURCE, True, True),
    "connect": (SOURCE, SOURCE, True, True),
    "sync": (SOURCE, SOURCE, True, True),
    "cutover-ready": (SOURCE, SOURCE, True, True),
    "source-autostart-off": (SOURCE, SOURCE, True, True),
    "cutover-suspend": (SOURCE, SOURCE, True, False),
    "ship": (SOURCE, SOURCE, False, False),
    "source-demote": (SOURCE, SOURCE, False, False),
    "target-drbd-down": (SOURCE, SOURCE, False, False),
    "target-flip": (SOURCE, SOURCE, False, False),
    "target-restore": (SOURCE, SOURCE, False, False),
    "go": (SOURCE, NOBODY, False, False),
    "target-runs": (TARGET, TARGET, False, False),
    "target-autostart": (TARGET, TARGET, False, False),
    "target-runs-on": (TARGET, TARGET, False, False),
    "source-drbd-down": (TARGET, TARGET, True, True),
    "source-links-removed": (TARGET, TARGET, True, True),
    "source-volumes-removed": (TARGET, TARGET, True, True),
    "source-image-removed": (TARGET, TARGET, True, True),
    "target-image-removed": (TARGET, TARGET, True, True),
    "target-leftovers": (TARGET, TARGET, True, True),
}
PIVOT_BACK = {
    "back-target-fence": (NOBODY, False),
    "back-target-destroyed": (NOBODY, False),
    "back-source-fence": (SOURCE, False),
    "back-source-plain": (SOURCE, False),
    "back-source-wrong-destroyed": (SOURCE, False),
    "back-source-drbd-down": (SOURCE, False),
    "back-source-flip": (SOURCE, False),
    "back-source-restore": (SOURCE, False),
    "back-source-unpause": (SOURCE, False),
    "back-source-autostart": (SOURCE, False),
    "back-source-leftovers": (SOURCE, True),
    "back-target-fence-late": (SOURCE, True),
    "back-target-drbd-down": (SOURCE, True),
    "back-target-cleaned": (SOURCE, True),
    "back-source-still": (SOURCE, True),
}
STREAM_FORWARD = {
    "take-epoch": (SOURCE, SOURCE, True, True),
    "source-drbd-copies": (SOURCE, SOURCE, True, True),
    "source-metadata": (SOURCE, SOURCE, True, True),
    "source-lower": (SOURCE, SOURCE, True, True),
    "source-resource-file": (SOURCE, SOURCE, True, True),
    "source-drbd-up": (SOURCE, SOURCE, True, True),
    "source-drbd-primary": (SOURCE, SOURCE, True, True),
    "source-pivot": (SOURCE, SOURCE, True, True),
    "source-flip": (SOURCE, SOURCE, True, True),
    "target-volumes": (SOURCE, SOURCE, True, True),
    "target-lower": (SOURCE, SOURCE, True, True),
    "target-resource-file": (SOURCE, SOURCE, True, True),
    "source-resource-file-again": (SOURCE, SOURCE, True, True),
    "target-drbd-up": (SOURCE, SOURCE, True, True),
    "target-links": (SOURCE, SOURCE, True, True),
    "target-config": (SOURCE, SOURCE, True, True),
    "connect": (SOURCE, SOURCE, True, True),
    "sync": (SOURCE, SOURCE, True, True),
    "cutover-ready": (SOURCE, SOURCE, True, True),
    "source-autostart-off": (SOURCE, SOURCE, True, True),
    "target-flip": (SOURCE, SOURCE, True, True),
    "target-tables": (SOURCE, SOURCE, True, True),
    "cutover-stream": (SOURCE, SOURCE, True, False),
    "source-demote": (SOURCE, SOURCE, False, False),
    "target-drbd-down": (SOURCE, SOURCE, False, False),
    "target-open": (SOURCE, SOURCE, False, False),
    "go": (SOURCE, NOBODY, False, False),
    "target-runs": (TARGET, TARGET, False, False),
    "target-autostart": (TARGET, TARGET, False, False),
    "target-runs-on": (TARGET, TARGET, False, False),
    "source-destroyed": (TARGET, TARGET, False, False),
    "source-drbd-down": (TARGET, TARGET, True, True),
    "source-links-removed": (TARGET, TARGET, True, True),
    "source-volumes-removed": (TARGET, TARGET, True, True),
    "source-image-removed": (TARGET, TARGET, True, True),
    "target-image-removed": (TARGET, TARGET, True, True),
    "target-leftovers": (TARGET, TARGET, True, True),
}
FORWARDS = ((MOVE, FORWARD), (PIVOT, PIVOT_FORWARD), (STREAM, STREAM_FORWARD))
BACKS = (
    (MOVE, FORWARD, BACK),
    (PIVOT, PIVOT_FORWARD, PIVOT_BACK),
    (STREAM, STREAM_FORWARD, PIVOT_BACK),
)


def way(order: Order) -> str:
    return order.cutover.value if order.streams else order.attach.value


def test_the_tables_name_every_step() -> None:
    for order, forward, backward in BACKS:
        for table, direction in ((forward, Direction.FORWARD), (backward, Direction.BACK)):
            assert list(table) == [step.name for step in recipe.steps(order, direction)]


@pytest.mark.parametrize(
    ("order", "names", "step", "expected"),
    [
        pytest.param(order, list(table), step, expected, id=f"{way(order)}-{step}")
        for order, table in FORWARDS
        for step, expected in table.items()
    ],
)
def test_forward(order: Order, names: list[str], step: str, expected: tuple[object, ...]) -> None:
    before = at(step, *names[: names.index(step)])
    after = replace(before, tried=before.tried | {step})
    found = holder(order, before), holder(order, after), may_rest(order, before), may_rest(order, after)
    assert found == expected


@pytest.mark.parametrize(
    ("order", "names", "step", "expected"),
    [
        pytest.param(order, list(forward), step, expected, id=f"{way(order)}-{step}")
        for order, forward, table in BACKS
        for step, expected in table.items()
    ],
)
def test_back(order: Order, names: list[str], step: str, expected: tuple[object, ...]) -> None:
    tried = names[: names.index("go")]
    assert holder(order, back(step, *tried)) is SOURCE, "GO was not tried: the source has the truth all along"
    assert (holder(order, back(step, *tried, "go")), may_rest(order, back(step, *tried))) == expected


def test_the_ends() -> None:
    for order, table in FORWARDS:
        tried = tuple(table)
        assert holder(order, at("target-leftovers", *tried, status=Status.MOVED)) is TARGET
        assert holder(order, back("back-source-still", *tried, status=Status.BACK)) is SOURCE
    assert holder(NEW, at("new-untagged", "start", status=Status.MOVED)) is TARGET
    assert holder(NEW, at("new-untagged", status=Status.MOVED)) is TARGET, "the start was found done"


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (at("populate", "new-volumes"), NO_COPY),
        (at("create", "create"), NO_COPY),
        (at("start", "create"), NO_COPY),
        (at("start", "create", "start"), NOBODY),
        (at("new-untagged", "create", "start"), TARGET),
        (back("back-target-fence", "create"), NO_COPY),
        (back("back-provision-removed", "create", "start"), NO_COPY),
    ],
)
def test_a_new_domain(progress: Progress, expected: Holder) -> None:
    assert holder(NEW, progress) is expected
    assert may_rest(NEW, progress)


@pytest.mark.parametrize("order", [MOVE, PIVOT, STREAM, NEW])
@pytest.mark.parametrize("reason", Reason)
def test_what_only_a_person_decides(order: Order, reason: Reason) -> None:
    held = at("take-epoch", status=Status.HELD, reason=reason)
    hands_off = reason in (Reason.TWO_RUNNERS, Reason.STALE_EPOCH, Reason.DISKS, Reason.REWOUND)
    assert untouchable(held) == hands_off
    assert (holder(order, held) is NOBODY) == hands_off
    assert not untouchable(at("take-epoch", reason=reason)), "only while it is held"


def test_a_step_of_another_version_is_an_error() -> None:
    for call in (holder, may_rest):
        with pytest.raises(KeyError, match="of another version"):
            call(MOVE, back("of another version", "go"))
    with pytest.raises(KeyError, match="attach-suspend"):
        may_rest(PIVOT, at("attach-suspend"))
    with pytest.raises(KeyError, match="cutover-suspend"):
        may_rest(STREAM, at("cutover-suspend"))
    with pytest.raises(KeyError, match="cutover-stream"):
        may_rest(PIVOT, at("cutover-stream"))
