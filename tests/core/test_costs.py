"""Which JSON paths are costs, and what two costs say together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.costs import NAME_TEXT_MAX, read_body, read_event
from app.core.document import Malformed
from app.core.records import Cost, Reading, TokenUsage
from tests.core.answers import CHARGED, TRUE_COST, response, spoofed_texts, usage

PICO = 12_300_000
STEP = 100_000_000  # 1/10,000 USD


def body(true: str | None = TRUE_COST, charged: str | None = None) -> bytes:
    """A whole body with these cost tokens; None = absent."""
    members = "" if charged is None else f',"cost":{charged}'
    return response(usage_text=usage(true), members=members).encode()


def test_both_costs_are_read_as_received() -> None:
    """The documented answer."""
    reading = read_body(body(TRUE_COST, CHARGED))
    assert reading == Reading(
        true_cost=Cost(TRUE_COST, PICO),
        charged=Cost(CHARGED, STEP),
        usage=TokenUsage(12, 3, 24, 5, 36),
        response_id="resp_1",
        model_answered="openai/gpt-4o-mini",
        complete=True,
    )
    assert type(reading.true_cost.raw) is str if reading.true_cost else False


@pytest.mark.parametrize(
    ("true", "charged"),
    [("0.0000123", "0.0001"), ("0.0001", "0.0001"), ("0.00010001", "0.0002"), ("0", "0.0000"), ("1.23e-5", "0.0001")],
)
def test_a_missing_charge_is_derived(true: str, charged: str) -> None:
    """The exact ceiling, marked; no alarm. Null is as good as missing."""
    for stated in (None, "null"):
        reading = read_body(body(true, stated))
        assert reading.charged is not None
        assert float(reading.charged.raw) == float(charged)
        assert reading.charged_derived
        assert not reading.charge_mismatch
        assert reading.unknown_reason is None


def test_an_unusable_charge_is_derived_with_an_alarm_and_kept_as_text() -> None:
    """Somebody should look at it; the cost is known all the same."""
    reading = read_body(body(TRUE_COST, '"0.0001"'))
    assert reading.charged is not None
    assert reading.charged.picodollars == STEP
    assert reading.charged_derived
    assert reading.charge_mismatch
    assert reading.charged_token == '"0.0001"'
    assert reading.unknown_reason is None


def test_another_charge_than_the_ceiling_is_kept_with_an_alarm() -> None:
    """The upstream's own rounding is one unit off on some prices: what it says is booked."""
    reading = read_body(body(TRUE_COST, "0.0002"))
    assert reading.charged == Cost("0.0002", 2 * STEP)
    assert reading.charge_mismatch
    assert not reading.charged_derived


def test_the_same_charge_in_another_spelling_is_no_alarm() -> None:
    """0.00010 is 1e-4."""
    for spelling in ("0.00010", "1e-4", "0.1E-3"):
        assert not read_body(body(TRUE_COST, spelling)).charge_mismatch


@pytest.mark.parametrize(
    ("token", "reason", "kept"),
    [
        (None, "no_cost", None),
        ("null", "cost_null", None),
        ("-0.1", "cost_negative", "-0.1"),
        ("NaN", "cost_not_a_number", "NaN"),
        ("Infinity", "cost_not_a_number", "Infinity"),
        ("1e999", "cost_out_of_range", "1e999"),
        ("10001", "cost_out_of_range", "10001"),
        ("9" * 5000, "cost_out_of_range", "9" * 200),
        ('"0.1"', "cost_not_a_number", '"0.1"'),
        ("true", "cost_not_a_number", "true"),
        ("false", "cost_not_a_number", "false"),
        ('{"usd":1}', "cost_not_a_number", '{"usd": "1"}'),
        ("[1]", "cost_not_a_number", '["1"]'),
        ('"\\ud800\\u0000"', "cost_not_a_number", '"\\ud800\\u0000"'),
    ],
)
def test_what_is_no_cost_is_unknown_with_its_token(token: str | None, reason: str, kept: str | None) -> None:
    """Never zero, never a guess; what the charge says is booked if it is known."""
    reading = read_body(body(token))
    assert (reading.true_cost, reading.charged) == (None, None)
    assert (reading.unknown_reason, reading.true_cost_token) == (reason, kept)
    charged = read_body(body(token, CHARGED))
    assert charged.charged == Cost(CHARGED, STEP)
    assert (charged.unknown_reason, charged.charge_mismatch, charged.charged_derived) == (reason, False, False)


def test_a_telling_reason_is_preferred() -> None:
    """An absent true cost says less than a broken charge."""
    assert read_body(body(None, "-1")).unknown_reason == "cost_negative"
    assert read_body(body("-1", None)).unknown_reason == "cost_negative"
    assert read_body(body(None, None)).unknown_reason == "no_cost"


