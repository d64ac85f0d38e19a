"""Cutover by stream: what each step makes of two paused copies, what it sends, and the way back."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.errors import UnknownFact
from reconciler.model.facts import (
    Connection,
    DiskState,
    DomainState,
    Query,
    Role,
    Unknown,
    Vbd,
    View,
)
from reconciler.model.move import Direction, Order, Phase, Progress, Reason, Side, Status
from reconciler.model.placement import Compression, Transport
from reconciler.moves import guards, look, machine, recipe, stream
from reconciler.moves.common import resource_text
from reconciler.moves.step import DONE, READY, Mark, Verdict, Views, wait, wrong
from tests.moves import states as steps
from tests.moves.journeys import at, back, stream_move
from tests.moves.states import (
    AFRESH,
    BESIDE,
    FLUSH_FAST,
    ORDER,
    PAUSED,
    QUIET_S,
    QUIET_T,
    RUNS_S,
    RUNS_T,
    S,
    T,
    dom,
    has,
    links,
    rebooted,
    res,
    with_res,
)
from tests.moves.test_pivot import (
    DATA_TO_EXTENTS,
    DATA_TO_NOTHING,
    DRBD,
    EXTENTS,
    LOWER,
    LVMS,
    NOTHING,
    OTHER,
    PIVOT,
    ROOT_TO_EXTENTS,
    ROOT_TO_NOTHING,
    Tables,
    only,
    over,
    without,
)
from tests.moves.test_pivot import LOOKS as PIVOT_LOOKS
from tests.planning.site import NOW, changed, config

STREAM = stream_move()
ROOT, DATA = STREAM.disks
SOURCE, TARGET = Side.SOURCE, Side.TARGET
OWN: Tables = {
    "fast-web1--root": ("0 1048576 linear 254:32 2048",),
    "fast-web1--data": ("0 532480 linear 254:32 4196352",),
}
LOWER_T: Tables = {f"xr-{name}": lines for name, lines in OWN.items()}
META: Tables = {
    "fast-web1--root--drbdmd": ("0 8192 linear 254:32 20971520",),
    "fast-web1--data--drbdmd": ("0 8192 linear 254:32 20979712",),
}
ROOT_END, DATA_END = "linear 254:32 20979704", "linear 254:32 20987896"
"""The last 4 KiB of them."""
SHUT: Tables = {
    "fast-web1--root": ("0 1048568 error", f"1048568 8 {ROOT_END}"),
    "fast-web1--data": ("0 532472 error", f"532472 8 {DATA_END}"),
}
FAILING: Tables = {"fast-web1--root": ("0 1048576 error",), "fast-web1--data": ("0 532480 error",)}
LONGER: Tables = {
    "fast-web1--root": ("0 1048576 linear 254:32 2048", "1048576 8192 linear 254:32 9437184"),
    "fast-web1--data": ("0 540672 linear 254:32 4196352",),
}
"""In a group with larger extents than the source's: LVM has rounded up."""
LOWER_LONGER: Tables = {f"xr-{name}": lines for name, lines in LONGER.items()}
SHUT_LONGER: Tables = {
    "fast-web1--root": ("0 1056760 error", f"1056760 8 {ROOT_END}"),
    "fast-web1--data": ("0 540664 error", f"540664 8 {DATA_END}"),
}
ELSEWHERE: Tables = {
    "xr-fast-web1--root": ("0 1048576 linear 254:32 99",),
    "xr-fast-web1--data": ("0 532480 linear 254:32 99",),
}
STANDS_IN = "what stands in for its extents until DRBD is taken down"
NO_EXTENTS: tuple[tuple[str, Tables, str], ...] = (
    ("gone", {}, "no table: it is not active"),
    ("stand-in", SHUT, STANDS_IN),
    ("error", FAILING, "a table that fails every read and write"),
    (
        "drbd",
        {
            "fast-web1--root": ("0 1048576 linear 147:100 0",),
            "fast-web1--data": ("0 532480 linear 147:101 0",),
        },
        "DRBD",
    ),
    ("other", dict.fromkeys(OWN, ("0 1048576 crypt aes 0 254:16 0",)), "a table of somebody else"),
    ("empty", dict.fromkeys(OWN, ()), "a table of somebody else"),
    (
        "snapshot",
        dict.fromkeys(OWN, ("0 1048576 snapshot-origin 254:7",)),
        "a table that LVM has put there since",
    ),
    (
        "short",
        {
            "fast-web1--root": ("0 1048575 linear 254:32 2048",),
            "fast-web1--data": ("0 532479 linear 254:32 2048",),
        },
        "a table that LVM has put there since",
    ),
    (
        "gap",
        dict.fromkeys(OWN, ("0 8 linear 254:32 2048", "16 2097152 linear 254:32 4196352")),
        "a table that LVM has put there since",
    ),
)
"""What a volume of the target may stand on that does not tell its extents, and what is said of it."""
TELLING_NOTHING = pytest.mark.parametrize(
    ("found", "said"), [pytest.param(*case, id=name) for name, *case in NO_EXTENTS]
)
DISKS = pytest.mark.parametrize("disk", ["root", "data"])
STATES = set(DomainState)
COPY = has(T, PAUSED)
"""The target with the paused copy, its disks open on its own volumes."""


def judge(progress: Progress, source: View = S, target: View = T, order: Order = STREAM) -> Verdict:
    return steps.judge(progress, source, target, order)


def sent(
    side: Side, progress: Progress, source: View = S, target: View = T, order: Order = STREAM
) -> list[str]:
    """What a step that is ready sends, all of it to one side."""
    found = steps.acts(progress, source, target, order)
    assert {to for to, _ in found} == {side}
    return [" ".join(command.argv) + (f" < {command.stdin}" if command.stdin else "") for _, command in found]


def with_tables(view: View, *found: Tables) -> View:
    """The target with these tables and those of its metadata's volumes."""
    return over(view, META, *found)


def loaded(view: View, *found: Tables) -> View:
    """The target with these tables loaded beside those in use."""
    return changed(view, dm.LOADED, {name: lines for tables in found for name, lines in tables.items()})


def waiting(view: View, *names: str) -> View:
    return changed(view, dm.SUSPENDED, frozenset(names))


def swap(name: str, *lines: str) -> list[str]:
    text = "".join(f"{line}\n" for line in lines)
    return [f"dmsetup load {name} < {text}", f"dmsetup resume --noudevsync --nolockfs {name}"]


def table(disk: str, found: Tables) -> dm.Lines:
    ((_, lines),) = only(disk, found).items()
    return lines


def create(disk: str, found: Tables = OWN) -> list[str]:
    text = "".join(f"{line}\n" for line in table(disk, found))
    return [f"dmsetup create xr-fast-web1--{disk} < {text}"]


