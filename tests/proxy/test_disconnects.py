"""A client that leaves pays what its answer cost; a process that ends closes what it holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.records import Outcome, State
from tests.harness import GatewayUnderTest, gateway_before
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED, DELTA
from tests.scripted_upstream import END, UNTIL_GONE, ScriptedUpstream, chunk, json_answer, sse_head

STREAM = {"model": "m", "stream": True}


async def test_a_client_that_leaves_mid_stream_is_settled(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The answer is read on to its terminal event; the true cost is booked."""
    secret = await gateway.create_key()
    go = asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED), go, chunk(DELTA), chunk(COMPLETED), END)
    async with gateway.post(STREAM, secret) as reply:
        await reply.chunk()
        reply.reset()
    go.set()
    (row,) = await gateway.settled(1)
    assert (row.state, row.outcome) == (State.SETTLED, Outcome.CLIENT_DISCONNECTED)
    assert row.true_cost_raw == "0.25"


async def test_a_json_client_that_leaves_before_the_answer_is_settled(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The answer that nobody waits for is read and booked all the same."""
    secret = await gateway.create_key()
    go = asyncio.Event()
    upstream.answer(go, json_answer(ANSWER))
    body = b'{"model":"m"}'
    head = (
        f"POST /v1/openai/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: 13\r\n\r\n"
    )
    async with gateway.connect(head.encode() + body) as reply:
        await upstream.seen()
        reply.reset()
    go.set()
    (row,) = await gateway.settled(1)
    assert (row.state, row.outcome) == (State.SETTLED, Outcome.CLIENT_DISCONNECTED)
    assert row.true_cost_raw == "0.0000123"


async def test_cancel_cuts_the_upstream_at_once(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """IRG_ON_CLIENT_DISCONNECT=cancel: the upstream sees its client leave; the cost is unknown."""
    async with gateway_before(upstream.url, tmp_path, front=front, on_client_disconnect="cancel") as gateway:
        secret = await gateway.create_key()
        upstream.answer(sse_head(), chunk(CREATED), UNTIL_GONE)
        async with gateway.post(STREAM, secret) as reply:
            await reply.chunk()
            reply.reset()
        async with asyncio.timeout(5):
            await upstream.requests[0].gone.wait()
        (row,) = await gateway.settled(1)
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, "client_disconnected")


async def test_an_abandoned_answer_is_not_read_for_ever(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """After IRG_CLIENT_GONE_SECONDS the upstream is cut."""
    async with gateway_before(upstream.url, tmp_path, front=front, client_gone_seconds=1) as gateway:
        secret = await gateway.create_key()
        upstream.answer(sse_head(), chunk(CREATED), UNTIL_GONE)
        async with gateway.post(STREAM, secret) as reply:
            await reply.chunk()
            reply.reset()
        (row,) = await gateway.settled(1)
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, "client_disconnected")


@pytest.mark.parametrize("asked", [STREAM, {"model": "m"}], ids=["stream", "json"])
async def test_a_shutdown_leaves_no_row_open(
    upstream: ScriptedUpstream, tmp_path: Path, asked: dict[str, object], front: str
) -> None:
    """What is still running after grace and drain is cut and booked as unknown: shut_down."""
    async with gateway_before(upstream.url, tmp_path, front=front, shutdown_grace_seconds=0) as gateway:
        gateway.ready.gateway.drain_seconds = 0.2
        secret = await gateway.create_key()
        upstream.answer(*([sse_head(), chunk(CREATED)] if "stream" in asked else []), UNTIL_GONE)
        calling = asyncio.create_task(_call(gateway, asked, secret))
        await upstream.seen()
    await asyncio.gather(calling, return_exceptions=True)
    async with gateway_before(upstream.url, tmp_path) as again:
        (row,) = await again.rows()
    assert (row.state, row.outcome, row.unknown_reason) == (State.UNKNOWN, Outcome.SHUT_DOWN, "shut_down")


async def _call(gateway: GatewayUnderTest, asked: dict[str, object], secret: str) -> None:
    async with gateway.post(asked, secret) as reply:
        await reply.body()


async def test_another_keys_response_cannot_be_referred_to(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Foreign and unknown responses are refused with the same words and not forwarded; one's own goes through."""
    alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
    upstream.answer(json_answer(ANSWER))
    async with gateway.post({"model": "m"}, alice) as reply:
        await reply.body()
    messages = []
    for secret, reference in ((bob, "resp_1"), (alice, "resp_9")):
        async with gateway.post({"model": "m", "previous_response_id": reference}, secret) as reply:
            error = (await reply.json())["error"]
            assert (reply.status, error["code"], error["param"]) == (
                400,
                "previous_response_not_found",
                "previous_response_id",
            )
            messages.append(error["message"].replace(reference, "…"))
    assert messages[0] == messages[1]
    assert len(upstream.requests) == 1
    async with gateway.post({"model": "m", "previous_response_id": "resp_1"}, alice) as reply:
        assert reply.status == 200


async def test_a_revocation_is_effective_at_once_and_tells_nothing(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Revoked, unknown and absent keys get the same body."""
    secret = await gateway.create_key()
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
    await gateway.services.keyring.revoke("alice")
    bodies = set()
    for shown in (secret, "irg_" + "0" * 69, None):
        async with gateway.post({"model": "m"}, shown) as reply:
            assert reply.status == 401
            bodies.add(await reply.body())
    assert len(bodies) == 1
    assert len(upstream.requests) == 1
