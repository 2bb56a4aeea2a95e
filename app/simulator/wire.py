"""One exchange in the words that the simulator thinks in: what HTTP can say goes through ASGI, the rest beside it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.simulator.connection import EXTENSION, Connection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Headers = tuple[tuple[str, str], ...]

_REASONS = {100: "Continue", 103: "Early Hints", 200: "OK"}


class Wire:
    """One answer: a head, pieces of body, an end.

    With a length in its head the body is as long as that, without one it is chunked, and
    `close_delimited` it is neither.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._connection: Connection | None = (scope.get("extensions") or {}).get(EXTENSION)
        self._close_delimited = False
        self.request_id = f"sim-{secrets.token_hex(12)}"

    @property
    def connection(self) -> Connection:
        """What is under HTTP. Raises: `RuntimeError` under another server than the simulator's own."""
        if self._connection is None:
            raise RuntimeError("only the simulator's own server can play this (app.simulator.serve)")
        return self._connection

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

    async def interim(self, status: int) -> None:
        """An answer before the answer."""
        hint = "link: </style.css>; rel=preload\r\n" if status == 103 else ""
        await self.connection.write(f"HTTP/1.1 {status} {_REASONS[status]}\r\n{hint}\r\n".encode())

    async def head(
        self,
        status: int,
        content_type: str | None,
        *,
        length: int | None = None,
        headers: Headers = (),
        close_delimited: bool = False,
    ) -> None:
        named = [("content-type", content_type), ("content-length", length), ("x-request-id", self.request_id)]
        told = [*((name, str(value)) for name, value in named if value is not None), *headers]
        if length is None:
            told.append(("cache-control", "no-cache"))
        self._close_delimited = close_delimited
        if close_delimited:
            lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in told)]
            await self.connection.write("\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1"))
            return
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def more(self, content: bytes) -> None:
        if self._close_delimited:
            await self.connection.write(content)
        else:
            await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def last(self, content: bytes = b"") -> None:
        """The last piece, and the end."""
        if self._close_delimited:
            await self.connection.write(content)
            await self.connection.close()
        else:
            await self._send({"type": "http.response.body", "body": content, "more_body": False})
