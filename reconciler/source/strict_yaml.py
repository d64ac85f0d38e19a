"""YAML with one meaning and bounded cost, every value with the line it stands on.

Works on PyYAML's stream of events, so neither nesting nor aliases can make it recurse or expand:
tags, anchors, aliases, merge keys, directives and second documents are refused as they are met.
PyYAML's own parser is used rather than libyaml's: slower (about 5 s for 1 MiB), but memory-safe, and
the same wherever the daemon runs.

`load` raises nothing but StrictYamlError, whatever the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from reconciler.errors import InputError
from reconciler.source import scalars, wording

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_VALUES = 200_000
MAX_FAULTS = 100

Path = tuple[str | int, ...]

# Cc without \t and \n, Cf (bidi, zero width, BOM), Zl, Zp, surrogates and non-characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_VISIBLE = "visible characters in UTF-8; no control, bidirectional or zero-width characters"


@dataclass(frozen=True)
class Fault:
    """One thing that is not allowed, with the line it stands on (from 1)."""

    line: int
    message: str
    value: str = ""
    allowed: str = ""


class StrictYamlError(InputError):
    """The bytes are not YAML of the strict kind; `faults` says where and why, all that were found."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"line {fault.line}: {fault.message}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True)
class Document:
    """Mappings, lists and scalars, and the line of each by its path from the top."""

    data: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest thing around it that exists."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def load(data: bytes) -> Document:
    """Read one document. An empty one has the data None. Raises StrictYamlError only."""
    text = _decode(data)
    builder = _Builder()
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            builder.take(loader.get_event())  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else loader.line + 1
        builder.faults.append(Fault(line, f"not YAML: {error.problem or error.context}"))
    except _Stop:
        pass
    except Exception as error:  # PyYAML lets ValueError, RecursionError and others out, e.g. for "\U99999999"
        builder.faults.append(Fault(loader.line + 1, f"not YAML: {type(error).__name__}: {error}"[:200]))
    finally:
        loader.dispose()
    if builder.faults:
        raise StrictYamlError(tuple(builder.faults))
    return Document(builder.root, builder.lines)


def _decode(data: bytes) -> str:
    """The bytes as text of visible characters, or StrictYamlError."""
    if len(data) > MAX_BYTES:
        raise _error(1, "the file is too large", f"{len(data)} bytes", f"at most {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(line, "not UTF-8", f"byte 0x{data[error.start]:02x}", _VISIBLE) from None
    text = text.replace("\r\n", "\n")
    found = _UNSEEN.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise _error(line, "an invisible character", f"U+{ord(found[0]):04X}", _VISIBLE)
    return text


def _error(line: int, message: str, value: str, allowed: str) -> StrictYamlError:
    return StrictYamlError((Fault(line, message, value, allowed),))


class _Stop(Exception):
    """Nothing after this fault can be read with sense."""


@dataclass
class _Frame:
    """A mapping or list that is still open. `key` is what the next value of a mapping belongs to."""

    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None


class _Builder:
    """Turns events into values. Refuses, notes the line and goes on where that makes sense."""

    def __init__(self) -> None:
        self.root: Any = None
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self._open: list[_Frame] = []
        self._documents = 0
        self._values = 0

    def take(self, event: yaml.Event) -> None:
        """One event; raises _Stop after a fault that ends the reading."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self._document(event, line)
            case yaml.AliasEvent():
                self._fault(line, "aliases are not allowed", f"*{event.anchor}"[:60], "write the value out")
                self._scalar(event.anchor, line)
            case yaml.ScalarEvent():
                self._properties(event, line)
                self._scalar(self._value(event, line), line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._properties(event, line)
                self._enter({} if isinstance(event, yaml.MappingStartEvent) else [], line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()
            case _:
                pass

    def _fault(self, line: int, message: str, value: str = "", allowed: str = "") -> None:
        self.faults.append(Fault(line, message, value, allowed))
        if len(self.faults) >= MAX_FAULTS:
            self._stop(line, "too many faults: the rest of the file was not read")

    def _stop(self, line: int, message: str, value: str = "", allowed: str = "") -> NoReturn:
        self.faults.append(Fault(line, message, value, allowed))
        raise _Stop

    def _document(self, event: yaml.DocumentStartEvent, line: int) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(line, "a second document begins", "---", "one document a file")
        if event.version or event.tags:
            self._fault(line, "directives are not allowed", "%YAML or %TAG", "no line that starts with %")

    def _properties(self, event: yaml.NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._fault(line, "tags are not allowed", wording.show(tag), "mappings, lists, text and numbers")
        if event.anchor is not None:
            self._fault(line, "anchors are not allowed", f"&{event.anchor}"[:60], "write the value out")

    def _value(self, event: yaml.ScalarEvent, line: int) -> scalars.Scalar:
        word = event.value
        found = _UNSEEN.search(word)
        if found:
            self._fault(line, "an invisible character", f"U+{ord(found[0]):04X}", _VISIBLE)
        elif "\n" in word or "\t" in word:
            self._fault(line, "more than one line, or a tab", wording.show(word), "text on one line")
        if found or event.style:
            return str(word)
        value = scalars.read_plain(word)
        if isinstance(value, scalars.Ambiguous):
            self._fault(line, f"must be quoted: {value.reason}", word[:60], value.allowed)
            return word  # so that the same name elsewhere is still seen as a duplicate
        return value

    def _place(self, value: Any, line: int) -> Path:
        """Put a value where it belongs; its path."""
        self._values += 1
        if self._values > MAX_VALUES:
            self._stop(line, "the file holds too many values", "", f"at most {MAX_VALUES}")
        if not self._open:
            self.root = value
            path: Path = ()
        else:
            frame = self._open[-1]
            if isinstance(frame.container, list):
                path = (*frame.path, len(frame.container))
                frame.container.append(value)
            else:
                key = frame.key or ""
                path, frame.key = (*frame.path, key), None
                frame.container[key] = value
        self.lines.setdefault(path, line)
        return path

    def _scalar(self, value: scalars.Scalar, line: int) -> None:
        frame = self._open[-1] if self._open else None
        if frame is None or isinstance(frame.container, list) or frame.key is not None:
            self._place(value, line)
        else:
            self._key(frame, value, line)

    def _key(self, frame: _Frame, value: scalars.Scalar, line: int) -> None:
        if not isinstance(value, str) or not value:
            self._fault(line, "a key must be text", wording.show(value), "a name; quote a number")
            value = ""
        elif value in frame.container:
            first = self.lines[(*frame.path, value)]
            self._fault(line, f"the key is there twice, first on line {first}", wording.show(value), "once")
        self.lines.setdefault((*frame.path, value), line)
        frame.key = value

    def _enter(self, container: dict[str, Any] | list[Any], line: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._stop(line, "nested too deeply", "", f"at most {MAX_DEPTH} levels")
        frame = self._open[-1] if self._open else None
        if frame and isinstance(frame.container, dict) and frame.key is None:
            self._stop(line, "a key must be text", wording.show(container), "a name")
        self._open.append(_Frame(container, self._place(container, line)))
