"""Drives the real daemon to a step of a move and keeps the lab there: its hosts, repository and journal."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.model.move import Status
from reconciler.moves.journal import Journal
from tests.lab.lab import Lab
from tests.lab.moving import MOVE_S, in_place
from tests.site import Site

from .matrix import RECIPES, WAITING, acting, steps
from .watch import Watch


@dataclass(frozen=True)
class Stage:
    """A moment that can be gone back to: the lab's snapshot, and the site's folder as it was then."""

    name: str
    kept: Path


class Drive:
    """One lab and one site, put back together to the same moment as often as wanted."""

    def __init__(self, lab: Lab, folder: Path, recipe: str) -> None:
        self.lab = lab
        self.recipe, self.steps, self.acting = recipe, steps(recipe), acting(recipe)
        self.folder = folder
        (folder / "site").mkdir(parents=True)
        self.site = Site(folder / "site", lab.hosts, lab.key_file, lab.known_hosts, domain_retry_s=3600)
        self.watch = Watch(self.site)
        self._place("xen1")
        self.site.start()
        self.site.wait("web1 in place on xen1", in_place("xen1"), 300)
        assert self.site.stop() == 0
        self._place("xen2")
        self.start = self._stage = self._keep("guest")
        self._at = 0

    def close(self) -> None:
        self.site.close()

    # -- stages ---------------------------------------------------------------------------------

    def restore(self, stage: Stage) -> None:
        """Hosts, repository and journal as they were when the stage was kept; the clock runs on."""
        if self.site.running:
            self.site.close()
        self.lab.reset(stage.name)
        self.lab.observer.set_rates(heartbeats_per_s=5, writes_per_s=3)  # the emulated processor is slow
        shutil.rmtree(self.site.folder)
        shutil.copytree(stage.kept, self.site.folder)
        path = self.site.folder / "state" / "journal.sqlite"
        journal, now = Journal(path), datetime.datetime.now(datetime.UTC)
        for record in journal.active():  # what is waited for begins now: the stage may be an hour old
            progress = replace(record.progress, step_began=now, unknown_since=None, busy_since=None)
            assert progress.status is Status.ACTIVE
            journal.record(record.order, progress, now)
        journal.close()

    def on_to(self, stage: Stage, last: str) -> Stage:
        """From a stage, see the steps up to `last` through, stop there and keep that as a stage."""
        self.restore(stage)
        self.site.start()
        self.watch.wait(f"step {last}", lambda: self.watch.at(last))
        assert self.site.stop(timeout_s=300) == 0
        name = f"after-{last}"
        self.lab.snapshot(name)
        return self._keep(name)

    def scout(self, stage: Stage, names: Sequence[str]) -> None:
        """Learn what steps are going to do, by seeing the rest of the move once, undisturbed."""
        if all(step in self.watch.known for step in names if step not in WAITING):
            return
        self.restore(stage)
        self.site.start()
        self.watch.wait("the end", self.watch.turned, MOVE_S)
        self.watch.intents()

    def before(self, index: int) -> Stage:
        """The stage at the beginning of a step, by its number among those that act.

        There is none right behind a step that only waits: it may be over before anybody sees it.
        """
        while index and self.acting[index - 1] in WAITING:
            index -= 1
        if self._at > index:
            self._forget()
        if self._at < index:
            stage = self.on_to(self._stage, self.acting[index - 1])
            self._forget()
            self._stage, self._at = stage, index
        return self._stage

    def _forget(self) -> None:
        if self._stage is not self.start:
            shutil.rmtree(self._stage.kept)
            self.lab.forget(self._stage.name)
        self._stage, self._at = self.start, 0

    def _place(self, host: str) -> None:
        policy = RECIPES[self.recipe].policy
        self.site.write("domains.yaml", f"domains:\n  web1: {{host: {host}, policy: {policy}}}\n")
        self.site.commit(f"web1 to {host}")

    def _keep(self, name: str) -> Stage:
        kept = self.folder / name
        shutil.copytree(self.site.folder, kept)
        return Stage(name, kept)
