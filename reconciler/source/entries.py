"""Hosts, domains and defaults as they stand in the files, each knowing its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model.placement import Problem, Where
from reconciler.source import checks, strict_yaml, wording
from reconciler.source.strict_yaml import Document, Path

SECTIONS = ("hosts", "domains", "defaults")


@dataclass(frozen=True)
class Entry:
    """One host or domain, or one `defaults:`, of one file. `sound`: checked, and the schema allows it."""

    commit: str
    file: str
    section: str
    name: str
    data: Any
    document: Document
    sound: bool

    @property
    def path(self) -> Path:
        return (self.section, self.name) if self.name else (self.section,)

    @property
    def where(self) -> Where:
        return Where(self.file, self.document.line(self.path))

    def problem(self, message: str, value: object = "", allowed: str = "", at: Path = ()) -> Problem:
        """A problem with the value at `at` below this entry."""
        path = (*self.path, *at)
        shown = "" if value == "" else wording.show(value)
        text = f"{checks.field(path)}: {message}"
        return Problem(self.commit, self.file, self.document.line(path), text, shown, allowed)


@dataclass(frozen=True)
class Gathered:
    """All entries of a commit. `complete` is false when some may be missing because of a problem."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    complete: bool

    def of(self, section: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.section == section]


def gather(files: Mapping[str, bytes], commit: str) -> Gathered:
    """Read every file by itself. Never raises for what the files hold."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    complete = True
    for file in sorted(files):
        try:
            document = strict_yaml.load(files[file])
        except strict_yaml.StrictYamlError as error:
            complete = False
            problems.extend(
                Problem(commit, file, fault.line, fault.message, fault.value, fault.allowed)
                for fault in error.faults
            )
            continue
        findings = checks.check(document, "desired")
        problems.extend(
            Problem(commit, file, found.line, found.message, found.value, found.allowed) for found in findings
        )
        paths = {found.path for found in findings}
        complete = complete and not any(len(path) < 2 for path in paths)
        broken = {path[:depth] for path in paths for depth in (1, 2)} | ({()} & paths)
        entries.extend(_entries(commit, file, document, broken))
    return Gathered(tuple(entries), tuple(problems), complete)


def _entries(commit: str, file: str, document: Document, broken: set[Path]) -> Iterator[Entry]:
    top = document.data if isinstance(document.data, dict) else {}
    checked = () not in broken
    for section in SECTIONS:
        content = top.get(section)
        if section == "defaults":
            if content is not None:
                sound = checked and (section,) not in broken
                yield Entry(commit, file, section, "", content, document, sound)
        elif isinstance(content, dict):
            for name, data in content.items():
                sound = checked and (section, name) not in broken
                yield Entry(commit, file, section, name, data, document, sound)
