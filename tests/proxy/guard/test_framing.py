"""Where one request ends and the next begins, however the bytes are cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from app.core.request_head import HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX
from app.proxy.guard.framing import Framing

LINES = st.lists(st.sampled_from([b"A: 1", b"Bb: 2\r", b"\r", b"C\n: 3", b"D" * 50]), min_size=1, max_size=6)
HEADS = LINES.map(lambda lines: b"POST / HTTP/1.1\r\n" + b"\r\n".join(lines)).map(
    lambda head: head[: head.find(b"\r\n\r\n")] + b"\r\n\r\n" if b"\r\n\r\n" in head else head + b"\r\n\r\n"
)


def pieces_of(framing: Framing, cuts: list[bytes]) -> list[bytes]:
    """What goes to the parser, of bytes that come cut so."""
    given_pieces = []
    for received in cuts:
        at = 0
        while at < len(received):
            end = framing.end_of_piece(received, at)
            assert at < end <= len(received)
            assert framing.given(received[at:end]) is None
            given_pieces.append(received[at:end])
            at = end
    return given_pieces


def cut(content: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % len(content) for place in places} | {0, len(content)})
    return [content[here:there] for here, there in itertools.pairwise(marks)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@given(HEADS, st.binary(max_size=40), PLACES)
def test_a_piece_ends_where_a_head_does(head: bytes, rest: bytes, places: list[int]) -> None:
    """Wherever the bytes were cut: so what follows is seen apart from it, and the first line as it was sent."""
    framing = Framing()
    given_pieces = pieces_of(framing, cut(head + rest, places))
    assert b"".join(given_pieces) == head + rest
    ends = [sum(map(len, given_pieces[: count + 1])) for count in range(len(given_pieces))]
    assert len(head) in ends
    assert framing.line == b"POST / HTTP/1.1"


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=40), PLACES)
def test_a_piece_ends_where_a_length_says(body: bytes, rest: bytes, places: list[int]) -> None:
    """Whatever the body holds; what comes behind it is given nowhere before it is another head."""
    framing = Framing()
    framing.body_begins(len(body))
    seen = b""
    for received in cut(body + rest, places):
        end = framing.end_of_piece(received, 0)
        assert framing.given(received[:end]) is None
        framing.body_came(end)
        seen += received[:end]
        if seen == body:
            break
    assert seen == body


CHUNKS = st.lists(
    st.tuples(
        st.one_of(st.binary(min_size=1, max_size=40), st.just(b"\r\n\r\n" * 9), st.just(b"0\r\n\r\n")),
        st.sampled_from([b"", b";a=1", b";a=" + b"b" * 60]),
        st.sampled_from([b"%x", b"%X", b"00%x"]),
    ),
    max_size=4,
)
TRAILERS = st.sampled_from([b"\r\n", b"A: 1\r\n\r\n", b"A: 1\r\nB: 2\r\n\r\n"])


@given(CHUNKS, TRAILERS, st.binary(max_size=40), PLACES)
def test_a_piece_ends_where_the_last_chunk_does(
    chunks: list[tuple[bytes, bytes, bytes]], trailers: bytes, rest: bytes, places: list[int]
) -> None:
    """Whatever the chunks hold, and but for the cuts they came in nothing else cuts them."""
    framing = Framing()
    framing.body_begins(None)
    body = b"".join(size % len(data) + ext + b"\r\n" + data + b"\r\n" for data, ext, size in chunks)
    body += b"0\r\n" + trailers
    cuts = cut(body + rest, places)
    ends, seen = [], 0
    for received in cuts:
        at = 0
        while at < len(received) and seen < len(body):
            end = framing.end_of_piece(received, at)
            assert framing.given(received[at:end]) is None
            seen += end - at
            ends.append(seen)
            at = end
    marks = [sum(map(len, cuts[: count + 1])) for count in range(len(cuts))]
    assert ends == [mark for mark in marks if mark < len(body)] + [len(body)]


@given(st.sampled_from([b"x", b"-1", b" 5", b"0x5", b"1_0", b"f" * 17, b"5 ", b"", b"5\r"]), PLACES)
def test_behind_what_is_no_chunk_every_end_is_one(line: bytes, places: list[int]) -> None:
    """The parser refuses it; if it did not, it would still not see beyond the message."""
    framing = Framing()
    framing.body_begins(None)
    sent = line + b"\r\nX: 1\r\n\r\nGET / HTTP/1.1\r\n"
    given_pieces = pieces_of(framing, cut(sent, places))
    ends = [sum(map(len, given_pieces[: count + 1])) for count in range(len(given_pieces))]
    assert sent.index(b"GET") in ends or line == b"5\r"


def test_empty_lines_in_a_chunk_are_one_piece() -> None:
    """Each for itself they would take the loop from everybody: so many are sent at once, by whoever has no key."""
    framing = Framing()
    framing.body_begins(None)
    assert len(pieces_of(framing, [b"40000\r\n" + b"\r\n\r\n" * 65536])) == 1


def given_until_refused(flood: bytes, size: int) -> tuple[int, int]:
    """The status of the refusal, and how many bytes were given before it; the flood comes in pieces of that size."""
    framing, at = Framing(), 0
    while True:
        received = flood[at : at + size]
        end = framing.end_of_piece(received, 0)
        fault = framing.given(received[:end])
        at += end
        if fault is not None:
            return fault.status, at


@given(st.integers(1, 70_000))
def test_no_more_of_a_head_is_given_than_is_allowed(size: int) -> None:
    """However large the pieces are in which it comes."""
    status, given_bytes = given_until_refused(b"POST / HTTP/1.1\r\nX: " + b"x" * 200_000, size)
    assert status == 431
    assert given_bytes <= HEAD_BYTES_MAX + min(size, HEAD_BYTES_MAX + 1)


@given(st.integers(1, 20_000))
def test_no_more_of_a_first_line_is_taken_than_is_allowed(size: int) -> None:
    """Its limit is its own."""
    status, given_bytes = given_until_refused(b"GET /" + b"x" * 30_000, size)
    assert status == 414
    assert given_bytes <= REQUEST_LINE_BYTES_MAX + size


def test_what_lies_between_the_bytes_of_a_body_is_bounded() -> None:
    """Chunk extensions and trailers have no end of their own."""
    framing = Framing()
    framing.body_begins(None)
    taken, fault = 0, None
    while fault is None:
        end = framing.end_of_piece(b"x" * 1000, 0)
        fault = framing.given(b"x" * end)
        taken += end
    assert fault.status == 431
    assert taken <= HEAD_BYTES_MAX + 2000
    framing.body_came(1)
    assert framing.given(b"x") is None
