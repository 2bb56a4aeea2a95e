"""A fault of the gateway itself: nobody foresaw it, and it still ends as a client and an admin can understand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.records import Settlement
from tests.harness import GatewayUnderTest
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED
from tests.scripted_upstream import END, ScriptedUpstream, chunk, json_answer, sse_head


async def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("nobody foresaw this")


@pytest.fixture
def _broken_ledger(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def settle(settlement: Settlement) -> None:
        await fail()

    monkeypatch.setattr(gateway.services.ledger, "settle", settle)


@pytest.mark.usefixtures("_broken_ledger")
async def test_it_is_an_error_that_is_not_retried(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """The upstream may have billed it: in OpenAI's shape, with its request id, never to be sent again."""
    secret = await gateway.create_key()
    upstream.answer(json_answer(ANSWER))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert (reply.status, reply.header("x-should-retry")) == (500, "false")
        assert reply.header("x-error-source") == "gateway"
        assert (await reply.json())["error"]["code"] == "gateway_fault"
        assert (await gateway.row(reply.request_id)).key == "alice"


@pytest.mark.usefixtures("_broken_ledger")
async def test_a_stream_that_has_begun_is_cut(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Without its end, since nobody knows what became of its cost."""
    secret = await gateway.create_key()
    upstream.answer(sse_head(), chunk(CREATED), chunk(COMPLETED), END)
    async with gateway.post({"model": "m", "stream": True}, secret) as reply:
        assert await reply.body_until_cut() == CREATED


async def test_the_control_plane_answers_in_the_same_shape(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the command line can say what the gateway said."""
    monkeypatch.setattr(gateway.services.reports, "usage", fail)
    async with gateway.admin() as admin:
        answer = await admin.get("/admin/v1/usage")
    assert answer.status_code == 500
    assert json.loads(answer.content)["error"]["code"] == "gateway_fault"