def shutting(disk: str, found: Tables = SHUT) -> list[str]:
    return swap(f"fast-web1--{disk}", *table(disk, found))


RESUME = "dmsetup resume --noudevsync --nolockfs"
OPENED = f"{RESUME} fast-web1--root fast-web1--data"


def loading(disk: str, found: Tables = OWN) -> str:
    text = "".join(f"{line}\n" for line in table(disk, found))
    return f"dmsetup load fast-web1--{disk} < {text}"


def removing(disk: str) -> list[str]:
    return [f"dmsetup remove xr-fast-web1--{disk}"]


def stands_on(disk: str, said: str) -> str:
    return f"xen2: /dev/fast/web1-{disk} stands on {said}"


# -- the recipe -----------------------------------------------------------------------------------


def test_the_steps_that_only_a_stream_has() -> None:
    def named(order: Order) -> dict[str, tuple[Phase, int]]:
        return {step.name: (step.phase, step.max_attempts) for step in recipe.steps(order, Direction.FORWARD)}

    here, there = named(STREAM), named(PIVOT)
    assert {name: here[name] for name in here.keys() - there.keys()} == {
        "target-lower": (Phase.MIRROR, 2),
        "target-tables": (Phase.CUTOVER, 2),
        "cutover-stream": (Phase.CUTOVER, 1),
        "target-open": (Phase.CUTOVER, 3),
        "source-destroyed": (Phase.SETTLE, 3),
    }
    assert there.keys() - here.keys() == {"cutover-suspend", "ship", "target-restore"}
    assert all(here[name] == there[name] for name in here.keys() & there.keys())
    forward = recipe.steps(STREAM, Direction.FORWARD)
    assert [step.name for step in forward if step.freeze_begins] == ["cutover-stream"]
    assert [step.name for step in forward if step.freeze_ends] == ["go"]
    fresh = {"source-pivot", "cutover-stream", "target-drbd-down", "go"}
    assert {step.name for step in forward if step.fresh} == fresh
    assert "back-source-plain" in {step.name for step in recipe.steps(PIVOT, Direction.BACK) if step.fresh}
    assert recipe.steps(STREAM, Direction.BACK) == recipe.steps(PIVOT, Direction.BACK)


TRIED = ("target-drbd-up", "cutover-stream")
RUNNING = {files.BOOT_ID, xl.DOMAINS, xl.VBDS, dm.NUMBERS, dm.TABLES}
CLEANING = {
    xl.DOMAINS,
    lvm.VOLUMES,
    files.LINKS,
    files.IMAGES,
    files.RESOURCE_FILES,
    files.UNFINISHED,
    dm.TABLES,
}
LOOKS: dict[str, dict[Side, set[Any]]] = {
    **PIVOT_LOOKS,
    "cutover-ready": {
        SOURCE: PIVOT_LOOKS["cutover-ready"][SOURCE],
        TARGET: PIVOT_LOOKS["cutover-ready"][TARGET] - {files.SPACE},
    },
    "target-lower": {TARGET: {dm.TABLES}},
    "target-tables": {TARGET: {dm.TABLES, dm.LOADED}},
    "cutover-stream": {
        SOURCE: {files.lock_of("web1"), files.BOOT_ID, xl.DOMAINS, xl.CONFIGS},
        TARGET: RUNNING,
    },
    "target-open": {TARGET: {drbd.RESOURCES, dm.TABLES, dm.SUSPENDED}},
    "go": {SOURCE: {xl.DOMAINS, drbd.RESOURCES, dm.TABLES}, TARGET: RUNNING},
    "target-runs": {TARGET: RUNNING},
    "target-runs-on": {TARGET: RUNNING},
    "target-leftovers": {
        TARGET: {lvm.VOLUMES, files.RESOURCE_FILES, files.UNFINISHED, drbd.RESOURCES, dm.TABLES}
    },
    "back-target-cleaned": {TARGET: {*CLEANING, dm.LOADED, files.text_of(STREAM.config_path)}},
}
"""Of the steps that look at what device-mapper has done."""


def names(looks: Mapping[Side, Iterable[Query[Any]]]) -> dict[Side, set[str]]:
    return {side: {query.name for query in queries} for side, queries in looks.items()}


def test_who_looks_at_device_mapper() -> None:
    def looking() -> Iterator[tuple[str, dict[Side, set[str]]]]:
        for way, progress in ((Direction.FORWARD, at), (Direction.BACK, back)):
            for step in recipe.steps(STREAM, way):
                asked = names(step.looks(STREAM, progress(step.name, *TRIED)))
                if any({dm.TABLES.name, dm.SUSPENDED.name} & every for every in asked.values()):
                    yield step.name, asked

    assert dict(looking()) == {step: names(looks) for step, looks in LOOKS.items()}


def test_what_else_is_looked_at() -> None:
    destroyed = steps.step("source-destroyed", STREAM)
    assert destroyed.looks(STREAM, at("source-destroyed")) == {
        SOURCE: (xl.DOMAINS,),
        TARGET: (xl.DOMAINS, xl.VBDS, dm.NUMBERS),
    }
    copies = {
        "back-target-fence": {TARGET: (files.EPOCHS,)},
        "back-target-destroyed": {TARGET: (xl.DOMAINS, xl.VBDS)},
    }
    for name, looks in copies.items():
        step = steps.step(name, STREAM, Direction.BACK)
        assert step.looks(STREAM, back(name, "cutover-stream")) == looks
        assert step.looks(STREAM, back(name)) == {}
    step = steps.step("back-source-unpause", STREAM, Direction.BACK)
    home = {SOURCE: (xl.DOMAINS, files.BOOT_ID, files.IMAGES)}
    assert step.looks(STREAM, back("back-source-unpause")) == home
    both = {**home, TARGET: (xl.DOMAINS,)}
    assert step.looks(STREAM, back("back-source-unpause", "cutover-stream")) == both


def test_drbd_stands_on_the_lower_devices_of_both_sides() -> None:
    disks = [line.strip() for line in resource_text(STREAM).splitlines() if " disk /" in line]
    assert disks == [
        "disk /dev/mapper/xr-vg-web1--root;",
        "disk /dev/mapper/xr-vg-web1--data;",
        "disk /dev/mapper/xr-fast-web1--root;",
        "disk /dev/mapper/xr-fast-web1--data;",
    ]


# -- the target's volumes -------------------------------------------------------------------------


