"""Numbers leave as they came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.jsontext import Number, read, write

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_as_the_same_by_the_standard_library(value: Any) -> None:
    """Our writer only differs in how it writes numbers of ours."""
    assert json.loads(write(value)) == value


@pytest.mark.parametrize("token", ["0.0000123", "1.23e-05", "0.70", "0.0000123456789012345678", "NaN"])
def test_a_number_is_written_as_it_was_given(token: str) -> None:
    """Never by a float's repr."""
    assert write({"cost": Number(token)}) == f'{{"cost":{token}}}'.encode()


@pytest.mark.parametrize("token", ["0.70", "1.0e3", "0.1000000000000000055511151231257827"])
def test_a_clients_number_is_echoed_as_it_was_sent(token: str) -> None:
    """Reading keeps the token."""
    assert write(read(f'{{"temperature":{token}}}'.encode())) == f'{{"temperature":{token}}}'.encode()


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":NaN}', b'{"a":Infinity}', b"[" * 100_000, b"\xff", b"1" * 5000])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """With the one error that callers expect."""
    with pytest.raises(ValueError):
        read(body)


def test_half_a_character_does_not_break_the_answer() -> None:
    """A lone surrogate, which JSON can escape and UTF-8 cannot hold."""
    assert json.loads(write({"text": "\ud800"})) == {"text": "\ud800"}
