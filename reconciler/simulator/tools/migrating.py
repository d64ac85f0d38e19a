"""`python3 -I - DOMAIN USER@ADDRESS` (execution/sender.py): a domain's memory to a paused copy."""

from __future__ import annotations

import ast
import copy
import json
import re
from typing import TYPE_CHECKING

from reconciler.simulator.process import Early, Fail, Result, Steps
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
THEN = re.compile("^THEN = (.+)$", re.MULTILINE)
"""Where `xl.migrate` puts what is to be run in the end."""
LAST = 1
"""So many of the pieces hold what the guest changed while the others were sent."""
KEEPALIVE_S = 45.0
"""After so long ssh takes the other host for gone."""
DEVICES_S = 3.0
"""In the lab, where one command takes half a second, the copy's disks and network card take eight."""


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    """The guest runs until the last piece, and after it as well if that does not arrive."""
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.15 + HANDSHAKE_S
    then = THEN.search(stdin)
    if len(words) != 2 or then is None:
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
    receiver = host.world.start(other, receive(other, there, domain.name))
    if host.domains.get(domain.domid) is domain:
        domain.pauses += 1
    yield QUERY_S
    domain.suspended = False
    stopped = yield from stop(host, json.loads(ast.literal_eval(then[1])))
    if stopped.exit == 0:
        yield Early(Result(0, f"suspended for {host.world.now_s - began:.3f} s\n", SAID))
    while not receiver.over and host.world.reachable(host.replication_address, other.replication_address):
        yield QUERY_S
    if not receiver.over:
        yield KEEPALIVE_S
        raise Fail(1, f"{SAID}client_loop: send disconnect: Broken pipe\n{stopped.stderr}")
    if receiver.result is None or receiver.result.exit:
        raise Fail(1, f"{SAID}{receiver.result.stderr if receiver.result else ''}{stopped.stderr}")
    return Result(0, f"suspended for {host.world.now_s - began:.3f} s\n", f"{SAID}{stopped.stderr}")


def _rest(host: SimHost, other: SimHost, domain: Domain, there: Domain) -> Steps:
    """What is left once the guest stands still."""
    domain.suspended = True
    there.guest.last = domain.guest.last
    for _ in range(LAST):
        yield from arrive(host, other, domain, there)
    if domain.memory_mib > domain.config["b_info"]["target_memkb"] // 1024 + 1:
        raise too_large(other, there)
    return Result()


def receive(other: SimHost, there: Domain, name: str) -> Steps:
    """On the other side, whatever becomes of this one: the copy gets its disks, and then its name."""
    try:
        yield DEVICES_S
        yield from plug_all(other, there, asks=False)
        there.pauses, there.connected = 1, False
        yield QUERY_S
        if other.domains.get(there.domid) is not there:
            raise Fail(1, "the copy is gone")
    except Fail as fail:
        return fail.result
    there.name = name
    return Result()


def stop(host: SimHost, then: list[tuple[list[str], str, str | None]]) -> Steps:
    """Its commands, up to the first that does not end well or says something else than expected."""
    for argv, given, expected in then:
        result = yield from host.run(argv, given)
        if result.exit or expected not in (None, result.stdout):
            return Result(1, "", f"{result.stderr}{' '.join(argv)} exited {result.exit}: {result.stdout}\n")
    return Result()
