"""The tap of a stream reads the same whatever the chunks, and holds back the end of the answer, nothing else."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.decode import Inflater
from app.core.records import Cost, Reading, TokenUsage
from app.core.stream_tap import StreamTap
from tests.core.answers import (
    CHARGED,
    TRUE_COST,
    completed,
    created,
    cut,
    cut_places,
    delta,
    event,
    every,
    response,
    spoofed_texts,
    usage,
    with_line_ends,
)

KNOWN = Reading(
    true_cost=Cost(TRUE_COST, 12_300_000),
    charged=Cost(CHARGED, 100_000_000),
    charged_derived=True,
    usage=TokenUsage(12, 3, 24, 5, 36),
    response_id="resp_1",
    model_answered="openai/gpt-4o-mini",
    complete=True,
)
DONE = b"data: [DONE]\n\n"
BETWEEN = (b"", b": PROCESSING\n\n", b"id: 3\nretry: 5\n\n", b"event: ping\ndata: {}\n\n")
ORDINARY = created() + b": PROCESSING\n\n" + delta() * 3 + completed() + DONE


def read(stream: bytes, size: int = 0) -> StreamTap:
    """A tap that has seen the whole stream, in chunks of that size (0 = at once)."""
    tap = StreamTap()
    for chunk in every(size or len(stream) or 1, stream):
        tap.feed(chunk)
    tap.finish()
    return tap


# --- the same reading for every chunking -----------------------------------------------------------


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream up to its terminal event, and that event: spoofs, comments, any line ends, with or without names."""
    named = draw(st.booleans())
    text = draw(spoofed_texts)
    before = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\n\n", b": OPENROUTER PROCESSING\n\n"]))
    before += created(named=named)
    for number in range(draw(st.integers(0, 3))):
        before += delta(text, named=named, number=number + 1)
        before += draw(
            st.sampled_from([b"", b": PROCESSING\n\n", b"id: 3\nretry: 5\n\n", b"event: ping\ndata: {}\n\n"])
        )
    last = completed(response(text), named=named)
    last = draw(st.sampled_from([last, b": a comment inside\n" + last, last[:-1] + b"id: 9\n\n"]))
    ends = draw(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=1, max_size=3))
    return with_line_ends(before, ends), with_line_ends(last, ends)


@given(answers(), st.sampled_from([b"", DONE, b": bye\n\n", completed(response(usage_text='{"cost":0}'))]), cut_places)
def test_every_chunking_gives_the_same_reading_and_holds_only_the_end(
    answer: tuple[bytes, bytes], after: bytes, places: list[int]
) -> None:
    """The line end that completes the terminal event is never released; all events before it are."""
    before, last = answer
    tap = StreamTap()
    released = b""
    for chunk in cut(before + last + after, places):
        waits_from = tap.feed(chunk)
        released += chunk if waits_from is None else chunk[:waits_from]
    tap.finish()
    assert tap.reading == KNOWN
    assert tap.ended
    assert released.startswith(before.rstrip(b"\r\n"))
    assert len(released) <= len(before + last.rstrip(b"\r\n")) + len(b"\r\n")  # the line's own end, not the event's
    assert not _has_whole_terminal_event(released)


def _has_whole_terminal_event(stream: bytes) -> bool:
    tap = StreamTap()
    tap.feed(stream)
    return tap.ended


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_uniform_streams_in_uniform_chunks(size: int, line_end: bytes) -> None:
    """What servers really send."""
    stream = ORDINARY.replace(b"\n", line_end)
    assert read(stream, size).reading == KNOWN


def test_events_before_the_end_in_the_same_chunk_are_released() -> None:
    """And what follows the end waits with it."""
    before = created() + delta()
    tap = StreamTap()
    assert tap.feed(before + completed() + DONE) == len(before)
    assert tap.feed(b"more") == 0


def test_an_end_that_began_earlier_waits_from_the_start_of_the_completing_chunk() -> None:
    """Its beginning is gone already: a client cannot use it without its last line end."""
    last = completed()
    for place in range(1, len(last)):
        tap = StreamTap()
        assert tap.feed(last[:place]) is None
        assert tap.feed(last[place:]) == 0
        assert tap.reading == KNOWN


