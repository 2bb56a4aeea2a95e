"""What a body refers to is found, however it is written; what it brings along is no reference."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.references import (
    CONTENT_OF,
    REFERENCES_MAX,
    WHOLE_BYTES_MAX,
    TooMany,
    find_references,
    may_refer,
    member_may_refer,
)
from app.core.slices import BRACKETS_MAX, PARTS_MAX, SLICE_CONTAINERS_MAX, TooIntricate

PADDING = {"role": "user", "content": [{"type": "input_text", "text": 'a, "b": [é]' * 10}]}


def found(body: dict[str, Any] | bytes | str) -> dict[str, str]:
    """What is found; and the same must be found in any of its spellings."""
    text = json.dumps(body) if isinstance(body, dict) else body
    return references(text if isinstance(text, bytes) else text.encode())


def references(text: bytes) -> dict[str, str]:
    steps = find_references(text)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: dict[str, str] = end.value
            assert may_refer(text) or not result
            if len(text) <= WHOLE_BYTES_MAX:
                assert any(member_may_refer(*member) for member in members(text.decode())) or not result
            return result


def members(text: str) -> Iterator[tuple[str, bytes]]:
    """The outer members of a body, each with its value as it stands there."""
    decoder = json.JSONDecoder(strict=False)
    at = re.compile(r"\s*\{\s*").match(text)
    while at and text[at.end()] != "}":
        name, end = decoder.raw_decode(text, at.end())
        start = len(text) - len(text[end:].lstrip(": \t\r\n"))
        _, end = decoder.raw_decode(text, start)
        yield name, text[start:end].encode()
        at = re.compile(r"[\s,]*").match(text, end)


def of_item(**item: Any) -> dict[str, str]:
    return found({"input": [item]})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"type": "item_reference", "id": "X"}]}, "input[0].id"),
        ({"input": ["hi", {"id": "X"}]}, "input[1].id"),
        ({"input": [{"id": "X", "type": None}]}, "input[0].id"),
        ({"input": {"type": "item_reference", "id": "X"}}, "input[0].id"),
        ({"input": [{"type": "image_generation_call", "id": "X"}]}, "input[0].id"),
        ({"input": [{"type": "image_generation_call", "id": "X", "result": None}]}, "input[0].id"),
        ({"input": [{"type": "reasoning", "id": "X", "summary": [{"text": "t"}]}]}, "input[0].id"),
        ({"input": [{"type": "message", "role": "assistant", "id": "X", "content": []}]}, "input[0].id"),
        ({"input": [{"type": "unheard_of", "id": "X", "content": "all of it"}]}, "input[0].id"),
        ({"input": [{"type": ["message"], "id": "X", "content": "c"}]}, "input[0].id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "X"}]}]}, "input[0].file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "X"}]}]}, "input[0].file_id"),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_id": "X"}]}]},
            "input[0].file_id",
        ),
        ({"input": [{"type": "computer_call_output", "output": {"file_id": "X"}}]}, "input[0].file_id"),
        ({"input": [{"type": "code_interpreter_call", "code": "1", "container_id": "X"}]}, "input[0].container_id"),
        (
            {"input": [{"type": "mcp_approval_response", "approval_request_id": "X", "approve": True}]},
            "input[0].approval_request_id",
        ),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["X"]}]}, "tools.vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "X"}]}, "tools.container"),
        ({"tools": [{"type": "code_interpreter", "container": {"file_ids": [1, "X"]}}]}, "tools.file_ids"),
        ({"tools": [{"type": "shell", "environment": {"container_id": "X"}}]}, "tools.container_id"),
        ({"tools": [{"type": "shell", "environment": {"skills": [{"skill_id": "X"}]}}]}, "tools.skill_id"),
        ({"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "X"}}]}, "tools.file_id"),
        ({"tools": [{"type": "mcp", "tunnel_id": "X"}]}, "tools.tunnel_id"),
        ({"prompt": {"id": "X"}}, "prompt.id"),
        ({"prompt": {"variables": {"parameters": {"file_id": "X"}}}}, "prompt.file_id"),
        ({"prompt_cache_options": {"comparison_response_id": "X"}}, "prompt_cache_options.comparison_response_id"),
        ({"file_ids": ["X"]}, "file_ids"),
        ({"invented": [[{"deep": {"file_id": "X"}}]]}, "invented.file_id"),
        ({"input": [[{"type": "item_reference", "id": "X"}]]}, "input[0].id"),
        ({"input": [{"role": "user", "content": [{"type": "item_reference", "id": "X"}]}]}, "input[0].id"),
        ({"invented": {"type": "item_reference", "id": "X"}}, "invented.id"),
    ],
)
def test_each_kind_of_reference(body: dict[str, Any], param: str) -> None:
    """Named by the member that holds it, in a small body and in one of many slices."""
    assert found(body) == {"X": param}
    assert found({"instructions": [PADDING] * 1000, **body}) == {"X": param}
    assert found({**body, "instructions": [PADDING] * 1000}) == {"X": param}


@pytest.mark.parametrize(
    "body",
    [
        {"input": "id", "model": "m"},
        {"input": [{"role": "user", "content": "hi"}, {"type": "function_call_output", "call_id": "X", "output": ""}]},
        {"metadata": {"file_id": "X"}, "text": {"format": {"schema": {"default": {"file_id": "X"}}}}},
        {"tools": [{"type": "function", "parameters": {"properties": {"file_id": {"default": {"file_id": "X"}}}}}]},
        {"tools": [{"type": "mcp", "headers": {"file_id": "X"}, "connector_id": "connector_dropbox"}]},
        {"input": [{"role": "assistant", "content": [{"text": "t", "annotations": [{"file_id": "X"}]}]}]},
        {"input": [{"type": "computer_call_output", "output": {}, "acknowledged_safety_checks": [{"id": "X"}]}]},
        {"previous_response_id": "X", "conversation": {"id": "X", "file_id": "X"}},
        {"input": [{"id": None}, {"id": 7}, {"file_id": None}, {"container": {"type": "auto"}}], "prompt": None},
        {"input": [{"type": "mcp_call", "arguments": "{}", "caller_id": "X"}], "prompt_cache_key": "X"},
    ],
)
def test_what_is_no_reference(body: dict[str, Any]) -> None:
    """Data of the client's own, links within the body, and what `policy` looks at itself."""
    assert found(body) == {}
    assert found({**body, "instructions": [PADDING] * 1000}) == {}


