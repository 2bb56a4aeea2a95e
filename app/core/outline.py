"""Cuts the bulk out of a large JSON object, so that decoding the rest takes little time and memory.

Lives here: walking the outer members of one JSON text (RFC 8259) without building values. Must not
live here: what a member means. Called by `core.document`: an answer may be tens of megabytes of
output around a hundred bytes of usage. A decoder would make objects of all of it, many times its
size, and hold the interpreter's lock all the while; this holds it for a bite at a time.

What is cut is checked for its strings, brackets and depth only. Of an `output` that is cut the ids in
its elements stay: they tell what an answer made.
"""

from __future__ import annotations

import re

Bytes = bytes | bytearray

VALUE_BYTES_MAX = 4 * 1024  # a larger value is cut
ELEMENTS_BYTES_MAX = 24 * 1024  # what is kept of an output
OUTLINE_BYTES_MAX = 64 * 1024 + ELEMENTS_BYTES_MAX
WALKED_DEPTH_MAX = 3  # objects that are looked into: an event, its response, its usage
NESTING_MAX = 512

_SPACE = re.compile(rb"[ \t\n\r]*+")
_COLON = re.compile(rb"[ \t\n\r]*+:[ \t\n\r]*+")
_SEPARATOR = re.compile(rb"[ \t\n\r]*+([,}])[ \t\n\r]*+")
_COMMA = re.compile(rb",[ \t\n\r]*+")
_SCALAR = re.compile(rb'[^\s"{}\[\],:]++')

# Bites of a bounded size, milliseconds at the most: what stands between brackets, with short strings
# and small containers in it, two deep; and what stands in a string.
_FLAT = rb'[^"{}\[\]]{1,128}+|"[^"\\]{0,128}+"'
_SHALLOW = rb"(?:" + _FLAT + rb"|\{(?:" + _FLAT + rb"){0,32}\}|\[(?:" + _FLAT + rb"){0,32}\])"
_BITE = re.compile(rb"(?:" + _SHALLOW + rb"|\{" + _SHALLOW + rb"{0,32}\}|\[" + _SHALLOW + rb"{0,32}\]){0,16}")
_STRING_BITE = re.compile(rb"(?:[^\"\\]{1,256}+|\\.){0,256}", re.DOTALL)

# The output of an answer, and what its elements are known by.
_OUTPUT = b'"output"'
_ID_NAMES = frozenset({b'"id"', b'"container_id"'})
_ID = re.compile(rb'"[^"\\\x00-\x1f]{1,128}"')

_QUOTE, _BACKSLASH = b'"', 0x5C
_CLOSING = {b"{": b"}", b"[": b"]"}

# What stands for a value that was cut: of the same kind, and as true. Any other is a number, beyond all use.
_STAND_INS = {b"{": b'{"cut":true}', b"[": b'["cut"]', b'"': b'"cut"'}
_NUMBER_STAND_IN = b"1e999"


def outline(text: Bytes) -> bytes:
    """The same object, the large values in it and in its outer objects replaced by stand-ins.

    Raises: `ValueError` if it is no object, breaks off, or has more members than an answer can have.
    """
    start = _end(_SPACE, text, 0)
    if text[start : start + 1] != b"{":
        raise ValueError("not a JSON object")
    kept = bytearray()
    end = _walk(text, start, 1, kept)
    if _end(_SPACE, text, end) != len(text):
        raise ValueError("something follows the JSON object")
    return bytes(kept)


