"""JSON in which a number is written exactly as it was given.

The standard library writes a float by its repr (1.23e-05) and cannot write a token of ours;
costs must leave as the decimal text that the bill holds. Numbers of the client's body are
kept as tokens too, so that an echoed `temperature` is the one that was sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number (or a token that only looks like one, such as NaN), written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Twice:
    """A member that stands in its object two times, with these values."""

    first: object
    second: object


def write(value: object) -> bytes:
    """One line of JSON in UTF-8; a lone surrogate in a client's text is escaped, not refused."""
    try:
        return _text(value, ascii_only=False).encode()
    except UnicodeEncodeError:
        return _text(value, ascii_only=True).encode()


def read(body: bytes) -> object:
    """Raises: `ValueError` for what is not JSON (also NaN and too deep nesting)."""
    try:
        return json.loads(body, parse_float=Number, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(token: str) -> object:
    raise ValueError(f"{token} is not JSON")


def _text(value: object, *, ascii_only: bool) -> str:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, Mapping):
        return "{" + ",".join(_members(value, ascii_only=ascii_only)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item, ascii_only=ascii_only) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def _members(members: Mapping[str, object], *, ascii_only: bool) -> Iterator[str]:
    for name, member in members.items():
        for value in (member.first, member.second) if isinstance(member, Twice) else (member,):
            yield f"{json.dumps(name, ensure_ascii=ascii_only)}:{_text(value, ascii_only=ascii_only)}"
