"""`sh -c 'PROGRAM … && PROGRAM …' NAME ARGUMENT…`: programs one after the other, with "$1" and so on."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.tools.streaming import stream

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost


PIPE = re.compile(
    r'(?:carrier=\$\(cat\); )?xl save -p "\$1" /dev/stdout \|(?: (zstd) -1 -q \|)? '
    r'(?:ssh .*|python3 -I -c "\$carrier") "\$2" '
    r"'(?:cat|zstd -dqc) \| xl restore -p /dev/stdin'"
)
FLUSH = 'set -e; pvs=$(pvs --noheadings -o pv_name -S "vg_name=$1"); for pv in $pvs; do sync "$pv"; done'


def main(host: SimHost, args: list[str], stdin: str) -> Steps:
    """The first program that fails ends it; each is another process, so a crash can come in between."""
    yield 0.002
    if len(args) < 2 or args[0] != "-c":
        raise Fail(2, "sh: simulated version only does -c")
    piped = PIPE.fullmatch(args[1])
    if piped:
        return (yield from stream(host, filled("$1", args[2:]), filled("$2", args[2:]), piped[1] or "cat"))
    if args[1] == FLUSH:
        group = host.groups.get(filled("$1", args[2:]))
        if group is not None:
            group.unflushed.clear()
        return Result(0)
    out = err = ""
    for part in args[1].split(" && "):
        words = [filled(word, args[2:]) for word in shlex.split(part)]
        done = yield from host.run(words, stdin)
        out, err = out + done.stdout, err + done.stderr
        if done.exit:
            return Result(done.exit, out, err)
    return Result(0, out, err)


def filled(word: str, arguments: list[str]) -> str:
    def value(match: re.Match[str]) -> str:
        number = int(match[1])
        return arguments[number] if number < len(arguments) else ""

    return re.sub(r"\$([0-9])", value, word)
