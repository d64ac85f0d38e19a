"""A host shut down and booted in order in the middle of a move: xendomains saves and restores domains."""

from __future__ import annotations

import pytest

from reconciler.simulator import checkers
from reconciler.simulator.host import SAVED
from tests.simulation.campaign.run import Run


def rebooted(run: Run, name: str) -> None:
    """A clean shutdown, power off, and a boot."""
    host = run.world.hosts[name]
    job = run.world.start(host, host.shut_down())
    run.world.advance_to(run.world.now_s + 300.0, lambda: job.over)
    assert job.result is not None
    host.crash()
    run.world.advance(5.0)
    host.boot()


@pytest.mark.parametrize(
    ("command", "name", "end"),
    [
        (("drbdadm", "primary"), "xen1", "back"),
        (("lvcreate", "-y"), "xen1", "back"),
        (("drbdadm", "secondary"), "xen1", "back"),
        (("xl", "unpause"), "xen2", "moved"),
    ],
)
def test_no_old_image_waits_for_the_next_boot(command: tuple[str, ...], name: str, end: str) -> None:
    """On DRBD, a domain that the shutdown saved can't be restored by the boot; it is started afresh instead.

    The image must be gone then: the next boot would restore it, old memory on newer disks.
    """
    seen = []

    def choose(number: int, place: str, host: str, argv: tuple[str, ...]) -> str | None:
        target = host == "xen2" or command[0] == "drbdadm"
        if place == "before" and argv[: len(command)] == command and target and not seen:
            seen.append(argv)
            rebooted(run, name)
        return None

    run = Run("move", choose)
    outcome = run.go()
    assert seen, "the command never came"
    assert (outcome.trouble, outcome.status) == ("", end), outcome
    home = run.world.hosts["xen1" if end == "back" else "xen2"]
    assert not any(list(host.files.children(SAVED)) for host in run.world.hosts.values())
    rebooted(run, home.name)
    run.world.advance(120.0)
    assert checkers.violations(run.world) == []
    domain = home.domain("web1")
    assert domain is not None
    assert domain.running
