"""Which tap an answer gets, and that all taps have one surface."""

from __future__ import annotations

import gzip

import pytest

from app.core.body_tap import BlindTap, BodyTap
from app.core.stream_tap import StreamTap
from app.core.tap import Tap, open_tap
from tests.core.answers import TRUE_COST, completed, response


@pytest.mark.parametrize(
    ("content_type", "requested_stream", "kind"),
    [
        (b"text/event-stream", True, StreamTap),
        (b"Text/Event-Stream; charset=utf-8", False, StreamTap),
        (b"application/json", True, BodyTap),
        (b"application/json; charset=utf-8", False, BodyTap),
        (b"application/problem+json", True, BodyTap),
        (None, True, StreamTap),
        (None, False, BodyTap),
        (b"", True, StreamTap),
        (b"text/plain", True, StreamTap),
        (b"text/html", False, BodyTap),
        (b"text/html", True, StreamTap),
    ],
)
def test_the_kind_of_body_chooses_the_tap(content_type: bytes | None, requested_stream: bool, kind: type) -> None:
    """By its type; by what was asked for where the type says neither."""
    for encoding in (None, b"", b"identity", b"gzip", b" GZip ", b"x-gzip", b"deflate"):
        assert type(open_tap(content_type, encoding, requested_stream=requested_stream)) is kind


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, br", b"gzip, gzip", b"compress", b"\xff"])
@pytest.mark.parametrize("content_type", [b"text/event-stream", b"application/json", None])
def test_other_encodings_are_not_read(content_type: bytes | None, encoding: bytes) -> None:
    """Their cost is unknown; they are relayed all the same."""
    tap = open_tap(content_type, encoding, requested_stream=True)
    assert type(tap) is BlindTap
    assert tap.reading.unknown_reason == "encoding"


@pytest.mark.parametrize("requested_stream", [True, False])
@pytest.mark.parametrize("content_type", [b"application/json", None, b"text/plain"])
def test_a_json_answer_is_read_under_any_type(content_type: bytes | None, requested_stream: bool) -> None:
    """Also when a stream was asked for."""
    for encoding, body in ((None, response().encode()), (b"gzip", gzip.compress(response().encode()))):
        tap = open_tap(content_type, encoding, requested_stream=requested_stream)
        tap.feed(body)
        tap.finish()
        assert _true_cost(tap) == TRUE_COST


def test_a_stream_is_read_without_a_type() -> None:
    """If one was asked for."""
    tap = open_tap(None, None, requested_stream=True)
    assert tap.feed(completed()) == 0
    assert _true_cost(tap) == TRUE_COST


def _true_cost(tap: Tap) -> str | None:
    return tap.reading.true_cost.raw if tap.reading.true_cost else None


@pytest.mark.parametrize("pieces", [2, 3, 40])
@pytest.mark.parametrize("lines", [1, 3])
def test_a_stream_without_memory_goes_on_with_its_next_event(pieces: int, lines: int) -> None:
    """What was kept of the event under way is dropped, at any point of it; the event still ends the answer."""
    filling = b"\ndata: ".join([b'"' + b"y" * 30_000 + b'",'] * lines)
    terminal = b'event: response.completed\ndata: {"type":"response.completed","x":[' + filling + b"0]}\n\n"
    stream = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n' + terminal
    size = len(stream) // pieces + 1
    for drop_at in range(1, pieces):
        tap = open_tap(b"text/event-stream", None, requested_stream=True)
        for number, start in enumerate(range(0, len(stream), size)):
            if number == drop_at:
                tap.let_go()
                assert tap.held_bytes < 1500
            tap.feed(stream[start : start + size])
        assert tap.ended
        assert tap.reading.complete
        assert (tap.reading.unknown_reason, tap.reading.response_id) == ("event_too_large", "resp_1")


def test_a_body_without_memory_is_read_no_more() -> None:
    """Nothing of it is kept, then or later; in an encoding that nobody reads nothing was."""
    tap = open_tap(b"application/json", None, requested_stream=False)
    tap.feed(b'{"usage":{"cost":1},')
    tap.let_go()
    tap.feed(b'"id":"resp_1"}')
    assert tap.held_bytes == 0
    tap.finish()
    assert (tap.reading.unknown_reason, tap.reading.cost_known) == ("body_too_large", False)
    late = open_tap(None, None, requested_stream=True)
    late.feed(b'{"usage":')
    assert late.held_bytes == 9
    late.let_go()
    late.finish()
    assert late.reading.unknown_reason == "body_too_large"
    blind = open_tap(None, b"br", requested_stream=False)
    blind.let_go()
    assert (blind.held_bytes, blind.reading.unknown_reason) == (0, "encoding")
