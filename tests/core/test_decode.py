"""Inflating gives the same bytes whatever the chunks, and stops at its limit."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.decode import PIECE_BYTES, Inflater, TooLarge, Undecodable
from tests.core.answers import cut, cut_places, every

contents = st.binary(max_size=300) | st.integers(0, 300_000).map(bytes)


@given(contents, contents, cut_places)
def test_gzip_in_any_chunks(first: bytes, second: bytes, places: list[int]) -> None:
    """One member or several, as the format allows."""
    inflater = Inflater(b"gzip")
    encoded = gzip.compress(first) + gzip.compress(second)
    pieces = [piece for chunk in cut(encoded, places) for piece in inflater.feed(chunk)]
    assert b"".join(pieces) == first + second
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


@given(contents, st.booleans(), cut_places)
def test_deflate_with_or_without_its_wrapper(content: bytes, wrapped: bool, places: list[int]) -> None:
    """Servers disagree about what the word means."""
    engine = zlib.compressobj(wbits=15 if wrapped else -15)
    encoded = engine.compress(content) + engine.flush()
    inflater = Inflater(b"deflate")
    assert b"".join(piece for chunk in cut(encoded + b"junk", places) for piece in inflater.feed(chunk)) == content


@pytest.mark.parametrize("padding", [bytes(100), b"\x1e", b"junk"], ids=["zeros", "almost", "junk"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_follows_the_end_is_padding(padding: bytes, size: int) -> None:
    """Unless it begins like another member."""
    inflater = Inflater(b"gzip")
    encoded = gzip.compress(b"content") + padding
    assert b"".join(piece for chunk in every(size, encoded) for piece in inflater.feed(chunk)) == b"content"


@given(st.binary(min_size=2, max_size=50))
def test_junk_is_undecodable_or_cut(junk: bytes) -> None:
    """No other exception."""
    for coding in (b"gzip", b"deflate"):
        try:
            list(Inflater(coding).feed(junk))
        except Undecodable:
            continue


def test_a_bomb_stops_at_the_limit_with_bounded_memory() -> None:
    """One chunk that holds a gigabyte costs as much as the limit allows."""
    engine = zlib.compressobj(wbits=31)
    zeros = bytes(1_000_000)
    bomb = b"".join(engine.compress(zeros) for _ in range(100)) + engine.flush()
    inflater = Inflater(b"gzip", decoded_bytes_max=10_000_000)
    sizes = map(len, inflater.feed(bomb))
    tracemalloc.start()
    try:
        decoded = sum(itertools.islice(sizes, 10_000_000 // PIECE_BYTES))
        with pytest.raises(TooLarge):
            sum(sizes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 9_900_000 < decoded <= 10_000_000
    assert peak < 1_000_000
