"""Content codings: what is coded can be decoded, piece by piece."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.behaviours import Coding
from app.simulator.coding import bomb, encoder_of

WINDOWS = {Coding.GZIP: 31, Coding.DEFLATE: 15, Coding.RAW_DEFLATE: -15}


@pytest.mark.parametrize("coding", WINDOWS)
@given(pieces=st.lists(st.binary(min_size=1), max_size=5))
def test_each_piece_can_be_read_when_it_comes(coding: Coding, pieces: list[bytes]) -> None:
    """Without waiting for the next one."""
    encoder, engine = encoder_of(coding, stream=True), zlib.decompressobj(WINDOWS[coding])
    for piece in pieces:
        assert engine.decompress(encoder.feed(piece)) == piece
    engine.decompress(encoder.end())
    assert engine.eof


def test_brotli_is_what_rfc_7932_says() -> None:
    """Stored blocks; these bytes were decoded by a real decoder, Node's."""
    encoder = encoder_of(Coding.BROTLI, stream=False)
    coded = encoder.feed(b"hello") + encoder.feed(b"!") + encoder.end()
    assert coded == b"\x40\x00\x10hello" + b"\x00\x00\x08!" + b"\x03"
    assert encoder_of(Coding.BROTLI, stream=False).end() == b"\x06"


def test_a_bomb_is_small_until_it_is_decoded() -> None:
    """And the answer stands behind it."""
    encoder = encoder_of(Coding.BOMB, stream=False, bomb_bytes=5_000_000)
    coded = encoder.feed(b"{}") + encoder.end()
    assert len(coded) < 50_000
    decoded = gzip.decompress(coded)
    assert (len(decoded), decoded.strip()) == (5_000_002, b"{}")
    assert gzip.decompress(bomb(10, stream=True)) == b":" + b" " * 10 + b"\n\n"


def test_a_false_label_stands_on_plain_bytes() -> None:
    """The bytes are the content."""
    encoder = encoder_of(Coding.FALSE_GZIP, stream=False)
    assert encoder.feed(b"{}") + encoder.end() == b"{}"
