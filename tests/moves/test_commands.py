"""What each step sends, word for word, to whom and with which time-out: `commands.txt` beside this file.

The world that follows is the simulator's and the lab's to judge. This says that nothing else is sent than
what was read there by a person. A move by pivot has a part of its own, of what only it does or does from
other tables; so has one by stream. `python -m tests.moves.test_commands` writes the file anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reconciler.commands import drbd, files, lvm, xl
from reconciler.model.facts import Connection, DiskState, Role, Vbd, View
from reconciler.model.move import Direction, Order, Progress
from reconciler.model.placement import DiskSource
from reconciler.moves import recipe
from tests.moves.journeys import at, back
from tests.moves.states import (
    BESIDE,
    GO_S,
    GONE,
    MADE,
    METADATA,
    MIRRORED,
    NEW,
    NEW_TEXT,
    ORDER,
    PAUSED,
    QUIET_S,
    QUIET_T,
    RESTORED,
    RUNS_S,
    RUNS_T,
    S,
    T,
    acts,
    has,
    images,
    links,
    rebooted,
    res,
    with_res,
)
from tests.moves.test_pivot import (
    ALONE,
    DRBD,
    EXTENTS,
    LOWER,
    NOTHING,
    ON_DRBD,
    PIVOT,
    READY_S,
    only,
    over,
)
from tests.moves.test_stream import COPY, FROM, LONGER, LOWER_T, OWN, SHUT, STREAM, TO, with_tables
from tests.moves.test_stream import GO_S as GO_S_STREAM
from tests.planning.site import changed, empty

FILE = Path(__file__).with_name("commands.txt")
RES_FILE = {"/etc/drbd.d/xr-web1.res": 9}
Case = tuple[Progress, View, View]


def filed(view: View) -> View:
    return changed(view, files.RESOURCE_FILES, RES_FILE)


def forward() -> Iterator[Case]:
    no_file = changed(S, files.text_of("/etc/drbd.d/xr-web1.res"), None)
    no_file_there = changed(T, files.text_of("/etc/drbd.d/xr-web1.res"), None)
    alone = res(Role.SECONDARY, Role.UNKNOWN, connection=Connection.CONNECTING)
    diskless = res(Role.SECONDARY, volume={"disk": DiskState.DISKLESS})
    gone_t = has(T, None)
    yield at("take-epoch"), S, T
    yield at("source-drbd-copies"), changed(S, drbd.COPIES, False), T
    yield at("source-metadata"), S, T
    yield at("source-resource-file"), no_file, T
    yield at("source-drbd-up"), S, T
    yield at("source-drbd-up"), with_res(S, diskless), T
    yield at("source-drbd-primary"), with_res(S, alone), T
    yield at("attach-suspend"), RUNS_S, T
    yield at("attach-flip"), GONE, T
    yield at("attach-restore"), images(links(GONE, "drbd"), attach=9), T
    yield at("attach-unpause"), has(S, PAUSED), T
    yield at("attach-drop-image"), images(RUNS_S, attach=9), T
    yield at("target-volumes"), S, changed(T, lvm.VOLUMES, ())
    yield at("target-volumes"), S, changed(T, lvm.VOLUMES, T.get(lvm.VOLUMES)[1:])
    yield at("target-resource-file"), S, no_file_there
    yield at("source-resource-file-again"), no_file, T
    yield at("target-drbd-up"), S, T
    yield at("target-drbd-up"), S, with_res(T, diskless)
    yield at("target-links"), S, T
    yield at("target-config"), S, changed(T, files.text_of(ORDER.config_path), None)
    yield at("connect"), with_res(S, res(connection=Connection.CONNECTING)), BESIDE
    yield at("source-autostart-off"), S, T
    yield at("cutover-suspend"), MIRRORED, T
    yield at("ship"), images(GONE, cutover=9), T
    yield at("source-demote"), with_res(GONE, res()), BESIDE
    yield at("target-drbd-down"), QUIET_S, QUIET_T
    yield at("target-flip"), S, links(gone_t, "drbd")
    yield at("target-restore"), GONE, images(links(gone_t, "volumes"), cutover=9)
    yield at("go"), GO_S, has(T, PAUSED)
    yield at("go", "go"), GO_S, rebooted(gone_t)
    yield at("target-runs", "go"), S, rebooted(gone_t)
    yield at("target-runs", "go"), S, rebooted(has(T, PAUSED))
    yield at("target-autostart"), S, T
    yield at("source-drbd-down"), with_res(GONE, res(Role.SECONDARY)), RUNS_T
    yield at("source-links-removed"), GONE, RUNS_T
    yield at("source-volumes-removed"), changed(GONE, lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA)), RUNS_T
    yield at("source-image-removed"), images(GONE, cutover=9), RUNS_T
    yield at("target-image-removed"), GONE, images(RUNS_T, cutover=9)
    yield at("target-leftovers"), S, filed(T)


def backward() -> Iterator[Case]:
    yield back("back-target-fence", *RESTORED), S, T
    yield back("back-target-destroyed", *RESTORED), GONE, has(T, PAUSED)
    yield back("back-source-fence"), S, T
    yield (
        back("back-source-wrong-destroyed", "attach-suspend"),
        images(has(S, PAUSED, on="else"), attach=9),
        T,
    )
    yield back("back-source-drbd-down"), with_res(GONE, res()), T
    yield back("back-source-flip"), links(GONE, "drbd"), T
    yield back("back-source-restore", "attach-suspend"), images(GONE, attach=9), T
    yield back("back-source-restore", "attach-suspend", "cutover-suspend"), images(GONE, cutover=9), T
    yield back("back-source-restore", "attach-suspend"), rebooted(images(GONE, attach=9)), T
    yield back("back-source-restore"), rebooted(GONE), T
    yield back("back-source-unpause"), has(S, PAUSED), T
    yield back("back-source-autostart"), empty("xen1"), T
    left = changed(images(RUNS_S, cutover=9), lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    yield back("back-source-leftovers"), filed(left), T
    yield back("back-target-fence-late"), S, T
    yield back("back-target-drbd-down"), S, BESIDE
    there = changed(links(has(T, None), "drbd"), files.text_of(ORDER.config_path), ORDER.config_text)
    there = filed(images(there, cutover=9))
    yield back("back-target-cleaned", "target-links", "target-config"), S, there
    yield back("back-target-cleaned"), S, there


def pivoting() -> Iterator[Case]:
    no_file = changed(S, files.text_of("/etc/drbd.d/xr-web1.res"), None)
    plain = over(with_res(S, res()), EXTENTS, LOWER)
    alone = res(Role.SECONDARY, Role.UNKNOWN, connection=Connection.CONNECTING)
    diskless = res(Role.SECONDARY, volume={"disk": DiskState.DISKLESS})
    still = has(ON_DRBD, None)
    left = changed(over(RUNS_S, EXTENTS, LOWER), lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    yield at("source-lower"), S, T
    yield at("source-lower"), over(S, EXTENTS, only("data", LOWER)), T
    yield at("source-resource-file"), no_file, T
    yield at("target-resource-file"), S, changed(T, files.text_of("/etc/drbd.d/xr-web1.res"), None)
    yield at("source-resource-file-again"), no_file, T
    yield at("source-drbd-up"), S, T
    yield at("source-drbd-up"), with_res(S, diskless), T
    yield at("source-drbd-primary"), with_res(S, alone), T
    yield at("source-pivot"), plain, T
    yield at("source-pivot"), over(plain, EXTENTS, only("root", DRBD)), T
    yield at("source-flip"), RUNS_S, T
    yield at("source-demote"), still, BESIDE
    yield at("source-demote"), over(still, DRBD, only("root", NOTHING)), BESIDE
    yield at("source-demote"), over(still, NOTHING), BESIDE
    yield at("source-volumes-removed"), has(over(left, NOTHING, LOWER), None), RUNS_T
    yield at("source-volumes-removed"), has(changed(over(S, LOWER), lvm.VOLUMES, ()), None), RUNS_T
    yield back("back-source-plain"), ON_DRBD, T
    yield back("back-source-plain"), ALONE, T
    yield back("back-source-plain"), over(ALONE, EXTENTS, LOWER, only("data", NOTHING)), T
    for on in ("drbd", "else"):
        wrong_copy = images(has(S, PAUSED, on=on), cutover=9)
        yield back("back-source-wrong-destroyed", "cutover-suspend"), wrong_copy, T
    yield back("back-source-drbd-down"), with_res(RUNS_S, res()), T
    yield back("back-source-flip"), links(RUNS_S, "drbd"), T
    yield back("back-source-leftovers"), filed(images(left, cutover=9)), T


def streaming() -> Iterator[Case]:
    no_file = changed(S, files.text_of("/etc/drbd.d/xr-web1.res"), None)
    paused = has(READY_S, PAUSED)
    yield at("target-lower"), S, with_tables(T, OWN)
    yield at("target-lower"), S, with_tables(T, LONGER)
    yield at("target-lower"), S, with_tables(T, OWN, LOWER_T, only("root", SHUT))
    yield at("source-resource-file"), no_file, T
    yield at("target-resource-file"), S, changed(T, files.text_of("/etc/drbd.d/xr-web1.res"), None)
    yield at("source-resource-file-again"), no_file, T
    yield at("target-tables"), S, with_tables(T, SHUT, LOWER_T)
    yield at("cutover-stream"), FROM, TO
    yield at("source-demote"), paused, BESIDE
    yield at("source-demote"), over(paused, DRBD, LOWER, only("root", NOTHING)), BESIDE
    yield at("source-demote"), over(paused, NOTHING, LOWER), BESIDE
    yield at("target-drbd-down"), QUIET_S, QUIET_T
    yield at("target-open"), S, with_tables(T, SHUT, LOWER_T)
    yield at("target-open"), S, with_tables(T, OWN, LOWER_T, only("data", SHUT))
    yield at("go"), GO_S_STREAM, with_tables(COPY, OWN)
    yield at("go", "go"), GO_S_STREAM, rebooted(with_tables(has(T, None), OWN))
    yield at("target-runs", "go"), S, rebooted(with_tables(has(T, None), OWN))
    yield at("target-runs", "go"), S, rebooted(with_tables(COPY, OWN))
    yield at("target-leftovers", "go"), S, with_tables(RUNS_T, OWN, LOWER_T)
    yield at("source-destroyed"), has(S, PAUSED), RUNS_T
    yield back("back-target-fence", "cutover-stream"), S, T
    yield back("back-target-destroyed", "cutover-stream"), S, COPY
    yield back("back-source-plain", "cutover-stream"), GO_S_STREAM, T
    yield back("back-source-plain", "cutover-stream"), with_res(GO_S_STREAM), T
    yield back("back-source-unpause", "cutover-stream"), has(S, PAUSED), has(T, None)
    left = changed(has(with_tables(T, SHUT, LOWER_T), None), files.text_of(ORDER.config_path), None)
    yield back("back-target-cleaned", "cutover-stream"), S, left


def new() -> Iterator[tuple[Case, Order]]:
    nowhere, source = empty("xen2"), empty("xen1")
    marked = [replace(v, tags=v.tags | {"xr.populated"}) for v in MADE.get(lvm.VOLUMES)]
    full = changed(MADE, lvm.VOLUMES, tuple(marked))
    vbds = (Vbd(PAUSED.domid, NEW.disks[0].device, (253, 10), False),)
    paused = changed(changed(full, xl.DOMAINS, (PAUSED,)), xl.VBDS, vbds)
    assert NEW.provision is not None
    (disk,) = NEW.provision.disks
    unpacked = replace(disk, source=DiskSource(tarball="/t.tar"))
    auto = changed(MADE, files.CONFIG_FILES, S.get(files.CONFIG_FILES))
    there = changed(changed(auto, NEW_TEXT, NEW.config_text), xl.DOMAINS, (PAUSED,))
    for case in (
        (at("take-epoch"), source, nowhere),
        (at("new-volumes"), source, nowhere),
        (at("new-links"), source, nowhere),
        (at("populate"), source, MADE),
    ):
        yield case, NEW
    tarball = replace(NEW, provision=replace(NEW.provision, disks=(unpacked,)))
    yield (at("populate"), source, MADE), tarball
    for case in (
        (at("new-config"), source, changed(MADE, NEW_TEXT, None)),
        (at("create"), source, full),
        (at("new-autostart"), source, full),
        (at("start"), source, rebooted(full)),
        (at("start"), source, paused),
        (at("new-untagged"), source, full),
        (at("new-untagged"), source, MADE),
        (back("back-target-fence"), source, full),
        (back("back-provision-removed", "new-links", "new-config", "create", "new-autostart"), source, there),
        (back("back-provision-removed"), source, changed(MADE, NEW_TEXT, NEW.config_text)),
    ):
        yield case, NEW


def told() -> str:
    lines = []
    for (progress, source, target), order in (
        *((case, ORDER) for case in (*forward(), *backward())),
        *((case, PIVOT) for case in pivoting()),
        *((case, STREAM) for case in streaming()),
        *new(),
    ):
        way = "stream: " if order.streams else "pivot: " if order.pivots else ""
        lines.append(f"{way}{progress.step} {' '.join(sorted(progress.tried))}".rstrip())
        for side, command in acts(progress, source, target, order):
            lines.append(
                f"  {side.value} {order.host(side).name} {command.timeout_s:g}s: {' '.join(command.argv)}"
            )
            lines += [f"    | {line}" for line in command.stdin.splitlines()]
    return "\n".join(lines) + "\n"


def test_every_step_sends_what_is_written_down() -> None:
    assert told() == FILE.read_text()


WAITS = {"sync", "cutover-ready", "target-runs-on", "back-source-still"}


def test_nothing_is_left_out() -> None:
    heads = [line for line in FILE.read_text().splitlines() if line[0] != " "]
    shown = {line.removeprefix("pivot: ").removeprefix("stream: ").split()[0] for line in heads}
    for order in (ORDER, PIVOT, STREAM, NEW):
        for way in Direction:
            assert {step.name for step in recipe.steps(order, way)} <= shown | WAITS
    for way, cases in (("pivot: ", pivoting()), ("stream: ", streaming())):
        told = {line.split()[1] for line in heads if line.startswith(way)}
        assert told == {progress.step for progress, *_ in cases}


def names(order: Order) -> set[str]:
    return {step.name for way in Direction for step in recipe.steps(order, way)}


def test_a_pivot_sends_the_same_as_the_other_way_where_nothing_else_is_written_down() -> None:
    own = {progress.step for progress, *_ in pivoting()}
    compared = set()
    for progress, source, target in (*forward(), *backward()):
        if progress.step in names(PIVOT) - own and "attach-suspend" not in progress.tried:
            compared.add(progress.step)
            assert acts(progress, source, target, PIVOT) == acts(progress, source, target, ORDER)
    assert compared == names(PIVOT) - own - WAITS


def test_a_stream_sends_the_same_as_a_pivot_where_nothing_else_is_written_down() -> None:
    own = {progress.step for progress, *_ in streaming()}
    compared = set()
    for progress, source, target in (*forward(), *backward(), *pivoting()):
        known = progress.step in names(STREAM) - own and progress.step in names(PIVOT)
        if known and not progress.tried & {"attach-suspend", "cutover-suspend"}:
            compared.add(progress.step)
            assert acts(progress, source, target, STREAM) == acts(progress, source, target, PIVOT)
    no_image = {"back-source-wrong-destroyed"}  # a copy is destroyed there only if it was saved
    assert compared == names(STREAM) - own - WAITS - no_image


if __name__ == "__main__":
    FILE.write_text(told())
