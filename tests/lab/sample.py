"""A repository of desired placements and a daemon's configuration that fit a running lab."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .image.recipe import LabError
from .lab import Lab

HOST = """\
  {name}:
    address: {address}
    port: {port}
    replication_address: {replication_address}
"""
DESIRED = """\
# Where each domain of the lab should live. Commit a change of `host:` and the daemon makes it so.
hosts:
{hosts}
domains:
  web1:
    host: xen1
"""
CONFIG = """\
repository: {repository}
state_dir: {state}
ssh:
  key_file: {key_file}
  known_hosts_file: {known_hosts}
  connect_timeout_s: 60
interval_s: 30
"""


def write_sample(lab: Lab) -> tuple[Path, Path]:
    """Make the repository (one commit: web1 on xen1) and the configuration; return both paths."""
    base = lab.directory
    repository, config = base / "placement", base / "config.yaml"
    (repository / "desired").mkdir(parents=True, exist_ok=True)
    hosts = "".join(
        HOST.format(
            name=host.name,
            address=host.address,
            port=host.port,
            replication_address=host.replication_address,
        )
        for host in lab.hosts.values()
    )
    (repository / "desired" / "lab.yaml").write_text(DESIRED.format(hosts=hosts))
    _git(repository, "init", "--quiet", "--initial-branch=main")
    _git(repository, "config", "user.name", "lab")
    _git(repository, "config", "user.email", "lab@localhost")
    _git(repository, "add", "desired")
    _git(repository, "commit", "--quiet", "--message", "web1 lives on xen1")
    state = base / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    config.write_text(
        CONFIG.format(repository=repository, state=state, key_file=lab.key_file, known_hosts=lab.known_hosts)
    )
    return repository, config


def _git(repository: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"git {arguments[0]}: {done.stderr.strip()}")