@pytest.mark.parametrize(("kind", "member"), CONTENT_OF.items())
def test_an_item_that_brings_its_content_is_none(kind: str, member: str) -> None:
    """As answers tell their items; without the content, or with an empty one, its id is what is left."""
    assert of_item(type=kind, id="X", **{member: "whole"}) == {}
    nothing: list[Any] = [None, "", [], {}]
    for empty in nothing:
        assert of_item(type=kind, id="X", **{member: empty}) == {"X": "input[0].id"}
    assert of_item(type=kind, id="X") == {"X": "input[0].id"}


def test_a_name_that_stands_twice_hides_nothing() -> None:
    """Whichever of the two the upstream takes."""
    assert found('{"input":[{"type":"message","content":"c","id":"X","type":"item_reference"}]}') == {
        "X": "input[0].id"
    }
    assert found('{"input":[{"id":"X","id":"Y"}]}') == {"X": "input[0].id", "Y": "input[0].id"}
    assert found('{"input":[{"id":"X"}],"input":"hi"}') == {"X": "input[0].id"}
    assert found('{"tools":[{"container":"X","container":{"type":"auto"}}]}') == {"X": "tools.container"}


def test_an_approval_of_what_stands_in_the_body_is_none() -> None:
    """The request that is approved came along."""
    request = {"type": "mcp_approval_request", "id": "mcpr_1", "arguments": "{}"}
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    assert found({"input": [request, answer]}) == {}
    assert found({"input": [answer, request]}) == {}
    assert found({"input": [answer]}) == {"mcpr_1": "input[0].approval_request_id"}


# --- any spelling, any size ------------------------------------------------------------------

NAMES = ["id", "type", "content", "file_id", "file_ids", "container", "parameters", "role", "arguments", "x"]
leaves = st.none() | st.just(1) | st.sampled_from(["message", "item_reference", "function_call", "a", "b", "", "é\n"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner), max_leaves=8
)
bodies = st.dictionaries(st.sampled_from(["input", "tools", "prompt", "metadata", "file_id", "other"]), values)
inputs = st.lists(st.dictionaries(st.sampled_from(NAMES), values), max_size=4).map(lambda items: {"input": items})


def escaped(text: str, data: st.DataObject) -> str:
    """The same JSON, with letters of its strings escaped here and there."""
    positions = [at for at, letter in enumerate(text) if letter in "id_efty" and text[at - 1] != "\\"]
    chosen = set(data.draw(st.lists(st.sampled_from(positions), max_size=4))) if positions else set()
    inside = False
    written = []
    for at, letter in enumerate(text):
        inside ^= letter == '"' and text[at - 1] != "\\"
        written.append(f"\\u{ord(letter):04x}" if inside and at in chosen else letter)
    return "".join(written)


@given(bodies | inputs, st.data())
def test_spelling_changes_nothing(body: dict[str, Any], data: st.DataObject) -> None:
    """White space, escaped letters in names and ids, and other characters beside them."""
    plain = found(body)
    text = escaped(json.dumps(body, ensure_ascii=False), data)
    if may_refer(text.encode()):
        assert found(text) == plain
    else:
        assert plain == {}
    assert found(json.dumps(body, indent=2, ensure_ascii=False)) == plain


