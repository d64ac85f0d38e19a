"""The lab for people: `python -m tests.lab up`, `down`, `status`, `build`, `reset STAGE`,
`watch`, `prune`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time

from .image.build import ensure_built
from .image.recipe import LabError, cache_root, recipe_hash
from .lab import Lab
from .runs import Run
from .sample import write_sample
from .stages import STAGES, ensure_prepared

RUN = "make-lab"
COMMANDS = ["up", "down", "status", "build", "prepare", "reset", "watch", "prune"]
GUIDE = """
The lab runs: {hosts}. web1 runs on xen1. It stays up until `python -m tests.lab down`.

ssh to a host:
{ssh}
watch the guest's heartbeat from outside:
    python -m tests.lab watch
put everything back to how it is now:
    python -m tests.lab reset guest
move web1 to xen2 by a commit:
    sed -i 's/host: xen1/host: xen2/' {repository}/desired/lab.yaml
    git -C {repository} commit --all --message 'web1 to xen2'
    reconciler once --config {config}
"""


def up(hosts: int) -> None:
    """Start a lab that stays, and say how to use it."""
    lab = Lab.attach(RUN)
    if lab is not None and all(host.running for host in lab.hosts.values()):
        print("The lab runs already.")
    else:
        if lab is not None:
            lab.down()
        lab = Lab(hosts, run_name=RUN, keep=True)
        try:
            lab.up("guest")
        except BaseException:
            lab.down()
            raise
        write_sample(lab)
    ssh = "".join(f"    ssh -F {lab.ssh_config} {name}\n" for name in lab.hosts)
    base = lab.directory
    names = ", ".join(lab.hosts)
    print(GUIDE.format(hosts=names, ssh=ssh, repository=base / "placement", config=base / "config.yaml"))


def running_lab() -> Lab:
    """The lab that `up` left running."""
    lab = Lab.attach(RUN)
    if lab is None:
        raise LabError("no lab is running; start one with `python -m tests.lab up`")
    return lab


def status() -> None:
    """Say what is built and what runs."""
    print(f"recipe {recipe_hash()}")
    lab = running_lab()
    for host in lab.hosts.values():
        state = f"runs, process {host.process.pid}" if host.running and host.process else "off"
        print(f"{host.name}: {state}, ssh {host.address}:{host.port}, replication {host.replication_address}")
    for beat in lab.observer.heartbeats()[-1:]:
        age_s = lab.observer.now() - beat.arrived_s
        print(f"web1: heartbeat {beat.number} from {beat.side}, {age_s:.1f} s ago")


def watch() -> None:
    """Print a line a second: where the guest is and its longest silence since the line before."""
    observer = running_lab().observer
    since_s = observer.now()
    while True:
        time.sleep(1)
        beats = observer.heartbeats(since_s=since_s)
        now_s = observer.now()
        if len(beats) < 2:
            print(f"{time.strftime('%H:%M:%S')}  silent for {now_s - since_s:.1f} s")
            continue
        gap_ms = observer.gap(since_s=since_s).length_s * 1000
        beat = beats[-1]
        print(
            f"{time.strftime('%H:%M:%S')}  {beat.side}  heartbeat {beat.number}  longest gap {gap_ms:.0f} ms"
        )
        since_s = beat.arrived_s


def prune() -> None:
    """Remove what earlier recipes left in the cache; nothing that a running lab uses."""
    used = [str(run.state()) for run in map(Run, (cache_root() / "runs").glob("*"))]
    for manifest in cache_root().glob("*/manifest.json"):
        name = manifest.parent.name
        if name != recipe_hash() and not any(name in state for state in used):
            shutil.rmtree(manifest.parent)
            print(f"removed {manifest.parent}")


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("stage", nargs="?", default="guest", help=f"for reset: {', '.join(STAGES)}")
    parser.add_argument("--hosts", type=int, default=2, help="how many hosts; default 2")
    options = parser.parse_args()
    try:
        match options.command:
            case "up":
                up(options.hosts)
            case "down":
                running_lab().down()
            case "status":
                status()
            case "build":
                print(ensure_built().directory)
            case "prepare":
                print(ensure_prepared(options.hosts)[1])
            case "reset":
                running_lab().reset(options.stage)
            case "watch":
                watch()
            case "prune":
                prune()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
