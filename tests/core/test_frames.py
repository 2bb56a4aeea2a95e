"""Searches find the same frames as a regular expression does."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.core.frames import EVENT_ENDS, frame_at, last_end

FRAME = {
    b"\n": re.compile(rb"(?:event: ?([^\r\n]*)\n)?data: ?([^\r\n]*)\n\n"),
    b"\r\n": re.compile(rb"(?:event: ?([^\r\n]*)\r\n)?data: ?([^\r\n]*)\r\n\r\n"),
}

pieces = st.sampled_from(
    [b"event:", b"event: ", b"data:", b"data: ", b"a", b"xyz", b":", b" ", b"id: 1", b"\n", b"\r", b"\r\n", b"\n\n"]
)
texts = st.lists(pieces, max_size=14).map(b"".join)
frames = st.sampled_from([b"event: a\ndata: b\n\n", b"data:c\n\n", b"event:\r\ndata: d\r\n\r\n", b"data: \r\n\r\n"])
streams = st.lists(st.one_of(frames, texts), max_size=4).map(b"".join)


@given(streams, st.integers(0, 20))
@example(b"data: a\rb\r\n\r\n", 0)
@example(b"data: a\nb\r\n\r\n", 0)
@example(b"event: a\r\ndata: b\r\n\n", 0)
def test_a_frame_is_what_the_expression_says(stream: bytes, start: int) -> None:
    """With LF where no CR stands in the chunk, as the splitter asks; with CRLF in any."""
    for line_end, expression in FRAME.items():
        if line_end == b"\n" and b"\r" in stream:
            continue
        match = expression.match(stream, start)
        expected = (*match.groups(b""), match.end()) if match else None
        assert frame_at(stream, start, line_end) == expected


@given(streams, st.integers(0, 20), st.integers(0, 60))
def test_the_last_end_is_behind_the_last_empty_line(stream: bytes, start: int, end: int) -> None:
    """Between two places; the first of them, if there is none."""
    end = min(end, len(stream))
    ends = [at + len(mark) for mark in EVENT_ENDS for at in range(start, end) if stream[at:end].startswith(mark)]
    assert last_end(stream, start, end) == max(ends, default=start)


def test_a_line_end_that_is_rare_is_not_searched_for_by_each_event() -> None:
    """Up to the end of the chunk: that would take time squared."""
    looked_at = 0

    class Chunk(bytes):
        def find(self, *place: Any) -> int:
            nonlocal looked_at
            looked_at += min(place[2] if len(place) > 2 else len(self), len(self)) - place[1]
            return super().find(*place)

    for event in (b"data:\r\r", b"data:\n\n"):
        chunk = Chunk(event * 5000 + b"\r")
        assert all(frame_at(chunk, at, b"\r\n") is None for at in range(0, len(chunk) - 1, 7))
        assert looked_at < 100 * len(chunk)  # of 5,000 times its length, if each did
        looked_at = 0
