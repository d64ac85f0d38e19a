"""What JSON Schema finds wrong, said so that an operator can mend it: line, value, what is allowed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import ValidationError

from reconciler import schema
from reconciler.source import wording
from reconciler.source.strict_yaml import Document, Path

MAX_FINDINGS = 100

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}


@dataclass(frozen=True)
class Finding:
    """One thing wrong in a document. `path` is the value it makes unusable."""

    path: Path
    line: int
    message: str
    value: str = ""
    allowed: str = ""


def check(document: Document, schema_name: str) -> list[Finding]:
    """All findings by line; the first of them if there are very many."""
    found: dict[Finding, None] = {}  # in order, each once
    for error in schema.validator(schema_name).iter_errors(document.data):
        found.update(dict.fromkeys(itertools.islice(_explain(document, error), MAX_FINDINGS + 1)))
        if len(found) > MAX_FINDINGS:
            first = list(found)[:MAX_FINDINGS]
            text = "too many faults: the rest of the file was not checked"
            return [*first, Finding((), first[-1].line, text)]
    return sorted(found, key=lambda finding: finding.line)


def field(path: Path) -> str:
    """The path as operators write it: domains.web1.provision.disks[0]."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{wording.cut(part)}" for part in path)
    return "".join(parts).removeprefix(".") or "the file"


def _explain(document: Document, error: ValidationError) -> Iterator[Finding]:
    path: Path = tuple(error.absolute_path)
    rules: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    value: Any = error.instance
    rule: Any = error.validator_value
    properties: dict[str, dict[str, Any]] = rules.get("properties", {})
    name, shown, allowed = field(path), wording.show(value), str(rules.get("description", ""))
    line = document.line(path)
    match error.validator:
        case "additionalProperties":
            for key in sorted(set(value) - set(properties)):
                at = (*path, key)
                text = f"{name} has no field {wording.show(key)}{wording.guess(key, properties)}"
                yield Finding(at, document.line(at), text, "", wording.choices(properties))
        case "required":  # reported once for each missing field, without saying which
            for key in sorted(set(rule) - set(value)):
                about = str(properties.get(key, {}).get("description", ""))
                yield Finding(path, line, f"{name} needs a field {wording.show(key)}", "", about)
        case "type":
            kinds = [rule] if isinstance(rule, str) else list(rule)
            wanted = " or ".join(_TYPES.get(kind, kind) for kind in kinds)
            yield Finding(path, line, f"{name} must be {wanted}", shown, allowed)
        case "enum":
            if isinstance(value, str):  # else the type is wrong, and told
                text = f"{name} is not known{wording.guess(value, rule)}"
                yield Finding(path, line, text, shown, wording.choices(rule))
        case _ if "propertyNames" in error.absolute_schema_path:
            at = (*path, str(value))
            yield Finding(at, document.line(at), f"{name} holds a name that cannot be used", shown, allowed)
        case _:
            yield Finding(path, line, f"{name} has a value that cannot be used", shown, allowed)
