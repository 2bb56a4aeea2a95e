"""The few fields that decide over a request: read exactly, refused in words that name the mend, never by halves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ApiError, response_not_found
from app.core.references import REFERENCES_MAX
from app.core.value import replace
from app.proxy.allowed import Allowed, check_policy
from app.proxy.json_pieces import PIECE_BYTES
from app.proxy.policy import DEPTH_MAX, Policy, read_policy

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def read(body: bytes | str | dict[str, Any]) -> Policy:
    """The policy without the length of its prompt (see `test_prompt`)."""
    if isinstance(body, dict):
        body = json.dumps(body)
    policy = asyncio.run(read_policy(body.encode() if isinstance(body, str) else body))
    return replace(policy, prompt_tokens=0)


def refused(body: bytes | str | dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        read(body)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_request_error")
    return refusal.value


def small(members: str) -> str:
    return "{" + members + "}"


def long(members: str, *, before: bool = False) -> str:
    """The members, and so much beside them that the body is gone through in pieces."""
    bulk = '"input":[' + '{"type":"input_text","text":"a, \\"b\\": [é]"},' * 4000 + "1]"
    return "{" + (f"{bulk},{members}" if before else f"{members},{bulk}") + "}"


def test_the_least_request() -> None:
    """A model is enough; all else is absent."""
    assert read({"model": "openai/gpt-4o-mini"}) == Policy(model="openai/gpt-4o-mini")


def test_every_field() -> None:
    """What is there is read, null is absent."""
    body = {
        "model": "m",
        "stream": True,
        "background": False,
        "previous_response_id": "resp_1",
        "conversation": {"id": "conv_1"},
        "max_output_tokens": 12,
        "store": False,
    }
    assert read(body) == Policy(
        model="m",
        stream=True,
        previous_response_id="resp_1",
        conversation=b'{"id": "conv_1"}',
        max_output_tokens=12,
        store=False,
        references={"resp_1": "previous_response_id"},
    )
    assert read({name: None for name in body} | {"model": "m"}) == Policy(model="m")


@pytest.mark.parametrize(
    "members", ['"model":"m","stream":true', '"stream":true,"model":"m"', '"x":1,"model":"m","stream":true']
)
@pytest.mark.parametrize("before", [False, True])
def test_fields_of_a_large_body(members: str, before: bool) -> None:
    """They are found behind and before megabytes of input, and text that looks like them is text."""
    assert read(long(members, before=before)) == Policy(model="m", stream=True)
    fake = '"input":"' + r"\"model\":\"x\"," * 20_000 + '","metadata":{"model":"y","stream":false},'
    assert read("{" + fake + members + "}") == Policy(model="m", stream=True)


def test_what_only_the_upstream_judges_passes() -> None:
    """Unknown fields, a missing input, odd types of fields that nobody here acts on."""
    odd: dict[str, Any] = {"model": "m", "max_output_tokens": "many", "store": "yes", "input": None, "tools": 3, "": 0}
    assert read(odd) == Policy(model="m")
    assert read({"model": "m", "max_output_tokens": True}).max_output_tokens is None
    assert read({"model": "m", "max_output_tokens": -1}).max_output_tokens is None
    assert read('{"model":"m","x":1,"x":2,"input":{"model":1,"model":2}}') == Policy(model="m")
    assert read('{"model":"m","max_output_tokens":1e400,"temperature":1e999}').model == "m"


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        ("1e5", 100_000),
        ("100000.0", 100_000),
        ("1E+5", 100_000),
        ("0", 0),
        ("1.5", 2),
        ("1e-9", 1),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, 10**18),
        ("9" * 5000, 10**18),
        ("1e400", 10**18),
        ("1e" + "9" * 30, 10**18),
        ("-1e5", None),
        ('"1e5"', None),
        ("null", None),
    ],
)
def test_tokens_however_they_are_written(written: str, tokens: int | None) -> None:
    """Whoever writes a number in another way gets no smaller hold."""
    assert read('{"model":"m","max_output_tokens":' + written + "}").max_output_tokens == tokens


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b'{"model"}', b'{"model":"m",}', b"{'model':'m'}", b'{"model":"m"} x']
)
def test_broken_json(body: bytes) -> None:
    """Refused, in words."""
    assert "valid JSON" in refused(body).message


@pytest.mark.parametrize(
    "constant", ["NaN", "Infinity", "-Infinity", "01", "1.", "+1", "tru", '"\t"', r'"\x"', r'"\u12"']
)
def test_almost_json(constant: str) -> None:
    """What Python's own parser or a lax one takes is not JSON; in a small body and in a large one."""
    refused(small(f'"model":"m","x":{constant}'))
    refused(long(f'"model":"m","x":{constant}'))
    refused(long(f'"model":"m","x":{constant}', before=True))


