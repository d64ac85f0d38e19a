"""`find` as the survey uses it: depth limits, -type, -name, -regex and -printf."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import ENOENT, Directory, FileError, Files, Link, Node
from reconciler.simulator.process import Fail, Result, takes

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

TESTS = ("-maxdepth", "-mindepth", "-type", "-name", "-regex", "-printf")
LETTER = {"File": "f", "Link": "l", "Directory": "d"}


@takes(0.01)
def find(host: SimHost, args: list[str], stdin: str) -> Result:
    tops = []
    rest = list(args)
    while rest and not rest[0].startswith("-"):
        tops.append(rest.pop(0))
    tests: dict[str, str] = {}
    while rest:
        test = rest.pop(0)
        if test not in TESTS or not rest:
            raise Fail(1, f"find: unknown predicate `{test}'")
        tests[test] = rest.pop(0)
    out = err = ""
    for top in tops:
        node = host.files.nodes.get(top)
        if node is None:
            err += f"find: '{top}': {ENOENT}\n"
        else:
            out += walk(host.files, top, node, 0, tests)
    return Result(1 if err else 0, out, err)


def walk(files: Files, path: str, node: Node, depth: int, tests: dict[str, str]) -> str:
    out = ""
    if depth >= int(tests.get("-mindepth", "0")) and matches(path, node, tests):
        out += printed(files, path, node, tests.get("-printf", "%p\\n"))
    if isinstance(node, Directory) and depth < int(tests.get("-maxdepth", "99")):
        for child in files.children(path):
            out += walk(files, child, files.nodes[child], depth + 1, tests)
    return out


def matches(path: str, node: Node, tests: dict[str, str]) -> bool:
    kind = LETTER[type(node).__name__]
    name = posixpath.basename(path)
    # Of Emacs' syntax only groups are used.
    regex = re.sub(r"\\([(|)])", r"\1", tests.get("-regex", ".*"))
    named = fnmatch.fnmatchcase(name, tests.get("-name", "*")) and re.fullmatch(regex, path)
    return kind == tests.get("-type", kind) and bool(named)


def final(files: Files, path: str) -> str:
    """What a symlink leads to in the end."""
    try:
        return LETTER[type(files.get(path)).__name__]
    except FileError:
        return "N"


def printed(files: Files, path: str, node: Node, form: str) -> str:
    values = {
        "%p": path,
        "%f": posixpath.basename(path),
        "%l": node.target if isinstance(node, Link) else "",
        "%s": str(getattr(node, "size", len(getattr(node, "target", "")) or 4096)),
        "%y": LETTER[type(node).__name__],
        "%Y": final(files, path) if "%Y" in form else "",
        "\\t": "\t",
        "\\n": "\n",
        "\\0": "\0",
    }
    out, position = "", 0
    while position < len(form):
        pair = form[position : position + 2]
        if pair[0] in "%\\":
            if pair not in values:
                raise Fail(1, f"find: warning: unrecognized format directive `{pair}'")
            out += values[pair]
            position += 2
        else:
            out += pair[0]
            position += 1
    return out
