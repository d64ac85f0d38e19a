"""ln, mv, rm, mkdir, dd, sync, stat, readlink, chmod."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from reconciler.simulator.filesystem import ENOENT, Directory, DiskImage, File, FileError, Link, Node
from reconciler.simulator.process import Fail, Result, Steps, takes
from reconciler.simulator.storage import BlockDevice, IOFault, Value

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

QUICK_S = 0.005
DISK_BYTES_PER_S = 500e6
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def split(program: str, args: list[str], known: str) -> tuple[set[str], list[str]]:
    """One-letter flags (bundled or not) and words; anything else is a usage error."""
    flags: set[str] = set()
    words: list[str] = []
    for number, arg in enumerate(args):
        if arg == "--":
            words += args[number + 1 :]
            break
        if arg.startswith("-") and len(arg) > 1:
            bad = [letter for letter in arg[1:] if letter not in known]
            if bad:
                raise Fail(
                    1,
                    f"{program}: invalid option -- '{bad[0]}'\nTry '{program} --help' for more information.",
                )
            flags |= set(arg[1:])
        else:
            words.append(arg)
    return flags, words


@takes(QUICK_S)
def ln(host: SimHost, args: list[str], stdin: str) -> Result:
    flags, words = split("ln", args, "sfnT")
    if "s" not in flags or len(words) != 2:
        raise Fail(1, "ln: simulated version makes symbolic links only")
    target, path = words
    try:
        folder = host.files.real(posixpath.dirname(path))
        where = posixpath.join(folder, posixpath.basename(path))
        there = host.files.nodes.get(where)
        if isinstance(there, Directory):
            where = posixpath.join(where, posixpath.basename(target))
        elif there is not None and "f" not in flags:
            raise FileError("File exists")
        if not isinstance(host.files.lookup(posixpath.dirname(where)), Directory):
            raise FileError(ENOENT)
    except FileError as error:
        raise Fail(1, f"ln: failed to create symbolic link '{path}': {error}") from error
    host.files.nodes[where] = Link(target)
    return Result()


@takes(QUICK_S)
def mv(host: SimHost, args: list[str], stdin: str) -> Result:
    flags, words = split("mv", args, "Tf")
    if len(words) != 2:
        raise Fail(1, "mv: missing file operand")
    try:
        source = host.files.real(words[0], follow=False)
        if host.files.lookup(source) is None:
            raise Fail(1, f"mv: cannot stat '{words[0]}': {ENOENT}")
        target = host.files.real(words[1], follow=False)
        if not isinstance(host.files.lookup(posixpath.dirname(target)), Directory):
            raise FileError(ENOENT)
    except FileError as error:
        raise Fail(1, f"mv: cannot move '{words[0]}' to '{words[1]}': {error}") from error
    if isinstance(host.files.nodes.get(target), Directory):
        if "T" in flags:
            raise Fail(1, f"mv: cannot overwrite directory '{words[1]}' with non-directory")
        target = posixpath.join(target, posixpath.basename(source))
    host.files.rename(source, target)
    return Result()


@takes(QUICK_S)
def rm(host: SimHost, args: list[str], stdin: str) -> Result:
    flags, words = split("rm", args, "rf")
    err = ""
    for word in words:
        try:
            path = host.files.real(word, follow=False)
            node = host.files.nodes.get(path)
        except FileError:
            node = None
        if node is None:
            err += "" if "f" in flags else f"rm: cannot remove '{word}': {ENOENT}\n"
        elif isinstance(node, Directory) and "r" not in flags:
            err += f"rm: cannot remove '{word}': Is a directory\n"
        else:
            host.files.remove(path)
    return Result(1 if err else 0, "", err)


@takes(QUICK_S)
def mkdir(host: SimHost, args: list[str], stdin: str) -> Result:
    mode, words, parents = 0o755, [], False
    rest = iter(args)
    for arg in rest:
        if arg == "-p":
            parents = True
        elif arg == "-m":
            mode = int(next(rest, "0755"), 8)
        else:
            words.append(arg)
    for word in words:
        path = posixpath.normpath(word)
        missing = []
        while path != "/" and host.files.lookup(path) is None:
            missing.append(path)
            path = posixpath.dirname(path)
        if not missing and not parents:
            raise Fail(1, f"mkdir: cannot create directory '{word}': File exists")
        if len(missing) > 1 and not parents:
            raise Fail(1, f"mkdir: cannot create directory '{word}': {ENOENT}")
        if isinstance(host.files.lookup(path), File):
            raise Fail(1, f"mkdir: cannot create directory '{word}': Not a directory")
        for each in reversed(missing):
            host.files.nodes[each] = Directory(mode if each == missing[0] else 0o755)
    return Result()


@takes(0.02)
def sync(host: SimHost, args: list[str], stdin: str) -> Result:
    for path in (arg for arg in args if not arg.startswith("-")):
        if not host.files.exists(path):
            raise Fail(1, f"sync: error opening '{path}': {ENOENT}")
    return Result()


@takes(QUICK_S)
def stat(host: SimHost, args: list[str], stdin: str) -> Result:
    """`stat -c %s FILE…`."""
    if len(args) < 3 or args[:2] != ["-c", "%s"]:
        raise Fail(1, f"stat: simulated version does not know: {' '.join(args)}")
    out = err = ""
    for path in args[2:]:
        try:
            node = host.files.get(path, follow=False)
            out += f"{getattr(node, 'size', 4096)}\n"
        except FileError as error:
            err += f"stat: cannot statx '{path}': {error}\n"
    return Result(1 if err else 0, out, err)


@takes(QUICK_S)
def readlink(host: SimHost, args: list[str], stdin: str) -> Result:
    try:
        if args[:1] == ["-f"]:
            return Result(0, host.files.real(args[1]) + "\n")
        node = host.files.get(args[0], follow=False)
    except FileError:
        return Result(1)
    return Result(0, f"{node.target}\n") if isinstance(node, Link) else Result(1)


@takes(QUICK_S)
def chmod(host: SimHost, args: list[str], stdin: str) -> Result:
    for path in args[1:]:
        try:
            node = host.files.get(path)
        except FileError as error:
            raise Fail(1, f"chmod: cannot access '{path}': {error}") from error
        if isinstance(node, (File, Directory)):
            node.mode = int(args[0], 8)
    return Result()


def size_of(word: str) -> int:
    return int(word[:-1]) * UNITS[word[-1]] if word[-1:] in UNITS else int(word)


def dd(host: SimHost, args: list[str], stdin: str) -> Steps:
    """Zeros, a file or standard input, onto a file or a device."""
    given = dict(arg.split("=", 1) for arg in args if "=" in arg)
    yield QUICK_S
    unknown = set(given) - {"if", "of", "bs", "count", "oflag", "conv", "status"}
    if unknown or "of" not in given:
        raise Fail(
            1, f"dd: unrecognized operand '{next(iter(unknown), '')}'\nTry 'dd --help' for more information."
        )
    source, target = given.get("if"), given["of"]
    limit = size_of(given["count"]) * size_of(given.get("bs", "512")) if "count" in given else None
    try:
        device = host.device_at(target)[0]
    except FileError:
        if source is not None:
            return copy_file(host, source, target)
        return write_file(host, target, File(stdin))
    items, length = source_of(host, source, stdin, device.size if limit is None else limit)
    if limit is not None:
        length = min(length, limit)
    return (yield from onto_device(device, target, items, length))


def source_of(host: SimHost, source: str | None, stdin: str, zeros: int) -> tuple[dict[int, Value], int]:
    if source == "/dev/zero":
        return {}, zeros
    node: Node = File(stdin)
    if source is not None:
        try:
            node = host.files.get(source)
        except FileError as error:
            raise Fail(1, f"dd: failed to open '{source}': {error}") from error
    if not isinstance(node, File):
        raise Fail(1, f"dd: error reading '{source}': Is a directory")
    if isinstance(node.thing, DiskImage):
        return dict(node.thing.items), node.size
    return ({0: node.text} if node.text else {}), node.size


def onto_device(device: BlockDevice, target: str, items: dict[int, Value], length: int) -> Steps:
    whole = min(length, device.size)
    done = 0
    while done < whole:
        piece = min(256 << 20, whole - done)
        yield piece / DISK_BYTES_PER_S
        try:
            device.check_open(write=True)
            device.replace(
                done, done + piece, {at: v for at, v in items.items() if done <= at < done + piece}
            )
        except IOFault as error:
            raise Fail(1, f"dd: error writing '{target}': Input/output error") from error
        done += piece
    if length > device.size:
        raise Fail(1, f"dd: error writing '{target}': No space left on device")
    return Result()


def write_file(host: SimHost, target: str, file: File) -> Result:
    """Opening it makes it empty: that much is left where there is no room for the rest."""
    try:
        host.files.put(target, File())
    except FileError as error:
        raise Fail(1, f"dd: failed to open '{target}': {error}") from error
    try:
        host.files.put(target, file)
    except FileError as error:
        raise Fail(1, f"dd: error writing '{target}': {error}") from error
    return Result()


def copy_file(host: SimHost, source: str, target: str) -> Result:
    try:
        node = host.files.get(source)
    except FileError as error:
        raise Fail(1, f"dd: failed to open '{source}': {error}") from error
    assert isinstance(node, File)
    return write_file(host, target, File(node.text, node.thing, node.bulk))
