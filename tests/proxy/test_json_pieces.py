"""Cutting is exact: the pieces are valid if and only if the text is, wherever the cuts fall."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.proxy.json_pieces import COMMALESS_BYTES_MAX, BrokenJson, TooDeep, pieces


def _no_constant(name: str) -> None:
    raise ValueError(name)


def read(text: bytes) -> Any:
    """Strict JSON: RFC 8259 and nothing more. Raises: `ValueError`."""
    return json.loads(text.decode(), parse_constant=_no_constant)


def check_string(text: bytes) -> None:
    assert isinstance(json.loads(text.decode(errors="replace")), str)


def cut(text: bytes, piece_bytes: int = 16, depth_max: int = 512) -> list[Any]:
    """All pieces, read. Raises: `ValueError` if one is not valid."""
    found = []
    for piece in pieces(text, depth_max=depth_max, check_string=check_string, piece_bytes=piece_bytes):
        if piece is not None:
            found.append(read(piece))
            if not isinstance(found[-1], dict):
                raise ValueError("no object")
    return found


def valid(text: bytes, piece_bytes: int) -> bool:
    try:
        cut(text, piece_bytes)
    except ValueError:
        return False
    return True


texts = st.text(st.sampled_from('ab,:{}[]"\\\n\u00e9\U0001f600 '), max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6), max_leaves=30
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """A JSON object, spaced and escaped in one of several ways."""
    value = draw(st.dictionaries(texts, values, min_size=1, max_size=8))
    return json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.none() | st.integers(0, 3)),
        separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")])),
    ).encode()


@given(objects(), st.integers(16, 200))
def test_a_valid_object_is_cut_into_valid_objects(text: bytes, piece_bytes: int) -> None:
    """Wherever the commas stand: in strings, behind escapes, in any depth."""
    assert valid(text, piece_bytes)


@given(objects(), st.integers(16, 100), st.data())
@example(b'{"a":[1,2,3,4,5,6,7,],"b":1}', 16, None)
@example(b'{"a":[,1,2,3,4,5,6,7],"b":1}', 16, None)
@example(b'{"a":[1,,2,3,4,5,6,7],"b":1}', 16, None)
@example(b'{"a":1,"bbbbbbbbbb":1,}', 16, None)
@example(b'{"a":1,"bbbbbbbbbb":1},"c":2', 16, None)
@example(b'{"a":[1,2,3,4,5,6,7},"b":1]', 16, None)
@example(b'{"aaaaaaaaaaaaaa",1:2}', 16, None)
@example(b'{"a":"' + b"x" * 40 + b"\\", 16, None)
def test_a_fault_anywhere_is_found(text: bytes, piece_bytes: int, data: st.DataObject | None) -> None:
    """One byte more, less or other: the pieces are valid exactly if the whole still is."""
    if data is not None:
        at = data.draw(st.integers(0, len(text)))
        put = data.draw(
            st.sampled_from([b"", b",", b"]", b"}", b"[", b"{", b'"', b":", b"0", b"\\", b" ", b"-", b",,"])
        )
        text = text[:at] + put + text[at + data.draw(st.integers(0, 2)) :]
    try:
        whole = isinstance(read(text), dict)
    except ValueError:
        whole = False
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # the caller has checked that before
    assert valid(text, piece_bytes) == whole


@given(st.lists(st.tuples(st.sampled_from(["model", "x", "y"]), values), min_size=1, max_size=12), st.integers(16, 80))
def test_every_outer_member_is_in_a_piece(members: list[tuple[str, Any]], piece_bytes: int) -> None:
    """The names of the outer object come once each, in order; fillers are nameless."""
    text = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members) + "}"
    names: list[str] = []
    for piece in pieces(text.encode(), depth_max=512, check_string=check_string, piece_bytes=piece_bytes):
        if piece is not None:
            names += [name for name, _ in json.loads(piece, object_pairs_hook=list) if name]
    assert names == [name for name, _ in members]


@given(st.integers(0, 20), st.integers(1, 60), st.booleans(), st.integers(16, 64))
def test_depth_is_exact(before: int, depth: int, objects_too: bool, piece_bytes: int) -> None:
    """As deep as allowed passes, one level more does not, wherever it stands."""
    openings = b"".join(b'{"k":' if objects_too and level % 2 else b"[" for level in range(depth - 1))
    closings = b"".join(b"}" if objects_too and level % 2 else b"]" for level in reversed(range(depth - 1)))
    text = b'{"a":[' + b"[[1],[[]]]," * before + b'"]]]"],"b":' + openings + b"1" + closings + b',"c":"[[[["}'
    deepest = max(depth, 5 if before else 2)
    assert cut(text, piece_bytes, depth_max=deepest)
    with pytest.raises(TooDeep):
        cut(text, piece_bytes, depth_max=deepest - 1)


def test_a_long_string_is_checked_in_bites() -> None:
    """It is replaced in its piece, and a fault anywhere in it is found."""
    content = '\\n\\u00e9\\\\\\" é,:{'.encode() * 20
    assert cut(b'{"a":"%s","b":1}' % content) == [{"a": "\0", "b": 1}]
    for fault in (b"\x01", b"\\x", b"\\u00g0", b'"'):
        assert not valid(b'{"a":"%s%s%s","b":1}' % (content, fault, content), 16)


def test_an_endless_stretch_is_refused() -> None:
    """White space or digits by the megabyte are no request; nothing is scanned twice for them."""
    with pytest.raises(BrokenJson, match="without a comma"):
        cut(b'{"a":' + b" " * (3 * COMMALESS_BYTES_MAX) + b"1}", 65536)


@given(st.lists(st.tuples(texts, st.integers(0, 60)), max_size=8), st.integers(16, 40))
def test_long_strings_are_told_where_they_stand(members: list[tuple[str, int]], piece_bytes: int) -> None:
    """Each that is in no piece, once, from quote to quote."""
    body = json.dumps([text * times for text, times in members]).encode()
    body = b'{"a":' + body + b"}"
    told: list[bytes] = []
    kept = b""
    for piece in pieces(
        body,
        depth_max=512,
        check_string=check_string,
        on_long=lambda begin, end: told.append(body[begin:end]),
        piece_bytes=piece_bytes,
    ):
        kept += piece or b""
    for text, times in members:
        written = json.dumps(text * times).encode()
        assert written in told or written in kept
    assert all(len(string) > piece_bytes and isinstance(json.loads(string), str) for string in told)
