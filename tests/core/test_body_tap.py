"""A body that is one document is read when it is over; what cannot be read says why."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given

from app.core.body_tap import BlindTap, BodyTap
from app.core.decode import Inflater
from app.core.records import Cost, Reading
from tests.core.answers import CHARGED, TRUE_COST, cut, cut_places, every, response, spoofed_texts

BODY = response(members=f',"cost":{CHARGED}').encode()


def read(body: bytes, tap: BodyTap | None = None, size: int = 1000) -> Reading:
    tap = tap or BodyTap()
    for chunk in every(size, body):
        assert tap.feed(chunk) is None
        assert not tap.ended
    tap.finish()
    assert tap.ended is tap.reading.complete
    return tap.reading


@given(spoofed_texts, cut_places)
def test_every_chunking_gives_the_same_reading(text: str, places: list[int]) -> None:
    """Both costs, whatever the model wrote."""
    tap = BodyTap()
    for chunk in cut(response(text, members=f',"cost":{CHARGED}').encode(), places):
        tap.feed(chunk)
    tap.finish()
    assert (tap.reading.true_cost, tap.reading.charged) == (
        Cost(TRUE_COST, 12_300_000),
        Cost(CHARGED, 100_000_000),
    )
    assert tap.reading.complete


@pytest.mark.parametrize("before", [b"", b" \n\t\r\n" * 500, b"\xef\xbb\xbf"])
@pytest.mark.parametrize("after", [b"", b"\n", b" " * 500])
def test_white_space_around_a_body_is_nothing(before: bytes, after: bytes) -> None:
    """Upstreams send some while they work."""
    assert read(before + BODY + after) == read(BODY)


def test_a_body_is_read_at_its_end_only() -> None:
    """A complete document may still break off after its last brace: the relay decides what that means."""
    tap = BodyTap()
    tap.feed(BODY)
    assert not tap.reading.complete
    tap.finish()
    assert tap.reading.complete
    finished = tap.reading
    tap.finish()
    assert tap.reading is finished


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b" \n ", "not_json"),
        (b"<html><body>502 Bad Gateway</body></html>", "not_json"),
        (b"upstream timeout", "not_json"),
        (b"[]", "not_json"),
        (b"null", "not_json"),
        (b'"usage"', "not_json"),
        (b"data: {}\n\n", "not_json"),
        (b"{", "unparsable"),
        (BODY[:-1], "unparsable"),
        (BODY[: len(BODY) // 2], "unparsable"),
        (BODY + BODY, "unparsable"),
        (BODY + b"\x00", "unparsable"),
        (b'{"usage":{"cost":.5}}', "unparsable"),
    ],
)
def test_what_is_no_document_is_unknown(body: bytes, reason: str) -> None:
    """With the reason, and never complete: the costs in half a body are not believed."""
    assert read(body) == Reading(unknown_reason=reason)


def test_a_body_over_the_limit_is_unknown_and_takes_no_memory() -> None:
    """The rest of it is not even kept."""
    tap = BodyTap(body_bytes_max=1000)
    assert read(BODY[:-1] + b" " * 1000 + b"}", tap, size=10).unknown_reason == "body_too_large"
    assert read(BODY, BodyTap(body_bytes_max=len(BODY))).complete


def test_a_large_body_is_heavy() -> None:
    """So that it is read off the event loop."""
    tap = BodyTap()
    tap.feed(response("x" * 60_000).encode()[:60_000])
    assert not tap.heavy
    tap.feed(b"x" * 10_000)
    assert tap.heavy


def _raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(body) + engine.flush()


@pytest.mark.parametrize(
    ("coding", "encoded"),
    [
        (b"gzip", gzip.compress(BODY)),
        (b"x-gzip", gzip.compress(BODY)),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", _raw_deflate(BODY)),
        (b"gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]) + bytes(20)),
    ],
    ids=["gzip", "x-gzip", "zlib", "raw-deflate", "two-members-and-padding"],
)
def test_an_encoded_body_is_read_from_a_side_copy(coding: bytes, encoded: bytes) -> None:
    """Also in several members, with padding, without zlib's wrapper."""
    assert read(encoded, BodyTap(Inflater(coding)), size=7) == read(BODY)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (BODY, "encoding"),
        (gzip.compress(BODY)[:-20], "unparsable"),
        (gzip.compress(BODY)[:5], "not_json"),
        (b"", "not_json"),
        (gzip.compress(b"<html>"), "not_json"),
        (gzip.compress(BODY[:-1]), "unparsable"),
        (gzip.compress(bytes(3_000_000)), "body_too_large"),
    ],
    ids=["not-encoded", "cut-late", "cut-early", "empty", "a-page", "cut-inside", "bomb"],
)
def test_an_encoded_body_that_cannot_be_read_says_why(encoded: bytes, reason: str) -> None:
    """A bomb is given up at the limit."""
    assert read(encoded, BodyTap(Inflater(b"gzip", decoded_bytes_max=1_000_000))) == Reading(unknown_reason=reason)


def test_a_blind_tap_sees_nothing_and_says_so() -> None:
    """Brotli, zstandard: the bytes go through, the cost is unknown."""
    tap = BlindTap()
    assert tap.feed(b"anything") is None
    tap.finish()
    assert tap.reading == Reading(unknown_reason="encoding")
    assert (tap.ended, tap.heavy, tap.at_boundary, tap.last_sequence_number) == (False, False, False, None)
