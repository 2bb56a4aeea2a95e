"""The admin is told, and not drowned."""

from __future__ import annotations

import asyncio

from app.core.views import Page
from app.proxy.notices import EVERY_SECONDS, Notices
from tests.harness import GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream, json_answer


async def test_each_kind_is_told_once_an_hour() -> None:
    """401, 402 and 403 have a clock each; other statuses are nobody's news."""
    raised: list[int] = []

    async def raise_alert(status: int) -> None:
        raised.append(status)

    notices = Notices(raise_alert)
    assert notices.tell(403, now=0)
    assert not notices.tell(403, now=EVERY_SECONDS - 1)
    assert notices.tell(401, now=EVERY_SECONDS - 1)
    assert notices.tell(403, now=EVERY_SECONDS)
    assert not notices.tell(400, now=EVERY_SECONDS)
    await asyncio.sleep(0)
    assert raised == [403, 401, 403]


async def test_a_refused_upstream_key_raises_an_alert(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """However many requests meet it: one alert, which the client does not wait for."""
    secret = await gateway.create_key()
    for _ in range(3):
        upstream.answer(json_answer({"error": {"message": "no such key"}}, status=401))
        async with gateway.post({"model": "m", "input": "hi"}, secret) as reply:
            assert reply.status == 502
            await reply.body()
    async with asyncio.timeout(5):
        while not (page := await gateway.services.alerts.history()).items:
            await asyncio.sleep(0.005)
    assert isinstance(page, Page)
    assert [record.alert.kind for record in page.items] == ["upstream_key_refused"]
