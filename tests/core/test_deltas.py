"""Passing over what does not matter is reading it all the same: whatever the bytes, and however they come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.deltas import Deltas
from app.core.sse import EventSplitter
from app.core.stream_tap import StreamTap
from tests.core.answers import completed, created, cut, cut_places, delta, event, every, with_line_ends
from tests.core.test_sse import read_plainly

NAME = b'"sequence_number"'
NUMBER = re.compile(rb'[{,]\s*"sequence_number"\s*:\s*([0-9]{1,15})\s*[,}]')
EVENT_END = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


def plain_number(stream: bytes) -> int | None:
    """By the standard's reading of the whole: the number of the last event that has one at an end of its data."""
    numbered = [one.data for one in read_plainly(stream) if NAME in one.data[:256] or NAME in one.data[-64:]]
    if not numbered:
        return None
    found = NUMBER.search(numbered[-1][:256]) or NUMBER.search(numbered[-1][-64:])
    return int(found[1]) if found else None


def relayed(chunks: Iterable[bytes]) -> StreamTap:
    """A tap that was shown a stream as the relay shows it: what passes is not fed."""
    tap = StreamTap()
    for chunk in chunks:
        if not tap.passes(chunk):
            tap.feed(chunk)
    return tap


def fed(chunks: Iterable[bytes]) -> StreamTap:
    tap = StreamTap()
    for chunk in chunks:
        tap.feed(chunk)
    return tap


def by_events(stream: bytes) -> Iterator[bytes]:
    """As servers send: a chunk for each event, or for some."""
    return (piece for piece in EVENT_END.split(stream) if piece)


