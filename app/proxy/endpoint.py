"""The story of one request: authenticate, read, admit and hold, forward, relay, settle, close.

One plain ASGI callable, registered as a FastAPI route and reached by a short cut in front
of the app. Read `_exchange` first: it is the whole product in order. Where things happen:
the key is swapped in `head`, the hold is taken in `Exchange.admit`, the cost is
settled in `Exchange.settle` (called by `Relay` before the end is sent, and wherever that is
not reached), a request is refused by any `ApiError`, an answer is cut in `_broken` (the
upstream failed) and `_reflected` (it contains the upstream key).
"""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from typing import Any

from app.accounts.keyring import Identified, Keyring
from app.accounts.ledger import Ledger
from app.accounts.pricing import Pricing
from app.core.error_event import error_event
from app.core.errors import (
    ApiError,
    encoded_body,
    gateway_fault,
    invalid_api_key,
    ledger_unavailable,
    upstream_connect_timeout,
    upstream_disconnected,
    upstream_timeout,
    upstream_unreachable,
    wrong_method,
    wrong_path,
)
from app.core.records import Intent, Outcome, Reading, ReferenceRules
from app.core.tap import Tap, open_tap
from app.core.value import Value, replace
from app.core.verdict import Break
from app.proxy.allowed import Allowed, check_policy
from app.proxy.answer_head import response_headers
from app.proxy.downstream import Downstream, ReflectedKey, Send
from app.proxy.exchange import ClientGone, Exchange
from app.proxy.failures import FailureLimiter
from app.proxy.guard import connection_of
from app.proxy.head import Head, Heads, UpstreamCredential
from app.proxy.inflight import Inflight
from app.proxy.notices import Notices
from app.proxy.policy import Policy, read_policy
from app.proxy.relay import Relay, finished
from app.proxy.request_body import ClientLeft, Receive, RequestBody
from app.proxy.upstream.port import Answer, Upstream, UpstreamError, UpstreamRequest, UpstreamTimeout
from app.store.port import LedgerLost, LedgerUnavailable
from app.telemetry import get_logger

PATHS = frozenset({b"/v1/openai/responses", b"/v1/responses"})

log = get_logger("proxy")


class ProxySettings(Value, frozen=True):
    """What the hot path needs of the settings, as plain values."""

    base_url: str
    upstream_host: bytes
    request_bytes_max: int
    client_gone: ClientGone
    client_stall_seconds: float
    stream_error_event: bool
    allowed: Allowed
    reference_rules: ReferenceRules
    forward_headers: frozenset[bytes]


