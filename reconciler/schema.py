"""The JSON Schemas of `schemas/`, found alike in a checkout and in an installed package.

`reconciler/schemas` is a symbolic link to the top-level folder; a wheel holds the files themselves.
No schema is ever fetched: a reference to one that is not in the folder is an error.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

import jsonschema
import referencing
from jsonschema.protocols import Validator
from referencing.jsonschema import DRAFT202012

NAMES = ("config", "desired", "domains", "hosts")


def text(name: str) -> str:
    """The text of `schemas/<name>.schema.json`. FileNotFoundError means a broken installation."""
    file = importlib.resources.files("reconciler") / "schemas" / f"{name}.schema.json"
    return file.read_text(encoding="utf-8")


@functools.cache
def validator(name: str) -> Validator:
    """A validator for one schema; references go to the other schemas of the folder only."""
    resources = [
        (f"{each}.schema.json", DRAFT202012.create_resource(json.loads(text(each)))) for each in NAMES
    ]
    registry: referencing.Registry[Any] = referencing.Registry().with_resources(resources)
    made: Validator = _Strict(json.loads(text(name)), registry=registry)
    return made


def _is_integer(_checker: object, value: object) -> bool:
    """JSON Schema takes 22.0 for an integer; argv would then hold "22.0"."""
    return type(value) is int


_Strict: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