def test_nothing_waits_in_a_stream_without_an_end() -> None:
    """Every other event goes out at once."""
    tap = StreamTap()
    assert {tap.feed(chunk) for chunk in every(50, created() + delta() * 5)} == {None}
    assert not tap.ended
    assert tap.reading.response_id == "resp_1"


# --- which events count ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stream",
    [
        completed(named=False),
        completed()[:-1],
        completed()[:-2],
        completed().replace(b"event: ", b"event:").replace(b"data: ", b"data:"),
        completed().replace(b"event: response.completed", b"event: message"),
        completed().replace(b"event: response.completed\n", b"event: x\nevent: response.completed\n"),
        completed().replace(b",", b",\ndata: ", 3),
        completed().replace(b": ", b":   ", 1).replace(b"event:   ", b"event: "),
        b"data: [DONE]\n\n" + completed(),
        b'data: not json "error"\n\n' + completed(),
        b'data: "error"\n\n' + completed(),
        b"event: response.completed\ndata: {broken\n\n" + completed(),
        b"event: response.completed\n\n" + completed(),
        delta().replace(b"Hello", b"\xff\xfe\xf0") + completed(),
        completed(response("\ud800 half", ascii_only=False).replace("half", "x")),
    ],
    ids=range(15),
)
def test_odd_frames_are_read_all_the_same(stream: bytes) -> None:
    """Without a name, without a last blank line, in several data lines, next to junk, in broken UTF-8."""
    for size in (0, 1, 5):
        assert read(stream, size).reading == KNOWN


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("kind", "failed"), [("response.completed", False), ("response.incomplete", False), ("response.failed", True)]
)
def test_three_events_end_an_answer(kind: str, failed: bool, named: bool) -> None:
    """Each with its usage, if it has one."""
    tap = read(created() + event(kind, f',"response":{response()}', named=named))
    assert (tap.ended, tap.reading.complete, tap.reading.failed) == (True, True, failed)
    assert tap.reading.true_cost == KNOWN.true_cost
    without = read(created() + event(kind, f',"response":{response(usage_text="null")}', named=named))
    assert (without.ended, without.reading.failed, without.reading.unknown_reason) == (True, failed, "no_cost")


@pytest.mark.parametrize("kind", ["response.queued", "ping", "response.created", "error"])
@pytest.mark.parametrize("named", [True, False])
def test_only_the_type_says_that_it_is_the_end(kind: str, named: bool) -> None:
    """Another member may name the end, as a value of its own: the cost beside it is not the answer's."""
    spoof = ',"next":"response.completed","response":{"type":"response.completed","usage":{"cost":0},"cost":0}'
    tap = StreamTap()
    assert tap.feed(event(kind, spoof, named=named)) is None
    assert not tap.ended
    tap.feed(completed())
    assert (tap.ended, tap.reading.true_cost) == (True, KNOWN.true_cost)


def test_usage_null_before_the_end_tells_nothing() -> None:
    """Created, queued, in progress."""
    tap = StreamTap()
    tap.feed(created() + event("response.in_progress", f',"response":{response(usage_text=usage("9"))}'))
    assert tap.reading == Reading(
        unknown_reason="no_terminal_event", response_id="resp_1", model_answered="openai/gpt-4o-mini"
    )


def test_the_first_end_counts() -> None:
    """What comes after it changes nothing."""
    assert read(completed() + completed(response(usage_text='{"cost":5}'))).reading == KNOWN


def test_the_charge_may_stand_in_the_event() -> None:
    """Or in the response: both are looked at."""
    for stream in (completed(members=',"cost":0.0007'), completed(response(members=',"cost":0.0007'))):
        reading = read(stream).reading
        assert reading.charged == Cost("0.0007", 700_000_000)
        assert reading.charge_mismatch


def named_created(data: str) -> bytes:
    return b"event: response.created\ndata: " + data.encode() + b"\n\n"


