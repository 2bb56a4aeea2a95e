"""Examples that a schema accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.simulator.schemas import example_of

NODE: dict[str, Any] = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "simulated"),
        ({"type": "string", "enum": ["red", "green"]}, "red"),
        ({"type": "string", "format": "date"}, "2026-11-22"),
        ({"type": "string", "maxLength": 3}, "sim"),
        ({"type": "string", "minLength": 12}, "simulated..."),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "number", "minimum": 2, "maximum": 9}, 2),
        ({"type": "integer", "exclusiveMaximum": 1}, 0),
        ({"type": "integer", "multipleOf": 5}, 5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "simulated"),
        ({"const": 4}, 4),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        ({"$defs": {"a": {"type": "boolean"}}, "$ref": "#/$defs/a"}, True),
        ({"$ref": "#/nowhere"}, "simulated"),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 1}),
        ("no schema", "simulated"),
    ],
)
def test_an_example_satisfies_its_schema(schema: object, expected: object) -> None:
    """Each keyword that structured outputs allow."""
    assert example_of(schema) == expected


def test_a_command_is_harmless() -> None:
    """A coding agent runs what it is told, and it may be told by a simulator."""
    schema = {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}}
    assert example_of(schema) == {"command": ["echo simulated"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
        {"type": "object", "properties": {"me": {"$ref": "#"}}},
        {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefgh"}},
        {"$ref": "#"},
        {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_recursive_schema_comes_to_an_end(schema: object) -> None:
    """By null where that is allowed, else by depth and number."""
    assert len(str(example_of(schema))) < 100_000


@pytest.mark.parametrize(
    "name", ["$ref", "enum", "anyOf", "type", "properties", "items", "minItems", "maxLength", "minimum"]
)
@pytest.mark.parametrize("value", [None, True, -1, "text", [], [None], {}])
@pytest.mark.parametrize("kind", ["object", "array", "string", "integer"])
def test_a_broken_schema_is_no_fault_of_the_simulator(kind: str, name: str, value: object) -> None:
    """A client's nonsense gets some answer."""
    json.dumps(example_of({"type": kind, name: value}))
