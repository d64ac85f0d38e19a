"""The daemon and `accept` together: what a rewound, forced or unsigned ref does, on simulated hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.simulator.live import Handle, start
from tests.site import Site
from tests.source import signing
from tests.test_daemon import Address, at


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Handle]:
    handle = start(tmp_path / "hosts", hosts=2, speed=50.0)
    yield handle
    handle.stop()


def site_of(fleet: Handle, folder: Path, **config: object) -> Site:
    hosts = {
        name: Address("127.0.0.1", port, fleet.world.hosts[name].replication_address)
        for name, port in fleet.ports.items()
    }
    return Site(folder, hosts, fleet.key_file, fleet.known_hosts_file, **config)


def test_a_force_push_is_held_until_it_is_accepted(fleet: Handle, tmp_path: Path) -> None:
    site = site_of(fleet, tmp_path)
    assert site.call("accept", "main").returncode == 1, "nothing is in force yet"
    first = site.place(web1="xen1")
    assert site.call("once").returncode == 0
    site.git("commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
    forced = site.place(web1="xen2")
    done = site.call("once")
    report = site.report()
    assert (report["commit"]["in_force"], report["commit"]["head"]) == (first, forced)
    (problem,) = report["commit"]["problems"]
    assert "force-pushed" in problem["message"]
    assert f"reconciler accept {forced}" in problem["allowed"]
    assert any("reconciler accept" in step for step in report["commit"]["what_to_do"])
    assert fleet.where("web1") == "xen1"
    assert site.call("accept", "1" * 40).returncode == 1
    done = site.call("accept", forced)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert site.call("once").returncode == 0
    assert site.report()["commit"]["in_force"] == forced
    assert fleet.where("web1") == "xen2"
    site.git("reset", "-q", "--hard", first)
    site.call("once")
    assert site.report()["commit"]["in_force"] == forced, "the way back was never accepted"
    site.git("reset", "-q", "--hard", forced)
    assert "needs no word" in site.call("accept", forced).stdout
    assert fleet.violations() == []


def test_an_unsigned_commit_does_not_come_into_force(fleet: Handle, tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(f"alice {signing.new_key(tmp_path / 'alice')}\n")
    site = site_of(fleet, tmp_path, signatures={"ssh_allowed_signers_file": "signers"})
    site.place(web1="xen1")
    done = site.call("plan")
    assert done.returncode == 1
    assert "it is not signed" in done.stderr
    site.git("config", "gpg.format", "ssh")
    site.git("config", "user.signingKey", str(tmp_path / "alice"))
    site.git("config", "commit.gpgSign", "true")
    signed = site.place(web1="xen2")
    site.start()
    site.wait("web1 on xen2", at("xen2"), 60)
    site.git("config", "commit.gpgSign", "false")
    site.place(web1="xen1")
    report = site.wait("the refusal", lambda report: bool(report["commit"]["problems"]), 30)
    assert "it is not signed" in report["commit"]["problems"][0]["message"]
    assert report["commit"]["in_force"] == signed
    assert fleet.where("web1") == "xen2"
    site.close()
