"""What a client sees of the worst upstream: no header that is not its own, no other's answer, every byte."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.plain_answer import plain_body, plain_event
from app.core.records import State
from app.simulator.models import GROUPS
from app.simulator.request import SIMULATE_HEADER
from tests.harness import GatewayUnderTest, gateway_before
from tests.judge import judge
from tests.simulated_upstream import SimulatorUnderTest

FORBIDDEN = {
    "x-hop",
    "keep-alive",
    "trailer",
    "upgrade",
    "proxy-authenticate",
    "set-cookie",
    "set-cookie2",
    "access-control-allow-origin",
    "strict-transport-security",
    "content-security-policy",
    "x-frame-options",
    "location",
    "refresh",
    "x-accel-redirect",
    "alt-svc",
    "x-key",
    "x-key-base64",
}
RETRIED = {
    "sim/429": {"retry-after": "1", "retry-after-ms": "1500"},
    "sim/503": {"retry-after": "1"},
    "sim/500-retry": {"x-should-retry": "true"},
    "sim/402": {"x-should-retry": "false"},
}


@pytest.fixture
async def gateway(simulator: SimulatorUnderTest, tmp_path: Path, front: str) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_before(simulator.url, tmp_path, front=front) as running:
        await running.create_key()
        yield running


@pytest.mark.parametrize("stream", [False, True])
async def test_no_header_crosses_that_should_not(gateway: GatewayUnderTest, stream: bool) -> None:
    """Neither the hop's, nor a cookie, nor one that acts on the gateway's origin; ours are ours."""
    for name in (*GROUPS["heads"], "sim/redirect", "sim/redirect-308"):
        async with gateway.post({"model": name, "input": "?", "stream": stream}, gateway.secrets["alice"]) as reply:
            names = {known for known, _ in reply.headers}
            assert not names & FORBIDDEN, name
            assert (reply.header("x-irg-request-id") or "").startswith("req_0"), name
            assert reply.header("x-error-source") in {None, "gateway"}, name
            assert ("x-harmless" in names) == (name == "sim/key-in-header")


async def test_what_the_upstream_says_about_trying_again_crosses(gateway: GatewayUnderTest) -> None:
    """As it is; out of credits nobody shall try again."""
    for name, headers in RETRIED.items():
        async with gateway.post({"model": name, "input": "?"}, gateway.secrets["alice"]) as reply:
            assert headers.items() <= dict(reply.headers).items(), name


async def test_ordinary_answers_are_plain_ones(gateway: GatewayUnderTest) -> None:
    """The quick reader has them: what left them to the careful one would cost each request, and nobody would notice."""
    for model in ("openai/gpt-4o-mini", "openai/gpt-5"):
        body = {"model": model, "input": "Hello"}
        async with gateway.post(body, gateway.secrets["alice"]) as reply:
            assert plain_body(await reply.body()) is not None, model
        async with gateway.post(body | {"stream": True}, gateway.secrets["alice"]) as reply:
            events = (await reply.body()).split(b"\n\n")
        (completed,) = [event for event in events if event.startswith(b"event: response.completed\n")]
        assert plain_event(completed.partition(b"\ndata: ")[2]) is not None, model


@pytest.mark.parametrize("name", ["second-answer", "garbage-behind", "length-too-short"])
@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_gets_what_stood_behind_anothers_answer(
    gateway: GatewayUnderTest, simulator: SimulatorUnderTest, name: str, stream: bool
) -> None:
    """The next request is answered and booked as if nothing had been there."""
    for number in range(5):
        body = {"model": "openai/gpt-4o-mini", "input": f"{name} {number}", "stream": stream}
        async with gateway.post(body, gateway.secrets["alice"], headers={SIMULATE_HEADER: name}) as reply:
            await reply.body()
        async with gateway.post({"model": "sim/fast", "input": "Mine?"}, gateway.secrets["alice"]) as reply:
            assert reply.status == 200
            answer = await reply.json()
        line = simulator.bill().line(answer["id"])
        judge(await gateway.row(reply.request_id), line)


@pytest.mark.parametrize(("megabytes", "stream"), [(50, False), (50, True), (70, False)])
async def test_an_event_of_fifty_megabytes_is_relayed_and_booked(
    gateway: GatewayUnderTest, simulator: SimulatorUnderTest, front: str, megabytes: int, stream: bool
) -> None:
    """Byte for byte; what is larger than anybody can hold is relayed, too, and its cost is unknown."""
    marker, digest = f"{megabytes} MB {stream} {front}", hashlib.sha256()
    body = {"model": f"sim/big-event:{megabytes}", "input": "?", "stream": stream, "metadata": {"marker": marker}}
    async with gateway.post(body, gateway.secrets["alice"]) as reply:
        async with asyncio.timeout(60):
            if stream:
                while chunk := await reply.chunk(60):
                    digest.update(chunk)
            else:
                digest.update(await reply.body(60))
    (line,) = simulator.bill().where(lambda one: one.marker == marker).lines
    assert digest.hexdigest() == line.body_sha256
    assert bool(line.told) == (megabytes == 50)
    judge(await gateway.row(reply.request_id), line)


async def test_a_header_is_enough_for_any_client(gateway: GatewayUnderTest) -> None:
    """The behaviour crosses; the model stays the one that was asked for, in the answer and in the books."""
    body = {"model": "openai/gpt-5", "input": "?"}
    async with gateway.post(body, gateway.secrets["alice"], headers={SIMULATE_HEADER: "no-cost"}) as reply:
        assert json.loads(await reply.body())["model"] == "openai/gpt-5"
        row = await gateway.row(reply.request_id)
    assert (row.model, row.state, row.unknown_reason) == ("openai/gpt-5", State.UNKNOWN, "no_cost")
