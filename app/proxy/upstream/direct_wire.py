"""One connection of the direct transport: httptools reads it, and it serves one answer at a time.

Made by `direct`. The callbacks that httptools and asyncio call have their names. A wire is *busy*
while it has an answer and *at rest* while the pool has it; what comes while it is at rest was not
asked for, and ends it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

import httptools

from app.proxy.outbox import Outbox
from app.proxy.upstream.connecting import PIECE_BYTES, READ_AHEAD_ROOM, READ_ROOM
from app.proxy.upstream.direct_answer import NEVER, DirectAnswer
from app.proxy.upstream.port import Fault, Framing, Named, UpstreamError, UpstreamTimeout

# A head that is not over after so many bytes, interim ones included, is refused; so are trailers, and whatever else
# stands between two pieces of a body.
HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 256


class Wire(asyncio.BufferedProtocol):
    """One connection to the upstream."""

    __slots__ = (
        "_answer",
        "_complete",
        "_head_bytes",
        "_headers",
        "_keep_alive",
        "_loop",
        "_lost",
        "_outbox",
        "_parser",
        "_pieces",
        "_pieces_kept",
        "_reading_paused",
        "_refused",
        "_released",
        "_room",
        "_sending",
        "_sent_anything",
        "_spoiled",
        "_transport",
        "deadline",
        "on_body",
        "over",
    )

    def __init__(self, released: Callable[[Wire, Named], None], lost: Callable[[Wire], None], outbox: Outbox) -> None:
        self.deadline = NEVER  # on the loop's clock: what is waited for must have come by then
        self.over = False  # the peer will send nothing more, or may not
        self._released = released
        self._lost = lost
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []  # of the body, from one read
        self.on_body = self._pieces.append  # httptools calls it for each: a method of ours would take thrice as long
        self._pieces_kept = 0  # those behind belong to no answer
        self._parser = httptools.HttpResponseParser(self)
        self._answer: DirectAnswer | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._complete = False  # the answer's last byte was parsed
        self._spoiled = False  # bytes stood behind it, or the request was not sent whole
        self._refused = False  # it is an error
        self._keep_alive = False
        self._reading_paused = False
        self._room: asyncio.Future[None] | None = None  # the peer takes no more of the body now
        self._sending = False
        self._sent_anything = False

    # --- the request ------------------------------------------------------------------------

    def begin(self, idle_seconds: float) -> DirectAnswer:
        """Takes the wire for one request and its answer."""
        self._answer = DirectAnswer(self, idle_seconds, self._loop)
        self._headers, self._head_bytes = [], 0
        self._complete = self._refused = self._sent_anything = False
        self.deadline = NEVER
        return self._answer

    def send_small(self, request: bytes) -> None:
        """Gives a request, head and body, to the outbox: for what is not large."""
        self._sent_anything = True
        self._outbox.write(cast(asyncio.Transport, self._transport), request)

    async def send(self, head: bytes, body: bytes, idle_seconds: float) -> None:
        """Writes a request, its large body in pieces, as the peer takes them.

        An answer of 4xx or 5xx that comes meanwhile stops it: the rest would not be read. So does the end of the
        wire; the answer then has its failure.
        """
        transport = cast(asyncio.Transport, self._transport)
        self._sent_anything = self._sending = True
        try:
            transport.write(head)  # past the outbox: nothing of this wire waits there, its last request was answered
            for start in range(0, len(body), PIECE_BYTES):
                transport.write(body[start : start + PIECE_BYTES])
                await self._taken(idle_seconds)
                if self.over or self._refused:
                    self._spoiled = True
                    break
        finally:
            self._sending = False
            if self._complete:
                self.abort()

    async def _taken(self, idle_seconds: float) -> None:
        if self._room is None:
            await asyncio.sleep(0)  # a fast peer takes megabytes; others have their turn in between
            return
        self.deadline = self._loop.time() + idle_seconds
        try:
            await self._room
        finally:
            self.deadline = NEVER

    # --- asyncio calls these ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        answer = self._answer
        return READ_ROOM if answer is None or answer.is_awaited else READ_AHEAD_ROOM

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None:
            self.abort()
            return
        self._head_bytes += nbytes
        broken = False
        try:
            self._parser.feed_data(READ_ROOM[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            broken = True
        if self._pieces:
            self._hand_over(answer)
        if self._complete:
            self._spoiled |= broken
            self._finish(answer)
        elif broken or self._head_bytes > HEAD_BYTES_MAX or len(self._headers) > HEADERS_MAX:
            self.fail(Fault.PROTOCOL)

    def _hand_over(self, answer: DirectAnswer) -> None:
        """What one read brought of the body is one chunk: as many as there are pieces would cost as many sends."""
        if self._complete:
            del self._pieces[self._pieces_kept :]
        chunk = b"".join(self._pieces)
        self._pieces.clear()
        if chunk and answer.status:
            self._head_bytes = 0
            if answer.keep(chunk):
                self._pause()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self.resume_writing()
        self._lost(self)

    def _end(self, exc: Exception | None) -> None:
        self.over = True
        answer = self._answer
        if answer is None:
            return
        if exc is None and answer.framing is Framing.CLOSE and answer.status:
            self._answer = None
            answer.end()
            self.abort()
        else:
            self.fail(Fault.EOF if exc is None else Fault.RESET)

    # --- httptools calls these ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._spoiled = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._answer.status:  # else a trailer: framing, and no one's
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._complete or status == 101:  # 101: nobody asked for another protocol, the parser stops by itself
            return
        if status < 200:
            self._headers = []
        elif self._answer is not None and len(self._headers) <= HEADERS_MAX:
            self._refused = status >= 400
            self._answer.head(status, self._headers)
            self._headers = []

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status and not self._complete:
            self._complete = True
            self._pieces_kept = len(self._pieces)
            self._keep_alive = self._parser.should_keep_alive()  # asked later, it speaks of the next message

    # --- the end of an answer -----------------------------------------------------------------

    def _finish(self, answer: DirectAnswer) -> None:
        """The answer was parsed whole: the connection may serve another request, unless something speaks against it."""
        self._answer = None
        self.resume()
        reusable = self._keep_alive and not self._spoiled and not self.over
        answer.end()
        if self._sending:
            return  # whoever sends on ends it
        if reusable:
            self._released(self, answer.named)
        else:
            self.abort()

    def fail(self, fault: Fault) -> None:
        """Ends the answer with a fault, and the connection with it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            kind = UpstreamTimeout if fault in (Fault.HEAD_TIMEOUT, Fault.IDLE_TIMEOUT) else UpstreamError
            answer.end(kind(fault, sent=self._sent_anything))
        self.abort()

    def time_out(self) -> None:
        """The deadline has passed."""
        begun = self._answer is not None and self._answer.status
        self.deadline = NEVER
        self.fail(Fault.IDLE_TIMEOUT if begun else Fault.HEAD_TIMEOUT)

    def abort(self) -> None:
        """Cuts the connection. Idempotent; an answer that is still open must have been told before."""
        self.over = True
        self.resume_writing()
        if self._transport is not None:
            self._transport.abort()

    # --- reading ahead -----------------------------------------------------------------------

    def _pause(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._reading_paused and self._transport is not None and not self.over:
            self._reading_paused = False
            self._transport.resume_reading()

    # --- TLS -----------------------------------------------------------------------------------

    async def shake_hands(self, context: ssl.SSLContext, host: str) -> None:
        """Makes the connection a TLS one. Raises: `UpstreamError` (CERTIFICATE, TLS), unsent; it is cut then."""
        transport: asyncio.Transport | None = None
        try:
            if self._transport is None or self._transport.is_closing() or self.over:
                raise UpstreamError(Fault.TLS, sent=False)
            transport = await self._loop.start_tls(self._transport, self, context, server_hostname=host)
        except ssl.SSLCertVerificationError:
            raise UpstreamError(Fault.CERTIFICATE, sent=False) from None
        except OSError:
            raise UpstreamError(Fault.TLS, sent=False) from None
        finally:
            if transport is None or self.over:
                self.abort()
                self._lost(self)  # during a handshake the loop does not tell
        if transport is None or self.over:
            raise UpstreamError(Fault.TLS, sent=False)
        self._transport = transport
