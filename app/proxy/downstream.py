"""The client's side of one exchange: head, body, and the end or the cut.

Every byte to the client passes here: backpressure and its deadline, the watch for a
reflected upstream key, and a silent no-op once the client has left (the exchange reads
on). Called by `endpoint` and `relay`; knows nothing of upstreams or the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any

from app.core.errors import ApiError
from app.core.reflection import ReflectionMatcher
from app.proxy.guard import Connection

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]


class ReflectedKey(Exception):
    """The answer contains the upstream key; what stood before it has been sent."""


class Downstream:
    def __init__(self, send: Send, connection: Connection, *, stall_seconds: float, secret: bytes | None) -> None:
        self._send = send
        self._connection = connection
        self._stall_seconds = stall_seconds
        self._secret = secret
        self._matcher = ReflectionMatcher(secret) if secret is not None else None
        self.started = False
        self.ended = False
        self.measured = False  # the head announced a length: nothing may be added

    @property
    def held(self) -> bool:
        """True while bytes wait that may begin the upstream key."""
        return self._matcher is not None and self._matcher.held > 0

    async def head(self, status: int, headers: HeaderList) -> None:
        """Sends status and headers, with a Date if the upstream sent none."""
        self.started = True
        self.measured = any(name == b"content-length" for name, _ in headers)
        if not any(name == b"date" for name, _ in headers):
            headers.append((b"date", http_date()))
        await self._deliver({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, chunk: bytes) -> None:
        """Sends bytes of the body. Raises: `ReflectedKey`."""
        if self._matcher is not None:
            chunk = self._matcher.feed(chunk)
        if chunk:
            await self._deliver({"type": "http.response.body", "body": chunk, "more_body": True})
        if self._matcher is not None and self._matcher.found:
            raise ReflectedKey

    async def flush(self) -> None:
        """Sends what was held back as a possible beginning of the upstream key."""
        if self._matcher is not None and (chunk := self._matcher.flush()):
            await self._deliver({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """Ends the answer as its framing says: complete."""
        await self.flush()
        self.ended = True
        await self._deliver({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Sends a complete answer. Raises: `ReflectedKey`, then nothing was sent."""
        if self._secret is not None and self._secret in body:
            raise ReflectedKey
        await self.head(status, headers)
        self.ended = True
        await self._deliver({"type": "http.response.body", "body": body, "more_body": False})

    async def error(self, error: ApiError, request_id: str, *, close: bool = False) -> None:
        """Sends an answer of the gateway's own making."""
        body = error.body()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"x-irg-request-id", request_id.encode()),
            (b"x-error-source", b"gateway"),
            *((name.encode(), value.encode("latin-1")) for name, value in error.headers),
        ]
        if close:
            headers.append((b"connection", b"close"))
        await self.head(error.status, headers)
        self.ended = True
        await self._deliver({"type": "http.response.body", "body": body, "more_body": False})

    def cut(self) -> None:
        """Closes the connection without the end of the answer; what was sent is flushed first."""
        if not self.ended:
            self.ended = True
            self._connection.cut()

    async def _deliver(self, message: MutableMapping[str, Any]) -> None:
        connection = self._connection
        if connection.paused and not await connection.writable(self._stall_seconds):
            connection.abort()
        if not connection.gone:
            await self._send(message)


_date_second = -1
_date = b""


def http_date() -> bytes:
    """The Date header's value, made once a second."""
    global _date_second, _date
    second = int(time.time())
    if second != _date_second:
        _date_second, _date = second, formatdate(second, usegmt=True).encode()
    return _date