def _walk(text: Bytes, at: int, depth: int, kept: bytearray) -> int:
    """Appends the outline of the object at `at` to `kept`; returns where the object ends."""
    copied = at  # what stands before it is in `kept`, as it is or as a stand-in
    at = _end(_SPACE, text, at + 1)
    if text[at : at + 1] == b"}":
        kept += b"{}"
        return at + 1
    while True:
        name, after_name = at, _string_end(text, at)
        start = _end(_COLON, text, after_name)
        first = bytes(text[start : start + 1])
        if first == b"{" and depth < WALKED_DEPTH_MAX:
            kept += text[copied:start]
            copied = at = _walk(text, start, depth + 1, kept)
        else:
            elements = bytearray()
            is_output = depth < WALKED_DEPTH_MAX and first == b"[" and text[name:after_name] == _OUTPUT
            at = _walk_output(text, start, elements) if is_output else _value_end(text, start)
            if at - start > VALUE_BYTES_MAX:
                kept += text[copied:start] + (b"[" + bytes(elements) + b"]" if elements else _stand_in(first))
                copied = at
        if len(kept) + at - copied > OUTLINE_BYTES_MAX:
            raise ValueError("too many members")
        separator = _SEPARATOR.match(text, at)
        if separator is None:
            raise ValueError("a broken JSON object")
        at = separator.end()
        if separator[1] == b"}":
            kept += text[copied : separator.end(1)]
            return separator.end(1)


def _stand_in(first: bytes) -> bytes:
    return _STAND_INS.get(first, _NUMBER_STAND_IN)


def _walk_output(text: Bytes, at: int, elements: bytearray) -> int:
    """Adds the ids in each object of the array at `at`, as an object of their own; returns where the array ends."""
    at = _end(_SPACE, text, at + 1)
    if text[at : at + 1] == b"]":
        return at + 1
    while True:
        ids: list[bytes] = []
        at = _walk_element(text, at, ids) if text[at : at + 1] == b"{" else _value_end(text, at)
        element = b"{%b}" % b",".join(ids)
        if ids and len(elements) + len(element) < ELEMENTS_BYTES_MAX:
            elements += b"," + element if elements else element
        at = _end(_SPACE, text, at)
        if text[at : at + 1] == b"]":
            return at + 1
        at = _end(_COMMA, text, at)


def _walk_element(text: Bytes, at: int, ids: list[bytes]) -> int:
    at = _end(_SPACE, text, at + 1)
    if text[at : at + 1] == b"}":
        return at + 1
    while True:
        after_name = _string_end(text, at)
        start = _end(_COLON, text, after_name)
        end = _value_end(text, start)
        if bytes(text[at:after_name]) in _ID_NAMES and _ID.fullmatch(text, start, end):
            ids.append(bytes(text[at:end]))
        at = _end(_SPACE, text, end)
        if text[at : at + 1] == b"}":
            return at + 1
        at = _end(_COMMA, text, at)


def _value_end(text: Bytes, at: int) -> int:
    """Where the value that begins at `at` ends."""
    if scalar := _SCALAR.match(text, at):
        return scalar.end()
    awaited = bytearray()  # the brackets that will close what is open
    while True:
        here = bytes(text[at : at + 1])
        if here == _QUOTE:
            at = _string_end(text, at)
        elif here in _CLOSING and len(awaited) < NESTING_MAX:
            awaited += _CLOSING[here]
            at += 1
        elif here and awaited.endswith(here):
            awaited.pop()
            at += 1
        else:
            raise ValueError("a broken JSON value")
        if not awaited:
            return at
        while (end := _end(_BITE, text, at)) > at:
            at = end


def _string_end(text: Bytes, at: int) -> int:
    """Just past the closing quote of the string that begins at `at`."""
    if text[at : at + 1] != _QUOTE:
        raise ValueError("not a JSON string")
    end = text.find(_QUOTE, at + 1)
    if end > 0 and text[end - 1] == _BACKSLASH:  # perhaps an escaped quote: look at every escape
        end = at + 1
        while (after := _end(_STRING_BITE, text, end)) > end:
            end = after
        end = end if text[end : end + 1] == _QUOTE else -1
    if end < 0:
        raise ValueError("a broken JSON string")
    return end + 1


def _end(pattern: re.Pattern[bytes], text: Bytes, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError("broken JSON")
    return match.end()
