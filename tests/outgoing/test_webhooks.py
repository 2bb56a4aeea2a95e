"""Webhooks against real receivers: signed, answered, refused, redirected, slow, away, and spoilt on the way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from datetime import UTC, datetime

import pytest

from app.accounts.errors import BadValue
from app.accounts.sending import SendFailed
from app.core.alerts import Alert, Destination, DestinationKind
from app.core.webhooks import signing_secret
from app.outgoing import webhooks
from app.outgoing.trust import trust
from app.outgoing.webhooks import ANSWER_BYTES_MAX, WebhookSender
from app.settings import SettingsError
from tests.scripted_upstream import (
    CA_FILE,
    CLOSE,
    RESET,
    UNTIL_GONE,
    ScriptedUpstream,
    Step,
    head,
    json_answer,
    reached,
)

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALERT = Alert("alr_1", AT, "credits_low", {"remaining_usd": "4.5000", "threshold_usd": "20"})
MASTER = bytes(range(32))


def secret_of(destination_id: str) -> bytes:
    return signing_secret(MASTER, destination_id)


SENDER = WebhookSender(secret_of, clock=lambda: AT)


def at(address: str) -> Destination:
    return Destination("dst_1", "ops", DestinationKind.WEBHOOK, address, AT)


async def failure(receiver: ScriptedUpstream, *steps: Step) -> SendFailed:
    receiver.answer(*steps)
    with pytest.raises(SendFailed) as told:
        await SENDER.send(at(receiver.url + "/hook"), ALERT)
    return told.value


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_an_alert_arrives_signed(upstream: ScriptedUpstream, status: int) -> None:
    """As a receiver checks it: over id, timestamp and the body as it came. Path and query stay as they were written."""
    upstream.answer(head(status, [("Content-Length", "0")]) if status == 204 else json_answer(b"ok", status))
    assert await SENDER.send(at(upstream.url + "/hooks/1?a=b%20c"), ALERT) == status
    request = await upstream.seen()
    assert (request.method, request.target) == (b"POST", b"/hooks/1?a=b%20c")
    assert request.header(b"webhook-id") == b"alr_1"
    assert request.header(b"webhook-timestamp") == str(int(AT.timestamp())).encode()
    signed = b"alr_1.%d.%s" % (int(AT.timestamp()), request.body)
    expected = hmac.digest(secret_of("dst_1"), signed, hashlib.sha256)
    assert request.header(b"webhook-signature") == b"v1," + base64.b64encode(expected)
    assert request.header(b"content-type") == b"application/json"
    assert request.json()["data"] == ALERT.facts
    assert request.json()["type"] == "credits_low"


@pytest.mark.parametrize(
    ("status", "reason", "final"),
    [
        (500, "answered 500", False),
        (404, "answered 404", False),
        (410, "answered 410: it wants no more alerts", True),
    ],
)
async def test_another_answer_is_a_failure(upstream: ScriptedUpstream, status: int, reason: str, final: bool) -> None:
    """Its status is told, what it says is not."""
    failed = await failure(upstream, json_answer({"error": "SECRET"}, status))
    assert (failed.reason, failed.status, failed.final) == (reason, status, final)


async def test_a_redirect_is_not_followed(upstream: ScriptedUpstream) -> None:
    """The signed body goes to the address that was given, and to no other."""
    async with ScriptedUpstream() as elsewhere:
        moved = head(308, [("Location", elsewhere.url + "/hook"), ("Content-Length", "0")])
        failed = await failure(upstream, moved)
        assert failed.reason.startswith("answered 308: redirects are not followed")
        assert elsewhere.requests == []


async def test_an_answer_is_read_to_a_limit_and_not_waited_for(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that says 200 is an arrival, however long its body goes on, and even if it breaks."""
    endless = b"x" * (ANSWER_BYTES_MAX + 1)
    upstream.answer(head(200, [("Content-Length", "100000000")]) + endless, UNTIL_GONE)
    assert await SENDER.send(at(upstream.url), ALERT) == 200
    upstream.answer(head(200, [("Content-Length", "100")]), CLOSE)
    assert await SENDER.send(at(upstream.url), ALERT) == 200
    monkeypatch.setattr(webhooks, "ANSWER_SECONDS_MAX", 0.01)
    upstream.answer(head(200, [("Content-Length", "100")]), UNTIL_GONE)
    assert await SENDER.send(at(upstream.url), ALERT) == 200
    await upstream.quiet()


