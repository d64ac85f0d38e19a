"""A small site for end-to-end tests: a git repository, a configuration and the real daemon as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Reachable(Protocol):
    """A host as the tests know it: where its sshd answers, and its address on the replication link."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def replication_address(self) -> str: ...


def entry(report: dict[str, Any], name: str = "web1") -> dict[str, Any]:
    """One domain's entry of a report."""
    return next((row for row in report.get("domains", ()) if row["name"] == name), {})


def mirrored(host: str) -> Any:
    """In place, and a mirror of it in step on another host."""

    def seen(report: dict[str, Any]) -> bool:
        web1 = entry(report)
        why = f"mirror on {host}: in step; web1 changes to {host} when a commit wants it there"
        return web1.get("state") == "in-place" and web1.get("why") == why

    return seen


class Site:
    """Repository, configuration, state folder and daemon below one folder."""

    def __init__(
        self,
        folder: Path,
        hosts: Mapping[str, Reachable],
        key_file: Path,
        known_hosts: Path,
        **config: object,
    ) -> None:
        self.folder = folder
        self.repository = folder / "placement"
        self.report_file = folder / "state" / "report.json"
        self.config_file = folder / "config.yaml"
        self.log_file = folder / "daemon.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self.git("init", "-q", "-b", "main", str(self.repository), where=folder)
        rows = {
            name: {"address": h.address, "port": h.port, "replication_address": h.replication_address}
            for name, h in hosts.items()
        }
        (self.repository / "desired").mkdir()
        self.write(
            "hosts.yaml", "hosts:\n" + "".join(f"  {name}: {json.dumps(row)}\n" for name, row in rows.items())
        )
        settings: dict[str, object] = {
            "repository": str(self.repository),
            "state_dir": str(folder / "state"),
            "ssh": {"key_file": str(key_file), "known_hosts_file": str(known_hosts), "connect_timeout_s": 30},
            "interval_s": 30,
            **config,
        }
        self.config_file.write_text(
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
        )

    def git(self, *argv: str, where: Path | None = None) -> str:
        who = ("-c", "user.name=operator", "-c", "user.email=operator@example.org")
        done = subprocess.run(
            ["git", *who, *argv], cwd=where or self.repository, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        """Edit a file of the working tree, without committing it."""
        (self.repository / "desired" / name).write_text(text)

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def place(self, **domains: str) -> str:
        """Commit where domains should live."""
        self.write(
            "domains.yaml", "domains:\n" + "".join(f"  {n}: {{host: {h}}}\n" for n, h in domains.items())
        )
        return self.commit(", ".join(f"{name} to {host}" for name, host in domains.items()))

    def command(self, *argv: str) -> list[str]:
        return [sys.executable, "-m", "reconciler", "-v", *argv, "--config", str(self.config_file)]

    def call(self, *argv: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run one command of the tool to its end."""
        return subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=timeout_s)

    def start(self) -> None:
        """Start the daemon."""
        with self.log_file.open("ab") as log:
            self._daemon = subprocess.Popen(self.command("run"), stdout=log, stderr=log, env=dict(os.environ))

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 60) -> int:
        """End the daemon with a signal; its exit status."""
        assert self._daemon is not None
        self._daemon.send_signal(number)
        status = self._daemon.wait(timeout_s)
        self._daemon = None
        return status

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def running(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is None

    def report(self) -> dict[str, Any]:
        """The report file as it is now; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads(self.report_file.read_text())
        except FileNotFoundError:
            return {}
        return found

    def wait(
        self, what: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float
    ) -> dict[str, Any]:
        """Wait until the report shows something; on time-out the daemon's log says why it does not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            report = self.report()
            if report and condition(report):
                return report
            if self._daemon is not None and self._daemon.poll() is not None:
                break
            time.sleep(0.2)
        tail = self.log_file.read_text(errors="replace")[-6000:] if self.log_file.exists() else ""
        raise AssertionError(
            f"the report never showed {what}; the log ends:\n{tail}\nreport: {self.report()}"
        )

    def close(self) -> None:
        if self.running:
            assert self._daemon is not None
            self._daemon.kill()
            self._daemon.wait()
