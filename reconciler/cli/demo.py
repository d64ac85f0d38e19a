"""`reconciler demo`: the whole tool on simulated hosts — real git, real ssh on loopback, the real daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.live import Live

from reconciler.errors import ReconcilerError
from reconciler.report import view

if TYPE_CHECKING:
    from reconciler.simulator.live import Handle

DEADLINE_S = 50.0


def _git(folder: Path, *argv: str) -> None:
    who = ("-c", "user.name=operator", "-c", "user.email=operator@example.org")
    subprocess.run(["git", *who, *argv], cwd=folder, check=True, capture_output=True)


def _prepare(folder: Path, fleet: Handle) -> Path:
    """A repository that places web1 on xen1, and a configuration for the daemon."""
    repository = folder / "placement"
    (repository / "desired").mkdir(parents=True)
    _git(repository, "init", "-q", "-b", "main")
    rows = {
        name: {
            "address": "127.0.0.1",
            "port": port,
            "replication_address": fleet.world.hosts[name].replication_address,
        }
        for name, port in fleet.ports.items()
    }
    hosts = "".join(f"  {name}: {json.dumps(row)}\n" for name, row in rows.items())
    (repository / "desired" / "hosts.yaml").write_text(f"hosts:\n{hosts}")
    _commit(repository, "xen1")
    config = folder / "config.yaml"
    settings = {
        "repository": str(repository),
        "state_dir": str(folder / "state"),
        "ssh": {"key_file": str(fleet.key_file), "known_hosts_file": str(fleet.known_hosts_file)},
        "interval_s": 5,
    }
    config.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
    return config


def _commit(repository: Path, host: str) -> None:
    (repository / "desired" / "domains.yaml").write_text(f"domains:\n  web1:\n    host: {host}\n")
    _git(repository, "add", "-A")
    _git(repository, "commit", "-q", "-m", f"web1 should live on {host}")


def _report(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "state" / "report.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _wait(folder: Path, host: str, console: Console, daemon: subprocess.Popen[bytes]) -> bool:
    """Show the report as it changes until web1 lives on the host; False when it does not in time."""
    deadline = time.monotonic() + DEADLINE_S
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while time.monotonic() < deadline and daemon.poll() is None:
            report = _report(folder)
            if report:
                live.update(view.page(report))
                web1: dict[str, Any] = next((row for row in report["domains"] if row["name"] == "web1"), {})
                if web1.get("state") == "in-place" and web1.get("observed_host") == host:
                    return True
            time.sleep(0.25)
    return False


@click.command()
@click.option(
    "--speed", default=8.0, show_default=True, help="How much faster than real time the hosts live."
)
@click.option("--keep", is_flag=True, help="Keep the folder with the repository, the report and the journal.")
def demo(speed: float, keep: bool) -> None:
    """Move a domain between two simulated hosts by a git commit, and watch it."""
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="reconciler-demo-"))
    from reconciler.simulator.live import start  # no other command has to load the simulator

    fleet = start(folder / "hosts", hosts=2, speed=speed)
    daemon: subprocess.Popen[bytes] | None = None
    try:
        config = _prepare(folder, fleet)
        ports = ", ".join(f"{name}: {port}" for name, port in fleet.ports.items())
        console.print(f"Two simulated hosts answer ssh on loopback ({ports});")
        console.print(f"web1 (256 MB, two disks) runs on xen1. The placement is in {folder / 'placement'}.\n")
        log = folder / "daemon.log"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "reconciler", "run", "--config", str(config)],
                stdout=output,
                stderr=output,
                env=dict(os.environ),
            )
        if not _wait(folder, "xen1", console, daemon):
            raise ReconcilerError(f"the daemon never saw web1 on xen1; see {log}:\n{log.read_text()[-3000:]}")
        console.print("$ git commit -m 'web1 should live on xen2'")
        _commit(folder / "placement", "xen2")
        moved = _wait(folder, "xen2", console, daemon)
        view.render(_report(folder), console)
        broken = fleet.violations()
        for text in broken:
            console.print(f"[red]safety rule broken: {text}[/red]")
        if not moved or broken:
            raise ReconcilerError(f"web1 did not arrive on xen2; see {log}:\n{log.read_text()[-3000:]}")
        console.print("web1 lives on xen2: every write is there, and nothing of it is left on xen1.")
        console.print(f"The report: {folder / 'state' / 'report.json'}" if keep else "")
    finally:
        if daemon is not None:
            daemon.terminate()
            daemon.wait(timeout=30)
        fleet.stop()
        if not keep:
            shutil.rmtree(folder)