def test_the_lower_devices_of_the_target() -> None:
    progress = at("target-lower")
    root, data = create("root") + shutting("root"), create("data") + shutting("data")
    assert sent(TARGET, progress, S, with_tables(T, OWN)) == [*root, *data]
    for found, commands in (
        ((OWN, only("root", LOWER_T)), [*shutting("root"), *data]),
        ((OWN, only("data", LOWER_T)), [*root, *shutting("data")]),
        ((OWN, LOWER_T), [*shutting("root"), *shutting("data")]),
        ((OWN, LOWER_T, only("root", SHUT)), shutting("data")),
        ((OWN, LOWER_T, only("data", SHUT)), shutting("root")),
        ((OWN, only("root", LOWER_T), only("root", SHUT)), data),
        ((OWN, only("data", LOWER_T), only("data", SHUT)), root),
    ):
        assert sent(TARGET, progress, S, with_tables(T, *found)) == commands
    assert judge(progress, S, with_tables(T, SHUT, LOWER_T)) == DONE


def test_a_volume_that_is_longer_than_the_sources() -> None:
    progress = at("target-lower")
    assert sent(TARGET, progress, S, with_tables(T, LONGER)) == [
        *create("root", LONGER),
        *shutting("root", SHUT_LONGER),
        *create("data", LONGER),
        *shutting("data", SHUT_LONGER),
    ]
    assert judge(progress, S, with_tables(T, SHUT_LONGER, LOWER_LONGER)) == DONE
    for disk in ("root", "data"):
        for found in (SHUT, FAILING):
            half = with_tables(T, SHUT_LONGER, LOWER_LONGER, only(disk, found))
            assert judge(progress, S, half).mark is Mark.WRONG, "it is not as long"
    assert sent(TARGET, at("target-open"), S, with_tables(T, SHUT_LONGER, LOWER_LONGER)) == [
        loading("root", LONGER),
        loading("data", LONGER),
        OPENED,
    ]


@DISKS
def test_what_stands_in_ends_where_the_metadata_does(disk: str) -> None:
    """Wherever LVM has put that: it has the disk's queue, and nobody keeps anything there."""
    progress, name = at("target-lower"), f"fast-web1--{disk}--drbdmd"
    other = "data" if disk == "root" else "root"
    long = int(table(disk, OWN)[0].split()[1])
    for lines, place in (
        (("0 8192 linear 8:3 0",), "8:3 8184"),
        (("0 16384 linear 8:3 7",), "8:3 16383"),
        (("0 8 linear 8:3 7",), "8:3 7"),
        (("0 4096 linear 254:32 99", "4096 4096 linear 8:3 1000"), "8:3 5088"),
        (("0 4096 striped 2 128 254:16 0 254:32 0", "4096 4096 linear 8:3 1000"), "8:3 5088"),
    ):
        shut = {f"fast-web1--{disk}": (f"0 {long - 8} error", f"{long - 8} 8 linear {place}")}
        before = with_tables(T, {name: lines}, OWN, LOWER_T, only(other, SHUT))
        assert sent(TARGET, progress, S, before) == shutting(disk, shut)
        after = with_tables(T, {name: lines}, SHUT, LOWER_T, shut)
        assert judge(progress, S, after) == DONE
        assert judge(AT, FROM, with_tables(TO, {name: lines}, SHUT, LOWER_T, shut)) == READY
        moved = with_tables(TO, {name: lines}, SHUT, LOWER_T)
        assert judge(AT, FROM, moved) == wrong(stands_on(disk, STANDS_IN)), "it ends elsewhere"
        assert judge(progress, S, with_tables(T, {name: lines}, SHUT, LOWER_T)).mark is Mark.WRONG


@DISKS
def test_metadata_that_does_not_end_in_one_place(disk: str) -> None:
    name = f"fast-web1--{disk}--drbdmd"
    said = wrong(f"xen2: /dev/fast/web1-{disk}-drbdmd does not end in one place")
    for lines in (
        (),
        ("0 8192 striped 2 128 254:16 0 254:32 0",),
        ("0 8185 linear 254:32 99", "8185 7 linear 8:3 1000"),
        ("0 8192 linear 147:1 0",),
        ("0 8192 snapshot-origin 254:7",),
        ("0 8192 error",),
    ):
        for tables in ([OWN], [OWN, LOWER_T]):
            view = with_tables(T, *tables, {name: lines})
            assert judge(at("target-lower"), S, view) == said
    assert judge(at("target-lower"), S, over(T, OWN, without(f"{disk}--drbdmd", META))) == said
    there = with_tables(TO, SHUT, LOWER_T, {name: ()})
    assert judge(AT, FROM, there) == wrong(stands_on(disk, STANDS_IN))
    opened = with_tables(T, OWN, {name: ()})
    assert judge(OPEN, S, opened) == DONE, "it is not needed for that"


@TELLING_NOTHING
@DISKS
def test_no_lower_device_over_what_is_not_understood(found: Tables, said: str, disk: str) -> None:
    expected = wrong(stands_on(disk, said))
    for rest in ([OWN], [OWN, LOWER_T], [SHUT, LOWER_T]):
        tables = [without(disk, part) for part in rest]
        assert judge(at("target-lower"), S, with_tables(T, *tables, only(disk, found))) == expected


@DISKS
def test_a_lower_device_over_something_else(disk: str) -> None:
    progress = at("target-lower")
    name = f"xr-fast-web1--{disk}"
    for lines in (("0 1048576 linear 147:100 0",), ("0 8 linear 254:32 2048",), ()):
        view = with_tables(T, OWN, without(disk, LOWER_T), {name: lines})
        said = f"xen2: /dev/mapper/{name} is there and stands on something else"
        assert judge(progress, S, view) == wrong(said)
    other = with_tables(T, OWN, LOWER_T, only(disk, ELSEWHERE))
    assert judge(progress, S, other) == wrong(stands_on(disk, "its extents")), "whichever is right"


# -- the stream -----------------------------------------------------------------------------------

FROM = has(S, dom(), joined=True)
TO = with_tables(has(T, None), SHUT, LOWER_T)
BOTH_PAUSED = has(S, PAUSED), with_tables(COPY, SHUT, LOWER_T)


def test_what_the_volumes_will_stand_on_is_loaded_before_the_domain_is_suspended() -> None:
    tables, shut = at("target-tables"), with_tables(T, SHUT, LOWER_T)
    assert sent(TARGET, tables, S, shut) == [loading("root"), loading("data")]
    assert sent(TARGET, tables, S, loaded(shut, SHUT)) == [loading("root"), loading("data")]
    assert sent(TARGET, tables, S, loaded(shut, only("root", OWN))) == [loading("data")]
    assert judge(tables, S, loaded(shut, OWN)) == DONE
    for disk in ("root", "data"):
        opened = with_tables(T, SHUT, LOWER_T, only(disk, OWN))
        assert judge(tables, S, opened) == wrong(stands_on(disk, "its extents"))


