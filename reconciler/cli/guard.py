"""`reconciler guard`: the host-side guard, for hosts whose key for the daemon is limited to it."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import config_option, host_of
from reconciler.config import load_config
from reconciler.errors import InputError
from reconciler.execution.ssh import CURRENT_PATH, GUARD_VERSION, NotSent, install_current


@click.group()
def guard() -> None:
    """The guard on the hosts."""


@guard.command()
@click.argument("host")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="A private key that may do anything there; without it the daemon's own.",
)
@config_option
def install(host: str, key_file: Path | None, config_file: Path) -> None:
    """Install this version's guard on HOST, and make it the one that a forced command starts."""
    config = load_config(config_file)
    there, ssh = host_of(config, host), config.ssh
    try:
        install_current(there, key_file or ssh.key_file, ssh.known_hosts_file, ssh.connect_timeout_s)
    except NotSent as error:
        raise InputError(f"{host}: {error}") from None
    click.echo(f"{host}: guard {GUARD_VERSION} is there; a forced command starts {CURRENT_PATH}")
