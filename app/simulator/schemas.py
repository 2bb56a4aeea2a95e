"""An example that satisfies a JSON schema: structured output and function arguments.

Covers what OpenAI's structured outputs allow (objects, arrays, enums, anyOf, $ref, const,
number and length limits); deterministic, and bounded for every schema, also a recursive or a
broken one. The strings are harmless, since clients may act on them: a coding agent runs what
it finds in `command`.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

# Deeper, null is preferred where it is allowed; deepest, objects and arrays stay empty.
_DEPTH_EASY = 6
_DEPTH_MAX = 12
_VALUES_MAX = 5000
_LENGTH_MAX = 1000

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
    """A value that the schema accepts; a string for what is no schema."""
    return _Example(_schema(schema)).value(_schema(schema), name="", depth=0)


class _Example:
    """One example being made: its document, for references, and what may still be spent on it."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._values_left = _VALUES_MAX

    def value(self, schema: Schema, *, name: str, depth: int) -> Any:
        self._values_left -= 1
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if choices := _list(schema, "enum"):
            return choices[0]
        options = _list(schema, "anyOf") or _list(schema, "oneOf")
        if options and depth < _DEPTH_MAX:
            return self.value(self._choice(options, depth), name=name, depth=depth + 1)
        kind = _type_of(schema, depth)
        if kind == "object":
            return self._object(schema, depth)
        return self._array(schema, name, depth) if kind == "array" else _scalar(kind, schema, name)

    def _resolved(self, schema: Schema) -> Schema:
        """Follows `$ref` inside the document; a reference to nowhere accepts anything."""
        for _ in range(_DEPTH_MAX):
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                return schema
            found: Any = self._root
            for step in filter(None, reference.lstrip("#").split("/")):
                found = found.get(step) if isinstance(found, dict) else None
            schema = _schema(found)
        return {}

    def _choice(self, options: list[Any], depth: int) -> Schema:
        """The first option that is not null, but null where there is one and the nesting gets deep."""
        schemas = [self._resolved(_schema(option)) for option in options]
        nulls = [schema for schema in schemas if schema.get("type") == "null"]
        others = [schema for schema in schemas if schema.get("type") != "null"]
        return [*nulls, *others][0] if depth > _DEPTH_EASY else [*others, *nulls][0]

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        if self._spent(depth):
            return {}
        members = _schema(schema.get("properties")).items()
        return {name: self.value(_schema(member), name=name, depth=depth + 1) for name, member in members}

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        if self._spent(depth):
            return []
        item = _schema(schema.get("items"))
        length = min(_integer(schema, "minItems", 0 if depth > _DEPTH_EASY else 1), _LENGTH_MAX)
        return [self.value(item, name=name, depth=depth + 1) for _ in range(length)]

    def _spent(self, depth: int) -> bool:
        return depth >= _DEPTH_MAX or self._values_left <= 0


def _type_of(schema: Schema, depth: int) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        names = [name for name in given if name != "null"]
        return "null" if not names or (depth > _DEPTH_EASY and "null" in given) else str(names[0])
    if given is None:
        return "object" if "properties" in schema else "string"
    return str(given)


def _scalar(kind: str, schema: Schema, name: str) -> str | int | None:
    match kind:
        case "string":
            return _string(schema, name)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
    return None


def _string(schema: Schema, name: str) -> str:
    text = _STRINGS.get(str(schema.get("format")), "echo simulated" if name in _COMMANDS else "simulated")
    least = min(_integer(schema, "minLength", 0), _LENGTH_MAX)
    return text.ljust(least, ".")[: max(0, _integer(schema, "maxLength", _LENGTH_MAX))]


def _number(schema: Schema) -> int:
    """An integer within the limits, at best 1 or the step."""
    least = max(_integer(schema, "minimum", 1), _integer(schema, "exclusiveMinimum", 0) + 1)
    most = min(_integer(schema, "maximum", least), _integer(schema, "exclusiveMaximum", least + 1) - 1)
    return _integer(schema, "multipleOf", 1) if least == most == 1 else most


def _schema(value: object) -> Schema:
    return value if isinstance(value, dict) else {}


def _list(schema: Schema, name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []


def _integer(schema: Schema, name: str, default: int) -> int:
    value = schema.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
