"""What is fuzzed: each target takes any bytes and raises only if the code under test broke its promise.

No target needs the fuzzer: inputs it once found are kept in `corpus` and run by the test suite.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from reconciler.commands import dm, drbd, files, lvm, xl
from reconciler.config import load_config
from reconciler.errors import InputError, ParseError, SourceError
from reconciler.execution import guard
from reconciler.model.command import Answer
from reconciler.model.facts import Query
from reconciler.source import command, documents, git, signatures, tree
from reconciler.source.signatures import Signatures

TOP = Path(__file__).parents[2]
CAPTURED = TOP / "tests" / "commands" / "fixtures"
COMMIT = "1" * 40

Target = Callable[[bytes], None]
Queries = tuple[Query[Any], ...]


def of_type(value: object, hint: Any) -> bool:
    """Whether a value is, all through, what its annotation says; bool is no int here."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(of_type(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        hints = [inner[0]] * len(value) if inner[1:] == (Ellipsis,) else list(inner)
        return len(hints) == len(value) and all(map(of_type, value, hints))
    if origin is frozenset:
        return isinstance(value, frozenset) and all(of_type(one, inner[0]) for one in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            of_type(key, inner[0]) and of_type(one, inner[1]) for key, one in value.items()
        )
    if dataclasses.is_dataclass(hint):
        hints_of = typing.get_type_hints(hint)
        return type(value) is hint and all(of_type(getattr(value, key), one) for key, one in hints_of.items())
    if hint in (int, str, float, bool):
        return type(value) is hint
    return isinstance(value, hint)


def queries(module: types.ModuleType) -> Queries:
    """Every parser of a module that has a name of its own."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Query)}
    texts: Queries = (files.text_of("/x"),) if module is files else ()
    return (*(found[name] for name in sorted(found)), *texts)


def tool(module: types.ModuleType) -> Target:
    """Byte 0 chooses the parser, byte 1 the exit status; then stdout, NUL, stderr."""
    parsers = queries(module)

    def target(data: bytes) -> None:
        if len(data) < 2:
            return
        query = parsers[data[0] % len(parsers)]
        out, _, err = data[2:].partition(b"\0")
        answer = Answer(data[1] % 4, *(part.decode("utf-8", "backslashreplace") for part in (out, err)))
        try:
            found = query.parse(answer)
        except ParseError:
            return
        hint = typing.get_type_hints(query.parse)["return"]
        assert of_type(found, hint), f"{query.what}: {found!r} is no {hint}"

    return target


def tool_seeds(module: types.ModuleType) -> Iterator[bytes]:
    """Every captured output for every parser that can read it."""
    for path in sorted(CAPTURED.glob("*.txt")):
        text = path.read_text()
        for index, query in enumerate(queries(module)):
            try:
                query.parse(Answer(0, text, ""))
            except ParseError:
                continue
            yield bytes([index, 0]) + text.encode()


def read_documents(data: bytes) -> None:
    """Any number of files, NUL between them: never raises; all is good or something is told."""
    parts = data.split(b"\0")[:8]
    loaded = documents.read({f"desired/{n}.yaml": part for n, part in enumerate(parts)}, COMMIT)
    assert loaded.desired is not None or loaded.problems
    for problem in loaded.problems:
        assert str(problem).isprintable(), problem
        assert problem.line >= 1


_CONFIG = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}.yaml"


def read_config(data: bytes) -> None:
    _CONFIG.write_bytes(data)
    try:
        load_config(_CONFIG)
    except InputError as error:
        assert all(line.isprintable() for line in str(error).splitlines())
    finally:
        _CONFIG.unlink()


class _Ran(guard.Guard):
    """Takes every lock at once and keeps nothing."""

    def __init__(self, spawn: guard.Spawn) -> None:
        self.spawn = spawn
        self.no_units = "/nonexistent"

    def _take(self, claim: guard.Claim) -> int:
        assert guard.NAME.fullmatch(claim.domain) and 0 < claim.epoch < 10**18
        return -1

    def _stored(self, domain: str) -> int:
        assert guard.NAME.fullmatch(domain)
        return 0


def ask_guard(data: bytes) -> None:
    """One line on the guard's input: answered or refused, and what is run can be run."""

    def spawn(argv: list[str], stdin: str, timeout_s: float, hold: guard.Hold | None) -> dict[str, Any]:
        assert argv and argv[0] and all("\0" not in word for word in argv)
        assert guard.encoded(argv) and stdin.encode() is not None
        assert 0 < timeout_s < 1e9
        return {"exit": 0, "stdout": "", "stderr": "", "duration_s": 0.0}

    replies = list(_Ran(spawn).handle(guard.read_request(data.replace(b"\n", b" "))))
    assert "done" in replies[-1] or "refused" in replies[-1]
    json.dumps(replies)


