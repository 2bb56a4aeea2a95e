"""The search itself: what it does not find, no test would."""

from __future__ import annotations

import base64
import json
import urllib.parse

from hypothesis import given
from hypothesis import strategies as st

from tests.canaries import found_in

SECRET = 'key-"CANARY"/5f1c+2d3e\\4b6a=7980'


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_secret_is_found_whatever_surrounds_it(before: bytes, after: bytes) -> None:
    """In base64 at every alignment, in hex, in a URL, in JSON and in JSON within JSON."""
    raw = SECRET.encode()
    whole = before + raw + after
    texts = [
        whole,
        base64.b64encode(whole),
        base64.urlsafe_b64encode(whole),
        before + raw.hex().encode() + after,
        before + urllib.parse.quote(SECRET, safe="").encode() + after,
        urllib.parse.urlencode({"x": SECRET}).encode(),
        json.dumps({"a": SECRET, "b": before.hex()}).encode(),
        json.dumps({"a": json.dumps({"b": SECRET})}).encode(),
        repr({"a": SECRET}).encode(),
    ]
    assert all(found_in(text, [SECRET]) for text in texts)


@given(st.binary(max_size=200))
def test_nothing_is_found_where_nothing_is(text: bytes) -> None:
    assert found_in(text, [SECRET]) == []