async def test_a_receiver_that_breaks_off_or_is_away_is_told_in_fixed_words(upstream: ScriptedUpstream) -> None:
    """Nothing of an exception's own text: it may hold the address."""
    assert (await failure(upstream, CLOSE)).reason == "broke off"
    assert (await failure(upstream, RESET)).reason == "could not be reached"
    assert (await failure(upstream, b"SECRET\r\n\r\n", CLOSE)).reason == "broke off"
    async with ScriptedUpstream() as gone:
        url = gone.url
    for address, reason in ((url, "refuses connections"), ("https://nowhere.invalid/", "has a name that is not found")):
        with pytest.raises(SendFailed) as told:
            await SENDER.send(at(address), ALERT)
        assert told.value.reason == reason
        assert told.value.__cause__ is None
        assert told.value.__suppress_context__


async def test_a_cancelled_attempt_lets_go_of_its_connection(upstream: ScriptedUpstream) -> None:
    """Whoever limits its time cuts it off."""
    waiting = asyncio.Event()
    upstream.answer(reached(waiting), UNTIL_GONE)
    sending = asyncio.create_task(SENDER.send(at(upstream.url), ALERT))
    await waiting.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await upstream.quiet()


async def test_certificates_count_as_the_operating_system_has_it() -> None:
    """One that it does not know is told so; with one that is known it arrives."""
    async with ScriptedUpstream(tls=True) as receiver:
        with pytest.raises(SendFailed, match="certificate that is not trusted"):
            await SENDER.send(at(receiver.url), ALERT)
    known = WebhookSender(secret_of, clock=lambda: AT)
    known._trust = await asyncio.to_thread(trust, str(CA_FILE))
    async with ScriptedUpstream(tls=True) as receiver:
        assert await known.send(at(receiver.url), ALERT) == 200
    assert (await asyncio.to_thread(trust)).verify_mode is ssl.CERT_REQUIRED


async def test_proxies_of_the_environment_are_not_used(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await SENDER.send(at(upstream.url), ALERT) == 200


async def test_without_what_signs_nothing_is_sent(upstream: ScriptedUpstream) -> None:
    def away(destination_id: str) -> bytes:
        raise SettingsError(["alerts-secret is away"])

    with pytest.raises(SendFailed, match="cannot be read"):
        await WebhookSender(away).send(at(upstream.url), ALERT)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://", "not a URL that can be sent to"),
        ("https://x.example:port/SECRET", "not a URL that can be sent to"),
        ("https://x.example:0/SECRET", "not a URL that can be sent to"),
        ("https://x.example/SECRET path", "not a URL that can be sent to"),
        ("https://x.example\\@y.example/SECRET", "not a URL that can be sent to"),
        ("https://bücher.example/SECRET", "not a URL that can be sent to"),
        ("https://[::1/SECRET", "not a URL that can be sent to"),
        ("https://user:SECRET@x.example/", "must not hold a user or a password"),
        ("http://x.example/SECRET", "write https://, or set IRG_ALLOW_PLAIN_ALERTS=true"),
        ("http://10.0.0.1/SECRET", "unencrypted"),
        ("http://localhost.x.example/SECRET", "unencrypted"),
    ],
)
async def test_an_address_that_cannot_be_sent_to_is_refused(address: str, says: str) -> None:
    """With what to write, and without repeating it; it would not be sent to either."""
    with pytest.raises(BadValue, match=says) as told:
        await SENDER.check(address)
    assert "SECRET" not in told.value.message
    if "@x" not in address:
        with pytest.raises(SendFailed):
            await SENDER.send(at(address), ALERT)


@pytest.mark.parametrize(
    "address",
    ["https://x.example/a?b=c", "HTTPS://X.example", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"],
)
async def test_an_address_that_can_be_sent_to_passes(address: str) -> None:
    await SENDER.check(address)


async def test_a_declared_network_may_be_plain() -> None:
    await WebhookSender(secret_of, allow_plain=True).check("http://hooks.internal/")
