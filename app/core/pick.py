"""Picks a few members out of a JSON object without building the rest of it.

Lives here: walking one JSON text along a shape of wanted names (RFC 8259). Must not live here: what
the members mean (`core.costs`). Called by `core.costs` with the answers of an upstream, which may be
tens of megabytes of output around a hundred bytes of usage: what is not wanted is skipped inside
the regular-expression engine, takes no memory and has no depth limit. Numbers stay the text they
are, so a cost is read exactly as it was sent; a name that stands twice in one object is seen.

What is skipped is checked for its strings and brackets only, not for every rule of the grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Bytes = bytes | bytearray

# Wanted names; None = its text, a mapping = walk into the object of that name.
Shape = Mapping[bytes, "Shape | None"]

CONTAINER_EXCERPT_BYTES = 200

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_SPACE = rb"[ \t\n\r]*+"
_OBJECT_START = re.compile(rb"(?:\xef\xbb\xbf)?" + _SPACE + rb"\{")
_NAME = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_NO_MEMBERS = re.compile(_SPACE + rb"\}")
_PLAIN_VALUE = re.compile(_STRING + rb'|[^\s"{}\[\],:]++', re.DOTALL)
_SEPARATOR = re.compile(_SPACE + rb"([,}])")
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+([{}\[\]])", re.DOTALL)
_ONLY_SPACE = re.compile(_SPACE)


class Malformed(ValueError):
    """The text is not one whole JSON object."""


@dataclass(slots=True)
class Members:
    """What was found of the wanted names in one object."""

    texts: dict[bytes, bytes] = field(default_factory=dict)  # values as they stand; containers shortened
    objects: dict[bytes, Members] = field(default_factory=dict)
    repeated: set[bytes] = field(default_factory=set)  # names that stand more than once

    def object(self, name: bytes) -> Members:
        """The object of that name; an empty one if there is none."""
        return self.objects.get(name) or Members()

    def string(self, name: bytes) -> str | None:
        """The value of that name if it is a JSON string."""
        text = self.texts.get(name, b"")
        if not text.startswith(b'"'):
            return None
        try:
            return str(json.loads(text))
        except ValueError:  # a control character, a broken escape or broken UTF-8 in it
            return None


def pick(text: Bytes, shape: Shape) -> Members:
    """The wanted members of the one object that `text` is; the last of a repeated name is kept.

    Raises: `Malformed` if it is no object, breaks off, or is followed by anything but white space.
    """
    opening = _OBJECT_START.match(text)
    if opening is None:
        raise Malformed
    members, end = _object(text, opening.end(), shape)
    blank = _ONLY_SPACE.match(text, end)
    if blank is None or blank.end() != len(text):
        raise Malformed
    return members


def _object(text: Bytes, at: int, shape: Shape) -> tuple[Members, int]:
    """Walks the object whose brace opened just before `at`; its members and where it ends."""
    members = Members()
    if closing := _NO_MEMBERS.match(text, at):
        return members, closing.end()
    while name_match := _NAME.match(text, at):
        name = _plain_name(name_match[1])
        at = name_match.end()
        at = _wanted(text, at, name, shape[name], members) if name in shape else _skip(text, at)
        separator = _SEPARATOR.match(text, at)
        if separator is None:
            break
        at = separator.end()
        if separator[1] == b"}":
            return members, at
    raise Malformed


def _wanted(text: Bytes, at: int, name: bytes, inner: Shape | None, members: Members) -> int:
    if name in members.texts or name in members.objects:
        members.repeated.add(name)
        members.texts.pop(name, None)
        members.objects.pop(name, None)
    if inner is not None and text[at : at + 1] == b"{":
        members.objects[name], end = _object(text, at + 1, inner)
        return end
    end = _skip(text, at)
    whole = text[at : at + 1] not in (b"{", b"[")
    members.texts[name] = bytes(text[at : end if whole else min(end, at + CONTAINER_EXCERPT_BYTES)])
    return end


def _skip(text: Bytes, at: int) -> int:
    """Where the value that begins at `at` ends."""
    if plain := _PLAIN_VALUE.match(text, at):
        return plain.end()
    if text[at : at + 1] not in (b"{", b"["):
        raise Malformed
    open_brackets = bytearray()  # the brackets that will close them
    while bracket := _TO_BRACKET.match(text, at):
        at = bracket.end()
        if bracket[1] in b"{[":
            open_brackets += b"}" if bracket[1] == b"{" else b"]"
            continue
        if not open_brackets or open_brackets.pop() != bracket[1][0]:
            break
        if not open_brackets:
            return at
    raise Malformed


def _plain_name(quoted: bytes) -> bytes:
    if b"\\" not in quoted:
        return quoted[1:-1]
    try:
        return str(json.loads(quoted)).encode("utf-8", "surrogatepass")
    except ValueError as error:
        raise Malformed from error
