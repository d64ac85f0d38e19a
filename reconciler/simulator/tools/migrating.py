"""`python3 -I - DOMAIN USER@ADDRESS` (execution/sender.py): memory to a paused copy of a running domain."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.tools.hotplug import check_memory, named, new_domain, plug_all
from reconciler.simulator.tools.saving import not_suspended, too_large
from reconciler.simulator.tools.streaming import arrive
from reconciler.simulator.tools.transfer import HANDSHAKE_S, PIECES, target_of
from reconciler.simulator.tools.xl import QUERY_S

if TYPE_CHECKING:
    from reconciler.simulator.domain import Domain
    from reconciler.simulator.host import SimHost

SAID = "Saving to migration stream new xl format (info 0x3/0x0/1458)\n"
RESUMED = (
    "libxl: error: libxl_utils.c:505:libxl_read_exactly: file/stream truncated reading ready message from "
    "migration receiver stream\nMigration failed, resuming at sender.\n"
)
LAST = 1
"""So many of the pieces hold what the guest changed while the others were sent."""


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    """The guest runs until the last piece, and after it as well if the other side does not get ready."""
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.15 + HANDSHAKE_S
    if len(words) != 2:
        raise Fail(2, "python3: simulated version only sends a domain")
    other, domain = target_of(host, words[1]), named(host, words[0])
    there = new_domain(other, copy.deepcopy(domain.config), copy.copy(domain.guest))
    there.name = f"{domain.name}--incoming"
    try:
        yield from check_memory(other, there)
        for _ in range(PIECES - LAST):
            yield from arrive(host, other, domain, there)
            if host.domains.get(domain.domid) is not domain:
                raise Fail(1, "the domain is gone")
        if domain.paused:
            yield from not_suspended(domain, SAID)
        began = host.world.now_s
        yield from _rest(host, other, domain, there)
    except Fail as fail:
        domain.suspended = False
        heard = host.world.reachable(host.replication_address, other.replication_address)
        if heard and other.domains.get(there.domid) is there:
            other.destroy(there)  # without a word from here its receiver waits on
        raise Fail(1, f"{SAID}{fail.result.stderr}\n{RESUMED}") from fail
    there.pauses, there.connected = 1, False
    yield QUERY_S
    there.name = domain.name
    yield from _settle(host, other, domain)
    return Result(0, f"suspended for {host.world.now_s - began:.3f} s\n", SAID)


def _rest(host: SimHost, other: SimHost, domain: Domain, there: Domain) -> Steps:
    """What is left once the guest stands still; then the copy's disks."""
    domain.suspended = True
    there.guest.last = domain.guest.last
    for _ in range(LAST):
        yield from arrive(host, other, domain, there)
    if domain.memory_mib > domain.config["b_info"]["target_memkb"] // 1024 + 1:
        raise too_large(other, there)
    yield from plug_all(other, there)
    return Result()


def _settle(host: SimHost, other: SimHost, domain: Domain) -> Steps:
    """The copy stays as it is, whatever this side hears of it; without a word this side's runs on."""
    heard = host.world.reachable(host.replication_address, other.replication_address)
    if heard and host.domains.get(domain.domid) is domain:
        domain.pauses += 1
    yield QUERY_S
    domain.suspended = False
    if not heard:
        raise Fail(1, f"{SAID}client_loop: send disconnect: Broken pipe\n{RESUMED}")
    return Result()