@pytest.mark.parametrize("body", ["[]", '"model"', "1", "null", '[{"model":"m"}]'])
def test_no_object(body: str) -> None:
    """A body must be an object."""
    assert "JSON object" in refused(body).message


def test_a_byte_order_mark_is_named() -> None:
    """Its refusal says what it is."""
    assert "byte order mark" in refused(b'\xef\xbb\xbf{"model":"m"}').message


@pytest.mark.parametrize(
    "model", ["null", "1", '""', '["m"]', '{"id":"m"}', "true", r'"a\u0000b"', '"%s"' % ("m" * 100_000)]
)
def test_no_model(model: str) -> None:
    """Absent, or no string that could be a name."""
    assert refused(small(f'"model":{model}')).param == "model"
    assert refused('{"input":"hi"}').param == "model"


@pytest.mark.parametrize("field", ["stream", "background"])
@pytest.mark.parametrize("value", ["true", 1, 0, [], {}, ""])
def test_a_flag_is_a_flag(field: str, value: object) -> None:
    """A string or a number is neither true nor false."""
    assert refused({"model": "m", field: value}).param == field


def test_the_background_and_conversations_pass_only_where_they_are_allowed() -> None:
    """Each by its own setting; the refusal names the field and what to do instead."""
    for body, alone in (
        ({"background": True}, Allowed(background=True)),
        ({"conversation": "conv_1"}, Allowed(conversations=True)),
        ({"conversation": {"id": "conv_1"}}, Allowed(conversations=True)),
    ):
        policy, (name,) = read({"model": "m", **body}), body
        check_policy(policy, alone)
        other = Allowed(conversations=not alone.conversations, background=not alone.background)
        with pytest.raises(ApiError, match=r"refused: .* (Send|Leave)") as refusal:
            check_policy(policy, other)
        assert (refusal.value.status, refusal.value.param) == (400, name)
    check_policy(read({"model": "m", "background": False, "conversation": None}), Allowed())


def test_what_a_body_refers_to_is_found_in_small_and_large_ones() -> None:
    """In the order of the body, the previous response first; however the names are spelt."""
    members = r'"model":"m","tools":[{"type":"x","vector_store_\u0069ds":["vs_1"]}],"previous_response_id":"resp_1"'
    references = {"resp_1": "previous_response_id", "vs_1": "tools.vector_store_ids"}
    members = members.replace("\\\\", "\\")
    assert read(small(members)).references == references
    assert read(long(members)).references == references
    assert read(long(members, before=True)).references == references
    assert read({"model": "m", "input": 'see "id": "msg_1"'}).references == {}
    assert read({"model": "m", "file_id": "file_1"}).references == {"file_1": "file_id"}


def test_a_body_that_refers_to_too_much_is_refused() -> None:
    """In words that say what to send instead."""
    items = [{"id": f"msg_{number}"} for number in range(REFERENCES_MAX)]
    assert len(read({"model": "m", "input": items}).references) == REFERENCES_MAX
    assert "Send the items whole" in refused({"model": "m", "input": [*items, {"id": "msg_x"}]}).message
    flood = {"type": "message", "content": [{"text": {"a": {}}}] * 40_000}
    assert "too intricate" in refused({"model": "m", "input": [flood, {"id": "msg_1"}]}).message


@pytest.mark.parametrize("value", [1, ["resp_1"], {"id": "resp_1"}, True, "a\0b"])
def test_a_reference_is_a_string(value: object) -> None:
    """Whatever the upstream might make of it: nobody could tell whose response it is."""
    assert refused({"model": "m", "previous_response_id": value}).param == "previous_response_id"


@pytest.mark.parametrize(
    "spelling", ["model", r"mod\u0065l", r"\u006dodel", r"m\u006Fdel", r"\u006d\u006f\u0064\u0065\u006c"]
)
def test_a_policy_field_stands_once(spelling: str) -> None:
    """Twice is refused, however it is spelt and wherever the two stand."""
    twice = f'"{spelling}":"b"'
    assert refused(small('"model":"a",' + twice)).param == "model"
    assert refused(small(twice + ',"input":"","model":"a"')).param == "model"
    assert refused(long('"model":"a"').removesuffix("}") + "," + twice + "}").param == "model"
    assert read(small(twice)).model == "b"


@given(st.sampled_from(["model", "stream", "background", "previous_response_id", "conversation", "store"]), st.data())
def test_any_policy_field_stands_once(field: str, data: st.DataObject) -> None:
    """Each of them, with equal values too, with any letters escaped."""
    spelling = "".join(data.draw(st.sampled_from([letter, f"\\u{ord(letter):04x}"])) for letter in field)
    value = {"model": '"m"', "previous_response_id": '"r"'}.get(field, "null")
    model = "" if field == "model" else '"model":"m",'
    assert refused(small(f'{model}"{spelling}":{value},"{field}":{value}')).param == field


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
def test_not_utf8(bad: bytes) -> None:
    """Anywhere: in a value, in a name, deep inside, behind megabytes, cut by the end of a piece."""
    for body in (
        b'{"model":"m","x":"' + bad + b'"}',
        b'{"model":"m","' + bad + b'":1}',
        b'{"model":"m","x":[{"y":"' + bad + b'"}]}',
        b'{"model":"m","x":"' + b"a" * (2 * PIECE_BYTES) + bad + b'"}',
        b'{"model":"m","x":"' + b"a" * (PIECE_BYTES - 19) + bad + b'"}',
    ):
        assert "UTF-8" in refused(body).message


