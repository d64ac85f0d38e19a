"""The schemas say the same as the code: fields, defaults and choices."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing.exceptions

from reconciler import config, schema
from reconciler.model import placement

TOP = Path(__file__).parents[2] / "schemas"


def parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from parts(value)


@pytest.mark.parametrize("name", schema.NAMES)
def test_each_is_a_schema_that_lets_nothing_unknown_pass(name: str) -> None:
    text = json.loads(schema.text(name))
    jsonschema.Draft202012Validator.check_schema(text)
    for part in parts(text):
        if "properties" in part and "required" in part:
            assert part["additionalProperties"] is False
            assert set(part["required"]) <= set(part["properties"])


@pytest.mark.parametrize("name", schema.NAMES)
def test_every_field_is_described(name: str) -> None:
    for part in parts(json.loads(schema.text(name))):
        for key, about in part.get("properties", {}).items():
            assert "description" in about or "$ref" in about, key


@pytest.mark.parametrize("name", schema.NAMES)
def test_the_package_and_the_top_of_the_checkout_hold_the_same(name: str) -> None:
    assert schema.text(name) == (TOP / f"{name}.schema.json").read_text()


def defaults(cls: type) -> dict[str, Any]:
    """The fields and defaults of a dataclass; fields without a default are not in it."""
    found = {}
    for field in dataclasses.fields(cls):
        value = field.default
        if value is not dataclasses.MISSING:
            found[field.name] = getattr(value, "value", value)
    return found


def definition(name: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema.text(name))["$defs"][key]
    return found


@pytest.mark.parametrize(
    ("about", "cls", "unlike"),
    [
        (definition("hosts", "host"), placement.Host, {"name"}),
        (definition("domains", "policy"), placement.Policy, set()),
        (definition("domains", "domain"), placement.Domain, {"name", "where"}),
        (definition("domains", "provision"), placement.Provision, set()),
        (definition("domains", "disk"), placement.NewDisk, set()),
        (definition("domains", "disk")["properties"]["source"], placement.DiskSource, set()),
        (json.loads(schema.text("config")), config.Config, set()),
        (json.loads(schema.text("config"))["properties"]["ssh"], config.Ssh, set()),
        (json.loads(schema.text("config"))["properties"]["signatures"], config.Signatures, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fields_and_defaults_are_those_of_the_model(
    about: dict[str, Any], cls: type, unlike: set[str]
) -> None:
    properties = about["properties"]
    assert set(properties) == {field.name for field in dataclasses.fields(cls)} - unlike
    for key, value in defaults(cls).items():
        if "default" in properties.get(key, {}):
            said = properties[key]["default"]
            like = vars(value) if dataclasses.is_dataclass(value) else value
            assert said == (str(like) if isinstance(like, Path) else list(like) if like == () else like)


def test_choices_are_those_of_the_model() -> None:
    policy = definition("domains", "policy")["properties"]
    assert policy["attach"]["enum"] == [each.value for each in placement.Attach]
    assert policy["cutover"]["enum"] == [each.value for each in placement.Cutover]
    assert policy["compression"]["enum"] == [each.value for each in placement.Compression]
    assert policy["transport"]["enum"] == [each.value for each in placement.Transport]


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "text", lambda name: '{"$ref": "http://localhost:1/x.json"}')
    with pytest.raises(referencing.exceptions.Unresolvable):
        list(schema.validator.__wrapped__("hosts").iter_errors({}))
