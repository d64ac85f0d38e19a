"""Where running labs keep their disks and a note of what they started."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .image.recipe import cache_root
from .qemu import Process


@dataclass(frozen=True)
class Run:
    """One running lab's directory in the cache."""

    directory: Path

    @classmethod
    def named(cls, name: str) -> Run:
        """The run of this name, whether it exists or not."""
        return cls(cache_root() / "runs" / name)

    def create(self) -> Path:
        """An empty directory; what an abandoned run of any name left behind is removed on the way."""
        for path in self.directory.parent.glob("*"):
            Run(path).remove_if_abandoned()
        self.remove()
        self.directory.mkdir(parents=True)
        return self.directory

    def save(self, state: dict[str, Any]) -> None:
        """Note what runs, atomically."""
        temporary = self.directory / "state.new"
        temporary.write_text(json.dumps(state, indent=2) + "\n")
        temporary.replace(self.directory / "state.json")

    def state(self) -> dict[str, Any] | None:
        """What was noted, if anything."""
        try:
            state: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        except FileNotFoundError:
            return None
        return state

    def remove_if_abandoned(self) -> None:
        """End and remove a run whose owner is gone; a kept one has no owner and stays."""
        state = self.state()
        if state is None or state["owner"] is None or Process(*state["owner"]).alive:
            return
        for numbers in [state["observer"], *state["processes"].values()]:
            if numbers and numbers[0] != os.getpid():
                Process(*numbers).kill()
        shutil.rmtree(state["sockets"], ignore_errors=True)
        self.remove()

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
