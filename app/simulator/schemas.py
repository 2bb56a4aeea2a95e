"""An example that satisfies a JSON schema: structured output and function arguments.

Covers what OpenAI's structured outputs allow (objects, arrays, enums, anyOf, $ref, const,
number and length limits); deterministic. The strings are harmless, since clients may act on
them: a coding agent runs what it finds in `command`.
"""

from __future__ import annotations

from typing import Any

_DEPTH_MAX = 12
_STRINGS = {
    "date": "2026-11-22",
    "date-time": "2026-11-22T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}
_COMMANDS = {"cmd", "command", "script"}


def example_of(schema: object) -> Any:
    """A value that the schema accepts; an empty object for what is no schema."""
    root = schema if isinstance(schema, dict) else {}
    return _example(root, root, name="", depth=0)


def _example(schema: dict[str, Any], root: dict[str, Any], *, name: str, depth: int) -> Any:
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return _example(_choice(schema[union], root, depth), root, name=name, depth=depth + 1)
    kind = _type_of(schema, depth)
    if kind == "object":
        return _object(schema, root, depth)
    return _array(schema, root, name, depth) if kind == "array" else _scalar(kind, schema, name)


def _scalar(kind: str, schema: dict[str, Any], name: str) -> str | int | None:
    match kind:
        case "string":
            return _string(schema, name)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
    return None


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follows `$ref` inside the document; a reference to nowhere accepts anything."""
    for _ in range(_DEPTH_MAX):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found: Any = root
        for step in reference.lstrip("#").strip("/").split("/"):
            found = found.get(step, {}) if isinstance(found, dict) and step else found
        schema = found if isinstance(found, dict) else {}
    return {}


def _choice(options: list[Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    """The first option, but null where there is one and the nesting gets deep (recursive schemas)."""
    schemas = [_resolved(option, root) for option in options if isinstance(option, dict)]
    nulls = [schema for schema in schemas if schema.get("type") == "null"]
    others = [schema for schema in schemas if schema.get("type") != "null"]
    preferred = nulls + others if depth > _DEPTH_MAX // 2 else others + nulls
    return preferred[0] if preferred else {}


def _type_of(schema: dict[str, Any], depth: int) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        names = [name for name in given if name != "null"]
        return "null" if not names or (depth > _DEPTH_MAX // 2 and "null" in given) else str(names[0])
    if given is None:
        return "object" if "properties" in schema else "string"
    return str(given)


def _object(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    members = properties.items() if isinstance(properties, dict) and depth <= _DEPTH_MAX * 2 else ()
    return {
        name: _example(member if isinstance(member, dict) else {}, root, name=name, depth=depth + 1)
        for name, member in members
    }


def _array(schema: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> list[Any]:
    least = schema.get("minItems", 0 if depth > _DEPTH_MAX // 2 else 1)
    items = schema.get("items")
    item = items if isinstance(items, dict) else {}
    return [_example(item, root, name=name, depth=depth + 1) for _ in range(min(int(least), 100))]


def _string(schema: dict[str, Any], name: str) -> str:
    text = _STRINGS.get(str(schema.get("format")), "echo simulated" if name in _COMMANDS else "simulated")
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1000)
    return text.ljust(min(int(least), 1000), ".")[: int(most)]


def _number(schema: dict[str, Any]) -> int:
    """The least integer that the limits allow, at best 1."""
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if isinstance(least, int) and least >= 1:
        return least + ("exclusiveMinimum" in schema and "minimum" not in schema)
    if isinstance(most, int) and most <= 1:
        return most - ("exclusiveMaximum" in schema and "maximum" not in schema)
    step = schema.get("multipleOf", 1)
    return step if isinstance(step, int) else 1
