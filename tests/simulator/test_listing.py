"""`/v3/models` in every shape, its filters, and the lists of what makes pictures and films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator.child import SimulatorChild
from app.simulator.errors import RefusedError
from app.simulator.listing import SHAPES, models_answer
from app.simulator.registry import REGISTRY
from tests.simulated_upstream import SimulatorUnderTest

MADE = {"test/test", "ir/test-video"}


def listed(**query: str) -> Any:
    return json.loads(models_answer(query, "array").body)


def ids(**query: str) -> set[str]:
    return {model["id"] for model in listed(**query)}


async def test_the_models_are_a_bare_array_with_prices_as_text(simulator: SimulatorUnderTest) -> None:
    """No key needed."""
    async with httpx.AsyncClient(base_url=simulator.url, trust_env=False, verify=False) as client:
        models = (await client.get("/v3/models?output_modalities=text")).json()
    prices = {model["id"]: model["pricing"] for model in models}
    assert prices["openai/gpt-4o-mini"] == {"prompt": "0.00000015", "completion": "0.0000006"}
    assert REGISTRY.keys() <= prices.keys()
    assert not MADE & prices.keys()


async def test_the_older_lists_hold_pictures_and_films(simulator: SimulatorUnderTest) -> None:
    """An object by id, and an array."""
    keyed = (await simulator.client.get("/v1/models")).json()
    array = (await simulator.client.get("/v2/models")).json()
    assert [model["id"] for model in array] == list(keyed)
    assert keyed.keys() >= MADE


def test_filters_choose() -> None:
    """By what comes out, name, provider and price; together, too."""
    assert ids() >= MADE
    assert ids(output_modalities="video") == {"ir/test-video", "google/veo-3"}
    assert ids(name="GPT-4o") == {"openai/gpt-4o", "openai/gpt-4o-mini"}
    assert ids(provider="anthropic", name="haiku") == {"anthropic/claude-haiku-4.5"}
    assert ids(free="true") == {*MADE, "sim/free", "sim/cost-minus-zero"}
    assert ids(name="no such model") == set()


def test_a_list_is_sorted_cut_and_narrowed() -> None:
    """`sort`, `limit`, `fields`."""
    names = [model["id"] for model in listed(sort="name")]
    assert names == sorted(names)
    dearest = listed(sort="price", provider="anthropic")[-1]
    assert dearest["id"] == "anthropic/claude-sonnet-4.5"
    assert listed(limit="2", fields="id", sort="name") == [{"id": name} for name in names[:2]]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_can_be_had(shape: str) -> None:
    """By query, whatever the setting; those that fail say so by their status or are no JSON."""
    answer = models_answer({"shape": shape}, "array")
    assert answer == models_answer({}, shape)
    if shape in {"error", "html"}:
        assert answer.status >= 500
    elif shape in {"text", "broken"}:
        with pytest.raises(ValueError):
            json.loads(answer.body)
    else:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert isinstance(json.loads(answer.body), list | dict)


def test_shapes_hold_the_same_models() -> None:
    """Under `data` or `models`, by id, or as bare names."""
    names = [model["id"] for model in listed()]
    shaped = {shape: json.loads(models_answer({}, shape).body) for shape in ("list", "models", "keyed", "names")}
    assert [model["id"] for model in shaped["list"]["data"]] == names
    assert [model["id"] for model in shaped["models"]["models"]] == names
    assert list(shaped["keyed"]) == names == shaped["names"]


def test_prices_have_their_shapes() -> None:
    """Numbers written plainly, other names, null, none."""
    mini = {
        shape: next(m for m in json.loads(models_answer({}, shape).body, parse_float=str) if m["id"] == "openai/gpt-4o")
        for shape in ("numbers", "input-output", "null-prices", "unpriced")
    }
    assert mini["numbers"]["pricing"] == {"prompt": "0.0000025", "completion": "0.00001"}
    assert mini["input-output"]["pricing"] == {"input": "0.0000025", "output": "0.00001"}
    assert mini["null-prices"]["pricing"] is None
    assert "pricing" not in mini["unpriced"]


def test_a_fixed_cost_is_listed_as_one() -> None:
    """Whatever is said to them, some models cost the same: they have no price per token."""
    prices = {model["id"]: model["pricing"] for model in listed()}
    assert prices["sim/seed"] == {"type": "fixed", "value": "0.0000123"}
    assert prices["sim/no-cost"].keys() == {"prompt", "completion"}


def test_a_shape_that_does_not_exist_is_refused() -> None:
    """With 400 and the shapes there are."""
    with pytest.raises(RefusedError) as refused:
        models_answer({"shape": "round"}, "array")
    assert (refused.value.answer.status, b"keyed" in refused.value.answer.body) == (400, True)


def test_a_simulator_keeps_to_one_shape(tmp_path: Path) -> None:
    """Its setting holds for whoever asks nothing, as the gateway does."""
    with SimulatorChild(tmp_path / "bill", models_shape="keyed") as child:
        models = httpx.get(f"{child.url}/v3/models", trust_env=False, verify=False).json()
    assert "openai/gpt-5" in models