class ResponsesEndpoint:
    """`POST /v1/openai/responses`, for every team key, over one upstream."""

    def __init__(
        self,
        settings: ProxySettings,
        credential: UpstreamCredential,
        keyring: Keyring,
        ledger: Ledger,
        upstream: Upstream,
        inflight: Inflight,
        pricing: Pricing,
        notices: Notices,
        failures: FailureLimiter,
    ) -> None:
        self.credential = credential  # replaced as a whole when the key is read again
        self._settings = settings
        self._heads = Heads(host=settings.upstream_host, extra=settings.forward_headers)
        self._keyring = keyring
        self._ledger = ledger
        self._upstream = upstream
        self._inflight = inflight
        self._pricing = pricing
        self._notices = notices
        self._failures = failures

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        connection, credential = connection_of(scope), self.credential
        secret = credential.watched
        down = Downstream(send, connection, stall_seconds=self._settings.client_stall_seconds, secret=secret)
        exchange = Exchange(connection, self._ledger, self._inflight, self._settings.client_gone, secret)
        body = RequestBody(
            receive,
            scope["headers"],
            connection,
            self._inflight,
            bytes_max=self._settings.request_bytes_max,
            stall_seconds=self._settings.client_stall_seconds,
        )
        try:
            async with exchange:
                await self._exchange(exchange, scope, body, down, credential)
        except (ApiError, LedgerUnavailable) as error:
            refusal = error if isinstance(error, ApiError) else ledger_unavailable()
            await body.discard()
            if refusal.status == 401:
                await self._failures.failed(connection.client)
            closing = self._inflight.draining or not body.complete
            await down.error(refusal, exchange.request_id, close=closing)
        except LedgerLost:
            log.critical("settlement_lost", request_id=exchange.request_id)
            down.cut()
        except ClientLeft:
            down.cut()
        except Exception:  # a fault of our own, and still an answer that the SDKs understand
            log.exception("gateway_fault", request_id=exchange.request_id)
            if down.started:
                down.cut()
            else:
                await down.error(gateway_fault(), exchange.request_id, close=True)
        finally:
            body.release()

    async def _exchange(
        self,
        exchange: Exchange,
        scope: MutableMapping[str, Any],
        body: RequestBody,
        down: Downstream,
        credential: UpstreamCredential,
    ) -> None:
        self._check_route(scope)
        head = self._heads.read(exchange.connection, scope["headers"], credential)
        if head.secret_hash is None:
            raise invalid_api_key()
        key = self._keyring.known(head.secret_hash) or await self._keyring.identified(head.secret_hash)
        if key is None:
            raise invalid_api_key()
        exchange.take_place()  # not before: strangers would take them all
        content, policy = await self._read(scope, head, body, key)
        if exchange.connection.gone:
            raise ClientLeft
        intent = _intent(exchange, key, policy, head, self._pricing, self._settings.reference_rules)
        await exchange.admit(intent, self._pricing, policy.references)
        tap: Tap | None = None
        relay: Relay | None = None
        try:
            answer = await exchange.open(self._upstream, UpstreamRequest(head.upward, content))
            del content
            body.release()
            tap = _tap(answer, policy)
            headers, exchange.upstream_id = response_headers(
                exchange, answer, credential.watched, closing=self._inflight.draining
            )
            relay = Relay(exchange, answer, tap, down, headers, self._notices)
            await relay.run()
        except UpstreamError as error:
            await self._broken(exchange, error, tap, down)
        except ReflectedKey:
            await self._reflected(exchange, relay, down)

    # --- before the ledger -----------------------------------------------------------------

    def _check_route(self, scope: MutableMapping[str, Any]) -> None:
        """The raw path decides: an encoded or doubled slash is another path."""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if path not in PATHS:
            raise wrong_path(path.decode("latin-1"), self._settings.base_url)
        if scope["method"] != "POST":
            raise wrong_method(scope["method"], "POST")

    async def _read(
        self, scope: MutableMapping[str, Any], head: Head, body: RequestBody, key: Identified
    ) -> tuple[bytes, Policy]:
        """The body, and what it asks for. Raises: `ApiError`; of a key that is refused always the same."""
        try:
            if head.coding is not None:
                raise encoded_body(head.coding.decode("latin-1"))
            content = body.take_whole(key.key_id)
            if content is None:
                content = await body.read(key.key_id)
            policy = await read_policy(content)
            check_policy(policy, self._settings.allowed)
        except ApiError:  # before the admission, which judges the key: who may not ask is told nothing of the body
            if await self._keyring.holder(dict(scope["headers"])[b"authorization"]) is None:
                raise invalid_api_key() from None
            raise
        return content, policy

    # --- when the upstream fails -------------------------------------------------------------

    async def _broken(self, exchange: Exchange, error: UpstreamError, tap: Tap | None, down: Downstream) -> None:
        """Settles what was learnt, then tells the client: an error answer, an error event, or a bare cut."""
        at_boundary = tap is not None and tap.at_boundary  # asked first: at its end the tap takes a half event in
        reading = await finished(tap) if tap is not None else Reading()
        broke = exchange.broken_by(error)
        at_boundary = at_boundary and not reading.complete
        await exchange.settle(reading, broke)
        refusal = _refusal(error)
        log.warning("upstream_broke", request_id=exchange.request_id, fault=error.fault.value, sent=error.sent)
        if not down.started:
            raise refusal
        if at_boundary and tap is not None and self._settings.stream_error_event and not down.measured:
            await down.flush()
            with contextlib.suppress(ReflectedKey):
                await down.body(error_event(refusal, tap.last_sequence_number))
        down.cut()

    async def _reflected(self, exchange: Exchange, relay: Relay | None, down: Downstream) -> None:
        """The answer contains our upstream key: nothing more of it may leave, but it is read on for its cost."""
        log.critical("upstream_key_reflected", request_id=exchange.request_id)
        withheld = not down.started
        if not withheld:
            down.cut()
        reading = await relay.read_on() if relay is not None else Reading()
        failed = replace(reading, failed=True)  # it is the upstream's fault, not a client that left
        await exchange.settle(failed, Break("upstream_key_reflected", Outcome.UPSTREAM_ERROR))
        if withheld:
            raise upstream_disconnected("its answer was withheld")


def _intent(
    exchange: Exchange,
    key: Identified,
    policy: Policy,
    head: Head,
    pricing: Pricing,
    rules: ReferenceRules,
) -> Intent:
    return Intent(
        request_id=exchange.request_id,
        key_id=key.key_id,
        secret_hash=key.secret_hash,
        created_at=exchange.created_at,
        model=policy.model,
        stream=policy.stream,
        sdk_retry=head.sdk_retry,
        references=tuple(policy.references),
        rules=rules,
        asked=pricing.asked(
            policy.model, prompt_tokens=policy.prompt_tokens, max_output_tokens=policy.max_output_tokens
        ),
    )


def _tap(answer: Answer, policy: Policy) -> Tap:
    named = answer.named
    encoding = named.get(b"content-encoding")
    if answer.status >= 400:  # an error is one JSON object, or it is replaced
        return open_tap(b"application/json", encoding, requested_stream=False)
    return open_tap(named.get(b"content-type"), encoding, requested_stream=policy.stream)


def _refusal(error: UpstreamError) -> ApiError:
    """Which status an upstream failure becomes; after the request was sent, the SDKs must not send it again."""
    timed_out = isinstance(error, UpstreamTimeout)
    if not error.sent:
        return (upstream_connect_timeout if timed_out else upstream_unreachable)(error.fault.value)
    return (upstream_timeout if timed_out else upstream_disconnected)(error.fault.value)
