"""Domain configuration as `xl` reads it, turned into libxl's JSON form."""

from __future__ import annotations

import ast
from typing import Any

from reconciler.simulator.process import Fail

BOOLEANS = {"rw": 1, "w": 1, "ro": 0, "r": 0}


def parse(text: str, where: str) -> dict[str, Any]:
    """`key = value` lines: strings, numbers and lists of strings, as xl's own grammar has them."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise Fail(
            1, f"{where}:{error.lineno}: config parsing error near `{(error.text or '').strip()}'"
        ) from error
    found: dict[str, Any] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise Fail(1, f"{where}:{statement.lineno}: config parsing error")
        try:
            found[statement.targets[0].id] = ast.literal_eval(statement.value)
        except ValueError as error:
            raise Fail(1, f"{where}:{statement.lineno}: config parsing error") from error
    return found


def parse_disk(text: str) -> dict[str, Any]:
    """One entry of `disk`: positional (target, format, vdev, access), key=value or the old phy: form."""
    positional = ["pdev_path", "format", "vdev", "access"]
    given: dict[str, str] = {}
    rest = text
    if rest.startswith("phy:"):
        positional = ["pdev_path", "vdev", "access"]
        rest = rest.removeprefix("phy:")
    for part in rest.split(","):
        key, equals, value = part.strip().partition("=")
        if equals:
            given[{"target": "pdev_path"}.get(key, key)] = value
        elif positional:
            given[positional.pop(0)] = key
    if "pdev_path" not in given or "vdev" not in given:
        raise Fail(1, f"xl: config parsing error in disk specification: in `{text}'")
    access = given.get("access", "rw")
    if access not in BOOLEANS:
        raise Fail(1, f"xl: config parsing error in disk specification: unknown value `{access}' for access")
    path = given["pdev_path"]
    return {
        "pdev_path": path if path.startswith("/") else f"/dev/{path}",
        "vdev": given["vdev"],
        "format": given.get("format") or "raw",
        "readwrite": BOOLEANS[access],
        "colo_restore_enable": "False",
    }


def to_json(config: dict[str, Any], uuid: str) -> dict[str, Any]:
    """What `xl list -l` shows and a saved image carries."""
    memory = int(config.get("memory", 128))
    built: dict[str, Any] = {
        "c_info": {
            "type": {"hvm": "hvm", "pvh": "pvh"}.get(str(config.get("type", "pv")), "pv"),
            "name": config["name"],
            "domid": 4294967295,
            "uuid": config.get("uuid", uuid),
            "run_hotplug_scripts": "True",
        },
        "b_info": {
            "max_vcpus": int(config.get("vcpus", 1)),
            "avail_vcpus": list(range(int(config.get("vcpus", 1)))),
            "max_memkb": memory * 1024,
            "target_memkb": memory * 1024,
            "video_memkb": 0,
            "sched_params": {"sched": "credit2", "weight": 256, "cap": 0},
            "claim_mode": "True",
            "kernel": config.get("kernel", ""),
            "cmdline": config.get("extra", config.get("cmdline", "")),
            "ramdisk": config.get("ramdisk", ""),
            "type.pv": {},
            "arch_arm": {},
            "arch_x86": {"msr_relaxed": "False"},
        },
    }
    disks = [parse_disk(entry) for entry in config.get("disk", [])]
    if disks:
        built["disks"] = disks
    nics = [nic(entry, number) for number, entry in enumerate(config.get("vif", []))]
    if nics:
        built["nics"] = nics
    built["on_reboot"] = "restart"
    built["on_soft_reset"] = "soft_reset"
    return built


def nic(text: str, number: int) -> dict[str, Any]:
    given = dict(part.strip().split("=", 1) for part in text.split(",") if "=" in part)
    return {
        "devid": number,
        "mac": given.get("mac", ""),
        "bridge": given.get("bridge", "xenbr0"),
        "nictype": "vif",
    }
