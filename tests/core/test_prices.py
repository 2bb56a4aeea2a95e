"""Prices are found under whatever name; what cannot be a price per token is none; no float on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.catalog import read_catalog
from app.core.prices import read_prices
from app.core.records import Prices

TOLD = Prices(150_000, 600_000)


def of(entry: str) -> Prices | None:
    """The prices of a list's one entry, from its JSON text on."""
    (model,) = read_catalog(f'[{{"id":"m",{entry}}}]'.encode())
    return model.prices


@pytest.mark.parametrize(
    "pricing",
    [
        '{"prompt":"0.00000015","completion":"0.0000006"}',
        '{"prompt":0.00000015,"completion":6e-7}',
        '{"input":"1.5e-7","output":" 0.0000006 "}',
        '{"input_tokens":"0.00000015","output_tokens":"0.0000006"}',
        '{"promptPrice":"0.00000015","completionPrice":"0.0000006"}',
        '{"input_cost_per_token":"0.00000015","output_cost_per_token":"0.0000006"}',
        '{"prompt":{"value":"0.00000015"},"completion":{"value":0.0000006,"unit":"token"}}',
        '{"prompt":{"min":"0","max":"0.00000015"},"completion":{"usd":"0.0000006"}}',
        '{"type":"tokens","value":{"prompt":"0.00000015","completion":"0.0000006"}}',
        '{"text":{"input":"0.00000015","output":"0.0000006"},"image":{"output":"0.04"}}',
        '{"prompt":null,"input":"0.00000015","completion":"0.0000006","input_cache_read":"0.0000001"}',
        '{"unit":"USD per token","prompt":"0.00000015","completion":"0.0000006"}',
    ],
)
def test_prices_are_found(pricing: str) -> None:
    """As text, as numbers, in objects, under each of their names."""
    assert of(f'"pricing":{pricing}') == TOLD
    assert of(f'"prices":{pricing}') == TOLD
    assert of(f'"pricing":null,"cost":{pricing}') == TOLD


def test_prices_in_the_entry_itself() -> None:
    """Where other fields are called alike."""
    told = '"prompt_price":"0.00000015","completion_price":"0.0000006"'
    assert of(f'"input":["text"],"output":["text"],"pricing":{{"type":"fixed","value":"0.04"}},{told}') == TOLD


@pytest.mark.parametrize(
    "pricing",
    [
        "null",
        "[]",
        "{}",
        '"0.1"',
        "0.1",
        '{"prompt":"0.00000015"}',
        '{"completion":"0.0000006"}',
        '{"type":"fixed","value":"0.04"}',
        '{"prompt":"-1","completion":"-1"}',
        '{"prompt":"0.00000015","completion":-6e-7}',
        '{"prompt":"2.5","completion":"10"}',
        '{"prompt":"1e999","completion":"0"}',
        '{"prompt":"free","completion":"free"}',
        '{"prompt":"$0.00000015","completion":"$0.0000006"}',
        '{"prompt":true,"completion":false}',
        '{"prompt":NaN,"completion":Infinity}',
        '{"prompt":["0.1"],"completion":["0.1"]}',
        '{"prompt":{},"completion":{"value":{"value":"0.1"}}}',
        '{"input_per_million":"0.15","output_per_million":"0.6"}',
        '{"input_1k":"0.15","output_1k":"0.6"}',
        '{"unit":"1M tokens","input":"0.15","output":"0.6"}',
        '{"input":{"value":"0.15","per":1000000},"output":{"value":"0.6","per":1000000}}',
    ],
)
def test_what_is_no_price_is_none(pricing: str) -> None:
    """Half a price list is none; so is a price of something else than a token."""
    assert of(f'"pricing":{pricing}') is None


def test_nothing_costs_nothing() -> None:
    """Free is a price."""
    assert of('"pricing":{"prompt":"0","completion":0}') == Prices(0, 0)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text("0123456789.e-", max_size=6)
_NAMES = st.sampled_from(["pricing", "price", "prompt", "input", "completion", "output", "value", "unit", "max"])


@given(
    st.dictionaries(
        _NAMES, st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_NAMES, inner), max_leaves=10)
    )
)
def test_any_entry_has_prices_or_none(entry: dict[str, Any]) -> None:
    """Whole numbers between nothing and a dollar, never an exception; however the JSON is read."""
    for told in (entry, json.loads(json.dumps(entry), parse_float=str)):
        prices = read_prices(told)
        if prices is not None:
            for price in (prices.prompt_picodollars, prices.completion_picodollars):
                assert type(price) is int
                assert 0 <= price <= 10**12
