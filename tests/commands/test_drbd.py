"""DRBD 8.4: what captured outputs mean, and that a cut one is never taken for the truth."""

from __future__ import annotations

import re

import pytest

from reconciler.commands import drbd
from reconciler.errors import ParseError
from reconciler.model.command import Answer
from reconciler.model.facts import Connection, DiskState, Replication, Role
from tests.commands.captured import answer, cuts, names

EVENTS = names("drbd-8.4-events2")


@pytest.mark.parametrize("name", EVENTS)
def test_every_capture_is_understood(name: str) -> None:
    for found in drbd.parse_events(answer(name)):
        assert found.name == "web1"
        assert [volume.number for volume in found.volumes] == list(range(len(found.volumes)))


@pytest.mark.parametrize("name", EVENTS)
def test_a_cut_output_is_unknown(name: str) -> None:
    for _, cut in cuts(answer(name)):
        with pytest.raises(ParseError):
            drbd.parse_events(cut)


def test_connected() -> None:
    (found,) = drbd.parse_events(answer("drbd-8.4-events2-connected-primary"))
    assert (found.role, found.peer_role, found.connection) == (
        Role.PRIMARY,
        Role.SECONDARY,
        Connection.CONNECTED,
    )
    first, second = found.volumes
    assert (first.minor, second.minor) == (10, 11)
    assert first.size_bytes == 69632 * 1024
    assert (first.disk, first.peer_disk) == (DiskState.UP_TO_DATE, DiskState.UP_TO_DATE)
    assert (first.replication, first.out_of_sync_kib, first.in_flight) == (Replication.ESTABLISHED, 0, 0)
    assert first.done_percent is None


@pytest.mark.parametrize(
    ("name", "role", "connection", "replication"),
    [
        ("syncsource-primary", Role.PRIMARY, Connection.CONNECTED, Replication.SYNC_SOURCE),
        ("synctarget-secondary", Role.SECONDARY, Connection.CONNECTED, Replication.SYNC_TARGET),
        ("paused-sync-source", Role.PRIMARY, Connection.CONNECTED, Replication.PAUSED_SYNC_S),
        ("standalone-primary", Role.PRIMARY, Connection.STANDALONE, Replication.OFF),
        ("primary-unconnected", Role.PRIMARY, Connection.CONNECTING, Replication.OFF),
    ],
)
def test_states(name: str, role: Role, connection: Connection, replication: Replication) -> None:
    (found,) = drbd.parse_events(answer(f"drbd-8.4-events2-{name}"))
    assert found.role is role
    assert found.connection in (connection, None) if name == "standalone-primary" else connection
    assert any(volume.replication is replication for volume in found.volumes)


def test_none() -> None:
    assert drbd.parse_events(answer("drbd-8.4-events2-none")) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "exists\nexists -\n",
        "change resource name:web1 role:Primary\nexists -\n",
        "exists helper name:web1 x:y\nexists -\n",
        "exists resource role:Primary x:y\nexists -\n",
        "exists resource name:web1 role:Emperor\nexists -\n",
        "exists device name:web1 volume:0 minor:0 disk:UpToDate\nexists -\n",
        "exists resource name:w role:Primary\n"
        "exists device name:w volume:x minor:0 disk:UpToDate\n"
        "exists -\n",
    ],
)
def test_what_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises(ParseError):
        drbd.parse_events(Answer(0, text, ""))


def test_a_failed_query_is_unknown() -> None:
    with pytest.raises(ParseError, match="exited 20"):
        drbd.parse_events(Answer(20, "", "no module"))


@pytest.mark.parametrize("name", names("drbd-8.4-proc"))
def test_version(name: str) -> None:
    assert drbd.parse_version(answer(name)) == "8.4.11"
    for _, cut in cuts(answer(name)):
        try:
            assert drbd.parse_version(cut) == "8.4.11"
        except ParseError:
            continue


def test_a_cut_version_number_is_unknown() -> None:
    with pytest.raises(ParseError):
        drbd.parse_version(Answer(0, "version: 8.4.1", ""))


@pytest.mark.parametrize(
    ("gib", "mib"), [(0.001, 4), (1, 4), (100, 4), (126, 4), (127, 5), (1024, 33), (16384, 513)]
)
def test_room_for_metadata(gib: float, mib: int) -> None:
    assert drbd.metadata_bytes(int(gib * 1024**3)) == mib * 1024**2