AT, AFTER = at("cutover-stream"), at("cutover-stream", "cutover-stream")


def test_the_memory_goes_straight_into_a_paused_copy() -> None:
    ((side, command),) = steps.acts(AT, FROM, TO, STREAM)
    assert side is SOURCE
    assert command == xl.stream("web1", "root", "10.99.0.2", 3900, compressed=False)
    assert (command.argv[3:], command.timeout_s, command.unit) == (
        ("stream", "web1", "root@10.99.0.2"),
        3900,
        "stream",
    )
    policy = replace(STREAM.policy, suspend_timeout_s=7, ship_timeout_s=11)
    order = replace(STREAM, policy=policy, target=replace(STREAM.target, user="mover"))
    ((_, command),) = steps.acts(AT, FROM, TO, order)
    assert (command.argv[-1], command.timeout_s) == ("mover@10.99.0.2", 18)
    order = replace(STREAM, policy=replace(STREAM.policy, compression=Compression.ZSTD))
    ((_, command),) = steps.acts(AT, FROM, TO, order)
    assert command == xl.stream("web1", "root", "10.99.0.2", 3900, compressed=True)
    order = replace(STREAM, policy=replace(STREAM.policy, transport=Transport.TCP))
    ((_, command),) = steps.acts(AT, FROM, TO, order)
    assert command == xl.stream("web1", "root", "10.99.0.2", 3900, compressed=False, transport=Transport.TCP)
    order = replace(STREAM, policy=replace(STREAM.policy, suspend_timeout_s=7))
    assert steps.step("cutover-stream", order).deadline_s(order) == 7 + order.policy.ship_timeout_s


def test_a_stream_that_failed_has_left_the_guest_running() -> None:
    """It is tried once: the machine goes back then."""
    for progress in (AT, AFTER):
        assert judge(progress, FROM, TO) == READY


@pytest.mark.parametrize("progress", [AT, AFTER])
@pytest.mark.parametrize("state", DomainState)
def test_a_running_domain_with_a_copy_on_the_target(progress: Progress, state: DomainState) -> None:
    there = with_tables(has(T, dom(state)), SHUT, LOWER_T)
    assert judge(progress, FROM, there) == wrong("web1 runs on xen1, and xen2 has a copy of it")


@DISKS
def test_no_stream_into_a_copy_that_could_write(disk: str) -> None:
    for found, said in (
        (OWN, "its extents"),
        ({}, "no table: it is not active"),
        ({f"fast-web1--{disk}": ("0 8 error",)}, "a table of somebody else"),
        ({f"fast-web1--{disk}": (), f"xr-fast-web1--{disk}": ()}, "a table of somebody else"),
    ):
        tables = (without(disk, SHUT), LOWER_T, only(disk, found))
        assert judge(AT, FROM, with_tables(has(T, None), *tables)) == wrong(stands_on(disk, said))
    no_lower = with_tables(has(T, None), SHUT, without(disk, LOWER_T))
    said = STANDS_IN
    assert judge(AT, FROM, no_lower) == wrong(stands_on(disk, said)), "nobody knows whether all of it"


@pytest.mark.parametrize("progress", [AT, AFTER])
def test_a_domain_that_would_not_fit_is_not_streamed(progress: Progress) -> None:
    for fits in ((config(target_memory_mb=255),), (config(target_memory_mb=0),), ()):
        assert judge(progress, changed(FROM, xl.CONFIGS, fits), TO) == READY
    swollen = changed(FROM, xl.CONFIGS, (config(domid=2), config(target_memory_mb=254)))
    said = (
        "web1 on xen1 has 256 MiB and is to have 254: a saved image of it could not be restored; wait "
        "until its balloon is there, or `xl mem-set web1 256` on xen1"
    )
    assert judge(progress, swollen, TO) == wrong(said)
    with guards.without("restorable"):
        assert judge(progress, swollen, TO) == READY


def test_a_host_that_has_rebooted_ends_the_stream() -> None:
    for progress, source, target in ((AT, FROM, TO), (AFTER, *BOTH_PAUSED), (AFTER, has(S, None), TO)):
        for views, host in (((rebooted(source), target), "xen1"), ((source, rebooted(target)), "xen2")):
            assert judge(progress, *views) == wrong(f"{host} has rebooted since web1-1 was planned")
    both = rebooted(FROM), rebooted(TO)
    assert judge(AT, *both) == wrong("xen1 has rebooted since web1-1 was planned"), "it comes first"
    with guards.without("image-this-boot"):
        assert judge(AT, *both) == READY
        assert judge(AFTER, rebooted(BOTH_PAUSED[0]), rebooted(BOTH_PAUSED[1])) == DONE


def test_a_domain_that_is_not_there_is_not_streamed() -> None:
    said = wrong("web1 on xen1 is not there any more")
    for progress in (AT, AFTER):
        for target in (TO, BOTH_PAUSED[1], RUNS_T):
            assert judge(progress, has(S, None), target) == said


def test_what_the_source_shows_while_memory_is_sent() -> None:
    for progress in (AT, AFTER):
        for target in (TO, BOTH_PAUSED[1]):
            for state in (DomainState.SHUTDOWN, DomainState.DYING):
                assert judge(progress, has(S, dom(state)), target) == wait(f"web1 on xen1 is {state.value}")
            crashed = wrong("web1 on xen1 is crashed; only a running domain is suspended")
            assert judge(progress, has(S, dom(DomainState.CRASHED)), target) == crashed
    for target in (TO, BOTH_PAUSED[1]):
        paused = wrong("web1 on xen1 is paused; only a running domain is suspended")
        assert judge(AT, has(S, PAUSED), target) == paused, "by somebody else"


def test_both_copies_are_paused() -> None:
    assert judge(AFTER, *BOTH_PAUSED) == DONE
    here, there = BOTH_PAUSED
    assert judge(AFTER, here, TO) == wrong("xen2 did not take the memory of web1")
    for state in STATES - {DomainState.PAUSED}:
        other = with_tables(has(T, dom(state)), SHUT, LOWER_T)
        assert judge(AFTER, here, other) == wrong(f"web1 is {state.value} on xen2")
    assert judge(AFTER, here, with_tables(COPY)) == DONE, "what it stands on is looked at before, and at GO"
    for view, devices in (
        (has(there, PAUSED, on="drbd"), "xvda=147:100, xvdb=147:101"),
        (has(there, PAUSED, on="else"), "xvda=8:0, xvdb=8:1"),
        (changed(there, lvm.VOLUMES, ()), "xvda=253:10, xvdb=253:11"),
        (changed(there, xl.VBDS, (Vbd(3, "xvda", (253, 10), False),)), "xvda=253:10"),
        (changed(there, xl.VBDS, (Vbd(3, "xvdb", (253, 11), False),)), "xvdb=253:11"),
    ):
        said = f"web1 on xen2 has other devices open: {devices}"
        assert judge(AFTER, here, view) == wrong(said)
        with guards.without("devices-proven"):
            assert judge(AFTER, here, view) == DONE


