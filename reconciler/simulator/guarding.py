"""The host-side guard over a simulated host: the same protocol, with locks and epochs in the simulation.

Mirrors `execution.guard.Guard` (whose request check it uses) without real files, processes or clocks.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from reconciler.execution.guard import LOCK_PATIENCE_S, PROTOCOL, Claim, Known, Refused, check, stored_number
from reconciler.simulator.filesystem import Directory, File
from reconciler.simulator.host import SimHost
from reconciler.simulator.world import Job

EPOCHS = "/var/lib/xen-reconciler/epochs"
Wait = Callable[[Callable[[], bool], float], bool]
Checked = tuple[list[dict[str, Any]], Claim | None, Known | None]
Start = Callable[[int, list[str], str, str | None], Job]


class SimGuard:
    """One guard process. `wait(condition, seconds)` lets time pass and says if the condition came true."""

    def __init__(
        self,
        host: SimHost,
        wait: Wait,
        start: Start | None = None,
        mutex: AbstractContextManager[Any] | None = None,
        patience_s: float = LOCK_PATIENCE_S,
        version: str = "",
        checked: Callable[[object], Checked] = check,
    ) -> None:
        self.host = host
        self.wait = wait
        self.mutex = mutex or nullcontext()
        self.patience_s = patience_s
        self.start = start or self._start
        self.version = version
        self.checked = checked

    def hello(self) -> dict[str, Any]:
        boot_id, node = self.host.boot_id, self.host.name
        return {"guard": PROTOCOL, "version": self.version, "boot_id": boot_id, "node": node}

    def _start(self, index: int, argv: list[str], stdin: str, lock: str | None) -> Job:
        return self.host.world.start(self.host, self.host.run(argv, stdin), lock)

    def handle(self, request: object, gone: Callable[[], bool] = lambda: False) -> Iterator[dict[str, Any]]:
        """Answer one request, as `Guard.handle` does."""
        ident = request.get("id") if isinstance(request, dict) else None
        claim: Claim | None = None
        held = False
        try:
            commands, claim, known = self.checked(request)
            if known:
                with self.mutex:
                    known.check(self._stored(known.domain))
            if claim:
                self._take(claim)
                held = True
            for index, command in enumerate(commands):
                if claim and gone():
                    raise Refused("busy", "the asker hung up")
                reply = self._run(index, command, claim.domain if claim else None)
                yield {"id": ident, "index": index, **reply}
                if claim and reply.get("exit") != 0:
                    break
            yield {"id": ident, "done": True}
        except Refused as refused:
            yield {"id": ident, "refused": refused.reason, "detail": refused.detail}
        finally:
            with self.mutex:
                if claim and held and self.host.locks.get(claim.domain) is self:
                    del self.host.locks[claim.domain]

    def _run(self, index: int, command: dict[str, Any], lock: str | None) -> dict[str, Any]:
        job = self.start(index, command["argv"], command["stdin"], lock)
        self.wait(lambda: job.over or job.result is not None, command["timeout_s"])
        if job.result is None:
            with self.mutex:
                if lock is None:
                    self.host.world.kill(job)
            return {"timeout": True}
        result = job.result
        took = round(job.answered_s - job.began_s, 4)
        return {"exit": result.exit, "stdout": result.stdout, "stderr": result.stderr, "duration_s": took}

    def _take(self, claim: Claim) -> None:
        domain = claim.domain

        def lock() -> bool:
            if not self.host.locked(domain):
                self.host.locks[domain] = self
            return self.host.locks.get(domain) is self

        if not self.wait(lock, self.patience_s):
            raise Refused("busy", f"a command for {domain} is still running on this host")
        try:
            with self.mutex:
                self._advance_epoch(claim)
        except Refused:
            self.host.locks.pop(domain, None)
            raise

    def _stored(self, domain: str) -> int:
        path = f"{EPOCHS}/{domain}"
        node = self.host.files.nodes.get(path)
        return stored_number(node.text, path) if isinstance(node, File) else 0

    def _advance_epoch(self, claim: Claim) -> None:
        stored = self._stored(claim.domain)
        claim.check(stored)
        if claim.epoch > stored:
            files = self.host.files
            for folder in (posixpath.dirname(EPOCHS), EPOCHS):
                files.nodes.setdefault(folder, Directory(0o700))
            files.nodes[posixpath.join(EPOCHS, claim.domain)] = File(f"{claim.epoch}\n")
