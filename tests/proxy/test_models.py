"""`GET /v1/openai/models` on the wire: OpenAI's shape, the key's models, and nobody's secrets."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, NotFoundError

from app.core.clock import now
from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.scripted_upstream import CLOSE, ScriptedUpstream, head, json_answer

LIST = [
    {"id": "openai/gpt-5", "created": 1754000000, "architecture": {"output_modalities": ["text"]}},
    {"id": "google/gemini"},
    {"id": "black-forest-labs/flux", "architecture": {"output_modalities": ["image"]}},
]


@pytest.mark.parametrize("path", ["/v1/openai", "/v1"])
async def test_the_sdk_lists_the_models_that_its_key_may_use(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, path: str
) -> None:
    """And finds one by name; what is not allowed is not there."""
    upstream.answer(json_answer(LIST))
    everything, some = await gateway.create_key("alice"), await gateway.create_key("bob", models=("openai/*",))
    async with DefaultAsyncHttpxClient(trust_env=False, verify=False) as http_client:
        alice = AsyncOpenAI(base_url=gateway.url + path, api_key=everything, http_client=http_client)
        bob = AsyncOpenAI(base_url=gateway.url + path, api_key=some, http_client=http_client)
        assert [model.id async for model in alice.models.list()] == ["openai/gpt-5", "google/gemini"]
        assert [model.id async for model in bob.models.list()] == ["openai/gpt-5"]
        found = await bob.models.retrieve("openai/gpt-5")
        assert (found.id, found.object, found.created, found.owned_by) == (
            "openai/gpt-5",
            "model",
            1754000000,
            "openai",
        )
        for hidden in ("google/gemini", "black-forest-labs/flux"):
            with pytest.raises(NotFoundError, match="no model"):
                await bob.models.retrieve(hidden)
    (asked,) = upstream.requests
    assert (asked.method, asked.target) == (b"GET", b"/v3/models?output_modalities=text")
    assert UPSTREAM_KEY.encode() not in asked.raw
    assert everything.encode() not in asked.raw


async def test_every_refused_key_gets_the_same_401(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Unknown, absent, revoked, disabled, expired, out of its grace, the admin's: nobody learns which."""
    keyring = gateway.services.keyring
    secrets = {name: await gateway.create_key(name) for name in ("revoked", "disabled", "rotated")}
    await keyring.revoke("revoked")
    await keyring.disable("disabled")
    await keyring.rotate("rotated")
    secrets["expired"] = await gateway.create_key("expired", expires_at=now() + timedelta(milliseconds=20))
    await asyncio.sleep(0.03)
    bodies = set()
    for shown in (*secrets.values(), "irg_" + "0" * 69, ADMIN_TOKEN, None):
        async with gateway.post(b"", shown, method="GET", path="/v1/models") as reply:
            assert reply.status == 401
            assert reply.header("x-error-source") == "gateway"
            bodies.add(await reply.body())
    assert len(bodies) == 1
    assert upstream.requests == []


async def test_the_list_outlives_the_upstream(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A gateway that starts without its upstream still tells what it knew."""
    upstream.answer(json_answer(LIST))
    async with gateway_before(upstream.url, tmp_path) as gateway:
        secret = await gateway.create_key()
        async with gateway.client(secret) as client:
            before = await client.get("/v1/models")
    async with gateway_before("http://127.0.0.1:1", tmp_path) as gateway, gateway.client(secret) as client:
        after = await client.get("/v1/openai/models")
    assert before.json() == after.json()
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([head(302, [("Location", "/elsewhere"), ("Content-Length", "0")])], "answered 302"),
        ([head(401, [("Content-Length", "0")])], "answered 401"),
        ([json_answer({"error": {"message": UPSTREAM_KEY}})], "is an error"),
        ([head(200, [("Content-Length", "100")]), b"[", CLOSE], "could not be reached"),
    ],
    ids=["redirect", "refused", "error-under-200", "cut"],
)
async def test_an_upstream_that_tells_no_list_is_named(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, answer: list[bytes], reason: str
) -> None:
    """502 with the reason, in fixed words; nothing is followed."""
    upstream.answer(*answer)
    secret = await gateway.create_key()
    async with gateway.client(secret) as client:
        refused = await client.get("/v1/models")
    assert refused.status_code == 502
    error = refused.json()["error"]
    assert (error["code"], refused.headers["retry-after"]) == ("upstream_unreachable", "30")
    assert reason in error["message"]
    assert UPSTREAM_KEY not in refused.text
    assert len(upstream.requests) == 1


async def test_a_list_without_end_is_given_up(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is bounded in bytes."""
    monkeypatch.setattr("app.outgoing.questions.MODELS_BYTES_MAX", 100_000)
    upstream.answer(json_answer(b"[" + b" " * 200_000 + b"]"))
    secret = await gateway.create_key()
    async with gateway.client(secret) as client:
        refused = await client.get("/v1/models")
    assert (refused.status_code, "too large" in refused.text) == (502, True)


async def test_a_wrong_method_is_told_the_right_one(gateway: GatewayUnderTest) -> None:
    """A list is only read."""
    secret = await gateway.create_key()
    async with gateway.post(b"{}", secret, path="/v1/models") as reply:
        assert (reply.status, reply.header("allow")) == (405, "GET")
