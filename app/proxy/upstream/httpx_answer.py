"""One request to the upstream and its answer, fetched by a task of its own. Made by `httpx` beside it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import cast

import httpcore

from app.proxy.upstream.connecting import AHEAD_BYTES, PIECE_BYTES, Connecting, again, framing_of, rest_seconds
from app.proxy.upstream.httpx_attempt import Attempt, Phase, current_attempt
from app.proxy.upstream.httpx_faults import failure_of
from app.proxy.upstream.httpx_wire import Wire
from app.proxy.upstream.port import Fault, Framing, Headers, Named, Take, UpstreamError, UpstreamHead, UpstreamRequest

_SENT = UpstreamRequest(UpstreamHead(()), b"")


class HttpxAnswer:
    """`Answer` over an httpcore response, and the task that fetches it.

    The task runs ahead of the reader by `AHEAD_BYTES` at the most.
    """

    def __init__(
        self,
        pool: httpcore.AsyncConnectionPool,
        url: httpcore.URL,
        connecting: Connecting,
        request: UpstreamRequest,
        done: Callable[[], None],
    ) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.named: Named = {}
        self.framing = Framing.NONE
        self._pool = pool
        self._url = url
        self._connecting = connecting
        self._request = request
        self._attempt = self._new_attempt()
        self._chunks: deque[bytes] = deque()
        self._ahead_bytes = 0
        self._ended = False
        self._aborted = False
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: done())

    async def begun(self) -> None:
        """Waits for the head. Raises: `UpstreamError`, `UpstreamTimeout`."""
        try:
            while not self.status and self._failure is None:
                await self._told()
        except asyncio.CancelledError:
            self.abort()
            raise
        if self._failure is not None and not self.status:
            raise self._failure

    async def read(self) -> bytes | None:
        while True:
            if self._aborted:
                raise UpstreamError(Fault.ABORTED, sent=True)
            if self._chunks:
                chunk = self._chunks.popleft()
                self._ahead_bytes -= len(chunk)
                self._room.set()
                return chunk
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            await self._told()

    def take_rest(self) -> bytes | None:
        return None  # a task fetches it piece by piece: there is always something to wait for

    async def pour(self, take: Take) -> bytes | None:
        while (chunk := await self.read()) is not None and take(chunk):
            pass
        return chunk

    def abort(self) -> None:
        self._aborted = True
        self._attempt.abort()
        self._news.set()
        self._room.set()

    @property
    def closed(self) -> bool:
        return self._task.done()

    async def aclose(self) -> None:
        if not self._ended:
            self.abort()
        await asyncio.wait((self._task,))

    async def _told(self) -> None:
        self._news.clear()
        await self._news.wait()

    # The task.

    async def _run(self) -> None:
        try:
            response = await self._send()
            try:
                async for chunk in cast(AsyncIterable[bytes], response.stream):
                    await self._keep(chunk)
                self._end(response)
            finally:
                await response.aclose()
        except Exception as error:
            self._failure = failure_of(error, self._attempt)
        finally:
            self._request = _SENT
            self._news.set()

    async def _send(self) -> httpcore.Response:
        """Sends the request; once more if nothing of it was written. Returns with the head."""
        try:
            response = await self._try()
        except Exception as error:
            if not again(failure_of(error, self._attempt)):
                raise
            self._attempt = self._new_attempt()
            response = await self._try()
        self._request = _SENT  # the body is not held while the answer is read
        unasked = self._attempt.phase is not Phase.HEAD  # bytes that came behind the last answer
        self._attempt.phase = Phase.BODY
        if unasked or response.status < 200:  # 101: nobody asked for another protocol
            self._attempt.disconnect()
            await response.aclose()
            raise httpcore.RemoteProtocolError
        self.headers = [(name.lower(), value) for name, value in response.headers]
        self.named = dict(self.headers)
        self.framing = framing_of(response.status, self.named)
        self.status = response.status
        self._news.set()
        return response

    async def _try(self) -> httpcore.Response:
        current_attempt.set(self._attempt)
        head, content = self._request
        headers = [*head.headers, (b"content-length", b"%d" % len(content))]
        body = _Pieces(content)
        request = httpcore.Request("POST", self._url, headers=headers, content=body)
        try:
            return await self._pool.handle_async_request(request)
        finally:
            body.drop()

    def _new_attempt(self) -> Attempt:
        return Attempt(
            connect_seconds=self._connecting.connect_seconds,
            head_seconds=self._connecting.head_seconds,
            idle_seconds=self._connecting.idle_seconds,
        )

    async def _keep(self, chunk: bytes) -> None:
        """Lays a chunk out for the reader, and waits if the reader is far behind.

        After an abort nothing is kept, and the next read of the wire ends the iteration.
        """
        if self._aborted or not chunk:
            return
        self._chunks.append(chunk)
        self._ahead_bytes += len(chunk)
        self._news.set()
        while self._ahead_bytes > AHEAD_BYTES and not self._aborted:
            self._room.clear()
            await self._room.wait()

    def _end(self, response: httpcore.Response) -> None:
        """The whole body has come: the connection may serve another request, unless more came behind it."""
        self._ended = True
        wire: Wire = response.extensions["network_stream"]
        seconds = rest_seconds(self.named, self._connecting.keepalive_seconds)
        self._attempt.cut = None  # it is nobody's connection now
        wire.rest(0 if _has_more(response) else seconds)


class _Pieces:
    """A request's body, as an iterator that holds it no longer than it must."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = self._body[self._at : self._at + PIECE_BYTES]
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece

    def drop(self) -> None:
        self._body = b""


def _has_more(response: httpcore.Response) -> bool:
    """Bytes behind the end of the answer were read with it: httpcore would take them for the next answer's.

    Only its own parser knows of them; should it hide elsewhere one day, no connection serves twice.
    """
    connection = getattr(getattr(response.stream, "_stream", None), "_connection", None)
    parser = getattr(connection, "_h11_state", None)
    return parser is None or bool(parser.trailing_data[0])
