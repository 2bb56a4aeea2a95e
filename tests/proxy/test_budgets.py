"""Budgets, rates and limits as a client meets them: over real sockets, before the ledger's own decision."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.core.budgets import Budget, parse_budget
from app.core.limits import Limits
from app.core.owners import LimitsChange
from app.core.records import State
from tests.harness import GatewayUnderTest, Reply, gateway_before
from tests.scripted_upstream import END, ScriptedUpstream, chunk, json_answer, sse_head

BODY = {"model": "m", "input": "hi"}
DONE = (
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":1,"response":'
    b'{"id":"resp_1","usage":{"total_tokens":30,"cost":0.003}}}\n\n'
)
COST = b'{"id":"resp_1","output":[],"usage":{"total_tokens":30,"cost":0.003},"cost":0.003}'


@pytest.fixture(autouse=True)
def _no_prices(upstream: ScriptedUpstream) -> None:
    """The models list is asked for prices beside the requests."""
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "other"}]))


@pytest.fixture
async def limited(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> AsyncIterator[GatewayUnderTest]:
    """Of a model without prices, 0.01 USD are held."""
    async with gateway_before(upstream.url, tmp_path, front=front, hold_default_usd="0.01") as running:
        yield running


def budgets(*texts: str) -> tuple[Budget, ...]:
    return tuple(parse_budget(text) for text in texts)


async def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = (await reply.json())["error"]
    assert reply.header("x-error-source") == "gateway"
    return error


async def test_a_spent_budget_refuses_and_says_until_when(
    limited: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """429 insufficient_quota that no SDK tries again; what is spent, the limit and the reset stand in it."""
    secret = await limited.create_key(budgets=budgets("0.01/month"))
    upstream.answer(json_answer(COST))
    async with limited.post(BODY, secret) as reply:
        assert reply.status == 200
        assert reply.header("x-irg-budget-remaining-usd") == "0.00"  # all of it is held now
    async with limited.post(BODY, secret) as reply:
        assert (reply.status, reply.header("x-should-retry"), reply.header("retry-after")) == (429, "false", None)
        error = await error_of(reply)
        refused = reply.request_id
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert "0.003 of 0.01 USD are spent" in error["message"]
    assert "monthly budget of the key 'alice'" in error["message"]
    facts = error["gateway"]
    assert facts["resets_at"][7:] == "-01T00:00:00.000Z"
    assert {name: facts[name] for name in facts if name != "resets_at"} == {
        "reason": "budget_spent",
        "scope": "key",
        "limit": None,
        "period": "month",
        "limit_usd": "0.01",
        "spent_usd": "0.003",
        "held_usd": "0.00",
        "hold_usd": "0.01",
        "request_id": refused,
    }
    assert len(upstream.requests) == 1
    assert len(await limited.rows()) == 1  # a refusal is no ledger row


async def test_what_is_only_held_is_asked_for_again(limited: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """429 rate_limit_exceeded with retry-after while another request runs; then there is room again."""
    secret = await limited.create_key(budgets=budgets("0.015/total"))
    go = asyncio.Event()
    upstream.answer(sse_head(), go, chunk(DONE), END)
    async with limited.post({**BODY, "stream": True}, secret) as running:
        assert running.header("x-irg-budget-remaining-usd") == "0.005"
        async with limited.post(BODY, secret) as reply:
            assert (reply.status, reply.header("retry-after"), reply.header("x-should-retry")) == (429, "2", None)
            error = await error_of(reply)
        assert (error["code"], error["gateway"]["reason"]) == ("rate_limit_exceeded", "budget_held")
        assert (error["gateway"]["held_usd"], error["gateway"]["resets_at"]) == ("0.01", None)
        go.set()
        await running.body()
    upstream.answer(json_answer(COST))
    async with limited.post(BODY, secret) as reply:
        assert reply.status == 200


async def test_a_teams_and_the_gateways_budget_bind_every_key(
    limited: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Whoever spends it: the others are refused by the same budget, which is named."""
    keyring = limited.services.keyring
    await keyring.create_team("blue", LimitsChange(budgets=budgets("0.01/day")))
    alice, bob = [await limited.create_key(name, team="blue") for name in ("alice", "bob")]
    carol = await limited.create_key("carol")
    upstream.answer(json_answer(COST))
    async with limited.post(BODY, alice) as reply:
        assert reply.status == 200
    async with limited.post(BODY, bob) as reply:
        error = await error_of(reply)
    assert (error["gateway"]["scope"], error["gateway"]["spent_usd"]) == ("team", "0.003")
    assert "daily budget of the team 'blue'" in error["message"]
    await keyring.set_gateway_budgets(budgets("0.005/week"))
    async with limited.post(BODY, carol) as reply:
        error = await error_of(reply)
    assert (error["gateway"]["scope"], error["gateway"]["spent_usd"]) == ("gateway", "0.003")
    assert "weekly budget of the whole gateway" in error["message"]
    await keyring.set_gateway_budgets(())
    upstream.answer(json_answer(COST))
    async with limited.post(BODY, carol) as reply:
        assert (reply.status, reply.header("x-irg-budget-remaining-usd")) == (200, None)