def read_tree(data: bytes) -> None:
    """What git says of a tree, and of its blobs: SourceError, problems or exactly the blobs asked for."""
    listing, _, blobs = data.partition(b"\xff\xff")
    answers = iter([command.Result(0, listing, ""), command.Result(0, blobs, "")])

    def expect(*_: object, **__: object) -> command.Result:
        return next(answers)

    with mock.patch.object(tree, "expect", expect):
        try:
            found = tree.read_tree(Path("/r"), COMMIT, "desired")
        except SourceError:
            return
    assert not (found.files and found.problems)
    assert all(path.isprintable() and ".." not in path.split("/") for path in found.files)


def read_verdict(data: bytes) -> None:
    """What git says of a signature, and names of refs and folders; nothing is raised but SourceError."""
    text = data[1:].decode("utf-8", "backslashreplace")
    both = Signatures(Path("/signers"), None, Path("/gpg"))
    verdict = signatures.judge(data[0] % 2 if data else 1, text, both)
    assert bool(verdict.signer) != bool(verdict.why)
    assert verdict.why.isprintable()
    if verdict.signer:
        assert data[0] % 2 == 0 and ("GOODSIG" in text or 'Good "git" signature for' in text)
    for check in (git.check_ref, tree.check_folder):
        try:
            check(text)
        except SourceError:
            pass


TARGETS: dict[str, Target] = {
    "documents": read_documents,
    "config": read_config,
    "xl": tool(xl),
    "lvm": tool(lvm),
    "dm": tool(dm),
    "drbd": tool(drbd),
    "files": tool(files),
    "guard": ask_guard,
    "tree": read_tree,
    "verdict": read_verdict,
}


def mix(data: bytes) -> None:
    """Byte 0 chooses the target: all of them in one short run."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])


def seeds(name: str) -> list[bytes]:
    """Good inputs to start from, and all that was ever found."""
    if name == "mix":
        return [bytes([at]) + one for at, each in enumerate(TARGETS) for one in seeds(each)]
    kept = Path(__file__).parent / "corpus" / name
    return [*_given(name), *(path.read_bytes() for path in sorted(kept.glob("*")))]


def _given(name: str) -> Iterator[bytes]:
    modules = {"dm": dm, "xl": xl, "lvm": lvm, "drbd": drbd, "files": files}
    if name in modules:
        yield from tool_seeds(modules[name])
    elif name == "documents":
        example = (TOP / "desired" / "example.yaml").read_bytes()
        yield from (example, b"hosts:\n  a: {address: 192.0.2.1}\n\0domains:\n  w: {host: a}\n")
    elif name == "config":
        yield (TOP / "systemd" / "reconciler.yaml.example").read_bytes()
        yield b"repository: r\nssh: {key_file: k, known_hosts_file: h}\nsignatures: {gpg_home: g}\n"
    elif name == "guard":
        yield b'{"id": 1, "claim": {"domain": "web1", "epoch": 3}, "commands": [{"argv": ["xl", "list"]}]}'
        yield b'{"id": 2, "claim": null, "commands": [{"argv": ["a"], "stdin": "x", "timeout_s": 1.5}]}'
    elif name == "tree":
        blob = b"2" * 40
        head = b"100644 blob " + blob + b"       3\tdesired/a.yaml\0"
        yield head + b"\xff\xff" + blob + b" blob 3\nabc\n"
        yield head + b"120000 blob " + blob + b"       1\tdesired/link\0"
    else:
        yield b'\0Good "git" signature for a with ED25519 key SHA256:x'
        yield b"\0[GNUPG:] GOODSIG 12 Bob\n[GNUPG:] VALIDSIG 1\n"
        yield b"\1refs/heads/main"
