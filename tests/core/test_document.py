"""Decoding keeps what money needs: tokens as text, names that stand twice."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.document import DECODED_BYTES_MAX, Malformed, Number, decode, is_repeated, json_text, object_in
from tests.core.answers import as_json

BULK = b'"output":[{"text":"' + b"x" * DECODED_BYTES_MAX + b'"}],'
DEEP = b'{"a":' + b"[" * 8_000 + b"]" * 8_000 + b"}"


@pytest.mark.parametrize("bulk", [b"", BULK], ids=["small", "large"])
@pytest.mark.parametrize(
    "token",
    ["0.0000123", "1.230e-05", "0", "-0", "-1.5E+400", "9" * 3000, "NaN", "Infinity", "-Infinity", "0.10"],
)
def test_a_number_stays_the_text_it_is(token: str, bulk: bytes) -> None:
    """Small or next to megabytes, however odd."""
    value = decode(b"{" + bulk + b'"cost":' + token.encode() + b"}")["cost"]
    assert isinstance(value, Number)
    assert value == token


@pytest.mark.parametrize("bulk", [b"", BULK], ids=["small", "large"])
def test_a_name_that_stands_twice_is_seen(bulk: bytes) -> None:
    """Also when one of them is json_text with an escape; the last one is the value."""
    decoded = decode(b"{" + bulk + b'"cost":1,"usage":{"cost":1},"us\\u0061ge":{"cost":2}}')
    assert is_repeated(decoded, "usage")
    assert not is_repeated(decoded, "cost")
    assert object_in(decoded, "usage") == {"cost": "2"}
    assert not is_repeated(object_in(decoded, "usage"), "cost")


values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=6))
def test_everything_else_is_ordinary_json(value: dict[str, Any]) -> None:
    """With a byte order mark, too."""
    for text in (as_json(value), b"\xef\xbb\xbf" + bytearray(json.dumps(value, indent=2).encode())):
        decoded = decode(text)
        assert list(decoded) == list(value)
        for name, member in value.items():
            assert json_text(decoded[name], 10_000) == json.dumps(member)
            assert object_in(decoded, name).keys() == (member.keys() if isinstance(member, dict) else set())


@given(values, st.integers(0, 40), st.integers(0, 300), st.sampled_from(["[%s]", '{"a":%s}', '[0,%s,{"b":[]}]']))
def test_the_beginning_of_a_text_is_that_of_the_whole(value: Any, characters_max: int, depth: int, around: str) -> None:
    """However deep it nests: what is left out stands behind it."""
    text = json.dumps(value)
    for _ in range(depth):
        text = around % text
    whole = json.dumps(json.loads(text, parse_int=str))
    assert json_text(decode(b'{"cost":%b}' % text.encode())["cost"], characters_max) == whole[:characters_max]


@given(st.binary(max_size=60))
def test_whatever_comes_is_an_object_or_malformed(text: bytes) -> None:
    """No other exception, ever."""
    with contextlib.suppress(Malformed):
        assert isinstance(decode(text), dict)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"<html>",
        b'{"a":1',
        b'{"a":1}}',
        b"data: [DONE]",
        b'{"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}",
    ],
    ids=["empty", "space", "null", "array", "html", "cut", "more", "done", "deep"],
)
def test_what_is_not_one_object_is_malformed(text: bytes) -> None:
    """Also what nests deeper than any answer."""
    with pytest.raises(Malformed):
        decode(text)


def test_broken_utf8_and_control_characters_do_not_hide_a_cost() -> None:
    """They are the client's to judge."""
    assert decode(b'{"text":"\xff\xfe\x01\n","cost":1}')["cost"] == "1"
