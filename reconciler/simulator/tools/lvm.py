"""LVM 2.03: lvs and vgs as JSON, lvcreate, lvremove, lvchange."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.simulator.lvm import Volume, VolumeGroup
from reconciler.simulator.process import Fail, Result, takes

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

REPORT = ["--reportformat", "json", "--units", "b", "--nosuffix"]
ZEROED = 4096


def report(kind: str, rows: list[dict[str, str]]) -> Result:
    """LVM's own layout of a JSON report, two blanks in front of every line."""
    lines = ["{", '    "report": [', "        {", f'            "{kind}": [']
    for number, row in enumerate(rows):
        cells = ", ".join(f'"{key}":"{value}"' for key, value in row.items())
        lines.append(f"                {{{cells}}}{',' if number < len(rows) - 1 else ''}")
    lines += ["            ]", "        }", "    ]", "}"]
    return Result(0, "".join(f"  {line}\n" for line in lines))


def columns(args: list[str], known: set[str]) -> list[str]:
    """The columns of a report; anything but the one form that is modelled is refused."""
    rest = list(args)
    for word in [*REPORT, "-a"]:
        if word in rest:
            rest.remove(word)
        elif word != "-a":
            raise Fail(3, f"  simulated LVM knows only {' '.join(REPORT)} reports: {' '.join(args)}")
    if len(rest) != 2 or rest[0] != "-o":
        raise Fail(3, f"  simulated LVM: unknown arguments {' '.join(rest)}")
    wanted = rest[1].split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise Fail(3, f"  Unrecognised field: {unknown[0]}")
    return wanted


@takes(0.06)
def lvs(host: SimHost, args: list[str], stdin: str) -> Result:
    every = [
        lv_row(host, group, volume)
        for group in host.groups.values()
        for volume in sorted(group.volumes.values(), key=lambda volume: volume.name)
    ]
    names = columns(args, set(EMPTY_LV))
    return report("lv", [{name: row[name] for name in names} for row in every])


LV_FIELDS = """vg_name lv_name lv_uuid lv_size lv_attr lv_tags lv_kernel_major lv_kernel_minor
lv_device_open lv_active origin pool_lv lv_path lv_dm_path"""
EMPTY_LV = dict.fromkeys(LV_FIELDS.split(), "")


def lv_row(host: SimHost, group: VolumeGroup, volume: Volume) -> dict[str, str]:
    device = host.volume_device(group, volume)
    opened = bool(device and device.opens)
    state = "a" if device else "-"
    return {
        **EMPTY_LV,
        "vg_name": group.name,
        "lv_name": volume.name,
        "lv_uuid": volume.uuid,
        "lv_size": str(group.size_of(volume)),
        "lv_attr": f"-{volume.permission}i-{state}{'o' if opened else '-'}----",
        "lv_tags": ",".join(sorted(volume.tags)),
        "lv_kernel_major": str(device.major) if device else "-1",
        "lv_kernel_minor": str(device.minor) if device else "-1",
        "lv_device_open": "open" if opened else "",
        "lv_active": "active" if device else "",
        "lv_path": f"/dev/{group.name}/{volume.name}",
        "lv_dm_path": f"/dev/mapper/{host.map_name(group.name, volume.name)}",
    }


@takes(0.06)
def vgs(host: SimHost, args: list[str], stdin: str) -> Result:
    names = columns(args, {"vg_name", "vg_size", "vg_free", "vg_extent_size"})
    every = [
        {
            "vg_name": group.name,
            "vg_size": str(group.extents * group.extent),
            "vg_free": str(group.free * group.extent),
            "vg_extent_size": str(group.extent),
        }
        for group in host.groups.values()
    ]
    return report("vg", [{name: row[name] for name in names} for row in every])


