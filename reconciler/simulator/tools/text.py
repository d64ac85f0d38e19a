"""cat, grep, df: programs that only print."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import File, FileError
from reconciler.simulator.process import Fail, Result, takes

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost


@takes(0.005)
def cat(host: SimHost, args: list[str], stdin: str) -> Result:
    out, err = "", ""
    for path in args:
        try:
            out += host.files.read(path)
        except FileError as error:
            err += f"cat: {path}: {error}\n"
    return Result(1 if err else 0, out if args else stdin, err)


@takes(0.01)
def grep(host: SimHost, args: list[str], stdin: str) -> Result:
    """`grep -rs TEXT PATH`: every line of every file below a path that has the text in it."""
    if len(args) != 3 or args[0] != "-rs":
        raise Fail(2, "Usage: grep [OPTION]... PATTERNS [FILE]...")
    wanted, top = args[1], args[2]
    try:
        start = host.files.real(top)
    except FileError:
        return Result(2)
    if host.files.lookup(start) is None:
        return Result(2)
    out = ""
    for path, node in sorted(host.files.nodes.items()):
        below = path == start or path.startswith(start + "/")
        if below and isinstance(node, File) and node.thing is None:
            label = "" if path == start else top + path[len(start) :] + ":"
            out += "".join(f"{label}{line}\n" for line in node.text.splitlines() if wanted in line)
    return Result(0 if out else 1, out)


@takes(0.01)
def df(host: SimHost, args: list[str], stdin: str) -> Result:
    if len(args) != 3 or args[:2] != ["-B1", "--output=target,avail"]:
        raise Fail(1, f"df: simulated version does not know: {' '.join(args)}")
    try:
        host.files.get(args[2])
    except FileError as error:
        raise Fail(1, f"df: {args[2]}: {error}") from error
    avail = str(host.files.available)
    width = max(len("Mounted on"), len(posixpath.sep))
    column = max(len(avail), len("Avail"))
    return Result(0, f"{'Mounted on':<{width}} {'Avail':>{column}}\n{'/':<{width}} {avail:>{column}}\n")
