"""The sending half of one ASGI exchange, in the words that the simulator thinks in."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Headers = tuple[tuple[str, str], ...]


class Wire:
    """One answer: a head, pieces of body, an end. Returning without `last` makes the server cut the connection."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.request_id = f"sim-{secrets.token_hex(12)}"

    async def body(self) -> bytes:
        """The request's body. Raises: `ConnectionError` when the client left inside it."""
        received: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left inside its request")
            received.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(received)

    async def head(
        self, status: int, content_type: str | None, *, length: int | None = None, headers: Headers = ()
    ) -> None:
        named = [("content-type", content_type), ("content-length", length), ("x-request-id", self.request_id)]
        told = [*((name, str(value)) for name, value in named if value is not None), *headers]
        if length is None:
            told.append(("cache-control", "no-cache"))
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def more(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def last(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": False})

    async def gone(self) -> None:
        """Returns when the other side has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