def test_depth() -> None:
    """512 levels pass, one more does not; brackets in strings are text; small and large."""
    for inner, at in (("1", 1), ('"[{"', 1)):
        deep = "[" * (DEPTH_MAX - at) + inner + "]" * (DEPTH_MAX - at)
        assert read(small(f'"model":"m","x":{deep}')).model == "m"
        assert read(long(f'"model":"m","x":{deep}', before=True)).model == "m"
        assert "deeper" in refused(small(f'"model":"m","x":[{deep}]')).message
        assert "deeper" in refused(long(f'"model":"m","x":[{deep}]')).message
    assert read({"model": "m", "x": "[" * 10_000}).model == "m"
    assert "deeper" in refused(b'{"model":"m","x":' + b"[" * 100_000).message
    refused(b'{"model":"m","x":' + b"[" * 5_000_000)


def test_half_a_surrogate_pair_is_json() -> None:
    """As JSON.stringify writes a text that was cut inside an emoji; but no name holds one."""
    assert read(r'{"model":"m","input":"cut \ud83d"}').model == "m"
    assert read(r'{"model":"\ud83d\ude00","input":"\ude00 \\\ud800\\ud800"}').model == "\U0001f600"
    assert read('{"model":"m","input":"%s"}' % (r"\ud83d" * 30_000)).model == "m"
    assert read(long(r'"model":"m","x":"\ud83d"')).model == "m"
    assert refused(r'{"model":"m\ud83d"}').param == "model"
    refused(r'{"model":"m","input":"\ud83d\q"}')


@given(
    st.dictionaries(
        st.sampled_from(["input", "tools", "x\u00e9", "metadata", ""]),
        st.recursive(st.none() | TEXTS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)),
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=200),
    st.sampled_from([None, True, False]),
    st.booleans(),
)
def test_whatever_stands_around(others: dict[str, Any], model: str, stream: bool | None, ascii_only: bool) -> None:
    """Any model name, any other fields, in any order and encoding. (What they refer to by chance is not asked.)"""
    members = list({**others, "model": model, "stream": stream}.items())
    for ordered in (members, members[::-1]):
        body = json.dumps(dict(ordered), ensure_ascii=ascii_only)
        assert replace(read(body), references={}) == Policy(model=model, stream=bool(stream))


async def test_a_large_body_does_not_hold_the_loop() -> None:
    """While ten megabytes of the worst kinds are read, other tasks get their turn."""
    kinds = {
        "names": '{"model":"m"' + ',"":1' * 2_000_000 + "}",
        "brackets": '{"model":"m","x":[' + "[]," * 3_000_000 + "1]}",
        "escapes": '{"model":"m","x":"' + "\\n" * 5_000_000 + '"}',
        "parts": '{"model":"m","x":[' + '{"image_url":"data:image/png;base64,AAAA"},' * 230_000 + "1]}",
    }
    for kind, body in kinds.items():
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await read_policy(body.encode())
        counting.cancel()
        assert turns >= 5, kind


@pytest.mark.parametrize("model", ["m" * 201, " gpt", "gpt ", "a\nb", "\u00a0gpt", "gpt\u2003"])
def test_a_model_is_a_name_that_nobody_reads_otherwise(model: str) -> None:
    """An upstream may trim what is judged and priced here as it stands."""
    with pytest.raises(ApiError) as refused:
        read(json.dumps({"model": model}).encode())
    assert (refused.value.status, refused.value.param) == (400, "model")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","file_id":"\\ud800"}',
        b'{"model":"m","input":[{"id":"x\\ud800"}]}',
        b'{"model":"m","\\ud800":{"file_id":"x"}}',
        b'{"model":"m","file_id":"a","seed":' + b"1" * 5000 + b"}",
        b'{"model":"m","file_id":"a","seed":' + b"1" * 5000 + b',"x":"' + b"y" * 70_000 + b'"}',
    ],
)
def test_odd_json_is_read_or_refused_in_words(body: bytes) -> None:
    """Half a surrogate pair, numbers of thousands of digits: JSON allows them; whatever is said of them can be sent."""
    policy = read(body)
    assert policy.references
    for one, param in policy.references.items():
        assert json.loads(response_not_found(one, param).body())["error"]["param"] == param
