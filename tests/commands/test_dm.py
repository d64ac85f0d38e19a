"""device-mapper: tables and states, whole and cut, and the commands that exchange a table."""

from __future__ import annotations

import pytest

from reconciler.commands import dm
from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command
from tests.commands.captured import answer, cuts, names

TABLES = names("dm-1.02-table")


def suspended() -> Answer:
    """What is asked for of `dmsetup info`: two of the captured columns."""
    rows = (line.split(":") for line in answer("dm-1.02-info-columns").stdout.splitlines())
    return Answer(0, "".join(f"{row[0]}:{row[-1]}\n" for row in rows), "")


def test_tables() -> None:
    assert dm.parse_tables(answer("dm-1.02-table")) == {
        "vg-web1--data": ("0 270336 linear 254:16 141312",),
        "vg-web1--root": ("0 139264 linear 254:16 2048",),
    }
    assert list(dm.parse_tables(answer("dm-1.02-table-drbd"))) == [
        "vg-web1--data",
        "vg-web1--data_meta",
        "vg-web1--root",
        "vg-web1--root_meta",
    ]
    assert dm.parse_tables(answer("dm-1.02-table-empty")) == {}
    with pytest.raises(ParseError) as caught:
        dm.parse_tables(Answer(0, "", ""))
    assert str(caught.value) == "dmsetup table said nothing; without devices it says «No devices found»"


@pytest.mark.parametrize("name", TABLES)
def test_a_cut_output_never_changes_a_table(name: str) -> None:
    """A cut between two lines cannot be seen in the text; anywhere else the fact is unknown."""
    whole = dm.parse_tables(answer(name))
    for place, cut in cuts(answer(name)):
        if not cut.stdout.endswith("\n"):
            with pytest.raises(ParseError, match=r"^dmsetup table(: the last line has no end| said nothing)"):
                dm.parse_tables(cut)
        else:
            assert dm.parse_tables(cut).items() <= whole.items(), place


def test_tables_of_more_than_one_line_and_of_other_kinds() -> None:
    text = (
        "vg-a: 0 8192 linear 254:16 2048\n"
        "vg-b: 0 16384 striped 2 128 254:16 2048 254:32 2048\n"
        "vg-a: 8192 8192 linear 254:32 4096\n"
        "vg-c: 0 8 error \n"
        "vg-new: \n"
        "vg-d: 0 8 error\n"
        "a:b: 0  8 zero \n"
    )
    assert dm.parse_tables(Answer(0, text, "")) == {
        "vg-a": ("0 8192 linear 254:16 2048", "8192 8192 linear 254:32 4096"),
        "vg-b": ("0 16384 striped 2 128 254:16 2048 254:32 2048",),
        "vg-c": ("0 8 error",),
        "vg-new": (),
        "vg-d": ("0 8 error",),
        "a:b": ("0 8 zero",),
    }


@pytest.mark.parametrize(
    "row",
    [
        "",
        "No devices found",
        "vg-a",
        "vg-a 0 8 linear 254:16 0",
        "vg-a:0 8 linear 254:16 0",
        "vg-a: 0 8",
        "vg-a: x 8 linear 254:16 0",
        "vg-a: 0 x linear 254:16 0",
        "vg-a: -1 8 linear 254:16 0",
        "vg-a: linear 0 8",
    ],
)
def test_a_table_that_is_not_known_is_an_error(row: str) -> None:
    for text in (f"vg-b: 0 8 error \n{row}\n", f"{row}\nvg-b: 0 8 error \n"):
        with pytest.raises(ParseError) as caught:
            dm.parse_tables(Answer(0, text, ""))
        assert str(caught.value) == f"dmsetup table: cannot read {row!r}"


def test_states() -> None:
    assert dm.parse_suspended(suspended()) == frozenset()
    waits = suspended().stdout.replace("root:Active", "root:Suspended")
    assert dm.parse_suspended(Answer(0, waits, "")) == {"vg-web1--root"}
    assert dm.parse_suspended(Answer(0, waits.replace("Active", "Suspended"), "")) == {
        "vg-web1--root",
        "vg-web1--data",
    }
    assert dm.parse_suspended(Answer(0, "a:b:Suspended\n", "")) == {"a:b"}
    assert dm.parse_suspended(answer("dm-1.02-table-empty")) == frozenset()
    with pytest.raises(ParseError, match=r"^dmsetup info said nothing; without"):
        dm.parse_suspended(Answer(0, "", ""))


def test_states_cut() -> None:
    waits = Answer(0, suspended().stdout.replace("Active", "Suspended"), "")
    whole = dm.parse_suspended(waits)
    for place, cut in cuts(waits):
        if not cut.stdout.endswith("\n"):
            with pytest.raises(ParseError, match=r"^dmsetup info(: the last line has no end| said nothing)"):
                dm.parse_suspended(cut)
        else:
            assert dm.parse_suspended(cut) <= whole, place


