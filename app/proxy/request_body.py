"""Reads a request's body whole, within bounds, before anything is decided over it.

Called by `endpoint`. The bytes are the ones that will be forwarded; nothing here looks inside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from app.core.errors import body_too_large, request_timeout
from app.proxy.guard import Connection
from app.proxy.inflight import Inflight

HeaderList = Sequence[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# After an early answer so much is read on, so that the client sees the answer and not a reset.
DISCARD_BYTES_MAX = 1024 * 1024
DISCARD_SECONDS_MAX = 1.0

# A body may come as slowly as the slowest of lines; what is slower yet only keeps a place.
BYTES_PER_SECOND_MIN = 1024


# So much is put together beside the loop: where Python lets its lock go over it, 10 MB take 10 ms.
JOINED_BESIDE_BYTES = 1024 * 1024


class ClientLeft(Exception):
    """The client left before its request was complete; there is nobody to answer."""


class RequestBody:
    """The body of one request: read once, released once."""

    __slots__ = (
        "_bytes_max",
        "_connection",
        "_headers",
        "_inflight",
        "_late",
        "_receive",
        "_stall_seconds",
        "_taken_bytes",
        "complete",
    )

    def __init__(
        self,
        receive: Receive,
        headers: HeaderList,
        connection: Connection,
        inflight: Inflight,
        *,
        bytes_max: int,
        stall_seconds: float,
    ) -> None:
        self._receive = receive
        self._headers = headers
        self._connection = connection
        self._inflight = inflight
        self._bytes_max = bytes_max
        self._stall_seconds = stall_seconds
        self._taken_bytes = 0
        self._late = False
        self.complete = False

    def take_whole(self, key_id: str) -> bytes | None:
        """The whole body, as one of this key's, if all of it is there; None: `read` it. Raises: `ApiError` 413, 503."""
        body = self._connection.take_body()
        if body is None:
            if any(name == b"content-length" and int(value) > self._bytes_max for name, value in self._headers):
                raise body_too_large(self._bytes_max)
            return None
        self.complete = True
        if len(body) > self._bytes_max:
            raise body_too_large(self._bytes_max)
        self._inflight.came_whole(key_id, len(body))
        self._taken_bytes = len(body)
        return body

    async def read(self, key_id: str) -> bytes:
        """The body as it comes, where `take_whole` had none. Raises: `ApiError` 408, 413, 503; `ClientLeft`."""
        self._inflight.body_begins(key_id)
        try:
            return await self._whole(key_id)
        finally:
            self._inflight.body_ends(key_id, self._taken_bytes)

    async def _whole(self, key_id: str) -> bytes:
        chunks: list[bytes] = []
        total = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + self._stall_seconds
        while not self.complete:
            chunk = await self._next_in_time(end - loop.time())
            # What came quickly is no credit for what does not come.
            end = min(end + len(chunk) / BYTES_PER_SECOND_MIN, loop.time() + self._stall_seconds)
            total += len(chunk)
            if total > self._bytes_max:
                raise body_too_large(self._bytes_max)
            self._inflight.take_bytes(key_id, len(chunk))
            self._taken_bytes += len(chunk)
            chunks.append(chunk)
        return await _joined(chunks, total)

    def release(self) -> None:
        """Gives the bytes back to the bound of all bodies; the caller drops its reference too."""
        taken, self._taken_bytes = self._taken_bytes, 0
        self._inflight.give_bytes(taken)

    async def discard(self) -> None:
        """Reads on after an early answer, within bounds; `complete` tells whether the end was reached."""
        if self.complete or self._late or any(name == b"expect" for name, _ in self._headers):
            return
        total = 0
        try:
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                while not self.complete and total <= DISCARD_BYTES_MAX:
                    total += len(await self._next())
        except (TimeoutError, ClientLeft):
            return

    async def _next_in_time(self, seconds: float) -> bytes:
        """A machine that fell asleep says nothing, not even that it left: its place and its bytes must come back."""
        try:
            async with asyncio.timeout(seconds):
                return await self._next()
        except TimeoutError:
            self._late = True
            raise request_timeout("request's body") from None

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        self.complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


async def _joined(chunks: list[bytes], total: int) -> bytes:
    if len(chunks) == 1:
        return chunks[0]
    return await asyncio.to_thread(b"".join, chunks) if total > JOINED_BESIDE_BYTES else b"".join(chunks)
