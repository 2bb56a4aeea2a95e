"""Reads a request's body whole, within bounds, before anything is decided over it.

Called by `endpoint`. The bytes are the ones that will be forwarded; nothing here looks inside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.core.errors import body_too_large, encoded_body
from app.proxy.inflight import Inflight

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# After an early answer so much is read on, so that the client sees the answer and not a reset.
DISCARD_BYTES_MAX = 1024 * 1024
DISCARD_SECONDS_MAX = 1.0


class ClientLeft(Exception):
    """The client left before its request was complete; there is nobody to answer."""


class RequestBody:
    """The body of one request: read once, released once."""

    def __init__(
        self,
        receive: Receive,
        headers: dict[bytes, bytes],
        inflight: Inflight,
        *,
        bytes_max: int,
        stall_seconds: float,
    ) -> None:
        self._receive = receive
        self._headers = headers
        self._inflight = inflight
        self._bytes_max = bytes_max
        self._stall_seconds = stall_seconds
        self._taken_bytes = 0
        self.complete = False

    async def read(self) -> bytes:
        """The whole body. Raises: `ApiError` 413, 415, 503; `ClientLeft`."""
        encoding = self._headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"", b"identity"):
            raise encoded_body(encoding.decode("latin-1"))
        announced = self._headers.get(b"content-length")
        if announced is not None and int(announced) > self._bytes_max:
            raise body_too_large(self._bytes_max)
        chunks: list[bytes] = []
        total = 0
        while not self.complete:
            chunk = await self._next_in_time()
            total += len(chunk)
            if total > self._bytes_max:
                raise body_too_large(self._bytes_max)
            self._inflight.take_bytes(len(chunk))
            self._taken_bytes += len(chunk)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> None:
        """Gives the bytes back to the bound of all bodies; the caller drops its reference too."""
        taken, self._taken_bytes = self._taken_bytes, 0
        self._inflight.give_bytes(taken)

    async def discard(self) -> None:
        """Reads on after an early answer, within bounds; `complete` tells whether the end was reached."""
        if self.complete or b"expect" in self._headers:
            return
        total = 0
        try:
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                while not self.complete and total <= DISCARD_BYTES_MAX:
                    total += len(await self._next())
        except (TimeoutError, ClientLeft):
            return

    async def _next_in_time(self) -> bytes:
        """A machine that fell asleep says nothing, not even that it left: its place and its bytes must come back."""
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await self._next()
        except TimeoutError:
            raise ClientLeft from None

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        self.complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body
