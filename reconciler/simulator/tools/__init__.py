"""The programs of a simulated host, one small module for each family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.simulator.process import Steps
from reconciler.simulator.tools import (
    dmsetup,
    drbdadm,
    drbdsetup,
    files,
    finding,
    lvm,
    migrating,
    mounting,
    shell,
    system,
    text,
    transfer,
    xenstore,
    xl,
)

# The first argument is the SimHost; `Any` keeps the tools free of an import circle.
Tool = Callable[[Any, list[str], str], Steps]

TOOLS: dict[str, Tool] = {
    "xl": xl.main,
    "xenstore-ls": xenstore.list_tree,
    "lvs": lvm.lvs,
    "vgs": lvm.vgs,
    "lvcreate": lvm.lvcreate,
    "lvremove": lvm.lvremove,
    "lvchange": lvm.lvchange,
    "dmsetup": dmsetup.main,
    "drbdadm": drbdadm.main,
    "drbdsetup": drbdsetup.main,
    "cat": text.cat,
    "grep": text.grep,
    "df": text.df,
    "find": finding.find,
    "ln": files.ln,
    "mv": files.mv,
    "rm": files.rm,
    "mkdir": files.mkdir,
    "dd": files.dd,
    "sync": files.sync,
    "stat": files.stat,
    "readlink": files.readlink,
    "chmod": files.chmod,
    "mkfs.ext4": mounting.mkfs,
    "mount": mounting.mount,
    "umount": mounting.umount,
    "tar": mounting.tar,
    "true": system.true,
    "flock": system.flock,
    "sh": shell.main,
    "uname": system.uname,
    "udevadm": system.udevadm,
    "blockdev": system.blockdev,
    "python3": migrating.main,
    "scp": transfer.scp,
    "ssh": transfer.ssh,
}
