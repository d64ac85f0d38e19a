"""What decides how a run goes on, as a short text: two runs of a scenario with the same one end alike.

Left out is what no rule and no step reads: the number of heartbeats (only whether a disk, an image or a
guest has the newest is kept), identifiers drawn by chance (only which are equal), the domains' numbers,
and what the clock shows. Ages are kept in steps of `AGE_S`. A process under way is described by where
its code stands and by its plain values. What is pruned by this is not proven but tested: a share of it is
run all the same, and must end as the run did that stands for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import GeneratorType
from typing import Any

from reconciler.model.command import Claim, Script
from reconciler.model.move import Progress, Side
from reconciler.simulator.checkers import extents, missing
from reconciler.simulator.domain import Beat, Image
from reconciler.simulator.drbd import Metadata, Resource
from reconciler.simulator.filesystem import Directory, File, Link, Node
from reconciler.simulator.guarding import EPOCHS
from reconciler.simulator.host import SimHost
from reconciler.simulator.storage import BlockDevice, Segment
from reconciler.simulator.world import Job, World
from tests.simulation.campaign import ends
from tests.simulation.campaign.run import CALM_S, JUST_NOW_S, Run

AGE_S = 10.0
PLAIN = (str, int, bool, type(None))


def digest(run: Run, script: Script | None) -> str:
    """The state of a run just before a script that changes something is sent, or between two steps."""
    text = repr(list(_all(run, script)))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _all(run: Run, script: Script | None) -> Iterator[Any]:
    world, stand, now_s = run.world, run.stand, run.world.now_s
    progress = run.journal.latest
    assert progress is not None
    epoch = run.order.claim(progress.serial).epoch
    if script is not None:
        yield [command.argv for command in script.commands], script.claim and script.claim.epoch - epoch
    yield from _progress(progress, run.clock.now())
    names = _Names()
    for name, host in world.hosts.items():
        side = Side.TARGET if name == run.order.target.name else Side.SOURCE
        yield name, host.up, host.boot_id == run.order.boot(side), "run" in vars(host), sorted(host.locks)
        live, durable = _files(host.files.nodes, run), _files(stand.durable[name], run)
        yield _stored(host, run, epoch), live, "the same" if durable == live else durable
        yield list(_storage(host, run, names)), list(_domains(host, run))
        yield [_drbd(resource, now_s, names) for resource in host.drbd.values()], sorted(host.mounts)
        yield name in stand.full, name in stand.torn, _age(stand.deaf.get(name, 0.0) - now_s)
    yield [sorted(map(sorted, link.cut)) for link in world.links.values()]
    yield sorted(_jobs(world, epoch, run.order.domain))
    yield stand.unpause_fails and now_s // 60, stand.strangers, now_s > CALM_S, run.turned
    yield now_s - run.ran_s < JUST_NOW_S
    yield any(fault.startswith(("guest-gone", "crash-ran-gone", "ran-then-gone")) for fault in run.faults)
    yield not run.order.autostart and any("crash" in fault for fault in run.faults)
    yield ends.no_host_failed(run.faults)
    operator = run.operator
    stops = operator.desk is not None and operator.desk.stops(run.order.domain)
    resume_s = operator.resume_at_s and _age(operator.resume_at_s - now_s)
    yield operator.aborted, resume_s, len(operator.waiting), stops
    paused_s = run.paused_until_s and _age(run.paused_until_s - now_s)
    yield run.order.policy.resync_rate_mb_s, paused_s
    wanted_s = run.wanted_there_at_s and _age(run.wanted_there_at_s - now_s)
    yield run.order.standby, wanted_s


def _age(seconds: float) -> int:
    return max(-1, round(seconds // AGE_S))


def _progress(progress: Progress, now: datetime) -> Iterator[Any]:
    def age(moment: datetime | None) -> int | None:
        return None if moment is None else round((now - moment).total_seconds() // AGE_S)

    yield progress.direction, progress.step, progress.status, progress.attempts, sorted(progress.tried)
    yield progress.reason, progress.pending, progress.unsure, age(progress.step_began), age(progress.retry_at)
    yield age(progress.unknown_since), age(progress.busy_since)


class _Names:
    """Identifiers by the order in which they appear."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def __call__(self, value: int) -> int:
        """Small ones have a meaning of their own."""
        return -value if value <= 16 else self.seen.setdefault(value, len(self.seen) + 1)


def _stored(host: SimHost, run: Run, epoch: int) -> int:
    """The number that a host has stored, from the journey's own; no crash takes it back.

    An older one is as good as the journey's own, but where it is asked for and where a request of that
    age may still come.
    """
    stored, domain = _number(host, run.order.domain) - epoch, run.order.domain
    progress = run.journal.latest
    asked = progress is not None and any(word in progress.step for word in ("epoch", "fence"))
    late = any(job.host is host and _late(job, domain) for job in run.world.jobs)
    return stored if asked or late else max(0, stored)


def _number(host: SimHost, domain: str) -> int:
    node = host.files.nodes.get(f"{EPOCHS}/{domain}")
    return int(node.text) if isinstance(node, File) else 0


def _late(job: Job, domain: str) -> bool | None:
    """Whether a request comes late; None when it is one that is refused: its host knows a newer number."""
    frame = getattr(job.steps, "gi_frame", None)
    script = frame.f_locals.get("script") if frame is not None else None
    if not isinstance(script, Script):
        return False
    return None if script.claim is not None and script.claim.epoch < _number(job.host, domain) else True


