"""What several commands take."""

from __future__ import annotations

from pathlib import Path

import click

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
