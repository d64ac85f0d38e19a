"""Several journeys at once: none waits for another one's long command, nor for a look at all hosts."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.clock import SystemClock
from reconciler.config import load_config
from reconciler.cycle import Cycle
from reconciler.daemon import Daemon
from reconciler.errors import JournalFull
from reconciler.model.command import Outcome, Script, Skip, Skipped
from reconciler.model.move import Order, Progress, Reason, Side, Status
from reconciler.model.placement import Desired, Domain, Host, Policy
from reconciler.model.plan import Plan
from reconciler.moves.journal import Journal
from reconciler.moves.recipe import START_STEPS
from tests.moves.journeys import at, move, stream_move

ONE = move()
HOSTS = ("xen1", "xen2")
TWO = replace(ONE, domain="web2", uuid=ONE.uuid.replace("0", "1"))


class Nowhere:
    """No host answers."""

    def use(self, hosts: Mapping[str, Host]) -> None:
        self.hosts = dict(hosts)

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        return tuple(Skipped(Skip.UNREACHABLE, "nobody is there") for _ in script.commands)


class Driver:
    """Stands for the executor: each journey does what the test says, and how often is counted."""

    def __init__(self, **does: Callable[[Progress], tuple[Progress, float]]) -> None:
        self.does = does
        self.calls = dict.fromkeys(does, 0)
        self.inside: dict[str, int] = dict.fromkeys(does, 0)

    def advance(self, order: Order, progress: Progress, stop: Callable[[], bool]) -> tuple[Progress, float]:
        name = order.domain
        self.calls[name] += 1
        self.inside[name] += 1
        assert self.inside[name] == 1, "two threads drive one journey"
        try:
            return self.does[name](progress)
        finally:
            self.inside[name] -= 1


@pytest.fixture
def cycle(tmp_path: Path) -> Iterator[Cycle]:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"repository: {tmp_path}/none\nstate_dir: {tmp_path}/state\nmax_moves: 2\n"
        "ssh: {key_file: /none, known_hosts_file: /none}\n"
    )
    (tmp_path / "state").mkdir()
    journal = Journal(tmp_path / "state" / "journal.sqlite")
    made = Cycle(load_config(file), journal, Nowhere(), SystemClock())
    yield made
    made.close()
    journal.close()


def begin(cycle: Cycle, order: Order, progress: Progress) -> None:
    cycle.journal.begin(order, progress, cycle.clock.now())


def test_a_domain_in_its_freeze_does_not_wait_for_the_ship_of_another(cycle: Cycle) -> None:
    for order in (ONE, TWO):
        begin(cycle, order, at("ship"))
    polled = threading.Event()

    def poll(progress: Progress) -> tuple[Progress, float]:
        if driver.calls["web1"] == 3:
            polled.set()
        return progress, 0.05

    def ship(progress: Progress) -> tuple[Progress, float]:
        assert polled.wait(20), "web1 waited for web2"
        return progress, 2.0

    driver = Driver(web1=poll, web2=ship)
    cycle._executor = driver  # type: ignore[assignment]
    due_s = cycle.advance(lambda: False)
    assert driver.calls["web2"] == 1
    assert driver.calls["web1"] >= 3
    assert due_s is not None and 0 < due_s <= 0.05


def test_no_thread_drives_a_journey_any_more_when_another_one_failed(cycle: Cycle) -> None:
    for order in (ONE, TWO):
        begin(cycle, order, at("ship"))

    began = threading.Event()

    def slow(progress: Progress) -> tuple[Progress, float]:
        began.set()
        time.sleep(0.5)
        return progress, 2.0

    def full(progress: Progress) -> tuple[Progress, float]:
        assert began.wait(20)
        raise JournalFull("no room")

    driver = Driver(web1=full, web2=slow)
    cycle._executor = driver  # type: ignore[assignment]
    with pytest.raises(JournalFull):
        cycle.advance(lambda: False)
    assert driver.inside == {"web1": 0, "web2": 0}


@pytest.mark.parametrize(
    ("progress", "still"),
    [
        (at("sync"), False),
        (at("ship", "cutover-suspend"), True),
        (at("go", "cutover-suspend", *START_STEPS), True),
        (at("ship", "cutover-suspend", status=Status.HELD, reason=Reason.UNREACHABLE), False),
    ],
)
def test_when_a_domain_stands_still(cycle: Cycle, progress: Progress, still: bool) -> None:
    assert not cycle.stands_still()
    begin(cycle, ONE, progress)
    assert cycle.stands_still() is still


@pytest.mark.parametrize(("step", "looks_meanwhile"), [("ship", False), ("sync", True)])
def test_a_wake_up_brings_no_look_at_all_hosts_while_a_domain_stands_still(
    cycle: Cycle, monkeypatch: pytest.MonkeyPatch, step: str, looks_meanwhile: bool
) -> None:
    begin(cycle, ONE, at(step, "cutover-suspend" if step == "ship" else ""))
    stop, wake = threading.Event(), threading.Event()
    looked_after: list[int] = []

    def drive(progress: Progress) -> tuple[Progress, float]:
        wake.set()
        if driver.calls["web1"] < 5:
            return progress, 0.01
        done = replace(progress, status=Status.MOVED)
        cycle.journal.record(ONE, done, cycle.clock.now())
        return done, 0.0

    def look() -> None:
        looked_after.append(driver.calls["web1"])
        if driver.calls["web1"] >= 5:
            stop.set()

    driver = Driver(web1=drive)
    cycle._executor = driver  # type: ignore[assignment]
    monkeypatch.setattr(cycle, "look", look)
    Daemon(cycle, SystemClock(stop), stop, wake).run()
    assert looked_after[-1] == 5
    assert any(calls < 5 for calls in looked_after) is looks_meanwhile


def test_a_commit_puts_no_other_machine_in_a_hosts_place_inside_a_journey(cycle: Cycle) -> None:
    other = replace(ONE.target, address="192.0.2.99")
    cycle.intent = replace(cycle.intent, desired=Desired("c" * 40, {"xen2": other, "xen3": other}, {}))
    cycle.meet()
    assert cycle._fleet.hosts["xen2"] == other
    begin(cycle, ONE, at("ship"))
    cycle.meet()
    assert cycle._fleet.hosts["xen2"] == ONE.target
    assert cycle._fleet.hosts["xen3"] == other


def test_a_commit_in_force_is_read_once_and_a_new_one_at_once(cycle: Cycle) -> None:
    repository = cycle.config.repository
    (repository / "desired").mkdir(parents=True)

    def commit(host: str) -> None:
        rows = "".join(
            f"  {name}: {{address: {name}, replication_address: 10.9.9.{name[-1]}}}\n" for name in HOSTS
        )
        (repository / "desired" / "all.yaml").write_text(
            f"hosts:\n{rows}domains:\n  web1: {{host: {host}}}\n"
        )
        for argv in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", host]):
            who = ("-c", "user.name=operator", "-c", "user.email=operator@example.org")
            subprocess.run(["git", *who, *argv], cwd=repository, check=True)

    commit("xen1")
    cycle.intent = cycle.read()
    assert cycle.intent.desired is not None and cycle.intent.desired.domains["web1"].host == "xen1"
    argv = ["git", "rev-parse", "HEAD:desired/all.yaml"]
    blob = subprocess.run(argv, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()
    kept = repository / ".git" / "objects" / blob[:2] / blob[2:]
    kept.rename(repository / "away")
    assert cycle.read() == cycle.intent, "its files are asked for again"
    (repository / "away").rename(kept)
    commit("xen2")
    cycle.intent = cycle.read()
    assert cycle.intent.desired is not None and cycle.intent.desired.domains["web1"].host == "xen2"
    assert cycle.intent.head == cycle.intent.desired.commit


MIRROR = replace(stream_move(), domain="web3", standby=True)
IN_STEP = at("cutover-ready")


def test_nobody_waits_for_a_mirror_in_step(cycle: Cycle) -> None:
    """It is driven, and due again with the next pass; one that comes about is waited for."""
    begin(cycle, MIRROR, IN_STEP)
    driver = Driver(web3=lambda progress: (progress, 60.0))
    cycle._executor = driver  # type: ignore[assignment]
    assert cycle.advance(lambda: False) is None
    assert driver.calls == {"web3": 1}
    cycle.journal.record(MIRROR, at("sync"), cycle.clock.now())
    due_s = cycle.advance(lambda: False)
    assert due_s is not None and 50 < due_s <= 60


def test_a_held_move_beside_a_mirror_is_all_there_is(cycle: Cycle) -> None:
    begin(cycle, MIRROR, IN_STEP)
    assert not cycle.stuck()
    begin(cycle, ONE, at("ship", "cutover-suspend", status=Status.HELD, reason=Reason.DEADLINE))
    assert cycle.stuck()
    cycle.journal.record(MIRROR, at("sync"), cycle.clock.now())
    assert not cycle.stuck()


def test_a_mirror_becomes_a_move_when_it_is_its_turn(cycle: Cycle) -> None:
    """Two at a time here; what is called stays so until it has moved."""
    hosts = {host.name: host for host in (MIRROR.host(Side.SOURCE), MIRROR.target)}
    names = ("web3", "web4", "web5")
    mine = [replace(MIRROR, domain=name, uuid="") for name in names]
    for order in mine:
        begin(cycle, order, IN_STEP)

    def standing(desired: Desired) -> list[bool]:
        cycle.intent = replace(cycle.intent, desired=desired)
        cycle.plan = Plan(desired.commit, ())
        cycle.start()
        return [cycle._as_committed(order).standby for order in mine]

    keep = Policy(keep_mirror=True)
    here = {name: Domain(name, MIRROR.host(Side.SOURCE).name, policy=keep) for name in names}
    there = {name: Domain(name, MIRROR.target.name, policy=keep) for name in names}
    assert standing(Desired("a" * 40, hosts, here)) == [True, True, True]
    assert standing(Desired("b" * 40, hosts, there)) == [False, False, True]
    assert standing(Desired("a" * 40, hosts, here)) == [True, True, True], "before it has begun to move"
    gone = Desired("d" * 40, {name: host for name, host in hosts.items() if name != "xen2"}, here)
    standing(gone)
    reasons = {record.progress.reason for record in cycle.journal.active()}
    assert reasons == {Reason.PLACEMENT_CHANGED}