@pytest.mark.parametrize("bulk", ["", "x" * 30_000], ids=["small", "large"])
def test_a_cost_that_stands_twice_is_unknown(bulk: str) -> None:
    """Nobody can say which one counts; also when the whole usage stands twice."""
    twice = usage()[:-1] + ',"cost":0}'
    assert read_body(response(bulk, usage_text=twice).encode()).unknown_reason == "duplicate_cost"
    assert read_body(response(bulk, members=f',"usage":{usage("0")}').encode()).unknown_reason == "duplicate_cost"
    charged_twice = read_body(response(bulk, members=',"cost":0.0001,"cost":0').encode())
    assert charged_twice.true_cost == Cost(TRUE_COST, PICO)
    assert charged_twice.charged_derived
    assert charged_twice.charge_mismatch
    event = f'{{"type":"response.completed","response":{response(bulk)},"response":{response(bulk)}}}'
    assert read_event(event.encode()).reading.unknown_reason == "duplicate_cost"


@pytest.mark.parametrize("stated", ["null", "[]", '"none"', "{}", "0"])
def test_a_usage_that_is_no_object_tells_nothing(stated: str) -> None:
    """As in events before the last one."""
    reading = read_body(response(usage_text=stated).encode())
    assert reading.unknown_reason == "no_cost"
    assert reading.usage == TokenUsage()


def test_extra_fields_of_usage_are_passed_over() -> None:
    """Aggregators add some, with costs of their own in them."""
    extra = usage()[:-1] + ',"is_byok":false,"cost_details":{"cost":9,"upstream_inference_cost":null}}'
    reading = read_body(response(usage_text=extra).encode())
    assert reading.true_cost == Cost(TRUE_COST, PICO)
    assert reading.usage == TokenUsage(12, 3, 24, 5, 36)


@pytest.mark.parametrize("count", ["true", "null", '"12"', "1.0", "-1", "1e3", "9" * 30, "9" * 5000, "[]", "{}"])
def test_what_is_no_count_is_not_told(count: str) -> None:
    """A boolean is not one, neither is what no database can hold."""
    stated = f'{{"input_tokens":{count},"input_tokens_details":{{"cached_tokens":{count}}},"total_tokens":7}}'
    assert read_body(response(usage_text=stated).encode()).usage == TokenUsage(total_tokens=7)


def test_minus_zero_is_a_count() -> None:
    """It is a zero to everybody who reads integers."""
    text = body().replace(b'"total_tokens":36', b'"total_tokens":-0')
    assert read_body(text).usage.total_tokens == 0


def test_chat_completions_names_are_a_fall_back() -> None:
    """Some upstreams answer with them."""
    stated = (
        '{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens":3,'
        '"completion_tokens_details":{"reasoning_tokens":4},"total_tokens":5,"cost":0}'
    )
    assert read_body(response(usage_text=stated).encode()).usage == TokenUsage(1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("text", "failed", "error_body"),
    [
        ('{"error":{"message":"Insufficient credits"}}', True, True),
        ('{"error":"no"}', True, True),
        ('{"error":{"message":"x"},"output":null}', True, True),
        ('{"error":{"message":"x"},"output":[]}', False, False),
        ('{"error":null,"output":[]}', False, False),
        ('{"error":{},"id":"x"}', False, False),
        ('{"error":false}', False, False),
        ('{"error":0}', False, False),
        ('{"status":"failed","error":{"code":"x"},"output":[],"usage":null}', True, False),
        ('{"status":"incomplete","output":[]}', False, False),
        ("{}", False, False),
        ('{"error":{"message":"' + "x" * 40_000 + '"}}', True, True),
        ('{"error":{"message":"x"},"data":"' + "x" * 40_000 + '"}', False, False),
    ],
)
def test_an_error_body_is_told_from_an_answer(text: str, failed: bool, error_body: bool) -> None:
    """Status 200 with an error in the body is real; a good answer says `"error": null`."""
    reading = read_body(text.encode())
    assert (reading.failed, reading.error_body) == (failed, error_body)
    assert reading.complete


def test_a_failed_body_that_states_a_cost_is_booked() -> None:
    """It was billed, says the upstream."""
    reading = read_body(b'{"error":{"message":"late"},"usage":{"cost":0.5},"cost":0.5}')
    assert reading.true_cost == Cost("0.5", 500_000_000_000)
    assert reading.failed


@pytest.mark.parametrize(
    ("inner", "outer", "charged", "alarm"),
    [
        ("0.0001", None, "0.0001", False),
        (None, "0.0001", "0.0001", False),
        ("null", "0.0001", "0.0001", False),
        ("0.0001", "1e-4", "0.0001", False),
        ("0.0001", "0.0003", "0.0003", True),
        ("0.0003", "0.0001", "0.0003", True),
        ("0.0001", '"x"', "0.0001", True),
        ("-1", "0.0001", "0.0001", True),
    ],
)
def test_the_charge_of_a_stream_may_stand_in_two_places(
    inner: str | None, outer: str | None, charged: str, alarm: bool
) -> None:
    """In the response, else in the event; if they differ the larger counts and somebody is told."""
    inner_text = "" if inner is None else f',"cost":{inner}'
    outer_text = "" if outer is None else f',"cost":{outer}'
    text = f'{{"type":"response.completed","response":{response(members=inner_text)}{outer_text}}}'
    kind, reading = read_event(text.encode())
    assert kind == "response.completed"
    assert reading.charged is not None
    assert reading.charged.raw == charged
    assert reading.charge_mismatch is alarm
    assert not reading.charged_derived