def test_resource_file() -> None:
    volumes = (drbd.ResourceVolume(10, "/dev/vg/a", "/dev/vg/a-drbdmd"),)
    sides = [
        drbd.ResourceSide("xen1", "10.0.0.1", 7801, volumes),
        drbd.ResourceSide("xen2", "10.0.0.2", 7801, volumes),
    ]
    text = drbd.resource_file("xr-web1", "secret", 50, sides)
    assert text.startswith("# Written by") and text.endswith("}\n")
    assert text.count("{") == text.count("}")
    for line in ("on xen1 {", "on xen2 {", "device /dev/drbd10 minor 10;", "resync-rate 50M;", "protocol C;"):
        assert line in text
    assert "allow-two-primaries" not in text
    assert "after-sb" not in text
    assert "csums-alg" not in text, "a block would be taken for equal that is not"
    assert "discard-zeroes-if-aligned no;" in text, "zeros that are not sent would not be zeros on the target"


def test_a_rate_of_0_is_a_remark_in_the_resource_file() -> None:
    sides = [drbd.ResourceSide("xen1", "10.0.0.1", 7850, ())]
    texts = [drbd.resource_file("r", "secret", rate, sides) for rate in (0, 1, 50, 1000)]
    paused = texts[0]
    assert [drbd.pauses(text) for text in texts] == [True, False, False, False]
    assert "resync-rate 1M;" in paused and "c-max-rate 1M;" in paused
    older = re.sub(r"    c-fill-target .*\n", "", paused).replace("max-buffers 20000;", "max-buffers 8000;")
    assert len(older) < len(paused) - 20, "an older version's move is under way"
    assert len({drbd.rateless(text) for text in (*texts, older)}) == 1
    assert drbd.rateless(paused) != drbd.rateless(paused.replace("7850", "7851"))


@pytest.mark.parametrize(
    ("said", "here"),
    [("no", False), ("user", True), ("peer", False), ("user,peer", True), ("dependency", False)],
)
def test_who_paused_a_sync(said: str, here: bool) -> None:
    captured = answer("drbd-8.4-events2-paused-sync-source")
    told = captured.stdout.replace("resync-suspended:user", f"resync-suspended:{said}")
    (found,) = drbd.parse_events(Answer(0, told, ""))
    assert {volume.paused_here for volume in found.volumes} == {here}


def test_commands() -> None:
    assert drbd.RESOURCES.command.argv == ("drbdsetup", "events2", "--now", "--statistics")
    assert drbd.VERSION.command.argv == ("cat", "/proc/drbd")
    assert drbd.create_metadata("r").argv == ("drbdadm", "--", "--force", "create-md", "r")
    assert drbd.up("r").argv == ("drbdadm", "up", "r")
    assert drbd.adjust("r").argv == ("drbdadm", "adjust", "r")
    rates = "--resync-rate=50M --c-max-rate=50M --c-fill-target=512K"
    assert " ".join(drbd.set_rate(7, 50).argv) == f"drbdsetup disk-options 7 {rates}"
    assert drbd.set_rate(7, 100).argv[-1] == "--c-fill-target=1000K"
    assert drbd.set_rate(7, 4096).argv[-1] == "--c-fill-target=4096K"
    assert drbd.set_rate(7, 0).argv[-1] == "--c-fill-target=512K"
    assert drbd.set_rate(7, 0).argv[-3:-1] == ("--resync-rate=1M", "--c-max-rate=1M"), "DRBD takes no 0"
    assert drbd.pause_sync(7).argv == ("drbdsetup", "pause-sync", "7")
    assert drbd.resume_sync(7).argv == ("drbdsetup", "resume-sync", "7")
    assert drbd.force_primary("r").argv == ("drbdadm", "primary", "--force", "r")
    assert drbd.secondary("r").argv == ("drbdadm", "secondary", "r")
    assert drbd.down("r").argv == ("drbdadm", "down", "r")
    assert drbd.device(3) == "/dev/drbd3"


@pytest.mark.parametrize(("text", "copies"), [("Y\n", True), ("N\n", False)])
def test_whether_it_copies_what_it_sends(text: str, copies: bool) -> None:
    assert drbd.COPIES.parse(Answer(0, text, "", 0.0)) is copies


@pytest.mark.parametrize(
    "answer", [Answer(0, "", "", 0.0), Answer(0, "1\n", "", 0.0), Answer(1, "Y", "no", 0.0)]
)
def test_a_parameter_that_cannot_be_read(answer: Answer) -> None:
    with pytest.raises(ParseError, match="disable_sendpage"):
        drbd.COPIES.parse(answer)
