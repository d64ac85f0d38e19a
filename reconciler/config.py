"""The daemon's own configuration: one YAML file, read as strictly as the committed documents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from reconciler.errors import InputError, SourceError
from reconciler.source import checks, git, strict_yaml, tree, wording
from reconciler.source.signatures import Signatures


@dataclass(frozen=True)
class Ssh:
    """How hosts are reached. Keys of hosts that are not in `known_hosts_file` are refused."""

    key_file: Path
    known_hosts_file: Path
    connect_timeout_s: int = 15


@dataclass(frozen=True)
class Range:
    """Numbers from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


@dataclass(frozen=True)
class Config:
    """See schemas/config.schema.json for each field. All paths are absolute."""

    repository: Path
    ssh: Ssh
    ref: str = "refs/heads/main"
    folder: str = "desired"
    state_dir: Path = Path("/var/lib/xen-reconciler")
    report_file: Path = Path("/var/lib/xen-reconciler/report.json")
    interval_s: int = 60
    max_moves: int = 1
    link_rate_mb_s: int = 100
    disk_rate_mb_s: int = 200
    ports: Range = Range(7800, 7899)
    minors: Range = Range(100, 199)
    domain_retry_s: int = 300
    max_attempts: int = 3
    signatures: Signatures | None = None


def load_config(path: Path) -> Config:
    """Read the file. Raises InputError, one line with file, line, value and what is allowed per fault."""
    try:
        with path.open("rb") as file:
            content = file.read(strict_yaml.MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    try:
        document = strict_yaml.load(content)
    except strict_yaml.StrictYamlError as error:
        _refuse(path, error.faults)
    findings = checks.check(document, "config") or _beyond_the_schema(document)
    if findings:
        _refuse(path, findings)
    return _build(document.data, path.absolute().parent)


def _beyond_the_schema(document: strict_yaml.Document) -> list[checks.Finding]:
    """What a schema cannot say: the forms of ref and folder, and that ranges are not empty."""
    data = document.data
    found: list[checks.Finding] = []
    for key, check in (("ref", git.check_ref), ("folder", tree.check_folder)):
        try:
            check(data.get(key, "HEAD"))
        except SourceError as error:
            found.append(checks.Finding((key,), document.line((key,)), f"{key}: {error}"))
    for key in ("ports", "minors"):
        given = data.get(key)
        if given and given["first"] > given["last"]:
            shown = f"{given['first']} to {given['last']}"
            text = f"{key}: an empty range"
            found.append(checks.Finding((key,), document.line((key,)), text, shown, "first not above last"))
    return found


def _build(data: dict[str, Any], base: Path) -> Config:
    """Relative paths start at `base`, the folder of the file."""
    state_dir = base / data.get("state_dir", Config.state_dir)
    ssh = data["ssh"]
    made = {
        **data,
        "repository": base / data["repository"],
        "state_dir": state_dir,
        "report_file": base / data["report_file"] if "report_file" in data else state_dir / "report.json",
        "ssh": Ssh(
            **{
                **ssh,
                "key_file": base / ssh["key_file"],
                "known_hosts_file": base / ssh["known_hosts_file"],
            }
        ),
    }
    for key in ("ports", "minors"):
        if key in data:
            made[key] = Range(**data[key])
    if "signatures" in data:
        made["signatures"] = Signatures(**{key: base / path for key, path in data["signatures"].items()})
    return Config(**made)


def _refuse(path: Path, faults: tuple[strict_yaml.Fault, ...] | list[checks.Finding]) -> NoReturn:
    lines = []
    for fault in faults:
        text = f"{wording.path(str(path))}:{fault.line}: {fault.message}"
        text += f"; found {fault.value}" if fault.value else ""
        text += f"; allowed: {fault.allowed}" if fault.allowed else ""
        lines.append(text)
    raise InputError("\n".join(lines))
