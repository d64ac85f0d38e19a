"""Two daemons for one repository, which is a mistake: on the hosts only one of them moves the domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model.move import SERIALS, Reason, Status
from reconciler.moves.journal import EventKind
from tests.site import Site, entry

from .faults.watch import Watch
from .lab import Lab
from .moving import at_home, in_place, nothing_left
from .records import changes_of_side, repeated

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture
def sites(lab_guest: Lab, tmp_path: Path) -> Iterator[list[Site]]:
    """Two daemons' configurations: one repository, and a state folder for each."""
    made: list[Site] = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        shared = {"repository": str(made[0].repository)} if made else {}
        made.append(Site(folder, lab_guest.hosts, lab_guest.key_file, lab_guest.known_hosts, **shared))
    yield made
    for site in made:
        site.close()


def commands(watch: Watch) -> list[tuple[str, bool]]:
    """The commands that a daemon sent to change something: the step of each, and whether a host ran it."""
    record = watch.record()
    events = watch.read(lambda journal: journal.events(record.order)) if record else []
    outcomes = [event for event in events if event.kind is EventKind.OUTCOME]
    return [(e.step, "skipped" not in row) for e in outcomes for row in e.detail["commands"]]


def at_work(watch: Watch) -> bool:
    """Whether the hosts let this daemon go beyond its claim."""
    return any(ran and step != "take-epoch" for step, ran in commands(watch))


def refused(watch: Watch) -> bool:
    """Whether this daemon is held because the move is another one's, or began none for what it saw."""
    record = watch.record()
    if record is None:
        return entry(watch.site.report()).get("state") == "refused"
    return record.progress.status is Status.HELD and record.progress.reason is Reason.STALE_EPOCH


def claims_are_of(lab: Lab, watch: Watch) -> bool:
    """Whether both hosts hold a claim number of this daemon's move."""
    record = watch.record()
    if record is None:
        return False
    first = record.order.claim(0).epoch
    texts = [host.run(["cat", "/var/lib/xen-reconciler/epochs/web1"]) for host in lab.hosts.values()]
    return all(int(text) in range(first, first + SERIALS) for text in texts)


def test_two_daemons_never_act_on_one_domain_at_once(lab_guest: Lab, sites: list[Site]) -> None:
    """Whoever loses changes nothing, neither while the other one works nor when it is told to go back."""
    lab, watches = lab_guest, [Watch(site) for site in sites]
    lab.observer.wait_for_heartbeats(count=3, side="xen1")
    began = lab.observer.now()
    sites[0].place(web1="xen1")
    for site in sites:
        site.start()
    for site in sites:
        site.wait("web1 in place", in_place("xen1"), 120)

    sites[0].place(web1="xen2")  # wakes both
    watches[0].wait("one at work", lambda: any(at_work(watch) for watch in watches), 120)
    watches[0].wait("the other one refused", lambda: any(refused(watch) for watch in watches), 120)
    (loser,) = [watch for watch in watches if refused(watch)]
    (winner,) = [watch for watch in watches if watch is not loser]
    before = commands(loser)
    assert claims_are_of(lab, winner)
    assert not claims_are_of(lab, loser)
    assert not at_work(loser)

    # Before its first suspension the winner is taken back, which takes seconds; the loser has no say.
    # Under emulation the look at all hosts, or a step, that a request waits for is long.
    done = winner.site.call("abort", "web1", "--wait", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    if loser.record() is not None:
        done = loser.site.call("abort", "web1", "--wait", "120")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "newer move" in done.stdout + done.stderr
    report = winner.site.wait("the end of the move", lambda report: bool(report["history"]), 400)
    assert report["history"][0]["outcome"] == "back"
    assert refused(loser)
    assert commands(loser) == before
    assert claims_are_of(lab, winner)
    for site in sites:
        assert site.stop() == 0
    nothing_left(lab, "xen2")
    at_home(lab, "xen1")
    lab.observer.wait_for_heartbeats(count=3, side="xen1")
    beats = lab.observer.heartbeats(since_s=began)
    assert repeated(beats) == []
    assert changes_of_side(beats) == ["xen1"]
