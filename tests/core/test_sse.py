"""The splitter finds the same events whatever the line ends and however the bytes were cut."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.sse import EXCERPT_HEAD_BYTES, EXCERPT_TAIL_BYTES, Event, EventSplitter
from tests.core.answers import cut, cut_places, every


class Found(NamedTuple):
    """An event in a whole stream; offsets in the stream."""

    name: bytes
    data: bytes
    start: int
    end: int


def read_plainly(stream: bytes, *, at_end: bool = False) -> list[Found]:
    """The standard's algorithm, read line by line over the whole stream: the judge of the splitter."""
    found: list[Found] = []
    name, data, start = b"", None, None
    position = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
    for match in re.finditer(rb"([^\r\n]*)(\r\n|\r|\n|\Z)", stream[position:]):
        line, line_end = match[1], match[2]
        if not line_end and not at_end:
            break
        at = match.start() and position + match.start()  # the mark belongs to the first line
        if not line:
            if data is not None and start is not None:
                found.append(Found(name, data, start, position + match.start(2) + 1 if line_end else len(stream)))
            name, data, start = b"", None, None
        elif not line.startswith(b":"):
            start = at if start is None else start
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data = value if data is None else data + b"\n" + value
            elif field == b"event":
                name = value
    return found


def split(chunks: Iterable[bytes], splitter: EventSplitter | None = None) -> list[Event]:
    splitter = splitter or EventSplitter(lambda name: True)
    return [event for chunk in chunks for event in splitter.feed(chunk)]