# -- cutover --------------------------------------------------------------------------------------

READY_S = over(with_res(RUNS_S, res()), DRBD, LOWER)


def test_a_stream_that_still_runs_is_waited_for() -> None:
    """Its answer was lost or the daemon started anew: what there is of the copy says nothing yet."""
    busy, locked = wait("the memory of web1 is on its way to xen2"), files.lock_of("web1")
    unread = changed(BOTH_PAUSED[1], xl.VBDS, Unknown("disk 51712 of domain 1 shows no physical-device"))
    for here in (has(S, PAUSED), FROM):
        here = changed(here, locked, True)
        for there in (BOTH_PAUSED[1], with_tables(has(T, dom(DomainState.DYING)), SHUT, LOWER_T), unread):
            assert judge(AFTER, here, there) == busy
    assert judge(AFTER, changed(has(S, PAUSED), locked, True), TO) == busy
    assert judge(AFTER, changed(FROM, locked, True), TO) == busy, "its copy need not be there yet"
    for gone in (has(S, None), has(S, dom(DomainState.CRASHED))):
        assert judge(AFTER, changed(gone, locked, True), TO).mark is Mark.WRONG
    with pytest.raises(UnknownFact):
        judge(AFTER, changed(has(S, PAUSED), locked, Unknown("no answer")), TO)


def test_no_room_for_an_image_is_needed() -> None:
    progress, full = at("cutover-ready"), changed(BESIDE, files.SPACE, 0)
    assert judge(progress, READY_S, full) == DONE
    said = "xen2 has no room below /var/lib/xen-reconciler for the image of web1"
    assert judge(progress, READY_S, full, PIVOT) == wrong(said)
    crowded = changed(full, xl.INFO, replace(T.get(xl.INFO), free_memory_mb=10))
    assert judge(progress, READY_S, crowded) == wrong("xen2 has 10 MiB free, web1 needs 256")


def test_the_source_is_demoted_under_its_paused_copy() -> None:
    progress, still = at("source-demote"), has(READY_S, PAUSED)
    demote = ["drbdadm secondary xr-web1"]
    assert sent(SOURCE, progress, still, BESIDE) == [*ROOT_TO_NOTHING, *DATA_TO_NOTHING, *demote]
    half = over(still, DRBD, LOWER, only("root", NOTHING))
    assert sent(SOURCE, progress, half, BESIDE) == [*DATA_TO_NOTHING, *demote]
    half = over(still, DRBD, LOWER, only("data", NOTHING))
    assert sent(SOURCE, progress, half, BESIDE) == [*ROOT_TO_NOTHING, *demote]
    assert sent(SOURCE, progress, over(still, NOTHING, LOWER), BESIDE) == demote
    assert judge(progress, over(has(QUIET_S, PAUSED), NOTHING, LOWER), QUIET_T) == DONE
    assert judge(progress, over(QUIET_S, NOTHING, LOWER), QUIET_T) == DONE
    for disk in ("root", "data"):
        beside = over(still, without(disk, DRBD), only(disk, EXTENTS), LOWER)
        said = f"xen1: /dev/vg/web1-{disk} stands on its extents, so xen2 may lack writes"
        assert judge(progress, beside, BESIDE) == wrong(said)


def test_no_demotion_under_a_copy_that_is_not_paused() -> None:
    said = wrong("web1 is still on xen1")
    for state in STATES - {DomainState.PAUSED}:
        assert judge(at("source-demote"), has(READY_S, dom(state)), BESIDE) == said
    assert judge(at("source-demote"), has(READY_S, PAUSED), BESIDE, PIVOT) == said
    assert judge(at("source-demote"), has(READY_S, PAUSED), BESIDE, ORDER) == said


OPEN = at("target-open")


def test_drbd_is_taken_down_and_the_volumes_opened_in_one_round_trip() -> None:
    down = at("target-drbd-down")
    assert sent(TARGET, down, QUIET_S, QUIET_T) == ["drbdsetup down xr-web1", OPENED]
    assert len(steps.acts(down, QUIET_S, QUIET_T, PIVOT)) == 1, "by store no volume was closed"


def test_opening_the_targets_volumes() -> None:
    assert sent(TARGET, OPEN, S, with_tables(T, SHUT, LOWER_T)) == [loading("root"), loading("data"), OPENED]
    for found, commands in (
        ((OWN, LOWER_T, only("root", SHUT)), [loading("root")]),
        ((OWN, LOWER_T, only("data", SHUT)), [loading("data")]),
        ((OWN, only("root", LOWER_T), only("root", SHUT)), [loading("root")]),
        ((OWN, only("data", LOWER_T), only("data", SHUT)), [loading("data")]),
        ((LOWER_T,), [loading("root"), loading("data")]),
    ):
        assert sent(TARGET, OPEN, S, with_tables(T, *found)) == [*commands, OPENED]
    for tables in ([OWN], [OWN, LOWER_T]):
        assert judge(OPEN, S, with_tables(T, *tables)) == DONE


def test_no_volume_of_the_target_is_left_waiting() -> None:
    for tables in ((OWN,), (OWN, LOWER_T)):
        for name in ("fast-web1--root", "fast-web1--data"):
            assert sent(TARGET, OPEN, S, waiting(with_tables(T, *tables), name)) == [OPENED]
    own = with_tables(T, OWN)
    assert judge(OPEN, S, waiting(own, "vg-web1--root", "xr-fast-web1--data")) == DONE


@TELLING_NOTHING
@DISKS
def test_no_volume_is_opened_whose_extents_nobody_tells(found: Tables, said: str, disk: str) -> None:
    for rest in ([OWN], [SHUT, LOWER_T]):
        tables = [without(disk, part) for part in rest]
        view = with_tables(T, *tables, only(disk, found))
        assert judge(OPEN, S, view) == wrong(stands_on(disk, said))


def test_no_volume_is_opened_beside_drbd() -> None:
    said = wrong("xen2: DRBD still stands on the volumes of web1")
    for tables in ([SHUT, LOWER_T], [OWN], [{}]):
        for found in (res(Role.SECONDARY), res(connection=Connection.STANDALONE)):
            assert judge(OPEN, S, with_res(with_tables(T, *tables), found)) == said
    other = replace(res(), name="xr-web2")
    assert judge(OPEN, S, with_res(with_tables(T, OWN), other)) == DONE


