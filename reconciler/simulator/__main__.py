"""`reconciler-sim`: simulated Xen hosts to try the reconciler against."""

from __future__ import annotations

import time
from pathlib import Path

import click

from reconciler.simulator.live import Handle
from reconciler.simulator.live import start as start_hosts


@click.group()
def main() -> None:
    """Simulated Xen hosts behind a real SSH server on loopback."""


@main.command()
@click.option("--hosts", type=click.IntRange(2, 64), default=2, show_default=True, help="How many hosts.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where keys, known_hosts and hosts.yaml are written.",
)
@click.option(
    "--speed",
    type=click.FloatRange(1.0, 1000.0),
    default=20.0,
    show_default=True,
    help="Times faster than life.",
)
def up(hosts: int, directory: Path, speed: float) -> None:
    """Start hosts and keep them running until interrupted."""
    handle = start_hosts(directory, hosts, speed)
    click.echo(f"{hosts} simulated hosts are up; web1 runs on xen1. Files in {directory}:")
    for path in (handle.key_file, handle.known_hosts_file, handle.hosts_file):
        click.echo(f"  {path.name:14}{path}")
    click.echo(
        "Copy hosts.yaml into the repository of the desired state, point the daemon's configuration at"
    )
    click.echo(
        "id_ed25519 and known_hosts, commit `host: xen2` for web1, and watch it move. Ctrl-C ends this."
    )
    try:
        watch(handle)
    except KeyboardInterrupt:
        handle.stop()


def watch(handle: Handle) -> None:
    """Say when the domain has moved and when a safety rule is broken."""
    last, told = "xen1", set[str]()
    while True:
        time.sleep(0.5)
        where = handle.where("web1")
        if where and where != last:
            click.echo(f"web1 now runs on {where}")
            last = where
        for text in handle.violations():
            if text not in told:
                told.add(text)
                click.echo(f"VIOLATION {text}")


if __name__ == "__main__":
    main()
