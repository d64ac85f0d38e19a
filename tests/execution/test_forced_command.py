"""A key limited to the guard: on the simulated SSH server always, on a real sshd where there is one."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from reconciler.execution import ssh
from reconciler.model.command import Answer, Claim, Command, Script, Skip, Skipped
from reconciler.model.placement import Host
from reconciler.simulator.live import Handle, new_key, start
from tests.site import Site
from tests.test_daemon import Address

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:" + os.environ["PATH"])
LIST = Script((Command(("true",)),), Claim("web1", 1))
ADVICE = "reconciler guard install HOST --key KEY"


@dataclass
class Place:
    """One host that takes a limited key, and the means to change which guard that key starts."""

    host: Host
    key_file: Path
    known_hosts: Path
    folder: Path | None = None
    fleet: Handle | None = None

    def runner(self) -> ssh.SshRunner:
        return ssh.SshRunner({self.host.name: self.host}, self.key_file, self.known_hosts, 10)

    def put(self, source: bytes | None) -> None:
        """Make this the current guard; None takes it away."""
        if self.folder:
            current = self.folder / "guard-current.py"
            current.unlink(missing_ok=True)
            if source is not None:
                current.write_bytes(source)
            return
        assert self.fleet is not None
        from reconciler.simulator.filesystem import File
        from reconciler.simulator.server import CURRENT

        with self.fleet.live.lock:
            nodes = self.fleet.world.hosts["xen1"].files.nodes
            nodes.pop(CURRENT, None)
            if source is not None:
                nodes[CURRENT] = File(source.decode())


@pytest.fixture(params=["simulated", "sshd"] if SSHD else ["simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from (simulated if request.param == "simulated" else real)(tmp_path)


def simulated(folder: Path) -> Iterator[Place]:
    fleet = start(folder / "hosts", hosts=1, speed=50.0)
    fleet.servers["xen1"].limited = new_key(folder / "limited")
    host = Host("xen1", "127.0.0.1", "10.99.0.1", port=fleet.ports["xen1"])
    yield Place(host, folder / "limited", fleet.known_hosts_file, fleet=fleet)
    fleet.stop()


def real(folder: Path) -> Iterator[Place]:
    """sshd on loopback with nothing but its own files; the guard keeps its state below `folder` too."""
    host_key, _ = new_key(folder / "host_key"), new_key(folder / "limited")
    there = folder / "there"
    there.mkdir()
    forced = f"{sys.executable} -I {there}/guard-current.py {there}/state {there}/run"
    public = (folder / "limited.pub").read_text()
    (folder / "authorized").write_text(f'restrict,command="{forced}" {public}')
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    rows = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in rows.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    assert SSHD is not None
    with (folder / "sshd.log").open("wb") as log:
        daemon = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and daemon.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        user = getpass.getuser()
        yield Place(Host("xen1", "127.0.0.1", "10.99.0.1", port, user), folder / "limited", known, there)
    finally:
        daemon.terminate()
        daemon.wait(10)


def test_a_limited_key_works_with_the_guard_of_this_version(place: Place) -> None:
    place.put(ssh.GUARD_SOURCE)
    runner = place.runner()
    for _ in range(2):
        (outcome,) = runner.run("xen1", LIST)
        assert isinstance(outcome, Answer), outcome
        assert outcome.ok
    runner.close()


@pytest.mark.parametrize("there", ["another", "none"])
def test_another_guard_or_none_says_what_to_do_and_runs_nothing(place: Place, there: str) -> None:
    place.put(ssh.GUARD_SOURCE + b"# of another version\n" if there == "another" else None)
    runner = place.runner()
    (outcome,) = runner.run("xen1", LIST)
    runner.close()
    assert isinstance(outcome, Skipped)
    assert outcome.why is Skip.UNREACHABLE
    assert ADVICE in outcome.detail
    if there == "another":
        assert f"not {ssh.GUARD_VERSION}" in outcome.detail


def test_with_a_limited_key_nothing_but_the_guard_is_started(place: Place, tmp_path: Path) -> None:
    place.put(ssh.GUARD_SOURCE)
    client = ssh.connect(place.host, place.key_file, place.known_hosts, 10)
    made = tmp_path / "made"
    _, stdout, _ = client.exec_command(f"touch {made}", timeout=20)
    assert '"guard": 1' in stdout.readline()
    transport = client.get_transport()
    assert transport is not None
    for kind, where in (("direct-tcpip", ("127.0.0.1", place.host.port)), ("x11", ("127.0.0.1", 0))):
        with pytest.raises((paramiko.SSHException, EOFError)):
            transport.open_channel(kind, where, ("127.0.0.1", 0), timeout=10)
    client.close()
    assert not made.exists()


def test_the_command_installs_the_guard_with_another_key(tmp_path: Path) -> None:
    places = simulated(tmp_path)
    place = next(places)
    assert place.fleet is not None
    hosts = {"xen1": Address("127.0.0.1", place.host.port, "10.99.0.1")}
    site = Site(tmp_path, hosts, place.key_file, place.known_hosts)
    site.place(web1="xen1")
    done = site.call("guard", "install", "xen1")
    assert done.returncode == 1
    assert ADVICE in done.stderr, done.stderr
    done = site.call("guard", "install", "xen1", "--key", str(place.fleet.key_file))
    assert done.returncode == 0, done.stderr
    assert ssh.GUARD_VERSION in done.stdout
    assert site.call("plan").returncode == 0, "the daemon's own key now does"
    assert "did you mean «xen1»" in site.call("guard", "install", "xen11").stderr
    assert next(places, None) is None