lines = st.sampled_from(
    [
        b"event: response.output_text.delta",
        b"event:response.completed",
        b"event",
        b'data: {"type":"x"}',
        b"data:",
        b"data",
        b"data:  two spaces",
        b"data: \xff\xfe\xf0",
        b"data: " + b"long" * 400,
        b"database: no field",
        b": PROCESSING",
        b":",
        b"id: 3",
        b"retry: 100",
        b"no colon",
        b"\xef\xbb\xbfdata: a mark that is not first",
        b"x" * 700,
        b"",
        b"",
        b"",
    ]
)
line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Streams with every field, mixed or uniform line ends, perhaps a mark, perhaps an open end."""
    uniform = draw(st.none() | line_ends)
    stream = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"]))
    for line in draw(st.lists(lines, max_size=14)):
        stream += line + (uniform or draw(line_ends))
    return stream + draw(st.sampled_from([b"", b"data: pending", b": half a comment", b"event: x"]))


@given(streams(), cut_places)
def test_every_chunking_gives_the_events_of_the_standard(stream: bytes, places: list[int]) -> None:
    """Names, data and ends are those of the whole stream; starts are cut to the chunk that completes the event."""
    splitter = EventSplitter(lambda name: True)
    expected = read_plainly(stream)
    offset = 0
    for chunk in cut(stream, places):
        for event in splitter.feed(chunk):
            found = expected.pop(0)
            assert (event.name, event.data, event.whole) == (found.name, found.data, True)
            assert (event.start, event.end) == (max(0, found.start - offset), found.end - offset)
        offset += len(chunk)
    assert not expected


@given(streams())
def test_one_byte_at_a_time_gives_the_same(stream: bytes) -> None:
    """The hardest chunking of all."""
    events = split(every(1, stream))
    assert [(event.name, event.data) for event in events] == [found[:2] for found in read_plainly(stream)]


@given(streams(), cut_places)
def test_a_pending_event_counts_when_the_stream_ends(stream: bytes, places: list[int]) -> None:
    """With or without its last line end, and only if it has data."""
    splitter = EventSplitter(lambda name: True)
    complete = split(cut(stream, places), splitter)
    pending = splitter.finish()
    expected = read_plainly(stream + b"\n", at_end=True)[len(complete) :]
    assert ([(pending.name, pending.data)] if pending else []) == [found[:2] for found in expected]


@given(streams(), cut_places)
def test_at_a_boundary_an_event_can_be_put_in(stream: bytes, places: list[int]) -> None:
    """What a client then reads is what came before, and that event: nothing merges, nothing is swallowed."""
    splitter = EventSplitter(lambda name: True)
    before: list[tuple[bytes, bytes | bytearray]] = []
    sent = b""
    for chunk in cut(stream, places):
        before += [event[:2] for event in splitter.feed(chunk)]
        sent += chunk
        if splitter.at_boundary:
            read = read_plainly(sent + b"event: error\ndata: injected\n\n")
            assert [found[:2] for found in read] == [*before, (b"error", b"injected")]


@given(streams(), cut_places, st.sampled_from([0, 10, 100, 700, 1700]), st.booleans())
def test_limits_and_filters_do_not_depend_on_chunks(stream: bytes, places: list[int], limit: int, wanted: bool) -> None:
    """Which events are whole, and every byte of an excerpt, are the same for one chunk and for many."""

    def splitter() -> EventSplitter:
        return EventSplitter(lambda name: wanted or not name.startswith(b"response."), limit)

    def told(events: list[Event]) -> list[tuple[bytes, bytes, bool]]:
        return [(event.name, bytes(event.data), event.whole) for event in events]

    assert told(split(cut(stream, places), splitter())) == told(split([stream], splitter()))


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_an_event_ends_with_the_first_byte_of_its_last_line_end(line_end: bytes) -> None:
    """A CR is a line end at once: nobody waits for the LF that may follow it."""
    frame = line_end.join([b"event: x", b"data: 1", b"", b""])
    (event,) = split([frame])
    assert event.end == len(frame) - len(line_end) + 1
    completing = [chunk_number for chunk_number, chunk in enumerate(every(1, frame)) if chunk_number + 1 == event.end]
    splitter = EventSplitter(lambda name: True)
    assert [number for number, chunk in enumerate(every(1, frame)) if splitter.feed(chunk)] == completing


def test_several_events_in_one_chunk_have_their_own_offsets() -> None:
    """Comments and blank lines between events belong to none of them."""
    stream = b"event: a\ndata: 1\n\n: PROCESSING\n\nevent: b\ndata: 2\n\n"
    events = split([stream])
    assert [stream[event.start : event.end] for event in events] == [
        b"event: a\ndata: 1\n\n",
        b"event: b\ndata: 2\n\n",
    ]


def test_nothing_is_at_a_boundary_inside_a_line() -> None:
    """Not in a field, not in a comment, not in the mark before the stream; a whole comment is a boundary."""
    splitter = EventSplitter(lambda name: True)
    for byte in b"\xef\xbb":
        splitter.feed(bytes([byte]))
        assert not splitter.at_boundary
    splitter.feed(b"\xbf")
    assert splitter.at_boundary
    splitter.feed(b": PROC")
    assert not splitter.at_boundary
    splitter.feed(b"ESSING\n")
    assert splitter.at_boundary
    splitter.feed(b"id: 3\n")
    assert not splitter.at_boundary
    splitter.feed(b"\n")
    assert splitter.at_boundary


def test_the_end_of_a_broken_stream_is_not_a_boundary() -> None:
    """Taking in the pending event at the end does not make room for another one."""
    splitter = EventSplitter(lambda name: True)
    splitter.feed(b"data: half")
    assert splitter.finish() is not None
    assert not splitter.at_boundary
    whole = EventSplitter(lambda name: True)
    whole.feed(b"data: whole\n\n")
    assert whole.finish() is None
    assert whole.at_boundary


def test_an_unwanted_event_takes_no_memory() -> None:
    """50 MB of an event that nobody reads leave only its two ends behind."""
    splitter = EventSplitter(lambda name: name != b"partial_image")
    piece = b"x" * 65_536
    splitter.feed(b"event: partial_image\ndata: start")
    tracemalloc.start()
    try:
        for _ in range(800):
            splitter.feed(piece)
            assert splitter.buffered < 1024
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000
    (event,) = splitter.feed(b"end\n\n")
    assert not event.whole
    assert len(event.data) == EXCERPT_HEAD_BYTES + EXCERPT_TAIL_BYTES
    assert event.data.startswith(b"start")
    assert event.data.endswith(b"end")


def test_endless_lines_that_are_no_data_take_no_memory() -> None:
    """A comment, an unknown field or an event's name without end."""
    for beginning in (b": ", b"junk: ", b"event: "):
        splitter = EventSplitter(lambda name: True)
        splitter.feed(beginning)
        for _ in range(40):
            splitter.feed(b"x" * 65_536)
            assert splitter.buffered < 1024


def test_an_event_over_the_limit_is_told_as_an_excerpt_and_the_next_one_is_whole() -> None:
    """Also when it is many short lines."""
    for large in (b"data: " + b"x" * 5000 + b"\n\n", b"data: 12345678\n" * 400 + b"\n"):
        splitter = EventSplitter(lambda name: True, 4096)
        first, second = split(every(100, large + b"data: small\n\n"), splitter)
        assert not first.whole
        assert len(first.data) <= EXCERPT_HEAD_BYTES + EXCERPT_TAIL_BYTES
        assert second[:2] == (b"", b"small")
        assert second.whole
