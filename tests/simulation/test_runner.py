"""The command seam over the world: claims, deadlines and injected faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.execution.guard import Guard
from reconciler.model.command import Answer, Claim, Command, NoAnswer, Script, Skip, Skipped
from reconciler.simulator import checkers, runner
from reconciler.simulator.guarding import SimGuard
from reconciler.simulator.runner import Fault, Point, SimRunner
from reconciler.simulator.world import World

SAVE = Command(("xl", "save", "web1", "/root/web1.img"), timeout_s=300)
LIST = Command(("xl", "list"))


def script(*commands: Command, epoch: int | None = 1) -> Script:
    return Script(commands, Claim("web1", epoch) if epoch else None)


def once(fault: Fault, when: str = "before", number: int = 1) -> runner.Hook:
    return lambda point: fault if (point.when, point.number) == (when, number) else None


@pytest.fixture
def seen(world: World) -> Iterator[list[Point]]:
    points: list[Point] = []
    yield points
    assert checkers.violations(world) == []


def test_commands_run_in_order_and_stop_at_the_first_failure(world: World, seen: list[Point]) -> None:
    commands = (Command(("true",)), Command(("cat", "/none")), Command(("true",)))
    done = SimRunner(world, watch=seen.append).run("xen1", script(*commands))
    assert done[0] == Answer(0, "", "", 0.002)
    assert isinstance(done[1], Answer) and done[1].exit == 1
    assert done[2] == Skipped(Skip.EARLIER)
    assert [point.command.argv[0] for point in seen] == ["true", "cat"]


def test_queries_all_run(world: World) -> None:
    done = SimRunner(world).run("xen1", script(Command(("cat", "/none")), LIST, epoch=None))
    assert isinstance(done[1], Answer) and "web1" in done[1].stdout


def test_a_program_that_is_not_there(world: World) -> None:
    (done,) = SimRunner(world).run("xen1", script(Command(("systemctl", "stop", "x"))))
    assert isinstance(done, Answer) and done.exit == 127 and "No such file" in done.stderr


def test_a_host_that_is_down(world: World) -> None:
    world.hosts["xen2"].crash()
    (done,) = SimRunner(world).run("xen2", script(LIST, epoch=None))
    assert isinstance(done, Skipped) and done.why is Skip.UNREACHABLE


def test_a_failure_before_the_effect(world: World) -> None:
    sim = SimRunner(world, once(runner.FailBefore(5, "no\n")))
    assert sim.run("xen1", script(SAVE))[0] == Answer(5, "", "no\n", 0.01)
    assert world.hosts["xen1"].domains[1].running


def test_a_reply_lost_after_the_effect(world: World) -> None:
    sim = SimRunner(world, once(runner.LoseReply()))
    done = sim.run("xen1", script(SAVE, LIST))
    assert all(isinstance(each, NoAnswer) for each in done)
    assert not world.hosts["xen1"].domains
    assert sim.count == 1


def test_a_command_that_hangs_holds_the_lock_and_still_works_later(world: World) -> None:
    sim = SimRunner(world, once(runner.Hang(400)))
    assert isinstance(sim.run("xen1", script(SAVE))[0], NoAnswer)
    assert world.hosts["xen1"].domains[1].running
    busy = sim.run("xen1", script(LIST))[0]
    assert isinstance(busy, Skipped) and busy.why is Skip.BUSY
    assert isinstance(sim.run("xen1", script(LIST, epoch=None))[0], Answer)
    world.advance(110)
    assert not world.hosts["xen1"].domains
    assert isinstance(sim.run("xen1", script(LIST))[0], Answer)


def test_a_query_that_hangs_is_killed(world: World) -> None:
    sim = SimRunner(world, once(runner.Hang(400)))
    assert isinstance(sim.run("xen1", script(LIST, epoch=None))[0], NoAnswer)
    assert not world.jobs


def test_a_crash_before_and_after_the_effect(world: World) -> None:
    host = world.hosts["xen1"]
    sim = SimRunner(world, once(runner.Crash(boot_after_s=30)))
    first = host.boot_id
    assert all(isinstance(each, NoAnswer) for each in sim.run("xen1", script(SAVE, LIST)))
    assert not host.up and not host.domains and "/root/web1.img" not in host.files.nodes
    world.advance(60)
    assert host.up and host.boot_id != first
    domain = host.domain("web1")
    assert domain is not None and domain.running
    sim = SimRunner(world, once(runner.Crash(), "after"))
    assert isinstance(sim.run("xen1", script(SAVE))[0], NoAnswer)
    assert not host.up and "/root/web1.img" in host.files.nodes


def test_an_older_epoch_is_refused(world: World) -> None:
    sim = SimRunner(world)
    assert isinstance(sim.run("xen1", script(LIST, epoch=4))[0], Answer)
    refused = sim.run("xen1", script(LIST, epoch=3))[0]
    assert isinstance(refused, Skipped) and refused.why is Skip.STALE_EPOCH
    assert isinstance(sim.run("xen1", script(LIST, epoch=4))[0], Answer)


REQUESTS: list[dict[str, object]] = [
    {
        "id": 1,
        "claim": None,
        "commands": [{"argv": ["true"]}, {"argv": ["cat", "/none"]}, {"argv": ["true"]}],
    },
    {
        "id": 2,
        "claim": {"domain": "web1", "epoch": 3},
        "commands": [{"argv": ["cat", "/none"]}, {"argv": ["true"]}],
    },
    {"id": 3, "claim": {"domain": "web1", "epoch": 2}, "commands": [{"argv": ["true"]}]},
    {"id": 4, "claim": {"domain": "web1", "epoch": 3}, "commands": [{"argv": ["true"]}]},
    {"id": 5, "claim": {"domain": "../x", "epoch": 3}, "commands": [{"argv": ["true"]}]},
    {"id": 6, "claim": None, "commands": []},
    {"id": 7, "claim": None, "commands": [{"argv": ["no-such-program"]}]},
]


def test_the_simulated_guard_answers_as_the_real_one(world: World, tmp_path: Path) -> None:
    def wait(condition: object, seconds: float) -> bool:
        assert callable(condition)
        world.advance_to(world.now_s + seconds, condition)
        return bool(condition())

    real, simulated = (
        Guard(str(tmp_path / "state"), str(tmp_path / "run")),
        SimGuard(world.hosts["xen1"], wait),
    )
    for request in REQUESTS:
        expected = [{**reply, "duration_s": 0.0} for reply in real.handle(dict(request))]
        assert [{**reply, "duration_s": 0.0} for reply in simulated.handle(dict(request))] == expected
