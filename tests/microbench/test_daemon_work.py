"""`make microbench` times these; `make test` runs each once. Nothing here asserts a time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from reconciler.clock import SystemClock
from reconciler.config import load_config
from reconciler.cycle import Cycle, Fleet
from reconciler.daemon import Daemon, opened, watching
from reconciler.execution.ssh import SshRunner
from reconciler.model.command import Outcome, Script
from reconciler.model.placement import Host
from reconciler.model.plan import ItemKind
from reconciler.moves.journal import Journal
from reconciler.planning.planner import plan
from reconciler.simulator.live import Handle, start
from reconciler.source import load
from tests.planning.crowd import PER_HOST, crowd
from tests.site import Site
from tests.test_daemon import addresses

PER_FILE = 500


@pytest.mark.parametrize("misplaced", [0, 5], ids=["in place", "5 % misplaced"])
@pytest.mark.parametrize("domains", [10, 1_000, 10_000])
def test_plan(benchmark: BenchmarkFixture, domains: int, misplaced: int) -> None:
    wrong = domains * misplaced // 100
    situation = crowd(domains, wrong)
    kinds = Counter(item.kind for item in benchmark(plan, situation).items)
    assert kinds[ItemKind.IN_PLACE] == domains - wrong
    assert kinds[ItemKind.MOVE] + kinds[ItemKind.LATER] == wrong


@pytest.mark.parametrize("domains", [10, 1_000, 10_000])
def test_validate(benchmark: BenchmarkFixture, domains: int, tmp_path: Path) -> None:
    folder = tmp_path / "desired"
    folder.mkdir()
    hosts = max(2, -(-domains // PER_HOST))
    rows = (
        f"  h{n:03}: {{address: h{n:03}.example, replication_address: 10.9.{n}.1}}\n" for n in range(hosts)
    )
    (folder / "hosts.yaml").write_text("hosts:\n" + "".join(rows))
    for first in range(0, domains, PER_FILE):
        part = range(first, min(first + PER_FILE, domains))
        text = "".join(f"  d{n:05}: {{host: h{n // PER_HOST:03}}}\n" for n in part)
        (folder / f"domains-{first:05}.yaml").write_text(f"domains:\n{text}")
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all of them"]):
        who = ("-c", "user.name=operator", "-c", "user.email=operator@example.org")
        subprocess.run(["git", *who, *argv], cwd=tmp_path, check=True)
    loaded = benchmark(load, tmp_path, "HEAD", "desired")
    assert loaded.problems == ()
    assert loaded.desired is not None and len(loaded.desired.domains) == domains


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Handle]:
    handle = start(tmp_path / "hosts", hosts=request.param, speed=20.0)
    yield handle
    handle.stop()


@pytest.fixture
def site(fleet: Handle, tmp_path: Path) -> Site:
    made = Site(tmp_path, addresses(fleet), fleet.key_file, fleet.known_hosts_file)
    made.place(web1="xen1")
    return made


@pytest.mark.parametrize("fleet", [2, 50, pytest.param(200, marks=pytest.mark.slow)], indirect=True)
def test_a_pass_that_changes_nothing(benchmark: BenchmarkFixture, site: Site) -> None:
    """Over real ssh on loopback; the simulated hosts share this process and its processor."""
    with opened(load_config(site.config_file), SystemClock(threading.Event())) as cycle:
        first = cycle.look()
        assert first is not None and [item.kind for item in first.items] == [ItemKind.IN_PLACE]
        later = benchmark.pedantic(cycle.look, rounds=3)
        assert later is not None and set(later.hosts.values()) == {"answers"}


class Noticed:
    """A runner that notices the first script that is to change something."""

    def __init__(self, runner: Fleet) -> None:
        self._runner = runner
        self.changed = threading.Event()

    def use(self, hosts: Mapping[str, Host]) -> None:
        self._runner.use(hosts)

    def run(self, host: str, script: Script) -> tuple[Outcome, ...]:
        if script.claim is not None:
            self.changed.set()
        return self._runner.run(host, script)


@pytest.mark.parametrize("fleet", [2], indirect=True)
def test_from_a_commit_to_the_first_command(benchmark: BenchmarkFixture, site: Site, fleet: Handle) -> None:
    """From the end of `git commit` until the first changing script goes to a host."""
    stop, wake = threading.Event(), threading.Event()
    clock = SystemClock(stop)
    with ExitStack() as stack:
        config = load_config(site.config_file)
        runner = SshRunner({}, config.ssh.key_file, config.ssh.known_hosts_file)
        noticed = Noticed(runner)
        stack.callback(runner.close)
        cycle = Cycle(config, Journal(None), noticed, clock)
        stack.callback(cycle.close)
        stack.enter_context(watching(site.repository, wake))
        thread = threading.Thread(target=Daemon(cycle, clock, stop, wake).run)
        thread.start()
        targets = iter(["xen2", "xen1"] * 5)

        def settled() -> None:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and (cycle.plan is None or cycle.journal.active()):
                time.sleep(0.05)
            noticed.changed.clear()
            site.place(web1=next(targets))

        def first_command() -> None:
            assert noticed.changed.wait(60)

        try:
            benchmark.pedantic(first_command, setup=settled, rounds=3)
        finally:
            stop.set()
            wake.set()
            thread.join()


IDLE_S = 60.0
"""Twice as long as the time between two passes of its own."""


@pytest.mark.slow
@pytest.mark.parametrize("fleet", [2, 50], indirect=True)
def test_an_idle_daemon(benchmark: BenchmarkFixture, site: Site) -> None:
    """How much of a core the daemon takes while all is in place; and its memory, which has a limit."""
    site.start()
    try:
        site.wait("web1 in place", lambda report: report["domains"][0]["state"] == "in-place", 60)
        before = cpu_s(site.pid)
        benchmark.pedantic(time.sleep, args=(IDLE_S,), rounds=1)
        used = (cpu_s(site.pid) - before) / IDLE_S
        benchmark.extra_info |= {
            "% of a core": round(100 * used, 2),
            "MiB resident": round(resident(site.pid)),
        }
        assert resident(site.pid) < 100
    finally:
        assert site.stop(signal.SIGTERM) == 0


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
