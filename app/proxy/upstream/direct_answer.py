"""One answer of the direct transport: filled by its wire, emptied by its reader. Made by `direct_wire`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.proxy.upstream.connecting import AHEAD_BYTES, framing_of
from app.proxy.upstream.port import Fault, Framing, Headers, Named, Take, UpstreamError

if TYPE_CHECKING:
    from app.proxy.upstream.direct_wire import Wire

NEVER = float("inf")

# No status: the head has not come.
_NO_STATUS = 0
_NO_NAMES: Named = {}


class DirectAnswer:
    """`Answer` over a wire. The wire fills it; its reader empties it, or makes the peer wait."""

    __slots__ = (
        "_ahead_bytes",
        "_chunks",
        "_clock",
        "_failure",
        "_idle_seconds",
        "_loop",
        "_news",
        "_take",
        "_wire",
        "ended",
        "framing",
        "headers",
        "is_awaited",
        "named",
        "status",
    )

    def __init__(self, wire: Wire, idle_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.status = _NO_STATUS
        self.headers: Headers = ()
        self.named: Named = _NO_NAMES
        self.framing = Framing.NONE
        self.ended = False
        self.is_awaited = False  # somebody waits for what comes next
        self._loop, self._clock = loop, loop.time
        self._wire: Wire | None = wire
        self._idle_seconds = idle_seconds
        self._chunks: list[bytes] = []  # a handful at most, and mostly none: a deque takes 0.7 KiB for that
        self._ahead_bytes = 0
        self._failure: UpstreamError | None = None
        self._news: asyncio.Future[None] | None = None
        self._take: Take | None = None  # who gets what comes before the reader does

    async def begun(self, head_seconds: float) -> None:
        """Waits for the head. Raises: `UpstreamError`, `UpstreamTimeout`."""
        deadline = self._clock() + head_seconds
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._told(deadline)

    async def read(self) -> bytes | None:
        while not self._is_ready:
            await self._told(self._clock() + self._idle_seconds)
        return self._next()

    async def pour(self, take: Take) -> bytes | None:
        while True:
            while not self._is_ready:
                self._take = take
                try:
                    await self._told(self._clock() + self._idle_seconds)
                finally:
                    self._take = None
            chunk = self._next()
            if chunk is None or not take(chunk):
                return chunk

    @property
    def _is_ready(self) -> bool:
        return bool(self._chunks) or self._failure is not None or self.ended

    def _next(self) -> bytes | None:
        if not self._chunks:
            if self._failure is not None:
                raise self._failure
            return None
        chunk = self._chunks.pop(0)
        self._ahead_bytes -= len(chunk)
        if self._ahead_bytes <= AHEAD_BYTES and self._wire is not None:
            self._wire.resume()
        return chunk

    def take_rest(self) -> bytes | None:
        if not self.ended or self._failure is not None:
            return None
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return body

    def abort(self) -> None:
        self._chunks.clear()
        if self._wire is not None:
            self._wire.fail(Fault.ABORTED)
        else:
            self._failure = UpstreamError(Fault.ABORTED, sent=True)

    @property
    def closed(self) -> bool:
        return self.ended

    async def aclose(self) -> None:
        if not self.ended:
            self.abort()

    # The wire calls these.

    def keep(self, chunk: bytes) -> bool:
        """Hands a chunk to whoever takes it, or lays it out for the reader; True when the reader is far behind."""
        take = self._take
        if take is not None and self.is_awaited:
            try:
                taken = take(chunk)
            except Exception:  # not the connection's: the reader, who gives it the chunk again, shall meet it
                taken = False
            if taken:
                if self._wire is not None:
                    self._wire.deadline = self._clock() + self._idle_seconds
                return False
        self._chunks.append(chunk)
        self._ahead_bytes += len(chunk)
        self._tell()
        return self._ahead_bytes > AHEAD_BYTES

    def head(self, status: int, headers: Headers) -> None:
        self.headers, self.named = headers, dict(headers)
        self.framing, self.status = framing_of(status, self.named), status
        self._tell()

    def end(self, failure: UpstreamError | None = None) -> None:
        """The wire has nothing more to do with it."""
        self._wire, self._failure, self.ended = None, failure, failure is None
        self._tell()

    def _tell(self) -> None:
        if self.is_awaited and self._news is not None:
            self.is_awaited = False
            if not self._news.done():
                self._news.set_result(None)

    async def _told(self, deadline: float) -> None:
        if (wire := self._wire) is None:
            return
        if self.is_awaited:
            raise RuntimeError("two tasks read one answer")
        self._news = self._loop.create_future()
        self.is_awaited = True
        wire.deadline = deadline
        try:
            await self._news
        finally:
            self.is_awaited, self._news = False, None
            if self._wire is wire:  # else it may serve another answer by now
                wire.deadline = NEVER