def options(args: list[str], with_value: set[str], flags: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options and positional arguments of a command, only those that are modelled."""
    given: dict[str, list[str]] = {}
    words: list[str] = []
    rest = iter(args)
    for arg in rest:
        if arg in with_value:
            given.setdefault(arg, []).append(next(rest, ""))
        elif arg in flags:
            given.setdefault(arg, []).append("")
        elif arg.startswith("-"):
            raise Fail(3, f"  unrecognized option '{arg}'\n  Error during parsing of command line.")
        else:
            words.append(arg)
    return given, words


@takes(0.15)
def lvcreate(host: SimHost, args: list[str], stdin: str) -> Result:
    given, words = options(args, {"-n", "-L", "--addtag"}, {"-y", "-Wy", "-Zy"})
    if len(words) != 1 or "-n" not in given or "-L" not in given:
        raise Fail(3, "  Please provide a volume group name")
    name, size = given["-n"][-1], re.fullmatch(r"([0-9]+)[bB]", given["-L"][-1])
    if size is None:
        raise Fail(
            3, f"  Invalid argument for --size: {given['-L'][-1]}\n  Error during parsing of command line."
        )
    group = host.groups.get(words[0])
    if group is None:
        raise Fail(5, f'  Volume group "{words[0]}" not found\n  Cannot process volume group {words[0]}')
    if name in group.volumes:
        raise Fail(5, f'  Logical Volume "{name}" already exists in volume group "{group.name}"')
    extents = -(-int(size[1]) // group.extent)
    rounded = ""
    if int(size[1]) % group.extent:
        rounded = f"  Rounding up size to full physical extent {extents * group.extent / 2**20:.2f} MiB\n"
    runs = group.allocate(extents)
    if runs is None:
        room = f"has insufficient free space ({group.free} extents): {extents} required."
        raise Fail(5, f'{rounded}  Volume group "{group.name}" {room}')
    volume = Volume(name, lvm_uuid(host), runs, tags=given.get("--addtag", []))
    group.volumes[name] = volume
    host.activate(group, volume)
    device = host.volume_device(group, volume)
    assert device is not None
    if "-Zy" in given:
        device.replace(0, ZEROED, {})
    return Result(0, f'  Logical volume "{name}" created.\n', rounded)


def lvm_uuid(host: SimHost) -> str:
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "-".join("".join(host.world.random.choices(alphabet, k=n)) for n in (6, 4, 4, 4, 4, 4, 6))


def volume_named(host: SimHost, path: str) -> tuple[VolumeGroup, Volume]:
    group_name, _, name = path.removeprefix("/dev/").partition("/")
    group = host.groups.get(group_name)
    if group is None:
        raise Fail(5, f'  Volume group "{group_name}" not found\n  Cannot process volume group {group_name}')
    if name not in group.volumes:
        raise Fail(5, f'  Failed to find logical volume "{group_name}/{name}"')
    return group, group.volumes[name]


@takes(0.15)
def lvremove(host: SimHost, args: list[str], stdin: str) -> Result:
    given, words = options(args, set(), {"-y", "-f"})
    if not words:
        raise Fail(3, "  Please enter one or more logical volume paths")
    out = ""
    for word in words:
        group, volume = volume_named(host, word)
        device = host.volume_device(group, volume)
        if device is not None and device.opens:
            raise Fail(5, f"  Logical volume {group.name}/{volume.name} {use(device.opens)}", out)
        if not given:
            raise Fail(
                5,
                f"Do you really want to remove active logical volume {group.name}/{volume.name}? [y/n]: ",
                out,
            )
        if device is not None:
            host.remove_map(device)
        del group.volumes[volume.name]
        group.unflushed.append((host.world.now_s, volume))
        out += f'  Logical volume "{volume.name}" successfully removed.\n'
    return Result(0, out)


def use(opens: list[str]) -> str:
    """How LVM words what holds a volume."""
    if any(opener.startswith("mount ") for opener in opens):
        return "contains a filesystem in use."
    return (
        "in use." if any(opener.startswith("domain ") for opener in opens) else "is used by another device."
    )


@takes(0.12)
def lvchange(host: SimHost, args: list[str], stdin: str) -> Result:
    given, words = options(args, {"--addtag", "--deltag"}, {"-y", "-ay", "-an"})
    if len(words) != 1 or not given:
        raise Fail(3, "  Need 1 or more options and a logical volume")
    group, volume = volume_named(host, words[0])
    for tag in given.get("--addtag", []):
        volume.tags = sorted({*volume.tags, tag})
    volume.tags = [tag for tag in volume.tags if tag not in given.get("--deltag", [])]
    device = host.volume_device(group, volume)
    if "-an" in given and device is not None:
        if device.opens:
            raise Fail(5, f"  Logical volume {group.name}/{volume.name} in use.")
        host.remove_map(device)
        volume.active = False
    if "-ay" in given and device is None:
        host.activate(group, volume)
        volume.active = True
    changed = any(option in given for option in ("--addtag", "--deltag"))
    return Result(0, f"  Logical volume {group.name}/{volume.name} changed.\n" if changed else "")
