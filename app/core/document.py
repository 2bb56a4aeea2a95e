"""Decodes one JSON object so that nothing said about money is lost in decoding.

Lives here: JSON as the reader of costs needs it: numbers stay the text they are, a name that
stands twice in one object is seen, and a large text costs bounded memory (`core.outline`). Must
not live here: what a member means. Called by `core.costs`.
"""

from __future__ import annotations

import json
from typing import Any

from app.core.outline import Bytes, outline

# Decoding a text of this size may take milliseconds: better not on an event loop.
HEAVY_BYTES = 64 * 1024

# A larger text is cut to its outline first.
DECODED_BYTES_MAX = 16 * 1024

_BOM = b"\xef\xbb\xbf"


class Malformed(ValueError):
    """The text is not one whole JSON object."""


class Number(str):
    """A JSON number (or NaN, Infinity, -Infinity, which some servers send) as it was written."""

    __slots__ = ()


class Repeating(dict[str, Any]):
    """An object in which names stand more than once; as usual the last of each is its value."""

    repeated: frozenset[str]


def decode(text: Bytes) -> dict[str, Any]:
    """The object that `text` is. Broken UTF-8 and raw control characters in strings are let pass.

    An object in it stays as the decoder gave it: most are never looked into. `object_of` makes one of it.

    Raises: `Malformed` if it is no object, breaks off, nests too deep, or is followed by more.
    """
    try:
        if text.startswith(_BOM):
            text = text[len(_BOM) :]
        if len(text) > DECODED_BYTES_MAX:
            text = outline(text)
        value = _value(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    if (members := object_of(value)) is None:
        raise Malformed
    return members


def _value(text: str) -> Any:
    """What `decode` of the decoder says, without its two regular expressions where nothing stands around an object."""
    if not text.startswith("{"):
        return _decoder.decode(text)
    value, end = _decoder.raw_decode(text)
    if end < len(text) and text[end:].strip(" \t\n\r"):
        raise ValueError("something follows the JSON value")
    return value


def object_in(members: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of that name; an empty one if there is none."""
    return object_of(members.get(name)) or {}


def object_of(value: Any) -> dict[str, Any] | None:
    """The object that a decoded value is; None: it is something else."""
    if not isinstance(value, tuple):  # of pairs
        return None
    members = dict(value)
    if len(members) == len(value):
        return members
    repeating = Repeating(members)
    names = [name for name, _ in value]
    repeating.repeated = frozenset(name for name in members if names.count(name) > 1)
    return repeating


def is_repeated(members: dict[str, Any], name: str) -> bool:
    return isinstance(members, Repeating) and name in members.repeated


def json_text(value: Any, characters_max: int) -> str:
    """The beginning of the JSON text of what was decoded; its numbers are strings in it."""
    return json.dumps(_plain(value, characters_max))[:characters_max]


def _plain(value: Any, depth: int) -> Any:
    """A value with its objects as such. What is nested deeper is left out: as many brackets would stand before it."""
    if depth == 0:
        return None
    if isinstance(value, tuple):
        return {name: _plain(member, depth - 1) for name, member in value}
    return [_plain(element, depth - 1) for element in value] if isinstance(value, list) else value


# A tuple of pairs for each object: an answer of 450 bytes takes the decoder 2.3 µs so, and 3.2 with a function of ours
# that makes a dictionary of each and looks for repeated names (Python 3.11).
_decoder = json.JSONDecoder(
    object_pairs_hook=tuple, parse_float=Number, parse_int=Number, parse_constant=Number, strict=False
)
