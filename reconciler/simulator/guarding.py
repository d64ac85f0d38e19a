"""The host-side guard over a simulated host: the same protocol, with locks and epochs in the simulation.

Mirrors `execution.guard.Guard` (whose request check it uses) without real files, processes or clocks.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from reconciler.execution.guard import LOCK_PATIENCE_S, PROTOCOL, Refused, check
from reconciler.simulator.filesystem import Directory, File, FileError
from reconciler.simulator.host import SimHost
from reconciler.simulator.world import Job

EPOCHS = "/var/lib/xen-reconciler/epochs"
Wait = Callable[[Callable[[], bool], float], bool]
Checked = tuple[list[dict[str, Any]], tuple[str, int] | None]
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
        claim: tuple[str, int] | None = None
        held = False
        try:
            commands, claim = self.checked(request)
            if claim:
                self._take(*claim)
                held = True
            for index, command in enumerate(commands):
                if claim and gone():
                    raise Refused("busy", "the asker hung up")
                reply = self._run(index, command, claim[0] if claim else None)
                yield {"id": ident, "index": index, **reply}
                if claim and reply.get("exit") != 0:
                    break
            yield {"id": ident, "done": True}
        except Refused as refused:
            yield {"id": ident, "refused": refused.reason, "detail": refused.detail}
        finally:
            with self.mutex:
                if claim and held and self.host.locks.get(claim[0]) is self:
                    del self.host.locks[claim[0]]

    def _run(self, index: int, command: dict[str, Any], lock: str | None) -> dict[str, Any]:
        job = self.start(index, command["argv"], command["stdin"], lock)
        if not self.wait(lambda: job.over, command["timeout_s"]) or job.result is None:
            with self.mutex:
                if lock is None:
                    self.host.world.kill(job)
            return {"timeout": True}
        result = job.result
        took = round(job.ended_s - job.began_s, 4)
        return {"exit": result.exit, "stdout": result.stdout, "stderr": result.stderr, "duration_s": took}

    def _locked(self, domain: str) -> bool:
        inherited = any(job.host is self.host and job.lock == domain for job in self.host.world.jobs)
        return inherited or domain in self.host.locks

    def _take(self, domain: str, epoch: int) -> None:
        def lock() -> bool:
            if not self._locked(domain):
                self.host.locks[domain] = self
            return self.host.locks.get(domain) is self

        if not self.wait(lock, self.patience_s):
            raise Refused("busy", f"a command for {domain} is still running on this host")
        try:
            with self.mutex:
                self._advance_epoch(domain, epoch)
        except Refused:
            self.host.locks.pop(domain, None)
            raise

    def _advance_epoch(self, domain: str, epoch: int) -> None:
        path = posixpath.join(EPOCHS, domain)
        files = self.host.files
        try:
            text = files.read(path).strip()
        except FileError:
            text = "0"
        if not re.fullmatch("[0-9]{1,18}", text):
            raise Refused("stale-epoch", f"{path} does not hold a number; a human must look")
        if epoch < int(text):
            raise Refused("stale-epoch", f"epoch {epoch} of {domain} is older than {int(text)} on this host")
        if epoch > int(text):
            for folder in (posixpath.dirname(EPOCHS), EPOCHS):
                files.nodes.setdefault(folder, Directory(0o700))
            files.nodes[path] = File(f"{epoch}\n")
