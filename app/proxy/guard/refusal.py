"""An answer for what never became a request: the bytes of an error that closes the connection."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.core.errors import ApiError
from app.core.ids import new_id
from app.proxy.http_date import http_date


def refusal_bytes(error: ApiError) -> bytes:
    """Head and body; nobody reads a request behind it."""
    body, request_id = error.body(), new_id("req").encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
        (b"x-irg-request-id", request_id),
        (b"x-error-source", b"gateway"),
        *((name.encode(), value.encode("latin-1")) for name, value in error.headers),
        (b"date", http_date()),
        (b"connection", b"close"),
    ]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[error.status] + lines + b"\r\n" + body