numbers = st.integers(0, 10**16)
lines = st.one_of(
    numbers.map(
        lambda number: b'data: {"type":"response.output_text.delta","sequence_number":%d,"delta":"x"}' % number
    ),
    numbers.map(lambda number: b'data: {"delta":"%b","sequence_number":%d}' % (b"y" * (number % 700), number)),
    numbers.map(lambda number: b'data: {"a":"%b","sequence_number":%d,"b":"%b"}' % (b"y" * 300, number, b"z" * 900)),
    st.sampled_from(
        [
            b"event: response.output_text.delta",
            b"event: response.output_text.delta",
            b"event: response.completed",
            b"event:  response.created",
            b'event: response."sequence_number"',
            b"event: ping",
            b"event",
            b"data: {}",
            b"data: [DONE]",
            b'data: {"sequence_number":null}',
            b'data: {"sequence_number"',
            b"data: :7}",
            b'data: {"type":"response.completed","response":{"usage":{"cost":0.1}}}',
            b'data: {"type":"response.created","response":{"id":"resp_2"}}',
            b'data: {"error":{"message":"no"}}',
            b': a comment {"sequence_number":99}',
            b'id: {"sequence_number":98}',
            b'dat: {"sequence_number":97}',
            b": PROCESSING",
            b"",
            b"",
            b"",
            b"",
        ]
    ),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Whole streams, or the beginning of one, with every line end."""
    ends = draw(st.lists(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]), min_size=1, max_size=3))
    body = b"\n".join(draw(st.lists(lines, max_size=14))) + draw(st.sampled_from([b"", b"\n", b"\n\n"]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + with_line_ends(created() + body, ends)


def ways(stream: bytes, places: list[int]) -> list[list[bytes]]:
    pieces = list(by_events(stream))
    pairs = [b"".join(pieces[at : at + 2]) for at in range(0, len(pieces), 2)]
    return [[stream], pieces, pairs, list(cut(stream, places)), list(every(7, stream))]


@given(streams(), cut_places)
@example(created() + delta(number=1) + b': "sequence_number"\n\n', [])
@example(created() + b'event: "sequence_number"\ndata: {}\n\n' * 2, [])
@example(created() + (delta(number=1) + delta(number=2, named=False)) * 20 + b"data: {}\n\n" * 200, [])
def test_the_last_number_is_that_of_a_plain_reading(stream: bytes, places: list[int]) -> None:
    """In whatever pieces, passed over or told."""
    for chunks in ways(stream, places):
        sent = b""
        tap = StreamTap()
        for chunk in chunks:
            if not tap.passes(chunk):
                tap.feed(chunk)
            if tap.ended:
                break
            sent += chunk
            assert tap.last_sequence_number == plain_number(sent)


@given(streams(), cut_places)
def test_passing_over_tells_what_feeding_tells(stream: bytes, places: list[int]) -> None:
    """The reading, the end, where an event may be put in: the same, and the same as in one piece."""
    whole = fed([stream])
    for chunks in ways(stream, places):
        for tap in (relayed(chunks), fed(chunks)):
            assert (tap.ended, tap.reading) == (whole.ended, whole.reading)
            if not tap.ended:
                assert (tap.at_boundary, tap.held_bytes) == (whole.at_boundary, whole.held_bytes)
            tap.finish()
        whole.finish()
        assert tap.reading == whole.reading
        whole = fed([stream])


def test_a_chunk_that_was_not_passed_over_is_untouched() -> None:
    """It must be fed, and then counts once."""
    tap = fed([created()])
    long = b"data: " + b"x" * 2000
    with_cr = delta().replace(b"\n", b"\r\n")[:-1]
    for chunk in (completed(), with_cr, delta() + long, long, completed() + delta()[:9], b'data: {"error":1}\n\n'):
        assert not tap.passes(chunk)
        assert (tap.ended, tap.at_boundary, tap.reading.failed, tap.last_sequence_number) == (False, True, False, 0)
    tap.feed(completed())
    assert tap.ended
    assert not tap.passes(delta())


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_what_servers_send_between_the_first_and_the_last_event_passes(line_end: bytes, named: bool) -> None:
    """One event a chunk or several, comments, other kinds of events in between: none is cut apart."""
    kinds = ("response.output_text.delta", "response.function_call_arguments.delta", "response.content_part.done")
    tap = fed([created()])
    for number in range(1, 20):
        chunk = event(kinds[number % 3], ',"delta":"Hello"', named=named, number=number)
        for sent in (chunk, b": PROCESSING\n\n", chunk * 3, b"event: ping\ndata: {}\n\n", chunk * 90):
            assert tap.passes(sent.replace(b"\n", line_end))
            assert tap.last_sequence_number == number


def test_a_chunk_that_is_cut_passes_with_what_follows() -> None:
    """A fast stream comes in full chunks, of which each ends anywhere: nothing but the end of the answer is fed."""
    tap = fed([created()])
    sent = b"".join(delta(number=number) for number in range(1, 400))
    for start in range(0, len(sent), 1000):
        assert tap.passes(sent[start : start + 1000])
    assert tap.last_sequence_number == 399
    last = delta(number=400) + completed()
    assert tap.passes(last[:30])
    begins = len(delta(number=400)) - 30
    assert tap.feed(last[30:]) == begins
    assert tap.ended


def test_asking_for_the_boundary_inside_an_event_ends_the_passing() -> None:
    """What was cut off is the splitter's then: what follows must be fed, or it would be read without its beginning."""
    tap, sent = fed([created()]), delta()
    assert tap.passes(sent[:30])
    assert not tap.at_boundary
    assert not tap.passes(sent[30:])


def test_what_stands_before_the_end_of_the_answer_is_passed_over() -> None:
    """In a chunk that has both: the last event alone is taken apart."""
    splitter = EventSplitter(lambda name: True, dull=Deltas((b"response.completed",)).dull)
    told = splitter.feed(b"\n" + created() + delta() * 3 + completed())
    assert [one.passed for one in told] == [True, False]


@pytest.mark.parametrize("chunks", [[b"\n", completed(named=False)], [b"\n" + completed(named=False)]])
def test_an_empty_line_before_an_event_hides_nothing(chunks: list[bytes]) -> None:
    """Before any delta was seen by its name, in a chunk of its own or with the event."""
    tap = relayed([created(), *chunks])
    assert (tap.ended, tap.reading.complete, tap.reading.cost_known) == (True, True, True)


def test_where_an_event_was_cut_by_a_chunk_that_passed_a_cost_is_still_read() -> None:
    """The end of an answer, cut at each of its bytes behind what passes; and the stream that breaks there."""
    last = completed()
    for place in range(1, len(last)):
        tap = fed([created()])
        assert tap.passes(delta() + last[:place])
        broken = relayed([created(), delta() + last[:place]])
        broken.finish()
        assert broken.reading.cost_known == (place >= len(last) - 2)  # its data is whole, but for the empty line
        assert tap.feed(last[place:]) == 0
        assert tap.reading.complete
        assert tap.reading.cost_known


def test_a_chunk_passes_only_between_events() -> None:
    """Not at the very beginning, where a mark or another kind of body may come, nor inside an event or behind a CR."""
    assert not StreamTap().passes(delta())
    for begun in (b"data: x\n", b": x", b"data: x\n\r", b"event: response.completed\n"):
        tap = fed([created() + begun])
        assert not tap.passes(delta())
    body = fed([b"  ", b'{"a":1}\n\n'])
    assert not body.passes(b"{}\n\n")
