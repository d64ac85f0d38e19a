"""xl and xenstore-ls: what captured outputs mean, and that a cut one is never taken for the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import xl
from reconciler.errors import ParseError
from reconciler.execution import sender
from reconciler.model.command import Answer
from reconciler.model.facts import DiskSeen, DomainState
from reconciler.model.placement import Transport
from tests.commands.captured import answer, cuts, names

LISTS = names("xl-4.17-list")
LONG = [name for name in LISTS if "long" in name and "domain" not in name]
SHORT = [name for name in LISTS if "long" not in name and "domain" not in name]


@pytest.mark.parametrize(
    ("name", "state", "cpu_s"),
    [
        ("xl-4.17-list-running", DomainState.RUNNING, 15.8),
        ("xl-4.17-list-paused", DomainState.PAUSED, 18.5),
        ("xl-4.17-list-restored-paused", DomainState.PAUSED, 0.0),
        ("xl-4.17-list-after-failed-save", DomainState.RUNNING, 22.0),
    ],
)
def test_list(name: str, state: DomainState, cpu_s: float) -> None:
    (seen,) = xl.parse_list(answer(name))
    assert (seen.name, seen.state, seen.cpu_s, seen.memory_mb, seen.vcpus) == ("web1", state, cpu_s, 96, 1)


def test_how_long_a_domain_was_suspended() -> None:
    assert xl.suspended_s(sender.SUSPENDED.format(12.3456)) == 12.346
    assert xl.suspended_s("x\nsuspended for 0.500 s\n") == 0.5
    for said in ("", "suspended for 1 s", "suspended for -1.000 s"):
        assert xl.suspended_s(said) is None


def test_list_without_domains() -> None:
    assert xl.parse_list(answer("xl-4.17-list-empty")) == ()


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        ("r-----", DomainState.RUNNING),
        ("------", DomainState.RUNNING),
        ("--p---", DomainState.PAUSED),
        ("---s--", DomainState.SHUTDOWN),
        ("---sc-", DomainState.CRASHED),
        ("--psc-", DomainState.CRASHED),
        ("--ps-d", DomainState.DYING),
    ],
)
def test_flags_of_a_row(flags: str, state: DomainState) -> None:
    whole = answer("xl-4.17-list-running")
    (seen,) = xl.parse_list(Answer(0, whole.stdout.replace("-b----", flags), ""))
    assert seen.state is state


@pytest.mark.parametrize("name", SHORT)
def test_a_cut_list_is_unknown_unless_it_ends_right_after_a_row(name: str) -> None:
    """A cut between two rows cannot be seen in the text; the guard's pipes and framing rule it out."""
    whole = answer(name)
    rows = whole.stdout.splitlines(keepends=True)
    after_dom0 = len(rows[0]) + len(rows[1])
    for place, cut in cuts(whole):
        if place == after_dom0:
            continue
        with pytest.raises(ParseError):
            xl.parse_list(cut)


@pytest.mark.parametrize("text", ["", "no heading\n", "Name ID\nrubbish\n"])
def test_a_list_that_is_not_xls_is_unknown(text: str) -> None:
    with pytest.raises(ParseError):
        xl.parse_list(Answer(0, text, ""))


@pytest.mark.parametrize("name", names("xl-4.17-list-domain-nosuch"))
def test_a_failed_list_is_unknown(name: str) -> None:
    assert answer(name).exit != 0
    for parse in (xl.parse_list, xl.parse_long_list, xl.parse_info, xl.parse_vbds):
        with pytest.raises(ParseError, match="exited"):
            parse(answer(name))


def test_long_list() -> None:
    (config,) = xl.parse_long_list(answer("xl-4.17-list-long-running"))
    assert (config.name, config.domid, config.kind, config.max_memory_mb) == ("web1", 2, "pv", 96)
    assert config.target_memory_mb == 96
    assert config.uuid == "6f0c9d3e-1b5a-4c8e-9a77-0000000000a1"
    assert config.disks == (
        DiskSeen("/etc/xen/disks/web1-root", "xvda", True, "phy"),
        DiskSeen("/etc/xen/disks/web1-data", "xvdb", True, "phy"),
    )
    assert xl.parse_long_list(answer("xl-4.17-list-long-empty")) == ()


@pytest.mark.parametrize("name", LONG)
def test_a_cut_long_list_is_unknown_or_whole(name: str) -> None:
    whole = xl.parse_long_list(answer(name))
    for _, cut in cuts(answer(name)):
        try:
            assert xl.parse_long_list(cut) == whole
        except ParseError:
            continue


@pytest.mark.parametrize("text", ["[]", "[{}]", '[{"domid": 3}]', '{"domid": 0}', "[7]"])
def test_a_long_list_without_dom0_is_unknown(text: str) -> None:
    with pytest.raises(ParseError):
        xl.parse_long_list(Answer(0, text, ""))


def test_info() -> None:
    info = xl.parse_info(answer("xl-4.17-info"))
    assert (info.node, info.version, info.free_memory_mb) == ("xen1", "4.17.5", 780)
    assert info.caps == ("xen-3.0-x86_64",)
    assert info.hw_caps.startswith("078bfbfd:80982201")


