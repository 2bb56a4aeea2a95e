"""The outline of a large object is the same object without its bulk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.outline import NESTING_MAX, OUTLINE_BYTES_MAX, VALUE_BYTES_MAX, WALKED_DEPTH_MAX, outline
from tests.core.answers import as_json

STAND_INS: dict[type, Any] = {dict: {"cut": True}, list: ["cut"], str: "cut"}


def cut_plainly(value: Any, depth: int = 1) -> Any:
    """What the outline must be, said on decoded values."""
    if isinstance(value, dict) and depth <= WALKED_DEPTH_MAX:
        return {name: cut_plainly(inner, depth + 1) for name, inner in value.items()}
    is_large = len(as_json(value)) > VALUE_BYTES_MAX
    return STAND_INS.get(type(value)) if is_large else value


long_texts = st.sampled_from(["x", '\\"', '"', "\\", "é\n", "{[", "]}", '"usage":{"cost":0}']).map(lambda s: s * 3000)
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | long_texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=6) | st.just("usage"), values, max_size=5)


@given(objects)
def test_large_values_are_replaced_and_everything_else_stays(value: dict[str, Any]) -> None:
    """Whatever the strings hold."""
    assert json.loads(outline(as_json(value))) == cut_plainly(value)


@given(objects)
def test_white_space_between_tokens_changes_no_member(value: dict[str, Any]) -> None:
    """It makes values larger, so more may be cut, but the names and the small values stay."""
    read = json.loads(outline(json.dumps(value, indent=1).encode()))
    assert read.keys() == value.keys()
    assert all(read[name] == inner for name, inner in value.items() if not isinstance(inner, dict | list | str))


@given(objects)
def test_bytes_of_small_members_are_untouched(value: dict[str, Any]) -> None:
    """A cost stays the token it was, also next to megabytes."""
    text = as_json(value)[:-1] + (b"," if value else b"") + b'"cost":1.230e-05,"cost" :  0.10}'
    assert outline(text).endswith(b'"cost":1.230e-05,"cost" :  0.10}')


@given(objects, st.integers(1, 10_000))
def test_what_breaks_off_is_refused(value: dict[str, Any], missing: int) -> None:
    """However much is missing."""
    text = as_json(value)
    with pytest.raises(ValueError):
        outline(text[: -(missing % len(text)) or -1])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[1]",
        b"nonsense",
        b"{} {}",
        b'{"a":1}x',
        b'{"a"}',
        b'{"a":}',
        b'{"a":,"b":{}}',
        b'{"a":1,}',
        b'{"a":[1}',
        b'{"a":[1}]}',
        b'{"a":"x',
        b'{"a":"x\\"}',
        b"{a:1}",
        b'{"a":1 "b":2}',
    ],
)
def test_what_is_no_object_is_refused(text: bytes) -> None:
    """Nobody reads a cost out of a broken text."""
    with pytest.raises(ValueError):
        outline(text)


def test_an_empty_object_is_one() -> None:
    """With white space everywhere."""
    assert outline(b" \n{ } \t") == b"{}"


def test_nesting_has_a_limit_and_needs_no_stack() -> None:
    """Ten thousand brackets are refused, not followed."""
    fine = b"[" * (NESTING_MAX - 10) + b"]" * (NESTING_MAX - 10)
    assert json.loads(outline(b'{"deep":' + fine + b',"cost":1}'))["cost"] == 1
    with pytest.raises(ValueError):
        outline(b'{"deep":' + b"[" * 10_000 + b"]" * 10_000 + b',"cost":1}')


def test_an_object_of_nothing_but_members_is_refused() -> None:
    """The outline is small, always."""
    many = b"{" + b",".join(b'"name%d":1' % number for number in range(OUTLINE_BYTES_MAX // 8)) + b"}"
    with pytest.raises(ValueError):
        outline(many)


def test_backslashes_before_a_quote_are_counted() -> None:
    """An even number of them ends the string."""
    for backslashes in range(6):
        inside = b"x" * 5000 + b"\\" * backslashes + (b'"' if backslashes % 2 else b"")
        text = b'{"a":"' + inside + b'","cost":1}'
        assert json.loads(text)["cost"] == 1
        assert json.loads(outline(text)) == {"a": "cut", "cost": 1}


def test_a_number_as_long_as_a_book_is_replaced_by_one_beyond_use() -> None:
    """It is not taken for a missing one."""
    assert outline(b'{"cost":' + b"9" * 10_000 + b"}") == b'{"cost":1e999}'


@pytest.mark.parametrize("within", ['{"output":%s,"cost":1}', '{"type":"x","response":{"output":%s,"cost":1}}'])
def test_of_a_large_output_the_ids_stay(within: str) -> None:
    """What an answer made is told by them; where there is no room for all, the first ones."""
    items = [{"content": ["x" * 5000], "id": "msg_1"}, 7, {}, {"id": "ci_1", "code": "1", "container_id": "cntr_1"}]
    odd = [{"id": None}, {"id": "x" * 500}, {"id": 'a"b'}, {"ID": "y"}]
    read = json.loads(outline(within.replace("%s", json.dumps(items + odd)).encode()))
    kept = [{"id": "msg_1"}, {"id": "ci_1", "container_id": "cntr_1"}]
    assert read.get("response", read) == {"output": kept, "cost": 1}
    many = [{"id": f"msg_{number:060d}", "container_id": "c" * 120} for number in range(10_000)]
    read = json.loads(outline(within.replace("%s", json.dumps(many)).encode()))
    kept = read.get("response", read)["output"]
    assert kept == many[: len(kept)]
    assert len(kept) > 100
    assert read.get("response", read)["cost"] == 1


def test_only_the_answers_own_output_is_looked_into() -> None:
    """Not what a deeper object calls so."""
    deep = {"a": {"b": {"output": [{"id": "x", "pad": "x" * 5000}]}}, "cost": 1}
    assert json.loads(outline(as_json(deep))) == {"a": {"b": {"output": ["cut"]}}, "cost": 1}
