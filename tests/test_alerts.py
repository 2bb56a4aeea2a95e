"""Alerts through a whole gateway: raised, delivered beside the requests, over restarts, and told nowhere else."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app import telemetry
from app.accounts import alert_delivery
from app.core.alerts import AlertRecord
from tests.harness import GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream, json_answer

CREDITS = b'{"remaining_credits":"4.5000","usage_by_api_key":[{"api_key_name":"SECRET"}]}'


@pytest.fixture
def front() -> str:
    return "on"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_delivery, "POLL_SECONDS", 0.02)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that can be logged, and no mask over it."""
    before, handlers, level = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    stream = io.StringIO()
    telemetry.configure("debug", stream=stream)
    yield stream
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


async def fared(gateway: GatewayUnderTest, *, delivered: bool) -> AlertRecord:
    """Waits until the newest alert has arrived, or failed once."""
    async with asyncio.timeout(20):
        while True:
            page = await gateway.services.alerts.history()
            told = page.items[0].deliveries if page.items else ()
            if told and (told[0].delivered_at is not None) == delivered and told[0].attempts:
                return page.items[0]
            await asyncio.sleep(0.01)


async def test_an_alert_is_delivered_beside_the_requests(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Raised by the gateway; with the id of the history as the webhook's."""
    async with ScriptedUpstream() as receiver, gateway_before(upstream.url, tmp_path) as gateway:
        await gateway.services.alerts.add("ops", receiver.url + "/hook")
        await gateway.services.alerts.upstream_refuses(401)
        record = await fared(gateway, delivered=True)
        request = await receiver.seen()
    assert request.header(b"webhook-id") == record.alert.id.encode()
    assert request.json()["type"] == "upstream_key_refused"
    assert len(receiver.requests) == 1


async def test_what_a_request_does_to_a_budget_is_told_in_words(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Raised with its settlement; every fact that the sentences need is there."""
    answer = json_answer(b'{"id":"resp_1","output":[],"usage":{"cost":0.0000123},"cost":0.26}')
    # It asks for prices too.
    upstream.otherwise = lambda request: [answer if request.method == b"POST" else json_answer([])]
    async with ScriptedUpstream() as receiver, gateway_before(upstream.url, tmp_path) as gateway:
        await gateway.services.alerts.add("ops", receiver.url)
        secret = await gateway.create_key("alice")
        async with gateway.admin() as admin:
            changed = await admin.patch("/admin/v1/keys/alice", json={"budgets": ["0.5/day"]})
            assert changed.status_code == 200, changed.text
        async with gateway.post({"model": "m"}, secret) as reply:
            assert reply.status == 200
            await reply.body()
        while not {"budget", "charge_mismatch"} <= {request.json()["type"] for request in receiver.requests}:
            await receiver.seen(len(receiver.requests) + 1)
    told = {request.json()["type"]: request.json()["message"] for request in receiver.requests}
    assert told["budget"].startswith(
        "The daily budget of key alice is 50 % spent ($0.26 of $0.50); it begins anew at 20"
    )
    assert "a request of key alice for m was charged is not" in told["charge_mismatch"]
    assert "($0.26, not $0.0000123)" in told["charge_mismatch"]
    assert "(unknown)" not in " ".join(told.values())


async def test_what_was_raised_before_a_restart_is_delivered_after_it(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Signed as before: the secret is in the file, not in the process."""
    async with ScriptedUpstream() as receiver:
        async with gateway_before(upstream.url, tmp_path) as gateway:
            await gateway.services.delivery.aclose()
            await gateway.services.alerts.add("ops", receiver.url + "/hook")
            await gateway.services.alerts.upstream_refuses(402)
        assert receiver.requests == []
        async with gateway_before(upstream.url, tmp_path) as gateway:
            await fared(gateway, delivered=True)
    assert len(receiver.requests) == 1


async def test_low_credits_reach_their_receiver(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Asked at the start, with the upstream key; what else the account's answer says goes nowhere."""
    upstream.answer(json_answer(CREDITS))
    async with ScriptedUpstream() as receiver:
        async with gateway_before(upstream.url, tmp_path) as gateway:
            await gateway.services.alerts.add("ops", receiver.url)
        async with gateway_before(upstream.url, tmp_path, credits_low_usd="20") as gateway:
            record = await fared(gateway, delivered=True)
            assert record.alert.facts == {"remaining_usd": "4.5000", "threshold_usd": "20"}
        assert (await receiver.seen()).json()["data"] == record.alert.facts
        assert b"SECRET" not in receiver.requests[0].raw
    assert [request.target for request in upstream.requests] == [b"/v1/credits"]


async def test_neither_secrets_nor_paths_are_logged_or_stored_in_clear(
    upstream: ScriptedUpstream, tmp_path: Path, log: io.StringIO
) -> None:
    """Delivered, refused, away, tested, removed: no log has a path, no database what signs."""
    async with ScriptedUpstream() as receiver, gateway_before(upstream.url, tmp_path) as gateway:
        alerts = gateway.services.alerts
        receiver.answer(json_answer({}, 500))
        _, secret = await alerts.add("ops", receiver.url + "/the-path-CANARY?token=CANARY")
        await alerts.add("away", "https://127.0.0.1:9/the-path-CANARY")
        await alerts.test("ops")
        await alerts.test("away")
        await alerts.upstream_refuses(403)
        record = await fared(gateway, delivered=False)
        await alerts.remove("away")
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("gateway.db*") if path.is_file())
    assert secret is not None
    said = log.getvalue()
    assert '"event":"alert"' in said
    assert '"event":"alert_not_delivered"' in said
    assert record.alert.id in said
    master = (tmp_path / "alerts-secret").read_text().strip()
    for canary in ("CANARY", secret, secret.removeprefix("whsec_"), master):
        assert canary not in said
    for canary in (secret.removeprefix("whsec_"), master):
        assert canary.encode() not in stored


async def test_a_receiver_that_hangs_does_not_keep_the_gateway_from_ending(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """It is cut off, and the alert is sent again by the next process."""
    go = asyncio.Event()
    async with ScriptedUpstream() as receiver:
        receiver.answer(go)
        async with gateway_before(upstream.url, tmp_path) as gateway:
            await gateway.services.alerts.add("ops", receiver.url)
            await gateway.services.alerts.upstream_refuses(401)
            await receiver.seen(timeout=20)
        async with gateway_before(upstream.url, tmp_path) as gateway:
            record = await fared(gateway, delivered=True)
        go.set()
    assert {request.header(b"webhook-id") for request in receiver.requests} == {record.alert.id.encode()}
    assert len(receiver.requests) == 2