# -- GO -------------------------------------------------------------------------------------------

QUIET = with_res(S, res(Role.SECONDARY, connection=Connection.CONNECTING))
GO_S = over(has(QUIET, PAUSED), NOTHING, LOWER)
"""Demoted, and the paused copy over volumes that fail every request."""
GO_T = with_tables(COPY, OWN)
GO = at("go", "cutover-stream")
SENT = at("go", "cutover-stream", "go")


def in_the_way(said: str) -> Verdict:
    return Verdict(Mark.WRONG, said, never_ran=True)


def test_go_beside_the_paused_copy() -> None:
    assert judge(GO, GO_S, GO_T) == Verdict(Mark.READY, never_ran=True)
    assert sent(TARGET, GO, GO_S, GO_T) == ["xl unpause web1"]
    assert judge(GO, has(GO_S, None), GO_T) == Verdict(Mark.READY, never_ran=True)
    assert judge(GO, over(has(QUIET, None), EXTENTS), GO_T).mark is Mark.READY, (
        "nothing is left to be cut off"
    )
    runs = with_tables(RUNS_T, OWN)
    assert judge(SENT, GO_S, runs) == DONE
    assert judge(SENT, View("xen1"), runs) == DONE, "the target's word is enough once it runs"
    both = Verdict(Mark.WRONG, "web1 runs on both hosts", two_runners=True)
    assert judge(SENT, has(GO_S, dom()), runs) == both
    longer = with_tables(COPY, LONGER)
    assert judge(GO, GO_S, longer) == Verdict(Mark.READY, never_ran=True)


@DISKS
@pytest.mark.parametrize("found", [DRBD, EXTENTS, LVMS, OTHER, {}])
def test_a_paused_copy_that_can_write_is_in_the_way_of_go(found: Tables, disk: str) -> None:
    source = over(GO_S, without(disk, NOTHING), only(disk, found), LOWER)
    assert judge(GO, source, GO_T) == in_the_way("web1 is on xen1 as well")
    with guards.without("cut-off"):
        assert judge(GO, source, GO_T) == Verdict(Mark.READY, never_ran=True)


def test_any_other_copy_is_in_the_way_of_go() -> None:
    said = in_the_way("web1 is on xen1 as well")
    for state in STATES - {DomainState.PAUSED}:
        with guards.without("cut-off"):
            assert judge(GO, has(GO_S, dom(state)), GO_T) == said
        assert judge(GO, has(GO_S, dom(state)), GO_T) == said
    for order in (PIVOT, ORDER):
        assert judge(GO, GO_S, GO_T, order) == said, "it was saved there, so it is not this one"
        with guards.without("cut-off"):
            assert judge(GO, GO_S, GO_T, order) == said


def test_what_else_stands_in_the_way_of_go() -> None:
    primary = with_res(GO_S, res())
    assert judge(GO, primary, GO_T) == in_the_way(f"xen1 could still write: {look.describe(res())}")
    for on, devices in (("drbd", "xvda=147:100, xvdb=147:101"), ("else", "xvda=8:0, xvdb=8:1")):
        said = in_the_way(f"web1 on xen2 has other devices open: {devices}")
        assert judge(GO, GO_S, has(GO_T, PAUSED, on=on)) == said
    assert judge(GO, with_res(GO_S), GO_T) == Verdict(Mark.READY, never_ran=True)


@DISKS
def test_no_go_onto_a_volume_that_another_domain_has_open(disk: str) -> None:
    beside = Vbd(9, "xvda", (253, {"root": 10, "data": 11}[disk]))
    said = f"xen2: domain {{}} has /dev/fast/web1-{disk} open"
    with_it = changed(GO_T, xl.VBDS, (*GO_T.get(xl.VBDS), beside))
    assert judge(GO, GO_S, with_it) == in_the_way(said.format(9))
    db1 = replace(dom(), name="db1", domid=9)
    known = changed(with_it, xl.DOMAINS, (*GO_T.get(xl.DOMAINS), db1))
    assert judge(GO, GO_S, known) == in_the_way(said.format("db1"))
    assert judge(AT, FROM, changed(TO, xl.VBDS, (beside,))) == wrong(said.format(9)), "nor is it suspended"
    closing = changed(TO, xl.VBDS, (replace(beside, opened=False),))
    assert judge(AT, FROM, closing) == wrong(said.format(9)), "it may be open still"
    for number in ((253, 12), None):
        harmless = replace(beside, major_minor=number)
        assert judge(AT, FROM, changed(TO, xl.VBDS, (harmless,))) == READY
        view = changed(GO_T, xl.VBDS, (harmless, *GO_T.get(xl.VBDS)))
        assert judge(GO, GO_S, view) == Verdict(Mark.READY, never_ran=True)
    numbers = {name: each for name, each in TO.get(dm.NUMBERS).items() if not name.endswith(disk)}
    unknown = f"xen2: whether somebody has /dev/fast/web1-{disk} open is not known: it is not active"
    assert judge(AT, FROM, changed(TO, dm.NUMBERS, numbers)) == wrong(unknown)


@DISKS
def test_no_go_onto_volumes_that_are_not_open(disk: str) -> None:
    for tables, said in (
        ((OWN, only(disk, SHUT)), STANDS_IN),
        ((OWN, LOWER_T, only(disk, SHUT)), STANDS_IN),
        ((SHUT, LOWER_T, without(disk, OWN)), STANDS_IN),
        ((without(disk, OWN), only(disk, LOWER_T)), "no table: it is not active"),
    ):
        closed = with_tables(COPY, *tables)
        assert judge(GO, GO_S, closed) == in_the_way(stands_on(disk, said))
        on_else = with_tables(has(T, PAUSED, on="else"), *tables)
        assert judge(GO, GO_S, on_else) == in_the_way(stands_on(disk, said)), "it comes first"
    assert judge(GO, has(QUIET, None), with_tables(COPY, SHUT), PIVOT).mark is Mark.READY, "never closed"


@TELLING_NOTHING
@DISKS
def test_no_go_onto_volumes_whose_extents_nobody_tells(found: Tables, said: str, disk: str) -> None:
    view = with_tables(COPY, without(disk, OWN), only(disk, found))
    assert judge(GO, GO_S, view) == in_the_way(stands_on(disk, said))


@pytest.mark.parametrize("copy", [has(T, PAUSED, joined=True), has(T, dom(DomainState.PAUSED, 0.1))])
def test_what_does_not_prove_that_the_copy_never_ran(copy: View) -> None:
    assert judge(SENT, GO_S, with_tables(copy, OWN)) == READY
    assert judge(SENT, GO_S, with_tables(copy, SHUT)) == wrong(stands_on("root", STANDS_IN))


