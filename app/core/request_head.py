"""What a request's head must be beyond what the parser asks: judged once, before anything is decided over it.

Rule: whatever two servers in a row might understand differently is refused (RFC 9112 §3, §6.1, §11.2),
since nobody who asks for a response needs it. Facts: llhttp, without its leniencies, refuses bare LF,
folded lines, two or odd Content-Length, and Content-Length beside Transfer-Encoding; it takes
what is refused here. Pure; called by `proxy.guard`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.core.errors import ApiError, bad_http

HEAD_BYTES_MAX = 32 * 1024
HEADERS_MAX = 100
REQUEST_LINE_BYTES_MAX = 8 * 1024

_LINE = re.compile(rb"[A-Z-]+ /[!\"$-~]* HTTP/1\.[01]")
_ABSOLUTE = re.compile(rb"[A-Z-]+ [A-Za-z][A-Za-z0-9+.-]*:")
_VERSION = re.compile(rb".* HTTP/1\.[01]")

# Names, addresses and a port; what else RFC 3986 would allow there, no client sends and some proxy misreads.
_HOST = re.compile(rb"[A-Za-z0-9._~:\[\]-]*")

_JUDGED = frozenset({b"host", b"transfer-encoding"})


def head_fault(line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> ApiError | None:
    """Why a head is refused; None if it is not. `line`: without its end; `headers`: names in lower case."""
    if _LINE.fullmatch(line) is None:
        return bad_http(_line_fault(line))
    hosts: list[bytes] = []
    codings: list[bytes] = []
    for name, value in headers:
        if name in _JUDGED:
            (hosts if name == b"host" else codings).append(value)
    old = line.endswith(b"0")
    if len(hosts) != 1 and not (old and not hosts):
        return bad_http(f"it has {'no' if not hosts else 'more than one'} Host header; send exactly one")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        return bad_http("its Host header is not a name or an address, with or without a port")
    if codings and (old or len(codings) > 1 or codings[0].lower() != b"chunked"):
        return bad_http(
            "its Transfer-Encoding is not 'chunked' alone, in HTTP/1.1; send a Content-Length, or chunks and no other "
            "coding"
        )
    return None


def _line_fault(line: bytes) -> str:
    if line.startswith(b"CONNECT ") or _ABSOLUTE.match(line) is not None:
        return "it asks a proxy, which this gateway is not; ask for a path alone, such as /v1/openai/responses"
    if _VERSION.fullmatch(line) is None:
        return "its version is not HTTP/1.1"
    return "its first line is not 'METHOD /path HTTP/1.1' with single spaces and without a fragment"
