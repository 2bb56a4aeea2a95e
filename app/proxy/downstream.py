"""The client's side of one exchange: head, body, and the end or the cut.

Every byte to the client passes here: backpressure and its deadline, the watch for a
reflected upstream key, and a silent no-op once the client has left (the exchange reads
on). Called by `endpoint` and `relay`; knows nothing of upstreams or the ledger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.core.errors import ApiError
from app.core.reflection import ReflectionMatcher
from app.proxy.guard import CHUNK_FORMAT, Connection, Message
from app.proxy.http_date import http_date
from app.proxy.upstream.port import Take

Send = Callable[[Message], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]


class ReflectedKey(Exception):
    """The answer contains the upstream key; what stood before it has been sent."""


class Downstream:
    __slots__ = (
        "_answering",
        "_connection",
        "_matcher",
        "_secret",
        "_send",
        "_stall_seconds",
        "ended",
        "measured",
        "started",
    )

    def __init__(self, send: Send, connection: Connection, *, stall_seconds: float, secret: bytes | None) -> None:
        self._send = send
        self._connection = connection
        self._answering = connection.answering  # the connection goes on to another request behind this one's end
        self._stall_seconds = stall_seconds
        self._secret = secret
        self._matcher: ReflectionMatcher | None = None  # of an answer that is sent in pieces
        self.started = False
        self.ended = False
        self.measured = False  # the head announced a length: nothing may be added

    @property
    def held(self) -> bool:
        """True while bytes wait that may begin the upstream key."""
        return self._matcher is not None and self._matcher.held > 0

    async def head(self, status: int, headers: HeaderList) -> None:
        """Sends status and headers, with a Date if the upstream sent none, before there is anything of the body."""
        self._begin(headers)
        self._matcher = ReflectionMatcher(self._secret) if self._secret is not None else None
        await self._deliver({"type": "http.response.start", "status": status, "headers": headers})
        if self.measured:  # then a server may wait for the body's first piece
            await self._deliver({"type": "http.response.body", "body": b"", "more_body": True})

    def _begin(self, headers: HeaderList) -> None:
        """Notes that the answer begins and what its head announces; adds a Date if there is none."""
        self.started = True
        named = dict(headers)
        self.measured = b"content-length" in named
        if b"date" not in named:
            headers.append((b"date", http_date()))

    async def body(self, chunk: bytes) -> None:
        """Sends bytes of the body. Raises: `ReflectedKey`."""
        if self._matcher is not None:
            chunk = self._matcher.feed(chunk)
        if chunk:
            await self._deliver({"type": "http.response.body", "body": chunk, "more_body": True})
        if self._matcher is not None and self._matcher.found:
            raise ReflectedKey

    def taker(self, passes: Callable[[bytes], bool]) -> Take:
        """What sends a chunk of a body in chunks at once and whole, if nothing stands against it; as `body` does, but
        with no message and no coroutine around it. `passes`: whether no event that matters ends in it.

        One function over what it needs: every event of every stream passes here.
        """
        connection, write = self._connection, self._connection.writer()
        clears = self._matcher.clears if self._matcher is not None else None

        def take(chunk: bytes) -> bool:
            if not connection.flowing or (clears is not None and not clears(chunk)) or not passes(chunk):
                return False
            write(CHUNK_FORMAT % (len(chunk), chunk))
            return True

        return take

    async def flush(self) -> None:
        """Sends what was held back as a possible beginning of the upstream key."""
        if self._matcher is not None and (chunk := self._matcher.flush()):
            await self._deliver({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, last: bytes = b"") -> None:
        """Ends the answer as its framing says: complete, together with the last bytes of its body, unless the upstream
        key may stand in them. Raises: `ReflectedKey`."""
        if self._matcher is not None:
            if last and not self._matcher.clears(last):
                await self.body(last)
                last = b""
            last = last or self._matcher.flush()  # behind what is clear nothing is held
        self.ended = True
        await self._deliver({"type": "http.response.body", "body": last, "more_body": False})

    def whole(self, status: int, headers: HeaderList, body: bytes) -> Awaitable[None]:
        """Sends a complete answer: await it. Raises: `ReflectedKey`, then nothing was sent."""
        if self._secret is not None and body.find(self._secret) >= 0:
            raise ReflectedKey
        return self._complete(status, headers, body)

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
        await self._complete(error.status, headers, body)

    async def _complete(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._begin(headers)
        if self._answering is not None and self._connection.flowing:
            self._answering.answer_nowait(status, headers, body)
            self.ended = True
            return
        await self._deliver({"type": "http.response.start", "status": status, "headers": headers})
        self.ended = True
        await self._deliver({"type": "http.response.body", "body": body, "more_body": False})

    def cut(self) -> None:
        """Closes the connection without the end of the answer; what was sent is flushed first."""
        if not self.ended:
            self.ended = True
            self._connection.cut()

    async def _deliver(self, message: Message) -> None:
        connection = self._connection
        if self._answering is not None and connection.flowing:
            self._answering.send_nowait(message)
            return
        if connection.paused and not await connection.writable(self._stall_seconds):
            connection.abort()
        if not connection.gone:
            await self._send(message)