def _files(nodes: Mapping[str, Node], run: Run) -> list[Any]:
    found: list[Any] = []
    for path in sorted(nodes):
        if path.startswith(EPOCHS):
            continue
        node = nodes[path]
        if isinstance(node, Directory):
            found.append((path, node.mode))
        elif isinstance(node, Link):
            found.append((path, node.target))
        elif node.thing is None:
            found.append((path, node.text, node.mode))
        elif isinstance(node.thing, Image):
            target = node.thing.config["b_info"]["target_memkb"]
            found.append((path, node.bulk, node.thing.complete, target, _newest(node.thing.guest.last, run)))
        else:
            found.append((path, type(node.thing).__name__, node.bulk))
    return found


def _newest(number: int, run: Run) -> bool:
    """Whether a guest knows of every heartbeat that was heard."""
    heard = run.world.observer.newest.get(run.order.domain)
    return heard is None or number >= heard.number


def _storage(host: SimHost, run: Run, names: _Names) -> Iterator[Any]:
    ledgers = run.world.observer.acknowledged.get(run.order.domain, {})
    for group in host.groups.values():
        content = group.disk.content
        others = sorted(at for at, value in content.items() if not isinstance(value, Beat))
        for volume in sorted(group.volumes.values(), key=lambda volume: volume.name):
            windows = extents(group, volume)
            good = [vdev for vdev, ledger in ledgers.items() if next(missing(windows, ledger), None) is None]
            other = []
            for window in windows:
                first = window.low + window.shift
                for at in others:
                    if first <= at < window.high + window.shift:
                        value = content[at]
                        if isinstance(value, Metadata):
                            other.append(_metadata(value, names))
                        else:
                            plain = value if isinstance(value, PLAIN) else type(value).__name__
                            other.append((at - first, plain))
            yield volume.name, volume.tags, volume.active, volume.extents, good, other
    yield sorted(
        (name, mapped.suspended, len(mapped.opens), _table(mapped.table), _table(mapped.loaded or ()))
        for name, mapped in host.maps.items()
    )


def _table(table: tuple[Segment, ...]) -> list[Any]:
    """What a device stands on; of extents only that they are some, as volumes tell which."""
    return [segment.device and (type(segment.device).__name__, segment.device.minor) for segment in table]


def _metadata(meta: Metadata, names: _Names) -> Any:
    flags = (meta.consistent, meta.was_up_to_date, meta.was_primary, bool(meta.pages), bool(meta.active))
    return (
        flags,
        len(meta.dirty),
        names(meta.current & ~1),
        names(meta.bitmap & ~1),
        tuple(map(names, meta.history)),
    )


def _domains(host: SimHost, run: Run) -> Iterator[Any]:
    for domain in host.domains.values():
        disks = [(vbd.vdev, vbd.mode, vbd.opened, _device(vbd.device)) for vbd in domain.vbds]
        flags = (domain.building, domain.pauses, domain.suspended, domain.connected)
        memory = (domain.memory_mib, domain.config["b_info"]["target_memkb"])
        yield domain.name, domain.uuid, memory, flags, disks, _newest(domain.guest.last, run)


def _device(device: BlockDevice | None) -> Any:
    return device and (type(device).__name__, device.minor, device.size)


def _drbd(resource: Resource, now_s: float, names: _Names) -> Any:
    devices = [
        (
            device.minor,
            device.role,
            device.disk,
            device.replication,
            device.paused,
            device.peer_disk_seen,
            device.size,
            _device(device.lower),
            _device(device.lower_md),
            len(device.opens),
            _metadata(device.kept, names) if device.kept else None,
        )
        for device in resource.devices.values()
    ]
    waits = max(-1, round(resource.retry_at_s - now_s))
    return resource.name, resource.connection, resource.peer is not None, resource.pages_out, waits, devices


def _jobs(world: World, epoch: int, domain: str) -> Iterator[Any]:
    """What is under way, less requests that come late and are refused: their host knows a newer number."""
    for job in world.jobs:
        if _late(job, domain) is None:
            continue
        stands = repr(_process(job.steps, epoch))
        wakes_s = round(job.wake_at_s - world.now_s, 1)
        yield job.host.name, job.lock or "", wakes_s, stands


def _process(steps: Any, epoch: int) -> Any:
    """Where a process stands."""
    if not isinstance(steps, GeneratorType) or steps.gi_frame is None:
        return type(steps).__name__
    frame = steps.gi_frame
    values = {name: _plain(value, epoch) for name, value in frame.f_locals.items() if name != "delay_s"}
    return steps.__qualname__, frame.f_lasti, sorted(values.items()), _process(steps.gi_yieldfrom, epoch)


def _plain(value: Any, epoch: int) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, SimHost):
        return value.name
    if isinstance(value, list | tuple):
        return [_plain(each, epoch) for each in value]
    if isinstance(value, GeneratorType):
        return _process(value, epoch)
    if isinstance(value, Script):
        return [command.argv for command in value.commands], value.claim and value.claim.epoch - epoch
    if isinstance(value, Claim):
        return value.epoch - epoch
    return getattr(value, "__qualname__", type(value).__name__)
