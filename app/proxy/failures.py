"""Delays the answers to wrong keys and tokens, by the address they come from; no other answer.

Called by `endpoint` for the data plane and by `main` for every other route. An address that limits do
not count (see `core.addresses`) is never delayed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.core.failures import FailureDelays
from app.proxy.guard import connection_of

# So many wait at once; beyond them the answer comes at once, so that no flood of failures is kept in memory.
WAITING_MAX = 1000

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class FailureLimiter:
    def __init__(self) -> None:
        self._delays = FailureDelays()
        self.waiting = 0

    async def failed(self, address: str | None) -> None:
        """Notes a failure of this address, and waits as long as it must."""
        if address is None:
            return
        seconds = self._delays.failed(address, time.monotonic())
        if not seconds or self.waiting >= WAITING_MAX:
            return
        self.waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.waiting -= 1

    def around(self, app: AsgiApp, *, own: frozenset[bytes]) -> AsgiApp:
        """The application, with each answer of status 401 delayed; the paths in `own` delay theirs themselves."""

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start" and message["status"] == 401:
                    await self.failed(connection_of(scope).client)
                await send(message)

            await app(scope, receive, send if scope.get("raw_path") in own else sending)

        return limited
