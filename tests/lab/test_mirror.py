"""A mirror that is kept, on real hosts: it begins from what the domain has left; the way back is short."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.site import Site, mirrored

from .lab import Lab
from .moving import MOVE_S, at_home, in_place, nothing_left
from .records import changes_of_side, repeated

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]


@pytest.fixture
def site(lab_guest: Lab, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, lab_guest.hosts, lab_guest.key_file, lab_guest.known_hosts)
    yield made
    made.close()


def place(site: Site, host: str, *, keep: bool = True) -> None:
    wanted = {"host": host, "policy": {"keep_mirror": keep}}
    site.write("domains.yaml", f"domains:\n  web1: {json.dumps(wanted)}\n")
    site.commit(f"web1 to {host}, {'with' if keep else 'without'} a mirror")


def sent_kib(lab: Lab, host: str) -> int:
    """What DRBD has sent from there since it was brought up."""
    shown = lab.hosts[host].run(["drbdsetup", "events2", "--now", "--statistics"])
    return sum(int(number) for number in re.findall(r" sent:(\d+)", shown))


def test_a_domain_goes_there_and_back_over_a_mirror(
    lab_guest: Lab, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = lab_guest
    lab.observer.wait_for_heartbeats(count=5, side="xen1")
    place(site, "xen2")
    site.start()
    report = site.wait("a mirror on xen1", mirrored("xen1"), MOVE_S)
    first, mirror = report["history"][0], report["domains"][0]["move"]
    whole_kib, compared_kib = mirror["disk_bytes"] >> 10, sent_kib(lab, "xen2")
    marks = [" ".join(row.split()) for row in lab.hosts["xen2"].run("cat /proc/drbd").splitlines()]
    assert compared_kib < whole_kib / 4, "what xen1 had kept was sent anew"
    assert lab.observer.verify().side == "xen2"

    place(site, "xen1")
    report = site.wait("web1 on xen1, and a mirror on xen2", mirrored("xen2"), MOVE_S)
    back = report["history"][0]
    assert (back["id"], back["outcome"]) == (mirror["id"], "moved")
    assert [step["step"] for step in back["steps"]].count("sync") == 1
    lab.observer.wait_for_heartbeats(count=5, side="xen1")
    beats = lab.observer.heartbeats()
    assert repeated(beats) == []
    assert changes_of_side(beats) == ["xen1", "xen2", "xen1"]
    found = lab.observer.verify()
    assert (found.problems, found.side) == ([], "xen1")

    place(site, "xen1", keep=False)
    site.wait("no mirror", lambda r: in_place("xen1")(r) and not r["domains"][0]["move"], MOVE_S)
    nothing_left(lab, "xen2")
    at_home(lab, "xen1")
    assert lab.observer.verify().problems == []
    assert site.stop() == 0
    freezes = [freeze["measured_s"] for move in (first, back) for freeze in move["freezes"]]
    with capsys.disabled():
        print(f"\nmirror: {compared_kib} of {whole_kib} KiB sent; suspended {freezes} s", *marks, sep="\n  ")