@pytest.mark.parametrize(
    "row",
    [
        "",
        "No devices found",
        "vg-a",
        "vg-a:",
        ":Active",
        ":Suspended",
        "vg-a:active",
        "vg-a:Active ",
        "Active",
    ],
)
def test_a_state_that_is_not_known_is_an_error(row: str) -> None:
    for text in (f"vg-b:Active\n{row}\n", f"{row}\nvg-b:Active\n"):
        with pytest.raises(ParseError) as caught:
            dm.parse_suspended(Answer(0, text, ""))
        assert str(caught.value) == f"dmsetup info: cannot read {row!r}"


def test_numbers() -> None:
    """As a host of the lab told them in the middle of a move."""
    found = dm.parse_numbers(answer("dm-1.02-info-numbers"))
    names = ("root", "root--drbdmd", "data", "data--drbdmd")
    own = {f"vg-web1--{name}": (253, minor) for minor, name in enumerate(names)}
    assert found == {**own, "xr-vg-web1--root": (253, 4), "xr-vg-web1--data": (253, 5)}
    assert dm.parse_numbers(Answer(0, "a:b:254:17\n", "")) == {"a:b": (254, 17)}
    assert dm.parse_numbers(answer("dm-1.02-table-empty")) == {}


def test_numbers_cut() -> None:
    whole = dm.parse_numbers(answer("dm-1.02-info-numbers"))
    for place, cut in cuts(answer("dm-1.02-info-numbers")):
        if not cut.stdout.endswith("\n"):
            with pytest.raises(ParseError, match=r"^dmsetup info(: the last line has no end| said nothing)"):
                dm.parse_numbers(cut)
        else:
            assert dm.parse_numbers(cut).items() <= whole.items(), place


@pytest.mark.parametrize(
    "row", ["", "vg-a", "vg-a:253", ":253:1", "vg-a:253:", "vg-a::1", "vg-a:253:-1", "vg-a:253:٣", "vg-a:x:1"]
)
def test_a_number_that_is_none_is_an_error(row: str) -> None:
    for text in (f"vg-b:253:1\n{row}\n", f"{row}\nvg-b:253:1\n"):
        with pytest.raises(ParseError) as caught:
            dm.parse_numbers(Answer(0, text, ""))
        assert str(caught.value) == f"dmsetup info: cannot read {row!r}"


def test_all_columns_are_not_what_is_asked_for() -> None:
    """The name ends at the last colon: columns too many would be taken for a part of it."""
    found = dm.parse_suspended(answer("dm-1.02-info-columns"))
    assert found == frozenset()


def test_a_failed_query_is_unknown() -> None:
    long = "  " + "x" * 300
    parsers = (
        (dm.parse_tables, "dmsetup table"),
        (dm.parse_suspended, "dmsetup info"),
        (dm.parse_numbers, "dmsetup info"),
    )
    for parse, tool in parsers:
        with pytest.raises(ParseError) as caught:
            parse(Answer(1, "vg-a: 0 8 error \n", long))
        assert str(caught.value) == f"{tool} exited 1: {'x' * 200}"
        with pytest.raises(ParseError, match=f"^{tool} exited 1: device-mapper: remove ioctl"):
            parse(answer("dm-1.02-remove-busy"))


def test_queries() -> None:
    assert (dm.TABLES.name, dm.TABLES.parse) == ("the tables of device-mapper", dm.parse_tables)
    assert dm.TABLES.command == Command(("dmsetup", "table"))
    assert (dm.LOADED.name, dm.LOADED.parse) == (
        "the tables that are loaded beside those in use",
        dm.parse_tables,
    )
    assert dm.LOADED.command == Command(("dmsetup", "table", "--inactive"))
    assert dm.NUMBERS.name == "the numbers of device-mapper's devices"
    assert dm.NUMBERS.parse is dm.parse_numbers
    assert dm.NUMBERS.command == Command(
        ("dmsetup", "info", "-c", "--noheadings", "--separator", ":", "-o", "name,major,minor")
    )
    assert dm.table_of("vg-a") == Command(("dmsetup", "table", "vg-a"))
    assert dm.SUSPENDED.name == "the suspended devices of device-mapper"
    assert dm.SUSPENDED.parse is dm.parse_suspended
    assert dm.SUSPENDED.command == Command(
        ("dmsetup", "info", "-c", "--noheadings", "--separator", ":", "-o", "name,suspended")
    )


def test_tables_that_are_made() -> None:
    assert dm.over_drbd(512 * 1024**2, 100) == ("0 1048576 linear 147:100 0",)
    assert dm.failing(512 * 1024**2) == ("0 1048576 error",)
    assert (dm.over_drbd(512, 0), dm.failing(512)) == (("0 1 linear 147:0 0",), ("0 1 error",))
    assert (dm.SECTOR, dm.NAME_MAX, dm.NONE) == (512, 127, "No devices found")


