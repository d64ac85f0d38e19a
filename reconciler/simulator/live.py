"""Simulated hosts with everything a daemon needs to reach them: keys, known_hosts, hosts.yaml."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconciler.simulator import checkers, scene
from reconciler.simulator.server import HostServer, LiveWorld
from reconciler.simulator.world import World


@dataclass
class Handle:
    """Running simulated hosts."""

    live: LiveWorld
    servers: dict[str, HostServer]
    directory: Path
    key_file: Path
    known_hosts_file: Path
    hosts_file: Path

    @property
    def world(self) -> World:
        """Touch it only with `live.lock` held."""
        return self.live.world

    @property
    def ports(self) -> dict[str, int]:
        return {name: server.port for name, server in self.servers.items()}

    def violations(self) -> list[str]:
        """What the checkers say now."""
        with self.live.lock:
            self.live.catch_up()
            return checkers.violations(self.world)

    def where(self, name: str) -> str | None:
        """The host on which the domain runs unpaused."""
        with self.live.lock:
            self.live.catch_up()
            for host in self.world.hosts.values():
                domain = host.domain(name)
                if domain is not None and domain.running:
                    return host.name
        return None

    def crash(self, name: str) -> None:
        """Power off a host."""
        with self.live.lock:
            self.live.catch_up()
            self.world.hosts[name].crash()
        self.servers[name].drop_connections()

    def boot(self, name: str) -> None:
        with self.live.lock:
            self.live.catch_up()
            self.world.hosts[name].boot()

    def stop(self) -> None:
        self.live.stopped.set()
        for server in self.servers.values():
            server.close()


def new_key(path: Path) -> paramiko.Ed25519Key:
    """A fresh key in OpenSSH's format, with its public half beside it."""
    private = Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    path.touch(mode=0o600)
    path.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    key = paramiko.Ed25519Key.from_private_key_file(str(path))
    Path(f"{path}.pub").write_text(f"{key.get_name()} {key.get_base64()}\n")
    return key


def start(directory: Path, hosts: int = 2, speed: float = 20.0, world: World | None = None) -> Handle:
    """Start hosts, with web1 running on xen1 unless a world is given, and write the files to reach them."""
    directory.mkdir(parents=True, exist_ok=True)
    if world is None:
        world = scene.site(hosts)
        scene.place(world.hosts["xen1"])
    live = LiveWorld(world, speed)
    authorized = new_key(directory / "id_ed25519")
    servers = {
        name: HostServer(live, host, new_key(directory / f"host_key_{name}"), authorized)
        for name, host in world.hosts.items()
    }
    known, listed = [], []
    for name, server in servers.items():
        key = server.host_key
        known.append(f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n")
        listed.append(
            f"  {name}:\n    address: 127.0.0.1\n    port: {server.port}\n"
            f"    replication_address: {world.hosts[name].replication_address}\n"
        )
    (directory / "known_hosts").write_text("".join(known))
    (directory / "hosts.yaml").write_text("hosts:\n" + "".join(listed))
    threading.Thread(target=live.tick, daemon=True).start()
    return Handle(
        live,
        servers,
        directory,
        directory / "id_ed25519",
        directory / "known_hosts",
        directory / "hosts.yaml",
    )
