"""Whatever shape the upstream's list has, the same models come out; whatever is no list is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.catalog import Model, allowed_models, dump, load, openai_list, openai_model, read_catalog
from app.core.records import Prices
from app.simulator.amounts import picodollars
from app.simulator.listing import SHAPES, models_answer
from app.simulator.prices import PRICES, price_of
from app.simulator.registry import REGISTRY, behaviour_of

ENTRIES: list[dict[str, Any]] = [
    {"id": "openai/gpt-5", "created": 1754000000, "architecture": {"output_modalities": ["text"]}},
    {"id": "free-model", "owned_by": "somebody", "pricing": {"prompt": "0"}},
    {"id": "black-forest-labs/flux", "architecture": {"output_modalities": ["image"]}},
    {"id": "google/both", "output_modalities": ["image", "text"]},
]
MODELS = (
    Model("openai/gpt-5", 1754000000, "openai"),
    Model("free-model", 0, "somebody"),
    Model("google/both", 0, "google"),
)

UNREADABLE = ("empty", "broken", "error", "html", "text")
UNPRICED = ("names", "null-prices", "unpriced")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "data", "models", "pricing", "input", "output"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "content",
    [
        ENTRIES,
        {"object": "list", "data": ENTRIES},
        {"models": ENTRIES},
        {entry["id"]: {name: value for name, value in entry.items() if name != "id"} for entry in ENTRIES},
        {"data": {entry["id"]: entry for entry in ENTRIES}},
        [*ENTRIES, ENTRIES[0], {"id": "openai/gpt-5", "created": 1}],
        [*ENTRIES, None, 7, {}, {"id": None}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 201}, [ENTRIES[0]]],
    ],
    ids=["array", "data", "models", "object", "object-in-data", "twice", "with-rubbish"],
)
def test_every_shape_gives_the_same_models(content: Any) -> None:
    """In the upstream's order, each once, without those that only make pictures."""
    assert read_catalog(json.dumps(content).encode()) == MODELS


def test_bare_ids_are_a_list_too() -> None:
    """Nothing more is known of them."""
    assert read_catalog(b'["a/b","c"]') == (Model("a/b", 0, "a"), Model("c", 0, ""))


@pytest.mark.parametrize("created", [-1, 1.5, True, "2026", None, 10**12])
def test_a_time_that_is_none_is_left_out(created: object) -> None:
    """0, as OpenAI's type wants an integer."""
    assert read_catalog(json.dumps([{"id": "m", "created": created}]).encode()) == (Model("m", 0, ""),)


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"<html>", b"null", b"7", b"[]", b"{}", b'{"error":{"message":"no"}}', b"\xff", b"[" * 100_000),
        b'{"data":' * 900 + b"{}" + b"}" * 900,
    ],
    ids=["empty", "page", "null", "number", "nothing", "no-entries", "error", "not-utf-8", "deep", "data-in-data"],
)
def test_what_is_no_list_is_refused(document: bytes) -> None:
    """An error under status 200 must not become an empty list."""
    with pytest.raises(ValueError, match="the list of models"):
        read_catalog(document)


@given(json_values)
def test_any_json_is_read_or_refused(content: Any) -> None:
    """And what was read survives the database."""
    try:
        models = read_catalog(json.dumps(content).encode())
    except ValueError:
        return
    assert load(dump(models)) == models
    assert len({model.id for model in models}) == len(models)


def test_a_key_sees_what_it_may_use() -> None:
    """The same globs as at admission."""
    assert allowed_models(MODELS, ()) == MODELS
    assert [model.id for model in allowed_models(MODELS, ("openai/*", "free-?odel"))] == ["openai/gpt-5", "free-model"]
    assert openai_list(allowed_models(MODELS, ("openai/*",))) == {
        "object": "list",
        "data": [{"id": "openai/gpt-5", "object": "model", "created": 1754000000, "owned_by": "openai"}],
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_the_simulators_lists_are_read_or_refused(shape: str) -> None:
    """Every shape that it knows gives the same models; what is empty, broken or an error gives none."""
    answer = models_answer({"output_modalities": "text"}, shape)
    if shape in UNREADABLE:
        with pytest.raises(ValueError, match="the list of models"):
            read_catalog(answer.body)
        return
    assert {model.id for model in read_catalog(answer.body)} == {*PRICES, *REGISTRY}


def test_a_list_that_an_earlier_version_kept_is_read() -> None:
    """0.1.0 wrote no prices."""
    kept = '[{"id": "openai/gpt-5", "created": 1754000000, "owned_by": "openai"}]'
    assert load(kept) == MODELS[:1]


def test_prices_are_kept_and_not_shown() -> None:
    """As whole numbers in the database; OpenAI's shape knows none."""
    priced = Model("m", 0, "", Prices(150_000, 10**12))
    assert load(dump([priced])) == (priced,)
    assert json.loads(dump([priced]))[0]["prices"] == {
        "prompt_picodollars": 150_000,
        "completion_picodollars": 1_000_000_000_000,
    }
    assert openai_model(priced) == {"id": "m", "object": "model", "created": 0, "owned_by": ""}


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in UNREADABLE])
def test_the_simulators_prices_are_what_its_models_cost(shape: str) -> None:
    """In every shape that tells any; what costs the same whatever is said has no price per token."""
    for model in read_catalog(models_answer({}, shape).body):
        if shape in UNPRICED or behaviour_of(model.id).costs.amount is not None:
            assert model.prices is None, model.id
            continue
        assert model.prices is not None, model.id
        cost = price_of(model.id).cost(input_tokens=1000, cached_tokens=0, output_tokens=100)
        told = 1000 * model.prices.prompt_picodollars + 100 * model.prices.completion_picodollars
        assert told == picodollars(cost), model.id
