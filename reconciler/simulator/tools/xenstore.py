"""`xenstore-ls -f`: the part of the store that blkback and its hotplug script write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.simulator.domain import Domain, Vbd
from reconciler.simulator.process import Fail, Result, takes

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

VBD = "/local/domain/0/backend/vbd"


@takes(0.05)
def list_tree(host: SimHost, args: list[str], stdin: str) -> Result:
    if len(args) != 2 or args[0] != "-f":
        raise Fail(1, "Usage: xenstore-ls [-h] [-f] [-p] [-s] [-t] [path...]")
    root = args[1].rstrip("/")
    entries = {path: value for path, value in store(host) if path == root or path.startswith(root + "/")}
    if not entries:
        raise Fail(1, f"xenstore-ls: xs_directory ({args[1]}): No such file or directory")
    lines = [f'{path} = "{value}"\n' for path, value in entries.items() if path != root]
    return Result(0, "".join(lines))


def store(host: SimHost) -> list[tuple[str, str]]:
    found = []
    with_disks = [domain for domain in host.domains.values() if domain.vbds]
    if with_disks:
        found.append((VBD, ""))
    for domain in sorted(with_disks, key=lambda domain: domain.domid):
        found.append((f"{VBD}/{domain.domid}", ""))
        for vbd in domain.vbds:
            base = f"{VBD}/{domain.domid}/{vbd.devid}"
            found.append((base, ""))
            found += [(f"{base}/{key}", value) for key, value in entry(domain, vbd).items()]
    return found


def entry(domain: Domain, vbd: Vbd) -> dict[str, str]:
    """blkback's keys in name order; the disk's geometry appears once the guest's front end has connected."""
    state = "5" if not vbd.opened else "4" if domain.connected else "2"
    always = {
        "bootable": "1",
        "dev": vbd.vdev,
        "device-type": "disk",
        "discard-enable": "1",
        "feature-max-indirect-segments": "256",
        "frontend": f"/local/domain/{domain.domid}/device/vbd/{vbd.devid}",
        "frontend-id": str(domain.domid),
        "hotplug-status": "connected",
        "max-ring-page-order": "4",
        "mode": vbd.mode,
        "multi-queue-max-queues": "1",
        "online": "1",
        "params": vbd.path,
        "physical-device": vbd.device.hex_number,
        "physical-device-path": vbd.real_path,
        "removable": "0",
        "script": "/etc/xen/scripts/block",
        "specification": "xen",
        "state": state,
        "type": "phy",
    }
    discard = {"alignment": "0", "granularity": "512", "secure": "0"}
    connected = {
        **{f"discard-{key}": value for key, value in discard.items()},
        "feature-barrier": "1",
        "feature-discard": "1",
        "feature-flush-cache": "1",
        "feature-persistent": "1",
        "info": "0",
        "physical-sector-size": "512",
        "sector-size": "512",
        "sectors": str(vbd.device.size // 512),
    }
    return dict(sorted({**always, **(connected if state == "4" else {})}.items()))