def test_an_event_whose_charges_are_both_broken_says_so() -> None:
    """The true cost is known, the charge derived."""
    broken = response(members=',"cost":-1')
    text = f'{{"response":{broken},"cost":null}}'
    reading = read_event(text.encode()).reading
    assert (reading.charged_derived, reading.charge_mismatch, reading.charged_token) == (True, True, "-1")


@pytest.mark.parametrize(
    ("kind", "complete"),
    [("completed", True), ("incomplete", True), ("failed", True), ("created", False), ("output_item.done", False)],
)
@pytest.mark.parametrize("response_text", [response(), "null", f'{response()},"response":{response()}'])
def test_an_event_that_ends_an_answer_says_so(kind: str, complete: bool, response_text: str) -> None:
    """Its type alone decides, whatever else it holds."""
    text = f'{{"type":"response.{kind}","response":{response_text}}}'
    assert read_event(text.encode()).reading.complete is complete


@given(spoofed_texts, st.booleans())
def test_text_never_counts(text: str, ascii_only: bool) -> None:
    """A model may write what it likes, in its output, in instructions echoed, in metadata."""
    spoofed = response(text, members=f',"cost":{CHARGED}', ascii_only=ascii_only).encode("utf-8", "surrogatepass")
    for reading in (read_body(spoofed), read_event(b'{"type":"x","response":' + spoofed + b"}").reading):
        assert reading.true_cost == Cost(TRUE_COST, PICO)
        assert reading.charged == Cost(CHARGED, STEP)
        assert not reading.charge_mismatch


@given(spoofed_texts, st.sampled_from(["id", "model", "status", "object"]))
def test_nested_objects_never_count(text: str, name: str) -> None:
    """Only the paths themselves do."""
    stated = f'{{"output":[{{"usage":{usage("9")},"cost":9}}],"{name}":{{"usage":{usage("9")},"cost":9}}}}'
    assert not read_body(stated.encode()).cost_known
    assert not read_event(f'{{"type":"x","item":{stated}}}'.encode()).reading.cost_known


@pytest.mark.parametrize("name", ['"a\\u0000b"', '"\\ud800"', '""', "7", "null", '"' + "x" * (NAME_TEXT_MAX + 1) + '"'])
def test_a_name_that_no_ledger_should_hold_is_not_told(name: str) -> None:
    """Control characters, half characters, novels."""
    reading = read_body(f'{{"id":{name},"model":{name}}}'.encode())
    assert (reading.response_id, reading.model_answered) == (None, None)


@pytest.mark.parametrize("kind", ["7", "null", "[]", '{"a":1}'])
def test_a_type_that_is_no_string_is_none(kind: str) -> None:
    """And breaks nothing."""
    assert read_event(f'{{"type":{kind}}}'.encode()).type in (None, "7")


@given(st.binary(max_size=40))
def test_any_bytes_are_a_reading_or_malformed(text: bytes) -> None:
    """No other exception reaches the relay."""
    for wrapped in (text, b'{"usage":{"cost":' + text + b"}}", b'{"cost":"' + text + b'"}'):
        for read in (read_body, read_event):
            try:
                read(wrapped)
            except Malformed:
                continue


@pytest.mark.parametrize("text_bytes", [0, 5000, 100_000])
def test_what_an_answer_made_is_told(text_bytes: int) -> None:
    """Its output's items and their containers, however large they are; not what it cites, nor what comes twice."""
    cited = [{"type": "file_citation", "file_id": "file_1"}]
    output = [
        {"type": "reasoning", "id": "rs_1"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1" * text_bytes},
        {"type": "code_interpreter_call", "id": "ci_2", "container_id": "cntr_1"},
        {"id": "msg_1", "content": [{"text": "x" * text_bytes, "annotations": cited, "id": "no"}]},
        {"id": None},
        {"id": "bad\n"},
        "text",
    ]
    made = ("rs_1", "ci_1", "cntr_1", "ci_2", "msg_1")
    body = json.dumps({"id": "resp_1", "output": output, "usage": {"cost": 0.1}}).encode()
    assert read_body(body).made == made
    event = b'{"type":"response.completed","response":' + body + b"}"
    reading = read_event(event).reading
    assert (reading.made, reading.response_id, reading.cost_known) == (made, "resp_1", True)
    assert read_body(b'{"output":"text"}').made == ()


def test_a_response_that_is_still_made_says_so() -> None:
    """In the background: its answer ends before its cost is known. One that tells its cost is settled."""
    for status in ("queued", "in_progress"):
        reading = read_body(b'{"id":"resp_1","status":"%b","usage":null}' % status.encode())
        assert (reading.unknown_reason, reading.response_id, reading.complete) == ("background", "resp_1", True)
        assert read_body(b'{"status":"%b","usage":{"cost":0.1}}' % status.encode()).cost_known
    assert read_body(b'{"status":"completed","usage":null}').unknown_reason == "no_cost"
