"""Reads the body of a create request as far as the simulator acts on it; everything else is echoed or ignored.

As strict as OpenAI's API where a client would notice (no input, an unknown
previous_response_id), and silent about parameters it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.simulator.errors import invalid
from app.simulator.jsontext import read, write

# A picture or a file counts as so many tokens; a text, a token for each four bytes.
_PART_TOKENS = 85
_BYTES_PER_TOKEN = 4

# Names a behaviour for any model. The gateway lets every `x-stainless-*` header through.
SIMULATE_HEADER = "x-stainless-simulate"

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    fields: Fields  # the whole body
    model: str
    stream: bool
    items: tuple[Any, ...]  # input items; a plain string is a user's message
    previous_response_id: str | None
    max_output_tokens: int | None
    marker: str | None
    sdk_retry: int
    simulate: str | None = None  # the behaviour that a header asks for, see `registry`
    upstream_key: str = ""  # with which it was asked

    @property
    def obfuscated(self) -> bool:
        """Deltas shall be padded."""
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_obfuscation") is True

    @property
    def last_text(self) -> str:
        """The text of the last input item that has any."""
        texts = (item_text(item) for item in reversed(self.items))
        return next((text for text in texts if text), "")

    @property
    def own_input_tokens(self) -> int:
        """Tokens of this body alone; what a previous response adds is the store's to tell."""
        tokens = sum(_item_tokens(item) for item in self.items)
        for name in ("instructions", "tools"):
            if self.fields.get(name):
                tokens += _tokens(write(self.fields[name]))
        return max(1, tokens)


def understand(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Raises: `RefusedError` (400)."""
    try:
        fields = read(body)
    except ValueError:
        raise invalid("We could not parse the JSON body of your request.") from None
    if not isinstance(fields, dict):
        raise invalid("The body must be a JSON object.")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("Missing required parameter: 'model'.", "model")
    _refuse_background(fields)
    return Asked(
        fields=fields,
        model=model,
        stream=_boolean(fields, "stream"),
        items=_input_items(fields),
        previous_response_id=_optional_string(fields, "previous_response_id"),
        max_output_tokens=_max_output_tokens(fields),
        marker=marker_of(headers, fields),
        sdk_retry=_count(headers.get("x-stainless-retry-count", "0")),
        simulate=headers.get(SIMULATE_HEADER),
        upstream_key=headers.get("authorization", "").partition(" ")[2],
    )


def marker_of(headers: Mapping[str, str], fields: Fields) -> str | None:
    """What a test wrote on its request to find it on the bill.

    A header (`x-stainless-marker`, which crosses the gateway like all of x-stainless-*, or
    `x-request-marker`), else `metadata.marker` in the body.
    """
    for name in ("x-request-marker", "x-stainless-marker"):
        if name in headers:
            return headers[name]
    metadata = fields.get("metadata")
    marker = metadata.get("marker") if isinstance(metadata, dict) else None
    return marker if isinstance(marker, str) else None


def item_text(item: object) -> str:
    """The text of an input item: a message's, or what a function gave back."""
    if not isinstance(item, dict):
        return ""
    content = item.get("content", item.get("output"))
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _item_tokens(item: object) -> int:
    tokens = _tokens(item_text(item).encode("utf-8", "replace"))
    content = item.get("content") if isinstance(item, dict) else None
    parts = content if isinstance(content, list) else []
    return tokens + _PART_TOKENS * sum(isinstance(part, dict) and "text" not in part for part in parts)


def _tokens(text: bytes) -> int:
    return -(-len(text) // _BYTES_PER_TOKEN)


def _input_items(fields: Fields) -> tuple[Any, ...]:
    given = fields.get("input")
    if isinstance(given, str):
        return ({"type": "message", "role": "user", "content": given},)
    if isinstance(given, list):
        return tuple(given)
    if given is None:
        raise invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    raise invalid("Invalid type for 'input': expected a string or an array.", "input", "invalid_type")


def _refuse_background(fields: Fields) -> None:
    if _boolean(fields, "background"):
        raise invalid("Background mode is not available.", "background")


def _boolean(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise invalid(f"Invalid type for '{name}': expected a boolean.", name, "invalid_type")


def _optional_string(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise invalid(f"Invalid type for '{name}': expected a string.", name, "invalid_type")


def _max_output_tokens(fields: Fields) -> int | None:
    value = fields.get("max_output_tokens")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid("Invalid 'max_output_tokens': expected an integer of at least 1.", "max_output_tokens")
    return value


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