async def test_requests_per_minute_are_told_in_openais_headers(
    limited: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Ours replace the upstream's, on answers and on refusals; the wait is until the oldest has left."""
    secret = await limited.create_key(limits=Limits(rpm=2))
    theirs = ("x-ratelimit-limit-requests", "9999"), ("x-ratelimit-remaining-tokens", "7")
    for left in ("1", "0"):
        upstream.answer(json_answer(COST, headers=theirs))
        async with limited.post(BODY, secret) as reply:
            assert reply.status == 200
            assert reply.header("x-ratelimit-limit-requests") == "2"
            assert reply.header("x-ratelimit-remaining-requests") == left
            assert reply.header("x-ratelimit-reset-requests") == "1m0s"
            assert reply.header("x-ratelimit-remaining-tokens") is None
    async with limited.post(BODY, secret) as reply:
        error = await error_of(reply)
        assert reply.status == 429
        assert reply.header("retry-after") == "59"
        assert reply.header("x-ratelimit-remaining-requests") == "0"
    assert (error["code"], error["gateway"]["reason"]) == ("rate_limit_exceeded", "requests_per_minute")
    assert (error["gateway"]["limit"], error["gateway"]["limit_usd"]) == (2, None)


async def test_without_limits_the_upstreams_rate_headers_cross(
    limited: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """A budget alone does not replace them."""
    secret = await limited.create_key(budgets=budgets("5/day"))
    upstream.answer(json_answer(COST, headers=(("x-ratelimit-remaining-tokens", "7"),)))
    async with limited.post(BODY, secret) as reply:
        assert reply.header("x-ratelimit-remaining-tokens") == "7"
        assert reply.header("x-irg-budget-remaining-usd") == "4.99"


async def test_tokens_per_minute_count_what_runs_and_what_ended(
    limited: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """A running request counts as its guess, an ended one as what it used."""
    secret = await limited.create_key(limits=Limits(tpm=150))
    body = {**BODY, "max_output_tokens": 100}
    upstream.answer(json_answer(COST))
    async with limited.post(body, secret) as reply:
        assert reply.header("x-ratelimit-limit-tokens") == "150"
        assert 0 < int(reply.header("x-ratelimit-remaining-tokens") or 0) < 50
    upstream.answer(json_answer(COST))
    async with limited.post({**body, "max_output_tokens": 10}, secret) as reply:  # 30 were used
        assert reply.status == 200
    async with limited.post(body, secret) as reply:  # 60 were used
        error = await error_of(reply)
    assert (error["type"], error["gateway"]["reason"]) == ("tokens", "tokens_per_minute")


async def test_what_runs_at_once_is_limited(limited: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """A place is free again when the answer has ended, also when its client left before."""
    secret = await limited.create_key(limits=Limits(concurrency=1))
    go = asyncio.Event()
    upstream.answer(sse_head(), go, chunk(DONE), END)
    async with limited.post({**BODY, "stream": True}, secret) as running:
        async with limited.post(BODY, secret) as reply:
            error = await error_of(reply)
            assert reply.header("retry-after") == "1"
        assert error["gateway"]["reason"] == "concurrency"
        running.reset()
    go.set()
    await limited.settled(1)
    upstream.answer(json_answer(COST))
    async with limited.post(BODY, secret) as reply:
        assert reply.status == 200


@pytest.mark.parametrize(
    ("counts", "answer", "spent"),
    [
        ("hold", b'{"id":"resp_1","output":[]}', "0.01"),
        ("nothing", b'{"id":"resp_1","output":[]}', "0.00"),
    ],
)
async def test_an_unknown_cost_counts_as_the_setting_says(
    upstream: ScriptedUpstream, tmp_path: Path, counts: str, answer: bytes, spent: str
) -> None:
    """As its hold, until a person settles it; or not at all."""
    settings: dict[str, Any] = {"hold_default_usd": "0.01", "unknown_counts": counts}
    async with gateway_before(upstream.url, tmp_path, **settings) as gateway:
        secret = await gateway.create_key(budgets=budgets("1/day"))
        upstream.answer(json_answer(answer))
        async with gateway.post(BODY, secret) as reply:
            assert await reply.body() == answer
        assert [row.state for row in await gateway.rows()] == [State.UNKNOWN]
        assert await _spent(gateway) == spent


async def test_the_cost_that_bills_is_the_one_that_counts(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """With IRG_BILLING=true_cost the budget spends what the upstream paid."""
    async with gateway_before(upstream.url, tmp_path, billing="true_cost") as gateway:
        secret = await gateway.create_key(budgets=budgets("1/day"))
        upstream.answer(json_answer(b'{"id":"resp_1","output":[],"usage":{"cost":0.0000123},"cost":0.0001}'))
        async with gateway.post(BODY, secret) as reply:
            assert reply.status == 200
            await reply.body()
        assert await _spent(gateway) == "0.0000123"


async def test_a_server_error_holds_nothing_for_long(limited: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Unknown costs behind a 500 do not use a budget up."""
    secret = await limited.create_key(budgets=budgets("0.01/day"))
    for _ in range(5):
        upstream.answer(json_answer(b'{"error":{"message":"no"}}', status=500))
        async with limited.post(BODY, secret) as reply:
            assert reply.status == 500
            await reply.body()
    assert {row.state for row in await limited.rows()} == {State.UNKNOWN}
    assert await _spent(limited) == "0.00"


async def _spent(gateway: GatewayUnderTest) -> str:
    async with gateway.admin() as admin:
        key = json.loads((await admin.get("/admin/v1/keys/alice")).content)
    spent: str = key["budgets"][0]["spent"]
    return spent