def test_an_event_by_the_name_of_the_first_is_still_what_its_type_says() -> None:
    """Its reading is put off, but not where it may end the answer, however that is spelt."""
    for spelt in ("response.completed", "response.\\u0063ompleted"):
        tap = StreamTap()
        assert tap.feed(named_created(f'{{"type":"{spelt}","response":{response()}}}')) == 0
        assert (tap.ended, tap.reading) == (True, KNOWN)


def test_what_the_first_event_tells_is_there_when_it_is_asked_for() -> None:
    """Its id, its failure; and a second one replaces it, as it always did."""
    whose = named_created('{"type":"response.created","response":{"id":"resp_a","model":"m"}}')
    other = named_created('{"type":"response.created","response":{"id":"resp_b"}}')
    failed = named_created('{"type":"error","error":{"message":"no"},"usage":{"cost":0.5}}')
    assert (read(whose).reading.response_id, read(whose).reading.model_answered) == ("resp_a", "m")
    assert (read(whose + other).reading.response_id, read(whose + other).reading.model_answered) == ("resp_b", None)
    assert (read(failed).reading.failed, read(failed).reading.true_cost) == (True, Cost("0.5", 500_000_000_000))
    assert (read(whose + failed).reading.failed, read(whose + failed).reading.response_id) == (True, "resp_a")
    assert read(failed + completed()).reading == KNOWN


def test_the_first_event_is_read_when_it_is_asked_for_unless_it_is_long() -> None:
    """What is put off is held as long as the stream lasts, and is told as held."""
    short, long = (f'{{"type":"response.created","response":{{"id":"resp_a","x":"{"y" * n}"}}}}' for n in (10, 5000))
    for data, held in ((short, len(short)), (long, 0)):
        tap = StreamTap()
        tap.feed(named_created(data))
        assert tap.held_bytes == held
        assert tap.reading.response_id == "resp_a"
        assert tap.held_bytes == 0


def test_a_failure_without_its_own_id_belongs_to_the_response_that_was_created() -> None:
    """So that it can be found by it."""
    reading = read(created() + event("response.failed", ',"response":{"status":"failed","usage":null}')).reading
    assert (reading.response_id, reading.model_answered) == ("resp_1", "openai/gpt-4o-mini")


# --- errors and streams that break off -----------------------------------------------------------------

ERROR = event("error", ',"code":"x","message":"y","param":null', number=5)
SDK_ERROR = b'data: {"error":{"message":"y"}}\n\n'


@pytest.mark.parametrize("error", [ERROR, event("error", named=False), SDK_ERROR, b"event: error\n" + SDK_ERROR])
def test_an_error_is_not_the_end_but_is_remembered(error: bytes) -> None:
    """`response.failed` may follow; if nothing does, the answer failed."""
    tap = StreamTap()
    assert tap.feed(created() + error) is None
    assert not tap.ended
    tap.finish()
    assert (tap.reading.failed, tap.reading.complete, tap.reading.cost_known) == (True, False, False)
    assert (tap.reading.unknown_reason, tap.reading.response_id) == ("no_terminal_event", "resp_1")


def test_an_error_may_state_a_cost() -> None:
    """Then it is known."""
    reading = read(b'data: {"error":{"message":"y"},"usage":{"cost":0.5}}\n\n').reading
    assert reading.true_cost == Cost("0.5", 500_000_000_000)
    assert (reading.failed, reading.unknown_reason) == (True, None)


def test_after_an_error_the_end_decides() -> None:
    """With what it tells."""
    failed = read(ERROR + event("response.failed", f',"response":{response()}'))
    assert (failed.ended, failed.reading.failed, failed.reading.true_cost) == (True, True, KNOWN.true_cost)
    assert read(ERROR + completed()).reading == KNOWN


def test_a_stream_without_an_end_is_unknown() -> None:
    """Whatever it looked like so far; and it says whose it was."""
    for stream in (b"", b"\n", b": x\n\n", DONE, created() + delta() * 2, completed()[:-20]):
        reading = read(stream).reading
        assert (reading.cost_known, reading.complete, reading.failed) == (False, False, False)
        assert reading.unknown_reason in ("no_terminal_event", "unparsable")
    assert read(created() + delta()).reading.response_id == "resp_1"


