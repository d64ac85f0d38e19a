"""The tool installed on a lab host by the commands of docs/how-to/install.md, its repository beside it.

What the pages say for an operator to do by hand is done here in the same order and with the same paths.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .host import Host
from .lab import Lab
from .package import CHECKOUT, PACKED_CHECKOUT, VENV, pack

ETC = "/etc/xen-reconciler"
GIT_DIR = "/srv/git/placement.git"
TREE = "/srv/placement"
REPORT = "/var/lib/xen-reconciler/report.json"
DROP_IN = "/etc/systemd/system/reconciler.service.d"
PIP = "/opt/xen-reconciler/bin/pip install ."
POLL_S = 10.0
"""Seldom: under emulation each look takes a second of the one processor that the daemon has."""


def commands_of(page: str, heading: str) -> list[str]:
    """The lines of a page's shell blocks that a reader would run, from the block with `heading` in it."""
    blocks = re.findall(r"```sh\n(.*?)```", (CHECKOUT / "docs" / page).read_text(), re.S)
    (block,) = [block for block in blocks if heading in block]
    return [line for line in block.splitlines() if line]


def forced_command() -> str:
    """What docs/how-to/hosts.md puts before the daemon's key, with the address of its example."""
    (line,) = re.findall(
        r"^(restrict,from=.*) ssh-ed25519", (CHECKOUT / "docs/how-to/hosts.md").read_text(), re.M
    )
    return str(line)


class Installed:
    """The daemon's host: its files, its unit, and the repository with the placement."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.host: Host = lab.hosts[name]

    def install(self, folder: Path) -> None:
        """Everything of the page up to the start of the unit."""
        archive = folder / "package.tar.gz"
        pack(archive, folder / "package")
        lines = commands_of("how-to/install.md", PIP)
        assert lines[0] == f"python3 -m venv /{VENV} && {PIP}"
        # Nothing is downloaded by the host, and Debian's python3 alone has no pip: only these differ.
        self.host.run("python3 -m venv --without-pip /opt/xen-reconciler")
        with archive.open("rb") as content:
            unpack = [*self.host.ssh_argv(), "tar -xz --warning=no-timestamp -f - -C /"]
            subprocess.run(unpack, stdin=content, check=True, timeout=300)
        self.host.run(f"mkdir -p {DROP_IN}")
        self.host.write(f"{DROP_IN}/lab.conf", "[Service]\nTimeoutStartSec=10min\n")  # emulation is slow
        self.host.run("\n".join(["set -e", f"cd /{PACKED_CHECKOUT}", *lines[1:]]))
        self.host.run(f"cp /root/.ssh/known_hosts {ETC}/known_hosts && chmod 644 {ETC}/known_hosts")

    def limit_key(self) -> None:
        """The daemon's key in root's authorized_keys of all hosts, limited as the page says."""
        public = self.host.run(["cat", f"{ETC}/id_ed25519.pub"])
        line = f"{forced_command().replace('192.0.2.10', self.host.replication_address)} {public}"
        for host in self.lab.hosts.values():
            host.run("cat >> /root/.ssh/authorized_keys", feed=line)

    # --- as `moving.move` uses it

    def create_repository(self) -> None:
        """A bare repository of root's, which the daemon's user can only read."""
        self.host.run(f"mkdir -p {TREE}/desired && git init -q --bare -b main {GIT_DIR}")
        rows = {
            name: {"address": host.replication_address, "replication_address": host.replication_address}
            for name, host in self.lab.hosts.items()
        }
        self.write("hosts.yaml", json.dumps({"hosts": rows}))

    def write(self, name: str, text: str) -> None:
        """Edit a file that is to be committed."""
        self.host.write(f"{TREE}/desired/{name}", text)

    def commit(self, message: str) -> str:
        who = "-c user.name=operator -c user.email=operator@example.org"
        git = f"git {who} --git-dir={GIT_DIR} --work-tree={TREE}"
        words = shlex.quote(message)
        return self.host.run(
            f"cd {TREE} && {git} add -A && {git} commit -qm {words} && {git} rev-parse HEAD"
        ).strip()

    def wait(
        self, what: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float
    ) -> dict[str, Any]:
        """Wait until the report shows something; on time-out the unit's log says why it does not."""
        deadline = time.monotonic() + timeout_s
        report: dict[str, Any] = {}
        while time.monotonic() < deadline:
            text = self.host.call(["cat", REPORT]).stdout
            report = json.loads(text) if text else {}
            if report and condition(report):
                return report
            time.sleep(POLL_S)
        raise AssertionError(f"the report never showed {what}: {report}\n{self.log()}")

    # --- the unit

    def start(self) -> None:
        """As the page says; systemd waits for the daemon's word that it is ready."""
        done = self.host.call(["systemctl", "enable", "--now", "reconciler"])
        assert done.returncode == 0, done.stderr + self.log()

    def log(self) -> str:
        """What the unit said on its standard error."""
        return self.host.run(["journalctl", "--no-pager", "-o", "cat", "-u", "reconciler"])

    def show(self, *names: str) -> dict[str, str]:
        """Properties of the unit as systemd knows it."""
        text = self.host.run(["systemctl", "show", "reconciler", *(f"-p{name}" for name in names)])
        return dict(line.split("=", 1) for line in text.splitlines())

    def process(self) -> dict[str, str]:
        """The kernel's word on the daemon: /proc/PID/status."""
        (pid,) = self.show("MainPID").values()
        text = self.host.run(["cat", f"/proc/{pid}/status"])
        return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