@given(bodies | inputs, st.booleans())
def test_size_changes_nothing(body: dict[str, Any], long_strings: bool) -> None:
    """A large body is cut in slices, of which long strings are cut out; the same is found, under the same names."""
    padding = ['"\\' * 40_000] if long_strings else [PADDING] * 1000
    first, last = {"padding": padding, **body}, {**body, "padding": padding}
    assert len(json.dumps(first)) > WHOLE_BYTES_MAX
    assert found(first) == found(last) == found(body)


def test_items_are_numbered_across_slices() -> None:
    """However many stand before them."""
    items = (
        [PADDING] * 3000 + [{"id": "X"}] + [PADDING] * 3000 + [{"role": "user", "content": "y" * 300_000, "id": "Y"}]
    )
    assert found({"input": [*items, {"id": "Z"}]}) == {"X": "input[3000].id", "Z": "input[6002].id"}


def test_an_id_longer_than_any_is_one_that_nobody_made() -> None:
    """It stays a reference in a large body, where long strings are cut out."""
    assert found({"input": [{"id": "x" * 5000}]}) == {"x" * 5000: "input[0].id"}
    (unknown,) = found({"input": [{"id": "x" * 200_000}]})
    assert not unknown.isprintable()


def test_depth_is_no_matter() -> None:
    """As deep as a body may be; nothing is followed by recursion."""
    deep: Any = {"file_id": "X"}
    for _ in range(250):
        deep = {"container": [deep]}
    assert found({"input": [deep]}) == {"X": "input[0].file_id"}
    assert found({"input": [PADDING] * 1000 + [deep]}) == {"X": "input[1000].file_id"}


def test_bounds() -> None:
    """More references than anybody needs, and more brackets than anybody writes, are refused, not searched."""
    with pytest.raises(TooMany):
        found({"input": [{"id": f"msg_{number}"} for number in range(REFERENCES_MAX + 1)]})
    with pytest.raises(TooIntricate):
        found(b'{"input":[' + b"[[[[[[]]]]]]," * (BRACKETS_MAX // 4) + b'{"id":"X"}]}')
    with pytest.raises(TooIntricate):
        found(b'{"input":[[' + b'{"a":{"b":[{}]}},' * 20_000 + b'{"id":"X"}]]}')


def test_bounds_of_what_is_decoded_at_once() -> None:
    """So many outer parts, and so many containers in one of them: each is found up to the last, and none beyond."""

    def parts(count: int) -> bytes:
        return b'{"input":[' + b"1," * (count - 2) + b'{"id":"X"}]}'

    def containers(count: int) -> bytes:
        return b'{"input":[{"a":[' + b"{},    " * (count - 3) + b'{"file_id":"X"}]}]}'

    assert found(parts(PARTS_MAX)) == {"X": f"input[{PARTS_MAX - 2}].id"}
    assert found(containers(SLICE_CONTAINERS_MAX)) == {"X": "input[0].file_id"}
    members = b"{" + b'"a":[1],' * (PARTS_MAX // 2) + b'"file_id":"X"}'
    for text in (parts(PARTS_MAX + 1), members, containers(SLICE_CONTAINERS_MAX + 1)):
        with pytest.raises(TooIntricate):
            found(text)


def test_no_step_is_long() -> None:
    """So that a large body never holds the event loop: the longest of ten megabytes' steps takes milliseconds."""
    kinds = {
        "items": json.dumps({"input": [PADDING | {"id": None}] * 40_000}, indent=1),
        "an image": '{"input":[{"content":[{"file_id":"X","image_url":"%s"}]}]}' % ("A" * 10_000_000),
        "escapes": '{"input":[{"id":"X","content":"%s"}]}' % ('\\"' * 5_000_000),
        "numbers": json.dumps({"input": [{"id": "X", "content": [1] * 80_000}]}),
        "brackets": '{"input":[{"id":"X","content":[%s[]]}]}' % ("[],         " * (SLICE_CONTAINERS_MAX - 5)),
        "parts": json.dumps({"input": [{}] * (PARTS_MAX - 2) + [{"id": "X"}]}),
    }
    for kind, text in kinds.items():
        # The quickest of three: what the machine takes, and who collects this process's garbage, is no step's.
        assert min(longest_step(text.encode()) for _ in range(3)) < 0.1, kind


def longest_step(body: bytes) -> float:
    """Seconds of processor time; what notes the lines that are run (coverage) looks away."""
    longest, steps = 0.0, find_references(body)
    ended, tracer = False, sys.gettrace()
    sys.settrace(None)
    try:
        while not ended:
            started = time.thread_time()
            ended = next(steps, True) is True
            longest = max(longest, time.thread_time() - started)
    finally:
        sys.settrace(tracer)
    return longest
