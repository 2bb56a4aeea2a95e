"""What is held for a request, over the wire: by default, by prices, by what was; and who makes the gateway ask."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.core.budgets import parse_budget
from app.core.holds import prompt_tokens
from tests.harness import GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream, json_answer

MODELS = b"/v3/models?output_modalities=text"
LIST = [{"id": "openai/gpt-5", "pricing": {"prompt": "0.00000125", "completion": "0.00001"}}]
DEFAULT = 50_000_000_000
BODY = {"model": "openai/gpt-5", "input": "hi"}


@pytest.fixture(autouse=True)
def _prices(upstream: ScriptedUpstream) -> None:
    upstream.aside(MODELS, json_answer(LIST))
    upstream.otherwise = lambda request: [json_answer({"id": "resp_1", "usage": {"cost": 0.00001}, "cost": 0.0001})]


async def held(gateway: GatewayUnderTest, secret: str, body: dict[str, Any] | None = None) -> int:
    """Sends a request that is admitted; what was set aside for it."""
    async with gateway.post(body or BODY, secret) as reply:
        assert reply.status == 200, await reply.body()
        await reply.body()
    return (await gateway.row(reply.request_id)).hold_picodollars


async def until_priced(gateway: GatewayUnderTest) -> None:
    async with asyncio.timeout(5):
        while gateway.ready.gateway.catalog.price_of("openai/gpt-5") is None:
            await asyncio.sleep(0.001)


def by_prices(body: dict[str, Any], output_tokens: int = 4096) -> int:
    return of_tokens(prompt_tokens(len(json.dumps(body)), 0), output_tokens)


def of_tokens(read: int, written: int) -> int:
    """Rounded up to 1/10,000 USD."""
    cost = read * 1_250_000 + written * 10_000_000
    return -(-cost // 100_000_000) * 100_000_000


async def test_a_hold_knows_more_each_time(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """The default, then the model's prices, then what such requests came to; and never less than is allowed out."""
    secret = await gateway.create_key(budgets=(parse_budget("5/day"),))
    assert await held(gateway, secret) == DEFAULT
    await until_priced(gateway)
    assert await held(gateway, secret) == by_prices(BODY)
    assert await held(gateway, secret, {**BODY, "max_output_tokens": 16}) == by_prices(
        {**BODY, "max_output_tokens": 16}, 16
    )
    for _ in range(2):
        await held(gateway, secret)
    assert await held(gateway, secret) == 150_000_000  # half more than the 0.0001 that each was charged
    longer = {**BODY, "max_output_tokens": 1000}
    surely = prompt_tokens(len(json.dumps(longer)), 0) // 2 * 1_250_000 + 1000 * 10_000_000
    assert await held(gateway, secret, longer) == surely
    assert len(upstream.asides) == 1


async def test_without_a_budget_nothing_is_held_or_asked(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """However often such a key asks."""
    secret = await gateway.create_key(models=("openai/*",))
    for _ in range(3):
        assert await held(gateway, secret) == 0
    assert upstream.asides == []


async def test_a_budget_below_the_default_hold_is_usable(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """The first request is refused by a guess; what it would have cost is then known."""
    secret = await gateway.create_key(budgets=(parse_budget("0.049/total"),))
    async with gateway.post(BODY, secret) as reply:
        assert reply.status == 429
    await until_priced(gateway)
    assert await held(gateway, secret) == by_prices(BODY)
    assert len(upstream.requests) == 1


async def test_prices_are_known_at_the_next_start(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """From the first request on, and the upstream is not asked for them again."""
    async with gateway_before(upstream.url, tmp_path) as gateway:
        secret = await gateway.create_key(budgets=(parse_budget("5/day"),))
        await held(gateway, secret)
        await until_priced(gateway)
    async with gateway_before(upstream.url, tmp_path) as gateway:
        assert await held(gateway, secret) == by_prices(BODY)
    assert len(upstream.asides) == 1


async def test_operators_bound_what_is_held(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A ceiling for a model, another default, the cost that counts."""
    settings = {"hold_default_usd": "0.5", "hold_ceilings": "openai/*=0.01, other/*=0.25", "billing": "true_cost"}
    async with gateway_before(upstream.url, tmp_path, **settings) as gateway:
        secret = await gateway.create_key(budgets=(parse_budget("5/day"),))
        assert await held(gateway, secret) == 10_000_000_000
        assert await held(gateway, secret, {"model": "other/one", "input": "hi"}) == 250_000_000_000
        assert await held(gateway, secret, {"model": "third/one", "input": "hi"}) == 500_000_000_000
        for _ in range(4):
            await held(gateway, secret)
        assert await held(gateway, secret) == 15_000_000
        async with gateway.post(BODY, secret) as reply:
            assert reply.header("x-irg-budget-remaining-usd") is not None
            await reply.body()


async def test_a_picture_does_not_count_as_words(gateway: GatewayUnderTest) -> None:
    """Half a megabyte of it is two thousand tokens."""
    secret = await gateway.create_key(budgets=(parse_budget("5/day"),))
    await held(gateway, secret)
    await until_priced(gateway)
    picture = "data:image/png;base64," + "iVBORw0K" * 64_000
    body = {**BODY, "input": [{"type": "input_image", "image_url": picture}]}
    tokens = prompt_tokens(len(json.dumps(body)) - len(picture), 1)
    assert await held(gateway, secret, body) == of_tokens(tokens, 4096)