def test_a_target_that_rebooted_after_go_starts_the_domain_afresh() -> None:
    """Its volumes hold every write; the paused copy on the source has none that they lack."""
    gone = rebooted(with_tables(has(T, None), OWN))
    assert sent(TARGET, SENT, GO_S, gone) == AFRESH
    for source in (has(GO_S, dom()), over(GO_S, DRBD), over(GO_S, NOTHING, only("root", EXTENTS))):
        assert judge(SENT, source, gone) == wrong("web1 is on xen1 as well")
    assert judge(GO, GO_S, gone) == wrong("web1 is not on xen2 any more")


# -- settle ---------------------------------------------------------------------------------------


def test_the_targets_lower_devices_go_when_all_is_done() -> None:
    progress = at("target-leftovers", "go")
    others = sent(TARGET, progress, S, with_tables(RUNS_T, OWN))
    assert others == sent(TARGET, progress, S, RUNS_T, PIVOT)
    for tables, lower in (
        ([LOWER_T], [*removing("root"), *removing("data")]),
        ([only("root", LOWER_T)], removing("root")),
        ([only("data", LOWER_T)], removing("data")),
    ):
        view = with_tables(RUNS_T, OWN, *tables)
        assert sent(TARGET, progress, S, view) == ["udevadm settle --timeout=10", *lower, *others]
        assert sent(TARGET, progress, S, view, PIVOT) == others


def test_a_domain_started_after_a_boot_has_open_volumes() -> None:
    progress = at("target-runs", "go")
    again = rebooted(COPY)
    assert sent(TARGET, progress, S, with_tables(again, OWN)) == ["xl unpause web1"]
    for disk in ("root", "data"):
        closed = with_tables(again, OWN, only(disk, SHUT))
        expected = wait(stands_on(disk, STANDS_IN))
        assert judge(progress, S, closed) == expected
        assert judge(progress, S, closed, PIVOT) == READY
    assert judge(progress, S, with_tables(RUNS_T, SHUT)) == DONE, "GO has looked"


DESTROYED = at("source-destroyed", "go")


def test_the_sources_copy_goes_once_the_targets_runs() -> None:
    assert judge(DESTROYED, has(S, None), RUNS_T) == DONE
    assert judge(DESTROYED, has(S, None), has(T, None)) == DONE
    assert sent(SOURCE, DESTROYED, has(S, PAUSED), RUNS_T) == ["xl destroy web1"]
    said = wrong("web1 is not seen running on its own volumes on xen2")
    others = [has(T, dom(state)) for state in STATES - {DomainState.RUNNING}]
    runs_elsewhere = [has(RUNS_T, dom(), on="drbd"), has(RUNS_T, dom(), on="else")]
    for target in (has(T, None), *others, *runs_elsewhere, changed(RUNS_T, lvm.VOLUMES, ())):
        assert judge(DESTROYED, has(S, PAUSED), target) == said
        with guards.without("settled"):
            assert judge(DESTROYED, has(S, PAUSED), target) == READY


def test_a_copy_on_the_source_that_is_not_paused_is_left_alone() -> None:
    said = "web1 is running on xen1 as well"
    runs = has(S, dom())
    assert judge(DESTROYED, runs, RUNS_T) == Verdict(Mark.WRONG, said, two_runners=True)
    wrong_disks = has(RUNS_T, dom(), on="else")
    assert judge(DESTROYED, runs, wrong_disks) == Verdict(Mark.WRONG, said, two_runners=True)
    for target in (has(T, None), *(has(T, dom(state)) for state in STATES - {DomainState.RUNNING})):
        assert judge(DESTROYED, runs, target) == wrong("web1 is running on xen1 again, and not on xen2")
    for state in (DomainState.SHUTDOWN, DomainState.CRASHED, DomainState.DYING):
        for target in (RUNS_T, has(T, None)):
            assert judge(DESTROYED, has(S, dom(state)), target) == wait(f"web1 is {state.value} on xen1")


# -- going back -----------------------------------------------------------------------------------

BACK = ("target-drbd-up", "target-links", "cutover-stream")


def test_the_target_is_asked_once_a_stream_was_tried() -> None:
    fence, destroyed = back("back-target-fence", *BACK), back("back-target-destroyed", *BACK)
    assert judge(fence) == READY
    assert judge(back("back-target-fence")) == DONE
    assert judge(back("back-target-destroyed"), *BOTH_PAUSED) == DONE
    assert sent(TARGET, destroyed, *BOTH_PAUSED) == ["xl destroy web1"]
    assert judge(destroyed, S, has(T, None)) == DONE
    arriving = changed(COPY, xl.VBDS, ())
    assert sent(TARGET, destroyed, S, arriving) == ["xl destroy web1"], "its memory is not whole yet"
    ran = Verdict(Mark.WRONG, "web1 may have run on xen2", ran_there=True)
    assert judge(destroyed, GO_S, RUNS_T) == ran
    tried = back("back-target-destroyed", *BACK, "go")
    assert judge(tried, GO_S, has(T, None)) == ran
    for copy in (has(T, PAUSED, joined=True), has(T, dom(DomainState.PAUSED, 0.1))):
        said = wrong("web1 is paused on xen2 and may have run there")
        assert judge(tried, GO_S, copy) == said


def test_the_sources_copy_goes_on_once_the_targets_is_gone() -> None:
    paused, bare = over(has(S, PAUSED), EXTENTS, LOWER), has(T, None)
    progress = back("back-source-unpause", *BACK)
    assert sent(SOURCE, progress, paused, bare) == ["xl unpause web1"]
    late = Verdict(Mark.WRONG, "web1 is paused on xen2", start_over=True)
    assert judge(progress, paused, COPY) == late, "it was made before the source refused: begin anew"
    by_store = Verdict(Mark.WRONG, "web1 is paused on xen2")
    assert judge(back("back-source-unpause", "target-restore"), paused, COPY, PIVOT) == by_store
    both = Verdict(Mark.WRONG, "web1 is running on xen2", two_runners=True)
    assert judge(progress, paused, RUNS_T) == both
    assert judge(back("back-source-unpause"), paused, COPY) == READY, "no stream, so it has no copy"
    with guards.without("back-target-gone"):
        assert judge(progress, paused, COPY) == READY
    assert judge(progress, RUNS_S, bare) == DONE
    assert judge(progress, has(S, None), bare) == DONE, "it stopped by itself: there is no image"
    again = Verdict(Mark.WRONG, "web1 is not on xen1 any more; nothing is removed", start_over=True)
    assert judge(progress, rebooted(has(S, None)), bare) == again


