"""Cuts a valid JSON object into slices that can be decoded one after the other, none of which takes long.

Lives here: walking the outer members of one JSON text (RFC 8259), and the elements of its arrays, in bites.
Must not live here: what a member means. Called by `core.references`: a body may be 64 MiB, and a decoder
holds the interpreter until it is through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Generator
from typing import NamedTuple

# A slice is about as large, and never larger than the second of them; long strings are cut out of it before.
SLICE_BYTES = 64 * 1024
SLICE_BYTES_MAX = 256 * 1024

# A decoder takes most of its time for containers, about a microsecond each; nobody's are as small as these would be.
SLICE_CONTAINERS_MAX = 16 * 1024
SLICE_ELEMENTS_MAX = 8 * 1024

# A longer string is neither a name nor an id. What stands for it holds a character that neither has.
STRING_BYTES_MAX = 3072
CUT = b'"\\u0000"'

# So many brackets are looked at, beside those of flat containers.
BRACKETS_MAX = 4_000_000

# So many outer members and elements of outer arrays: each is a step of its own, some microseconds.
PARTS_MAX = 50_000

_GAP = re.compile(rb"[ \t\n\r,]*+")
_COLON = re.compile(rb"[ \t\n\r]*+:[ \t\n\r]*+")
_SCALAR = re.compile(rb'[^\s"{}\[\],:]++')

# Bites of a bounded size, a millisecond at the most. Alternatives exclude each other, so that nothing is tried twice
# although they are repeated greedily: possessively, Python 3.11 matches them wrongly before 3.11.5.
_TEXT = rb'[^"\\]{0,%d}+' % STRING_BYTES_MAX
_STRING = rb'"' + _TEXT + rb"(?:\\.[^\"\\]{0,64}+){0,32}" + rb'"'
_FLAT = rb"\[[^\"{}\[\]]{0,256}+\]|\{(?:[^\"{}\[\]]{1,256}+|" + _STRING + rb"){0,32}\}"
_SHALLOW = re.compile(rb'(?:[^"{}\[\]]{1,4096}+|' + _STRING + rb"|" + _FLAT + rb"){0,128}", re.DOTALL)
_SHORT_STRINGS = re.compile(rb'(?:[^"]{1,4096}+|' + _STRING + rb"){0,256}", re.DOTALL)
_IN_STRING = re.compile(rb"[^\"\\]{0,65535}+(?:\\.[^\"\\]{0,255}+){0,256}", re.DOTALL)


class TooIntricate(ValueError):
    """The text has more in it than anybody needs."""


class Slice(NamedTuple):
    """A member's value as JSON text; or a part of it: an array of some of its elements, the first being `number`."""

    name: str
    text: bytes
    number: int | None = None


def slices(text: bytes, ignored: Container[str] = ()) -> Generator[Slice | None, None, None]:
    """All members of the object but those of these names; None where there is none yet, to breathe.

    Raises: `TooIntricate`.
    """
    return _Cutter(text).members(ignored)


class _Cutter:
    """Offsets in, offsets out."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._brackets = 0
        self._parts = 0

    def members(self, ignored: Container[str]) -> Generator[Slice | None, None, None]:
        at = _end(_GAP, self._text, self._text.index(b"{") + 1)
        while self._text[at : at + 1] != b"}":
            yield None
            self._count_part()
            end = yield from self._value_end(at)
            name: str = json.loads(self._text[at:end] if end - at <= STRING_BYTES_MAX else CUT)
            at = _end(_COLON, self._text, end)
            if self._text[at : at + 1] == b"[" and name not in ignored:
                end = yield from self._elements(at, name)
            else:
                end = yield from self._value_end(at)
                if name not in ignored:
                    yield Slice(name, (yield from self._slim(at, end)))
            at = _end(_GAP, self._text, end)

    def _elements(self, at: int, name: str) -> Generator[Slice | None, None, int]:
        first, number = 0, 0
        begin = end = at = _end(_GAP, self._text, at + 1)
        while self._text[at : at + 1] != b"]":
            self._count_part()
            end = yield from self._value_end(at)
            number, at = number + 1, _end(_GAP, self._text, end)
            if end - begin > SLICE_BYTES or number - first == SLICE_ELEMENTS_MAX:
                yield Slice(name, b"[" + (yield from self._slim(begin, end)) + b"]", first)
                first, begin, end = number, at, at
        yield Slice(name, b"[" + (yield from self._slim(begin, end)) + b"]", first)
        return at + 1

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise TooIntricate

    def _value_end(self, at: int) -> Generator[None, None, int]:
        opening = self._text[at : at + 1]
        if opening == b'"':
            return (yield from self._string_end(at))
        if opening not in (b"{", b"["):
            return _end(_SCALAR, self._text, at)
        depth, at = 1, at + 1
        while depth:
            at = _end(_SHALLOW, self._text, at)
            here = self._text[at : at + 1]
            if here == b'"':
                at = yield from self._string_end(at)
            elif here in (b"{", b"[", b"}", b"]"):
                depth, at = depth + (1 if here in (b"{", b"[") else -1), at + 1
                self._brackets += 1
                if self._brackets > BRACKETS_MAX:
                    raise TooIntricate
            yield None
        return at

    def _string_end(self, at: int) -> Generator[None, None, int]:
        at += 1
        while (end := _end(_IN_STRING, self._text, at)) > at:
            at = end
            yield None
        return at + 1

    def _slim(self, begin: int, end: int) -> Generator[None, None, bytes]:
        """The text between two offsets, which can be decoded at once; a large one without its long strings."""
        slim = yield from self._without_long_strings(begin, end)
        if slim.count(b"[") + slim.count(b"{") > SLICE_CONTAINERS_MAX:
            raise TooIntricate
        return slim

    def _without_long_strings(self, begin: int, end: int) -> Generator[None, None, bytes]:
        if end - begin <= 2 * SLICE_BYTES:
            return self._text[begin:end]
        kept, at = bytearray(), begin
        while at < end:
            after = min(end, _end(_SHORT_STRINGS, self._text, at))
            kept += self._text[at:after]
            at = after
            if self._text[at : at + 1] == b'"' and at < end:
                after = yield from self._string_end(at)
                kept += CUT if after - at > STRING_BYTES_MAX else self._text[at:after]
                at = after
            if len(kept) > SLICE_BYTES_MAX:
                raise TooIntricate
            yield None
        return bytes(kept)


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError("not the valid JSON that it was said to be")
    return match.end()
