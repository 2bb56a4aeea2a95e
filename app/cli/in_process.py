"""The admin API without a gateway: the same routes over a ledger that this process opens itself.

Lives here: an httpx transport that calls the application directly and hands its answer on as
it comes (httpx's own collects it whole, which an export of a whole ledger must not). Called by
`client` when no gateway runs on the database.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx

from app.admin.who import PROCESS_EXTENSION

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# Pieces of an answer that may wait to be read: enough to keep both sides busy.
PIECES_MAX = 4


class InProcessTransport(httpx.AsyncBaseTransport):
    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = _Call(self._app, _scope(request), await request.aread())
        start = await call.start()
        return httpx.Response(start["status"], headers=start["headers"], stream=call)


def _scope(request: httpx.Request) -> Message:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": None,
        "server": None,
        "extensions": {PROCESS_EXTENSION: {}},
    }


class _Call(httpx.AsyncByteStream):
    """One request to the application, run in a task of its own; its answer's body as a stream."""

    def __init__(self, app: AsgiApp, scope: Message, body: bytes) -> None:
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(PIECES_MAX)
        self._body: bytes | None = body
        self._failure: Exception | None = None
        self._task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: AsgiApp, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        except Exception as error:  # whatever it is, the reader gets it
            self._failure = error
        await self._messages.put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # who asks again waits for a client to leave: this one does by cancelling
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def start(self) -> Message:
        """The head of the answer. Raises: what the application raised instead of one."""
        message = await self._messages.get()
        if message is None:
            raise self._failure or httpx.RemoteProtocolError("no answer")
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            if content := message.get("body"):
                yield content
        if self._failure is not None:
            raise self._failure

    async def aclose(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
