"""Small files: find, cat, grep, df; and commands that leave old or new behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.commands import files
from reconciler.errors import ParseError
from reconciler.model.command import Answer, whole_lines
from tests.commands.captured import answer, cuts


def test_links() -> None:
    assert files.parse_links(answer("find-4.9-disks-running")) == {
        "/etc/xen/disks/web1-root": "/dev/vg/web1-root",
        "/etc/xen/disks/web1-data": "/dev/vg/web1-data",
    }
    assert files.parse_links(answer("find-4.9-disks-empty")) == {}
    missing = Answer(1, "", "find: '/etc/xen/disks': No such file or directory\n")
    assert files.parse_links(missing) == {}


def test_cut_links_never_point_elsewhere() -> None:
    whole = files.parse_links(answer("find-4.9-disks-running"))
    for _, cut in cuts(answer("find-4.9-disks-running")):
        try:
            assert files.parse_links(cut).items() <= whole.items()
        except ParseError:
            continue


@pytest.mark.parametrize("exit_, err", [(1, "find: permission denied\n"), (2, ""), (127, "find: ENOENT\n")])
def test_a_failed_find_is_unknown(exit_: int, err: str) -> None:
    with pytest.raises(ParseError):
        files.parse_links(Answer(exit_, "", err))


def test_sizes() -> None:
    assert files.parse_sizes(Answer(0, "/a\t12\n/b\t3\n", "")) == {"/a": 12, "/b": 3}
    for text in ("/a\t1x\n", "/a\n", "/a\t12"):
        with pytest.raises(ParseError):
            files.parse_sizes(Answer(0, text, ""))


def test_programs() -> None:
    assert files.PROGRAMS.command.argv == (
        "find",
        "/usr/bin",
        "-maxdepth",
        "1",
        "-regex",
        r"/usr/bin/\(openssl\|zstd\)",
        "-printf",
        "%f\\t%l\\n",
    )
    for text, found in (("zstd\t\n", {"zstd"}), ("zstd\tzstd-1.5\n", {"zstd"}), ("", set())):
        assert files.PROGRAMS.parse(Answer(0, text, "")) == found
    for cut in ("zstd", "zstd\t"):
        with pytest.raises(ParseError):
            files.PROGRAMS.parse(Answer(0, cut, ""))


def test_configs() -> None:
    text = "l\t/etc/xen/auto/w.cfg\t../w.cfg\nf\t/etc/xen/w.cfg\t\nf\t/etc/xen/x.cfg\t\n"
    found = files.parse_configs(Answer(0, text, ""))
    assert found.autostart == {"/etc/xen/auto/w.cfg"}
    assert found.configs == {"/etc/xen/w.cfg", "/etc/xen/x.cfg"}
    for cut in (text[:-1], text[:10] + "\n"):
        with pytest.raises(ParseError):
            files.parse_configs(Answer(0, cut, ""))


def test_epochs() -> None:
    text = f"{files.STATE}/epochs/a:12\n{files.STATE}/epochs/a.new:13\n{files.STATE}/epochs/b:1\n"
    assert files.parse_epochs(Answer(0, text, "")) == {"a": 12, "b": 1}
    assert files.parse_epochs(Answer(2, "", "")) == {}
    for bad in (text[:-1], "x/a:1y\n"):
        with pytest.raises(ParseError):
            files.parse_epochs(Answer(0, bad, ""))
    with pytest.raises(ParseError):
        files.parse_epochs(Answer(3, "", ""))
    with pytest.raises(ParseError):
        files.parse_epochs(Answer(2, "", "grep: input/output error\n"))


def test_space() -> None:
    assert files.parse_space(Answer(0, "Mounted on      Avail\n/          123456\n", "")) == 123456
    for text in ("", "Mounted on Avail\n", "Mounted on Avail\n/ 12345", "Mounted on Avail\n/ -\n"):
        with pytest.raises(ParseError):
            files.parse_space(Answer(0, text, ""))
    with pytest.raises(ParseError):
        files.parse_space(Answer(1, "x\n/ 1\n", "df: no such file"))


def test_a_lock() -> None:
    assert files.parse_lock(Answer(0, "", "")) is False
    assert files.parse_lock(Answer(files.HELD, "", "")) is True
    for bad in (Answer(66, "", "flock: cannot open lock file"), Answer(1, "", ""), Answer(0, "", "x")):
        with pytest.raises(ParseError):
            files.parse_lock(bad)


def test_a_lock_is_waited_for() -> None:
    now, later = files.lock_of("web1"), files.lock_after("web1")
    assert now.name != later.name
    assert later.command.timeout_s > files.LOCK_WAIT_S
    assert [word for word in later.command.argv if word not in now.command.argv] == ["--timeout", "10"]
    assert [word for word in now.command.argv if word not in later.command.argv] == ["--nonblock"]


def test_text() -> None:
    assert files.parse_text(Answer(0, "x", "")) == "x"
    assert files.parse_text(Answer(1, "", "cat: /x: No such file or directory")) is None
    with pytest.raises(ParseError):
        files.parse_text(Answer(1, "", "cat: /x: Input/output error"))


def test_one_line() -> None:
    assert files.parse_line(Answer(0, "xen1\n", "")) == "xen1"
    for bad in ("", "\n", "xen", "a\nb\n"):
        with pytest.raises(ParseError):
            files.parse_line(Answer(0, bad, ""))
    with pytest.raises(ParseError):
        files.parse_line(Answer(1, "xen1\n", ""))


def test_whole_lines() -> None:
    assert whole_lines(Answer(0, "a\nb\n", ""), "x") == ["a", "b"]
    with pytest.raises(ParseError, match="cut"):
        whole_lines(Answer(0, "a\nb", ""), "x")


Make = Callable[[], object]


def test_commands() -> None:
    assert [c.argv for c in files.write("/d/f", "text")] == [
        ("dd", "of=/d/f.xr-new", "conv=fsync", "status=none"),
        ("mv", "-T", "/d/f.xr-new", "/d/f"),
        ("sync", "-f", "/d"),
    ]
    assert files.write("/d/f", "text")[0].stdin == "text"
    assert [c.argv for c in files.link("/d/l", "/dev/x")] == [
        ("mkdir", "-p", "/d"),
        ("ln", "-sfn", "/dev/x", "/d/l.xr-new"),
        ("mv", "-T", "/d/l.xr-new", "/d/l"),
    ]
    assert files.remove("/a", "/b").argv == ("rm", "-f", "/a", "/b")
    assert files.remove_folder("/a").argv == ("rm", "-rf", "/a")
    assert files.make_private_folder("/a").argv == ("mkdir", "-p", "-m", "0700", "/a")
    assert files.sync_folder("/a").argv == ("sync", "-f", "/a")
    assert files.zero("/dev/m", 4 << 20).argv[1:5] == ("if=/dev/zero", "of=/dev/m", "bs=1M", "count=4")
    copy = files.copy_to("/i", "root", "10.0.0.2", "/i.part", 60)
    assert copy.argv[-2:] == ("/i", "root@10.0.0.2:/i.part") and "StrictHostKeyChecking=yes" in copy.argv
    assert files.copy_image("/i", "/dev/x").argv[:3] == ("dd", "if=/i", "of=/dev/x")
    assert [c.argv[0] for c in files.unpack("/t", "/dev/x", "/m")] == [
        "mkfs.ext4", "mkdir", "mount", "tar", "umount", "rm",
    ]  # fmt: skip
    assert files.text_of("/x").command.argv == ("cat", "/x")
