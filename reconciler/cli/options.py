"""What several commands take."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.config import Config
from reconciler.errors import InputError
from reconciler.model.placement import Host
from reconciler.source import load, wording

DEFAULT_CONFIG = "/etc/xen-reconciler/config.yaml"
config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="RECONCILER_CONFIG",
    show_default=True,
    help="The daemon's configuration.",
)


def host_of(config: Config, name: str) -> Host:
    """The committed host of that name; raises InputError."""
    loaded = load(config.repository, config.ref, config.folder)
    if loaded.desired is None:
        raise InputError(
            "the commit has problems, so its hosts are not known: `reconciler validate` tells them"
        )
    known = loaded.desired.hosts
    if name not in known:
        raise InputError(
            f"there is no host {name}{wording.guess(name, known)}; there are {wording.choices(known)}"
        )
    return known[name]