def test_an_end_that_is_no_json_says_so() -> None:
    """Named by its event line, readable by nobody."""
    assert read(b"event: response.completed\ndata: {broken\n\n").reading.unknown_reason == "unparsable"


def test_finish_is_idempotent_and_a_finished_reading_stays() -> None:
    """The relay may call it on every way out."""
    tap = read(ORDINARY)
    tap.finish()
    assert tap.reading == KNOWN


def test_a_boundary_is_between_events_only() -> None:
    """Not inside one, not after it was taken in as pending."""
    tap = StreamTap()
    assert tap.at_boundary
    tap.feed(delta() + b": PROCESSING\n\n")
    assert tap.at_boundary
    tap.feed(delta()[:30])
    assert not tap.at_boundary
    tap.finish()
    assert not tap.at_boundary


@given(cut_places)
def test_the_last_sequence_number_survives_events_without_one(places: list[int]) -> None:
    """Pings, comments and `[DONE]` do not count; neither does a number in a text, nor one in a half event."""
    spoof = ',"sequence_number":99'
    stream = (
        delta(number=41)
        + event("response.output_text.delta", f',"delta":{json.dumps(spoof)}', number=42)
        + b"event: ping\ndata: {}\n\n: x\n\ndata: [DONE]\n\n"
        + delta(number=43)[:-2]
    )
    tap = StreamTap()
    for chunk in cut(stream, places):
        tap.feed(chunk)
    assert tap.last_sequence_number == 42


@given(cut_places, st.integers(0, 5000))
@example([], 224)  # the edge of a window between the digits
def test_a_sequence_number_may_stand_last(places: list[int], length: int) -> None:
    """In an event of any size that is never collected."""
    text = json.dumps("x" * length)
    stream = f'event: response.output_text.delta\ndata: {{"delta":{text},"sequence_number": 17}}\n\n'.encode()
    tap = StreamTap()
    for chunk in cut(stream, places):
        tap.feed(chunk)
    assert tap.last_sequence_number == 17


def test_there_may_be_no_sequence_number() -> None:
    """Then none is made up."""
    tap = StreamTap()
    assert tap.last_sequence_number is None
    tap.feed(b'data: {"sequence_number":"7"}\n\ndata: {"sequence_number":null}\n\n')
    assert tap.last_sequence_number is None


# --- size --------------------------------------------------------------------------------------------


def test_fifty_megabytes_in_one_event_cost_one_buffer() -> None:
    """Collected once, never decoded, and settled."""
    bulk = "QUJD" * 12_500_000
    last = completed(response(members=f',"image":"{bulk}"'))
    tap = StreamTap()
    tracemalloc.start()
    try:
        for at in range(0, len(last), 65_536):
            tap.feed(last[at : at + 65_536])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tap.reading == KNOWN
    assert peak < 1.3 * len(last)


def test_a_body_under_a_stream_type_grows_heavy() -> None:
    """It is read at its end, as any body."""
    tap = StreamTap()
    tap.feed(b'{"a":"')
    assert not tap.heavy
    tap.feed(b"x" * 70_000)
    assert tap.heavy


def test_fifty_megabytes_of_a_delta_cost_nothing() -> None:
    """Partial images come so."""
    tap = StreamTap()
    tap.feed(b'event: response.image_generation_call.partial_image\ndata: {"sequence_number":3,"b64":"')
    piece = b"QUJD" * 16_384
    tracemalloc.start()
    try:
        for _ in range(800):
            tap.feed(piece)
            assert not tap.heavy
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000
    tap.feed(b'"}\n\n')
    assert tap.last_sequence_number == 3
    tap.feed(completed())
    assert tap.reading == KNOWN


