"""LVM's JSON reports, whole and cut."""

from __future__ import annotations

import pytest

from reconciler.commands import lvm
from reconciler.errors import ParseError
from reconciler.model.command import Answer
from tests.commands.captured import answer, cuts, names


def test_volumes() -> None:
    data, root = lvm.parse_lvs(answer("lvm-2.03-lvs-running"))
    assert (data.path, data.size_bytes, data.major_minor) == ("/dev/vg/web1-data", 138412032, (253, 1))
    assert root.is_open and root.plain and not root.tags
    assert lvm.parse_lvs(answer("lvm-2.03-lvs-empty")) == ()
    assert len(lvm.parse_lvs(answer("lvm-2.03-lvs-with-meta"))) > 2


@pytest.mark.parametrize("name", names("lvm-2.03-lvs"))
def test_a_cut_report_is_unknown_or_whole(name: str) -> None:
    whole = lvm.parse_lvs(answer(name))
    for _, cut in cuts(answer(name)):
        try:
            assert lvm.parse_lvs(cut) == whole
        except ParseError:
            continue


@pytest.mark.parametrize("name", names("lvm-2.03-vgs"))
def test_groups(name: str) -> None:
    (group,) = whole = lvm.parse_vgs(answer(name))
    assert (group.name, group.extent_bytes) == ("vg", 4194304)
    assert 0 < group.free_bytes <= group.size_bytes
    for _, cut in cuts(answer(name)):
        try:
            assert lvm.parse_vgs(cut) == whole
        except ParseError:
            continue


def test_tags_open_and_kind() -> None:
    text = answer("lvm-2.03-lvs-running").stdout
    text = text.replace('"lv_tags":""', '"lv_tags":"xr.move.web1-3,own"', 1)
    text = text.replace('"-wi-ao----"', '"Vwi-a-t---"', 1).replace('"pool_lv":""', '"pool_lv":"p"', 1)
    text = text.replace('"lv_kernel_major":"253"', '"lv_kernel_major":"-1"', 1)
    data, root = lvm.parse_lvs(Answer(0, text, ""))
    assert data.tags == {"xr.move.web1-3", "own"}
    assert not data.plain and data.major_minor is None
    assert root.plain


@pytest.mark.parametrize(
    "text", ["", "[]", '{"report": [{}]}', '{"report": [{"lv": [{"vg_name": "vg"}], "vg": [{}]}]}']
)
def test_what_is_not_known_is_an_error(text: str) -> None:
    for parse in (lvm.parse_lvs, lvm.parse_vgs):
        with pytest.raises(ParseError):
            parse(Answer(0, text, ""))


def test_a_failed_report_is_unknown() -> None:
    for parse in (lvm.parse_lvs, lvm.parse_vgs):
        with pytest.raises(ParseError, match="exited 5"):
            parse(Answer(5, "", "no locking"))


def test_commands() -> None:
    assert lvm.create("vg", "a", 4096, "t").argv == (
        "lvcreate", "-y", "-Wy", "-Zy", "-n", "a", "-L", "4096b", "--addtag", "t", "vg",
    )  # fmt: skip
    assert lvm.remove("vg", "a").argv == ("lvremove", "-y", "vg/a")
    assert lvm.add_tag("vg", "a", "t").argv == ("lvchange", "--addtag", "t", "vg/a")
    assert lvm.drop_tag("vg", "a", "t").argv == ("lvchange", "--deltag", "t", "vg/a")
    assert lvm.rounded(1, 4) == 4 and lvm.rounded(8, 4) == 8
