"""What the head of an answer says, and what of it the client gets. Called by `endpoint` and `relay`."""

from __future__ import annotations

from app.core.errors import ApiError
from app.core.headers import client_response_headers
from app.core.records import NO_ALLOWANCES
from app.core.refusals import has_rate, limit_headers
from app.core.tap import EVENT_STREAM, media_type
from app.proxy.downstream import HeaderList
from app.proxy.exchange import Exchange
from app.proxy.upstream.port import Answer, Framing


def response_headers(
    exchange: Exchange, answer: Answer, secret: bytes | None, *, closing: bool
) -> tuple[HeaderList, str | None]:
    """The head for the client: what may cross of the upstream's, and ours; and the upstream's own id of the request."""
    allowances = exchange.admitted.allowances if exchange.admitted is not None else NO_ALLOWANCES
    headers, upstream_id = client_response_headers(
        answer.headers,
        request_id=exchange.request_id,
        upstream_key=secret,
        replace_ratelimit=has_rate(allowances),
    )
    if allowances is not NO_ALLOWANCES:
        headers += limit_headers(allowances)
    if closing:
        headers.append((b"connection", b"close"))
    return headers, upstream_id


def is_stream(answer: Answer) -> bool:
    return media_type(answer.named.get(b"content-type")) == EVENT_STREAM


def content_length(answer: Answer) -> int | None:
    return int(answer.named[b"content-length"]) if answer.framing is Framing.LENGTH else None


def with_retry_headers(error: ApiError, headers: HeaderList) -> ApiError:
    """Our stand-in keeps what the upstream said about trying again."""
    kept = tuple(
        (name.decode(), value.decode("latin-1"))
        for name, value in headers
        if name in (b"retry-after", b"retry-after-ms", b"x-should-retry")
    )
    return ApiError(error.status, error.code, error.message, type=error.type, headers=error.headers + kept)
