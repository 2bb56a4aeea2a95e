"""The quick reader says what the careful one says, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.costs import IDS, EventReading, read_body, read_event
from app.core.document import DECODED_BYTES_MAX, Malformed
from app.core.plain_answer import _Item, plain_body, plain_event
from app.core.records import Cost, Reading, TokenUsage
from tests.core.answers import CHARGED, TRUE_COST, usage

PLAIN = (
    '{"id":"resp_1","object":"response","model":"openai/gpt-4o-mini","status":"completed","error":null,'
    '"output":[{"type":"message","content":[{"type":"output_text","text":"Hello \\"cost\\": \\n"}]}],'
    f'"metadata":{{}},"usage":{usage(TRUE_COST)},"cost":{CHARGED}}}'
)
EVENT = f'{{"type":"response.completed","sequence_number":7,"response":{PLAIN}}}'

VALUES = [
    *("null", "true", "0", "-0", "-1", "12", "1.5", "1e2", "0.00001230000", "10000", "10001", "1e-999", "007", "NaN"),
    *('"é"', '"0,1 €"', '{"é":1}'),
    *(str(10**18 - 1), str(10**18), '""', '"0.0001"', '"x"', '"\\u00e9"', '"\\ud800"', '"\x01"', "{}", "[]", "[1]"),
    *('{"cost":1}', '{"cached_tokens":3}', '[{"id":"a","container_id":"b"},{"id":"a"}]', '[{"id":1}]', '"failed"'),
]
STRINGS = [b'"response.completed"', b'"resp_1"', b'"openai/gpt-4o-mini"', b'"completed"']

MEMBERS = [
    *("cost", "usage", "id", "model", "status", "error", "output", "choices", "response", "type", "c\\u006fst"),
    *(
        "input_tokens",
        "total_tokens",
        "input_tokens_details",
        "cached_tokens",
        "prompt_tokens",
        "prompt_tokens_details",
    ),
]


def careful(read: Callable[[bytes], Reading | EventReading], text: bytes) -> Reading | EventReading | None:
    try:
        return read(text)
    except Malformed:
        return None


@st.composite
def answers(draw: st.DrawFn, plain: str) -> bytes:
    """A plain answer with other values, members that stand twice or have another name, other bytes."""
    text = plain
    for _ in range(draw(st.integers(0, 3))):
        name, at = draw(st.sampled_from(MEMBERS)), draw(st.integers(0, len(text)))
        value = draw(st.sampled_from(VALUES))
        kind = draw(st.sampled_from(["value", "more", "name", "cut", "space"]))
        place = text.find(f'"{name}":', at)
        if kind == "value" and place >= 0:
            start = place + len(name) + 3
            _, length = json.JSONDecoder(strict=False).raw_decode(text[start:]) if text[start:] else (None, 0)
            text = text[:start] + value + text[start + length :]
        elif kind == "more" and (opens := text.find("{", at)) >= 0:
            text = f'{text[: opens + 1]}"{name}":{value},{text[opens + 1 :]}'
        elif kind == "name" and place >= 0:
            text = text[:place] + f'"{draw(st.sampled_from(MEMBERS))}":' + text[place + len(name) + 3 :]
        elif kind == "cut":
            text = text[:at] + draw(st.sampled_from(["", "\\", '"', "}", "\u00e9", ","])) + text[at + 1 :]
        else:
            text = text.replace(",", draw(st.sampled_from([" ,", ",\n", ", "])))
        try:
            json.loads(text, strict=False)
        except ValueError:
            break
    return draw(broken(text.encode())) + draw(st.sampled_from([b"", b"", b" ", b"\xff", b"{}"]))


@st.composite
def broken(draw: st.DrawFn, text: bytes) -> bytes:
    """The same, or with a byte more or another one: often in a string, where broken UTF-8 is let pass."""
    byte = draw(st.sampled_from([b"\x80", b"\xff", b"\0", b"x"]))
    places = [at + 1 for name in STRINGS if (at := text.find(name)) >= 0] + [draw(st.integers(0, len(text)))]
    at = draw(st.sampled_from(places))
    kind = draw(st.sampled_from(["whole", "other", "more"]))
    return text if kind == "whole" else text[:at] + byte + text[at + (kind == "other") :]


def test_broken_text_is_left_to_the_careful_reader() -> None:
    """Which lets it pass: the answer has a cost."""
    for name in STRINGS:
        text = EVENT.encode().replace(name, name[:1] + b"\x80" + name[1:], 1)
        assert plain_event(text) is None
        assert careful(read_event, text) is not None
    text = PLAIN.encode().replace(b'"resp_1"', b'"\x80resp_1"', 1)
    assert plain_body(text) is None
    told = careful(read_body, text)
    assert isinstance(told, Reading)
    assert told.cost_known


@settings(max_examples=1500)
@given(answers(PLAIN))
def test_what_is_said_of_a_body_is_what_the_careful_reader_says(text: bytes) -> None:
    """Whatever is odd about it."""
    told = plain_body(text)
    assert told is None or told == careful(read_body, text)


@settings(max_examples=1500)
@given(answers(EVENT))
def test_what_is_said_of_an_event_is_what_the_careful_reader_says(text: bytes) -> None:
    """The same."""
    told = plain_event(text)
    assert told is None or told == careful(read_event, text)


def test_a_plain_answer_is_read() -> None:
    """As nearly all are: this one must not be left to the other reader."""
    reading = Reading(
        true_cost=Cost(TRUE_COST, 12_300_000),
        charged=Cost(CHARGED, 100_000_000),
        usage=TokenUsage(12, 3, 24, 5, 36),
        response_id="resp_1",
        model_answered="openai/gpt-4o-mini",
        complete=True,
    )
    assert plain_body(PLAIN.encode()) == plain_body(bytearray(PLAIN.encode())) == reading
    assert plain_event(EVENT.encode()) == ("response.completed", reading)


def test_a_charge_that_is_not_told_is_derived() -> None:
    """As in most streams."""
    told = plain_event(EVENT.replace(f',"cost":{CHARGED}', "").encode())
    assert told is not None
    assert told == careful(read_event, EVENT.replace(f',"cost":{CHARGED}', "").encode())
    assert told.reading.charged_derived


def test_what_an_answer_made_is_told_once() -> None:
    """In its order, and no name that no ledger should hold."""
    output = '[{"id":"b"},{"id":"a","container_id":"c"},{"id":"b"},{"id":"x\\n"},{"type":"t"}]'
    text = PLAIN.replace('"metadata":{}', f'"output":{output}', 1).encode()
    told = plain_body(text)
    assert told is not None
    assert told == read_body(text)
    assert told.made == ("b", "a", "c")


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (f'"cost":{CHARGED}', f'"cost":{CHARGED},"c\\u006fst":1'),  # an escaped name may be one that stands twice
        (f'"cost":{CHARGED}', f'"cost":{CHARGED},"cost":1'),
        ('"usage"', '"usage":{"cost":1,"input_tokens":1,"output_tokens":1},"usage"'),
        (f'"cost":{CHARGED}', '"cost":1e-4'),
        (f'"cost":{CHARGED}', '"cost":"0,1 €"'),
        (f'"cost":{TRUE_COST}', '"cost":"0,1 €"'),
        (f',"cost":{TRUE_COST}', ""),
        ('"completed"', '"incomplete"'),
        ('"input_tokens"', '"prompt_tokens"'),
        ('"id"', f'"filler":"{"x" * DECODED_BYTES_MAX}","id"'),
    ],
)
def test_what_is_odd_is_left_to_the_careful_reader(before: str, then: str) -> None:
    """It knows what that means."""
    assert before in PLAIN
    odd = PLAIN.replace(before, then, 1)
    assert plain_body(odd.encode()) is None
    assert plain_event(EVENT.replace(PLAIN, odd).encode()) is None
    assert careful(read_body, odd.encode()) is not None


@pytest.mark.parametrize("kind", ["response.created", "response.failed", "response.incomplete", "error"])
def test_another_event_is_left_to_the_careful_reader(kind: str) -> None:
    """Only what completes an answer has both costs."""
    assert plain_event(EVENT.replace("response.completed", kind).encode()) is None


def test_a_response_that_stands_twice_is_left_to_the_careful_reader() -> None:
    """It is seen also where the first of them is something else."""
    assert plain_event(EVENT.replace('"sequence_number":7', '"response" : 1').encode()) is None


def test_an_items_ids_are_those_that_the_careful_reader_looks_for() -> None:
    """A further one must be added to both."""
    assert _Item.__struct_fields__ == IDS