def test_the_volumes_come_back_under_the_paused_copy() -> None:
    """Nothing but the connection to the target is in the way."""
    plain = back("back-source-plain", *BACK)
    alone = with_res(GO_S, res(Role.SECONDARY, connection=Connection.STANDALONE))
    assert sent(SOURCE, plain, GO_S, T) == ["drbdadm disconnect xr-web1"]
    assert sent(SOURCE, plain, alone, T) == [*ROOT_TO_EXTENTS, *DATA_TO_EXTENTS]
    assert judge(plain, over(alone, EXTENTS, LOWER), T) == DONE
    streamed = over(has(READY_S, PAUSED), DRBD, LOWER)
    assert sent(SOURCE, plain, streamed, BESIDE) == ["drbdadm disconnect xr-web1"]
    bad = with_res(alone, res(Role.SECONDARY, volume={"disk": DiskState.INCONSISTENT}))
    assert judge(plain, bad, T).mark is Mark.WRONG


def test_home_is_the_paused_copy_itself() -> None:
    for name in ("back-source-wrong-destroyed", "back-source-restore"):
        progress = back(name, *BACK)
        for view in (has(S, PAUSED), has(S, PAUSED, joined=True)):
            assert judge(progress, view) == DONE
    on_drbd = links(has(S, PAUSED, on="drbd"), "drbd")
    said = "web1 is paused on xen1 with wrong devices and has no saved image"
    assert judge(back("back-source-wrong-destroyed", *BACK), on_drbd) == wrong(said)
    suspended = has(S, dom(DomainState.SHUTDOWN))
    waits = wait("web1 is shutdown on xen1")
    assert judge(back("back-source-wrong-destroyed", *BACK), suspended) == waits, "memory is still sent"
    restore = back("back-source-restore", *BACK)
    assert judge(restore, has(S, None)) == DONE
    assert sent(SOURCE, restore, rebooted(has(S, None))) == AFRESH
    left = over(has(S, PAUSED), EXTENTS, LOWER)
    said = "web1 does not run on xen1; nothing is removed"
    assert judge(back("back-source-leftovers", *BACK), left) == wrong(said)
    assert judge(back("back-source-still", *BACK), left) == wait("web1 is paused on xen1")


def test_the_targets_lower_devices_go_on_the_way_back() -> None:
    """Before the volumes under them, and after DRBD over them."""
    progress = back("back-target-cleaned")
    settle = ["udevadm settle --timeout=10"]
    volumes = [f"lvremove -y fast/web1-{name}" for name in ("root", "root-drbdmd", "data", "data-drbdmd")]
    no_file = changed(has(T, None), files.text_of(STREAM.config_path), None)
    for tables, lower in (
        ([SHUT, LOWER_T], [*removing("root"), *removing("data")]),
        ([OWN, only("root", LOWER_T)], removing("root")),
        ([OWN, only("data", LOWER_T)], removing("data")),
        ([OWN], []),
    ):
        view = with_tables(no_file, *tables)
        assert sent(TARGET, progress, S, view) == [*settle, *lower, *volumes, FLUSH_FAST]
        assert sent(TARGET, progress, S, view, PIVOT) == [*settle, *volumes, FLUSH_FAST]
    bare = changed(no_file, lvm.VOLUMES, ())
    assert judge(progress, S, with_tables(bare, OWN)) == DONE
    for disk in ("root", "data"):
        assert sent(TARGET, progress, S, with_tables(bare, only(disk, LOWER_T))) == [*settle, *removing(disk)]
    foreign = {"xr-fast-web2--root": ("0 8 error",), "xr-vg-web1--root": ("0 8 error",)}
    assert judge(progress, S, with_tables(bare, foreign)) == DONE
    paused = with_tables(COPY, SHUT, LOWER_T)
    assert judge(progress, S, paused) == wrong("web1 is paused on xen2; nothing is removed there")


# -- silence --------------------------------------------------------------------------------------


def test_silence_after_a_stream_was_tried_is_held() -> None:
    """The target may hold a copy from then on, so going back has to wait for it."""
    later = NOW + datetime.timedelta(seconds=61)
    before = machine.decide(STREAM, replace(AT, unknown_since=NOW), "no answer", later).progress
    assert (before.direction, before.reason) == (Direction.BACK, Reason.UNREACHABLE)
    for progress in (AFTER, at("source-demote", "cutover-stream"), at("target-open", "cutover-stream")):
        held = machine.decide(STREAM, replace(progress, unknown_since=NOW), "no answer", later).progress
        assert (held.direction, held.status, held.reason) == (
            Direction.FORWARD,
            Status.HELD,
            Reason.UNREACHABLE,
        )


def test_a_stream_is_tried_once() -> None:
    for verdict in (READY, wrong("xen2 did not take the memory of web1")):
        turned = machine.decide(STREAM, replace(AFTER, attempts=1), verdict, NOW).progress
        assert (turned.direction, turned.step) == (Direction.BACK, "back-target-fence")
    assert isinstance(machine.decide(STREAM, AT, READY, NOW), machine.Act)


def test_what_was_not_read_is_not_absent() -> None:
    for view in (with_tables(T, SHUT, LOWER_T), with_tables(T, OWN)):
        names = {files.BOOT_ID.name: "boot-xen2", dm.TABLES.name: view.get(dm.TABLES)}
        for name in ("cutover-stream", "target-open", "source-destroyed", "go"):
            step = steps.step(name, STREAM)
            with pytest.raises(UnknownFact):
                step.judge(STREAM, at(name), Views({SOURCE: S, TARGET: View("xen2", names)}))


@DISKS
def test_what_a_table_tells_of_the_extents(disk: str) -> None:
    one = ROOT if disk == "root" else DATA
    lines = table(disk, OWN)
    for found in ([OWN], [SHUT, LOWER_T], [LOWER_T], [OWN, LOWER_T], [OWN, without(disk, ELSEWHERE)]):
        assert stream.extents(one, with_tables(T, *found)) == lines
    assert stream.extents(one, with_tables(T, OWN, ELSEWHERE)) == table(disk, ELSEWHERE), "it is DRBD's"
    assert stream.extents(one, with_tables(T, without(disk, OWN), without(disk, LOWER_T))) == ()
    assert stream.extents(one, with_tables(T, EXTENTS, LOWER)) == (), "the source's names"
    for shut in (True, False):
        tables = [OWN, LOWER_T, only(disk, SHUT) if shut else without(disk, SHUT)]
        assert stream.shut(one, with_tables(T, *tables)) is shut
    assert not stream.shut(one, with_tables(T, SHUT)), "how long it is nobody tells"
