"""`xl save -p … | ssh … 'xl restore -p'`: memory from one host straight into a paused copy on another."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.tools.hotplug import check_memory, named, new_domain, plug_all
from reconciler.simulator.tools.saving import not_suspended, too_large
from reconciler.simulator.tools.transfer import HANDSHAKE_S, PIECES, target_of

if TYPE_CHECKING:
    from reconciler.simulator.domain import Domain
    from reconciler.simulator.host import SimHost

SAID = "Saving to /dev/stdout new xl format (info 0x3/0x0/1458)\n"
BROKEN = "libxl: error: domain save/restore helper died due to fatal signal Broken pipe\n"
RESUMED = f"{SAID}{BROKEN}Failed to save domain, resuming domain\n"


def stream(host: SimHost, name: str, destination: str, through: str) -> Steps:
    """A guest whose memory cannot be sent runs on; once all of it is sent it stays, paused.

    The last piece is still in pipes and sockets then: if it does not arrive, nobody lets the guest run again.
    """
    yield 0.15 + HANDSHAKE_S
    other = target_of(host, destination)
    domain = named(host, name)
    if through != "cat" and any(f"/usr/bin/{through}" not in each.files.nodes for each in (host, other)):
        raise Fail(1, f"sh: 1: {through}: not found\n{RESUMED}")
    if domain.paused:
        yield from not_suspended(domain, SAID)
    domain.suspended = True
    there: Domain | None = None
    try:
        there = new_domain(other, copy.deepcopy(domain.config), copy.copy(domain.guest))
        yield from check_memory(other, there)
        yield from _send(host, other, domain, there)
        domain.pauses, domain.suspended = 1, False
        yield from arrive(host, other, domain, there)
    except Fail as fail:
        said = SAID
        if host.domains.get(domain.domid) is domain and domain.suspended:
            domain.suspended, said = False, RESUMED
        if there is not None and other.domains.get(there.domid) is there:
            other.destroy(there)
        raise Fail(1, said + fail.result.stderr) from fail
    yield from plug_all(other, there)
    there.pauses, there.connected = 1, False
    return Result(0, "", f"{SAID}xc: info: Restore successful\n")


def _send(host: SimHost, other: SimHost, domain: Domain, there: Domain) -> Steps:
    for _ in range(PIECES - 1):
        yield from arrive(host, other, domain, there)
        if host.domains.get(domain.domid) is not domain:
            raise Fail(1, "the domain is gone")
    if domain.memory_mib > domain.config["b_info"]["target_memkb"] // 1024 + 1:
        raise too_large(other, there)
    return Result()


def arrive(host: SimHost, other: SimHost, domain: Domain, there: Domain) -> Steps:
    """One piece of the memory."""
    rate = host.world.rate(host.replication_address, other.replication_address)
    yield (domain.memory_mib << 20) / rate / PIECES
    if other.domains.get(there.domid) is not there:
        raise Fail(1, "the copy is gone")
    if not host.world.reachable(host.replication_address, other.replication_address):
        raise Fail(255, "client_loop: send disconnect: Broken pipe")
    return Result()