@pytest.mark.parametrize(
    ("lines", "plain"),
    [
        (("0 8 linear 254:16 2048",), True),
        (("0 8 striped 2 128 254:16 0 254:32 0",), True),
        (("0 8 linear 254:16 2048", "8 8 striped 2 128 254:16 0 254:32 0"), True),
        (("0 8 linear 1147:16 2048",), True),
        (("0 147 linear 254:147 147",), True),
        (("0 8 linear 147:1 0",), False),
        (("0 8 striped 2 128 254:16 0 147:1 0",), False),
        (("0 8 linear 254:16 2048", "8 8 linear 147:1 0"), False),
        (("8 8 linear 147:1 0", "0 8 linear 254:16 2048"), False),
        (("0 8 error",), False),
        (("0 8 linear 254:16 2048", "8 8 error"), False),
        (("0 8 snapshot 254:16 254:32 P 8",), False),
        (("0 8 thin 254:3 1",), False),
    ],
)
def test_tables_that_lvm_makes_of_extents(lines: dm.Lines, plain: bool) -> None:
    assert dm.plain(lines) is plain


@pytest.mark.parametrize("name", TABLES)
def test_captured_tables_are_plain(name: str) -> None:
    assert all(dm.plain(lines) for lines in dm.parse_tables(answer(name)).values())


def test_commands() -> None:
    two = ("0 8 linear 254:16 2048", "8 8 linear 254:32 0")
    text = "0 8 linear 254:16 2048\n8 8 linear 254:32 0\n"
    assert dm.create("xr-a", two) == Command(("dmsetup", "create", "xr-a"), stdin=text)
    assert dm.swap("a", two) == (
        Command(("dmsetup", "load", "a"), stdin=text),
        Command(("dmsetup", "resume", "--noudevsync", "--nolockfs", "a"), timeout_s=60),
    )
    assert dm.resume("a", "b") == Command(
        ("dmsetup", "resume", "--noudevsync", "--nolockfs", "a", "b"), timeout_s=120
    )
    assert dm.clear("a") == Command(("dmsetup", "clear", "a"))
    assert dm.remove("xr-a") == Command(("dmsetup", "remove", "xr-a"), timeout_s=60)


def test_a_device_without_a_table_is_no_volume() -> None:
    assert not dm.plain(())
    assert not dm.covers((), 4096)
    for text in ("vg-a: 0 8 error \nvg-a: \n", "vg-a: \nvg-a: \n"):
        with pytest.raises(ParseError, match="cannot read 'vg-a: '"):
            dm.parse_tables(Answer(0, text, ""))


def test_whether_a_table_is_whole() -> None:
    whole = ("0 4 linear 254:16 2048", "4 4 linear 254:32 0")
    assert dm.covers(whole, 4096)
    for lines, size in (
        (whole[:1], 4096),
        (whole[1:], 2048),
        (whole, 4097),
        (whole, 8192),
        (("0 4 linear 254:16 2048", "5 3 linear 254:32 0"), 4096),
        ((whole[1], whole[0]), 4096),
    ):
        assert not dm.covers(lines, size)


def test_how_long_a_device_is() -> None:
    assert dm.length(()) == 0
    assert dm.length(("0 8 linear 254:16 2048",)) == 4096
    assert dm.length(("0 8 linear 254:16 2048", "8 3 linear 254:32 0")) == 5632
    assert dm.failing(dm.length(("0 8 linear 254:16 2048", "8 3 linear 254:32 0"))) == ("0 11 error",)


def test_what_stands_in_for_a_device() -> None:
    """It fails every request but those to its last 4 KiB."""
    made = dm.stand_in(512 * 1024**2, "254:16 99")
    assert made == ("0 1048568 error", "1048568 8 linear 254:16 99")
    assert dm.covers(made, 512 * 1024**2) and not dm.plain(made) and dm.stands_in(made)
    for lines in (
        (),
        made[:1],
        made[1:],
        (made[1], made[0]),
        (*made, made[1]),
        ("0 8 linear 254:16 2048", "8 8 linear 254:16 99"),
        ("0 1048568 error", "1048568 8 error"),
        ("0 1048568 error", "1048568 8 linear 147:1 99"),
    ):
        assert not dm.stands_in(lines)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (("0 8192 linear 254:16 2048",), "254:16 10232"),
        (("0 8 linear 254:16 2048",), "254:16 2048"),
        (("0 7 linear 254:16 2048",), ""),
        (("0 8192 linear 254:16 0", "8192 9 linear 254:32 100"), "254:32 101"),
        (("0 8192 linear 254:16 0", "8192 7 linear 254:32 100"), ""),
        (("0 8192 error", "8192 8 linear 254:32 100"), "254:32 100"),
        (("0 8192 striped 2 128 254:16 0 254:32 0",), ""),
        (("0 8192 linear 147:1 0",), ""),
        (("0 8192 error",), ""),
        ((), ""),
    ],
)
def test_where_a_device_ends(lines: dm.Lines, place: str) -> None:
    assert dm.last_place(lines) == place