def test_a_cut_info_is_unknown_or_whole() -> None:
    whole = xl.parse_info(answer("xl-4.17-info"))
    for _, cut in cuts(answer("xl-4.17-info")):
        try:
            assert xl.parse_info(cut) == whole
        except ParseError:
            continue


def test_backends_of_a_running_domain() -> None:
    vbds = xl.parse_vbds(answer("xenstore-4.17-vbd-running"))
    assert [(v.domid, v.device, v.major_minor, v.connected) for v in vbds] == [
        (2, "xvda", (253, 0), True),
        (2, "xvdb", (253, 1), True),
    ]


def test_backends_of_a_restored_domain_that_never_ran() -> None:
    vbds = xl.parse_vbds(answer("xenstore-4.17-vbd-drbd"))
    assert [(v.domid, v.device, v.major_minor, v.connected) for v in vbds] == [
        (6, "xvda", (147, 10), False),
        (6, "xvdb", (147, 11), False),
    ]


def test_no_backends() -> None:
    assert xl.parse_vbds(answer("xenstore-4.17-vbd-empty")) == ()


@pytest.mark.parametrize("name", names("xenstore-4.17-vbd"))
def test_cut_backends_never_show_a_wrong_device(name: str) -> None:
    """Cut between two disks, what is left is right; anywhere else the fact is unknown."""
    whole = xl.parse_vbds(answer(name))
    for _, cut in cuts(answer(name)):
        try:
            assert xl.parse_vbds(cut) == whole[: len(xl.parse_vbds(cut))]
        except ParseError:
            continue


def test_a_device_that_is_no_number_pair() -> None:
    text = answer("xenstore-4.17-vbd-running").stdout.replace('"fd:0"', '""')
    assert xl.parse_vbds(Answer(0, text, ""))[0].major_minor is None


def test_commands() -> None:
    assert xl.DOMAINS.command.argv == ("xl", "list")
    assert xl.CONFIGS.command.argv == ("xl", "list", "-l")
    assert xl.INFO.command.argv == ("xl", "info")
    assert xl.VBDS.command.argv == ("xenstore-ls", "-f", "/local/domain/0/backend/vbd")
    save = xl.save("web1", "/i/a.img", 300).argv
    assert save == ("sh", "-c", 'xl save "$1" "$2.part" && mv -T "$2.part" "$2"', "save", "web1", "/i/a.img")
    assert xl.restore_paused("/i/a.img", 300).argv == ("xl", "restore", "-p", "/i/a.img")
    assert xl.create_paused("/etc/xen/web1.cfg").argv == ("xl", "create", "-p", "/etc/xen/web1.cfg")
    assert xl.unpause("web1").argv == ("xl", "unpause", "web1")
    assert xl.destroy("web1").argv == ("xl", "destroy", "web1")


def test_a_disk_on_a_device_that_cannot_be_written_is_not_open() -> None:
    """Lab: `xl restore -p` onto a Secondary DRBD exits 0 and keeps the numbers; only the state tells."""
    text = answer("xenstore-4.17-vbd-drbd").stdout.replace('/state = "2"', '/state = "5"')
    assert [(vbd.major_minor, vbd.opened) for vbd in xl.parse_vbds(Answer(0, text, ""))] == [
        ((147, 10), False),
        ((147, 11), False),
    ]
    usual = xl.parse_vbds(answer("xenstore-4.17-vbd-drbd"))
    assert all(vbd.opened for vbd in usual)


@pytest.mark.parametrize(
    ("compressed", "here", "there"),
    [(False, "", "cat"), (True, " zstd -1 -q |", "zstd -dqc")],
)
def test_memory_is_sent_straight_to_another_host(compressed: bool, here: str, there: str) -> None:
    stream = xl.stream("web1", "root", "10.0.0.2", 3900, compressed=compressed)
    line = (
        f'xl save -p "$1" /dev/stdout |{here} ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o '
        "ConnectTimeout=15 -o ServerAliveInterval=15 -c aes128-gcm@openssh.com,aes128-ctr "
        f"\"$2\" '{there} | xl restore -p /dev/stdin'"
    )
    assert stream.argv == ("sh", "-c", line, "stream", "web1", "root@10.0.0.2")
    assert (stream.timeout_s, stream.unit, stream.stdin) == (3900, "stream", "")
    plain, secured = (
        xl.stream("web1", "root", "10.0.0.2", 3900, compressed=compressed, transport=way)
        for way in (Transport.TCP, Transport.TLS)
    )
    line = (
        f'carrier=$(cat); xl save -p "$1" /dev/stdout |{here} python3 -I -c "$carrier" '
        f"\"$2\" '{there} | xl restore -p /dev/stdin'"
    )
    assert plain.argv == ("sh", "-c", line, "stream", "web1", "root@10.0.0.2")
    assert (plain.timeout_s, plain.unit) == (3900, "stream")
    assert "\nTLS = False\n" in plain.stdin
    assert secured == replace(plain, stdin=plain.stdin.replace("TLS = False", "TLS = True"))