@pytest.mark.parametrize("named", [True, False])
def test_an_end_over_the_limit_is_the_end_of_unknown_cost(named: bool) -> None:
    """Told by its name or its type; the answer is complete all the same."""
    tap = StreamTap(event_bytes_max=10_000)
    stream = created(named=named) + completed(response("x" * 20_000), named=named)
    waits = [tap.feed(chunk) for chunk in every(1000, stream)]
    assert waits[-1] == 0
    assert (tap.reading.complete, tap.reading.unknown_reason) == (True, "event_too_large")
    assert tap.reading.response_id == "resp_1"


def test_other_events_over_the_limit_do_not_matter() -> None:
    """Also those without a name, whose text says `response.completed`."""
    tap = StreamTap(event_bytes_max=10_000)
    tap.feed(event("response.created", f',"x":"{"x" * 20_000}"'))
    assert not tap.ended
    tap.feed(delta('"response.completed"' + "x" * 20_000, named=False) + completed())
    assert tap.reading == KNOWN


def test_a_large_event_under_way_is_heavy() -> None:
    """So that its end is read off the event loop."""
    tap = StreamTap()
    last = completed(response("x" * 300_000))
    tap.feed(last[:1000])
    assert not tap.heavy
    tap.feed(last[1000:200_000])
    assert tap.heavy
    assert tap.feed(last[200_000:]) == 0
    assert tap.reading == KNOWN
    assert not tap.heavy


# --- encodings, and streams that are none --------------------------------------------------------------


def _raw_deflate(stream: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(stream) + engine.flush()


@pytest.mark.parametrize(
    ("coding", "encode"),
    [(b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", _raw_deflate)],
)
@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_an_encoded_stream_is_read_from_a_side_copy(coding: bytes, encode: object, size: int) -> None:
    """The chunk that completes the end waits as a whole: nobody can tell where in it the end is."""
    assert callable(encode)
    tap = StreamTap(Inflater(coding))
    waits = [tap.feed(chunk) for chunk in every(size, encode(ORDINARY))]
    assert tap.reading == KNOWN
    first = waits.index(0)
    assert waits == [None] * first + [0] * (len(waits) - first)
    assert not tap.at_boundary


def test_a_server_that_flushes_each_event_is_followed() -> None:
    """The end is seen with the chunk that brings it, not at the end of the stream."""
    engine = zlib.compressobj(wbits=31)
    tap = StreamTap(Inflater(b"gzip"))
    for chunk in (created(), delta(), delta()):
        assert tap.feed(engine.compress(chunk) + engine.flush(zlib.Z_SYNC_FLUSH)) is None
    assert tap.feed(engine.compress(completed()) + engine.flush(zlib.Z_SYNC_FLUSH)) == 0


def test_what_is_not_encoded_as_said_stays_unknown() -> None:
    """And is relayed as it is."""
    tap = StreamTap(Inflater(b"gzip"))
    assert [tap.feed(chunk) for chunk in (ORDINARY, ORDINARY)] == [None, None]
    tap.finish()
    assert (tap.reading.unknown_reason, tap.reading.complete) == ("encoding", False)


def test_a_bomb_is_given_up() -> None:
    """At the limit, without memory."""
    tap = StreamTap(Inflater(b"gzip", decoded_bytes_max=1_000_000))
    tap.feed(gzip.compress(delta() + b": " + bytes(50_000_000)))
    tap.finish()
    assert tap.reading.unknown_reason == "body_too_large"


@pytest.mark.parametrize("size", [0, 1, 10])
@pytest.mark.parametrize("before", [b"", b"  \n \r\n", b"\xef\xbb\xbf"])
def test_a_body_that_is_no_stream_is_read_as_what_it_is(before: bytes, size: int) -> None:
    """An error in JSON under the wrong content type, after keep-alive white space; a page."""
    tap = read(before + b'{"error":{"message":"Insufficient credits"}}', size)
    assert (tap.reading.failed, tap.reading.error_body, tap.reading.complete) == (True, True, True)
    assert not tap.at_boundary
    assert read(before + response().encode(), size).reading == KNOWN
    page = read(before + b"<html>data: x\n\n</html>", size)
    assert (page.reading.unknown_reason, page.reading.complete) == ("not_json", False)
