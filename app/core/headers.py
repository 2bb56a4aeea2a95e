"""Which headers cross the gateway, in each direction: allow-list up, deny-list down.

Rule: the upstream learns nothing of who asks (no team key, cookie, address, organisation);
the client gets every end-to-end header but those that would act on the gateway's own origin
or carry the upstream key. Sources: RFC 9110 §7.6.1 (hop-by-hop: a fixed list and what
`Connection` nominates), the OpenAI SDKs (which headers they send and read).
Names are compared in lower case, which is how ASGI and the transports give them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Headers = Iterable[tuple[bytes, bytes]]
HeaderList = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# What the gateway writes itself, or what must never reach the upstream: IRG_FORWARD_HEADERS may not name it.
NEVER_FORWARDED = HOP_BY_HOP | {
    b"authorization",
    b"cookie",
    b"host",
    b"content-length",
    b"accept-encoding",
    b"expect",
    b"forwarded",
    b"via",
    b"x-api-key",
    b"x-request-id",
    b"x-real-ip",
}

_FORWARDED = frozenset({b"content-type", b"accept", b"user-agent", b"openai-beta"})
_FORWARDED_PREFIX = b"x-stainless-"
_NEVER_FORWARDED_PREFIX = b"x-forwarded-"

_NOT_FOR_CLIENTS = HOP_BY_HOP | {
    b"set-cookie",
    b"set-cookie2",
    b"strict-transport-security",
    b"content-security-policy",
    b"content-security-policy-report-only",
    b"x-frame-options",
    b"alt-svc",
    b"nel",
    b"report-to",
    b"reporting-endpoints",
    b"clear-site-data",
    b"location",
    b"www-authenticate",
    b"x-request-id",  # written below, from the upstream's value
    b"x-error-source",
    b"x-accel-buffering",
}
_NOT_FOR_CLIENTS_PREFIXES = (b"access-control-", b"x-irg-")

_NAME = re.compile(rb"[!#$%&'*+.^`|~0-9a-z-]+")  # RFC 9110 token, less "_": proxies read it as "-"
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_REQUEST_ID_BYTES_MAX = 200


def may_be_forwarded(name: bytes) -> bool:
    """Whether an operator may let this request header through (lower case)."""
    if name in NEVER_FORWARDED or name.startswith(_NEVER_FORWARDED_PREFIX):
        return False
    return _NAME.fullmatch(name) is not None


def upstream_request_headers(
    headers: Headers, *, credential: bytes, host: bytes, content_length: int, extra: frozenset[bytes] = frozenset()
) -> HeaderList:
    """The head of the upstream request: the credentials are swapped here, and only listed headers cross.

    `credential` is the whole Authorization value; `extra` are further names that the operator lets through.
    """
    nominated = _nominated(headers := list(headers))
    crossing: HeaderList = [
        (b"host", host),
        (b"authorization", credential),
        (b"accept-encoding", b"identity"),
        (b"content-length", b"%d" % content_length),
    ]
    for name, value in headers:
        listed = name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) or name in extra
        if listed and name not in nominated and may_be_forwarded(name) and _BAD_VALUE.search(value) is None:
            crossing.append((name, value))
    return crossing


def client_response_headers(
    headers: Headers, *, request_id: str, upstream_key: bytes | None, replace_ratelimit: bool = False
) -> HeaderList:
    """The head of the client's answer: end-to-end headers of the upstream, and our two request ids.

    `upstream_key`: no value that contains it crosses. `replace_ratelimit`: ours stand in for the upstream's.
    """
    nominated = _nominated(headers := list(headers))
    crossing: HeaderList = []
    for name, value in headers:
        if name in _NOT_FOR_CLIENTS or name in nominated or name.startswith(_NOT_FOR_CLIENTS_PREFIXES):
            continue
        if replace_ratelimit and name.startswith(b"x-ratelimit-"):
            continue
        if _NAME.fullmatch(name) is not None and _clean(value, upstream_key):
            crossing.append((name, value))
    ours = request_id.encode("ascii")
    theirs = upstream_request_id(headers)
    shown = theirs.encode("latin-1") if theirs is not None else ours
    crossing.append((b"x-request-id", shown if _clean(shown, upstream_key) else ours))
    crossing.append((b"x-irg-request-id", ours))
    return crossing


def upstream_request_id(headers: Headers) -> str | None:
    """The upstream's own id of the request, if it told a usable one."""
    for name, value in headers:
        if name == b"x-request-id":
            usable = 0 < len(value) <= _REQUEST_ID_BYTES_MAX and value.isascii() and _BAD_VALUE.search(value) is None
            return value.decode("ascii") if usable else None
    return None


def _clean(value: bytes, upstream_key: bytes | None) -> bool:
    if upstream_key and upstream_key in value:
        return False
    return _BAD_VALUE.search(value) is None


def _nominated(headers: Sequence[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The names that a Connection header declares to be of this hop only."""
    values = [value for name, value in headers if name == b"connection"]
    if not values:
        return frozenset()
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))
