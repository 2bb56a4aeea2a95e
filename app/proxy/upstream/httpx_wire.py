"""A connection under httpcore's pools that knows what was written and can be cut at once.

httpcore's stock network cannot be used: with it nobody can tell whether a byte of a request
was written (and so whether it may have been billed), cut a connection without cancelling
httpcore (which then leaks), or see an answer that comes while the body is still being sent.

Made by `httpx_network`. Which attempt a connection serves, it learns from a context variable:
the pool chooses the connection, but only an attempt's own task runs httpcore.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, cast

import httpcore

from app.proxy.upstream.connecting import READ_ROOM
from app.proxy.upstream.httpx_attempt import Attempt, ConnectFault, Phase, current_attempt
from app.proxy.upstream.port import Fault

# So much of an answer waits here before the peer is made to wait.
HIGH_WATER_BYTES = 4 * 1024
_ROOM = READ_ROOM[: 8 * 1024]  # httpcore copies it more than once


class Wires:
    """The connections that are open now."""

    def __init__(self) -> None:
        self._open: set[Wire] = set()
        self._none = asyncio.Event()

    def add(self, wire: Wire) -> None:
        """Called when connecting is over: a loop need not tell the end of a connection that it gave up before."""
        if not wire.lost:
            self._open.add(wire)

    def forget(self, wire: Wire) -> None:
        self._open.discard(wire)
        if not self._open:
            self._none.set()

    async def aclose(self, *, within_seconds: float = 1.0) -> None:
        """Cuts every wire and waits until the loop has let go of them."""
        self._none.clear()
        for wire in list(self._open):
            wire.abort()
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none.wait(), within_seconds)


class Wire(asyncio.BufferedProtocol, httpcore.AsyncNetworkStream):
    """One connection: asyncio feeds it, httpcore reads and writes it, one task at a time."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._attempt: Attempt | None = None
        self._received = bytearray()
        self._reading_paused = False
        self._writing_paused = False
        self._end = False  # the peer will send nothing more
        self.lost = False
        self._error: Exception | None = None
        self._news: asyncio.Future[bool] | None = None
        self._resting: asyncio.TimerHandle | None = None

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _ROOM

    def buffer_updated(self, nbytes: int) -> None:
        self._received += _ROOM[:nbytes]
        if len(self._received) > HIGH_WATER_BYTES and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._end = True
        self._wake()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self._end = True
        self._error = exc
        self._wires.forget(self)
        self._stop_resting()
        self._wake()

    # httpcore calls these.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        attempt = self._attempt
        if attempt is None or attempt.aborted:
            raise httpcore.ReadError
        attempt.reads()
        while not self._received:
            if self._error is not None:
                raise httpcore.ReadError from self._error
            if self._end:
                attempt.ended = True
                return b""
            self._read_on()
            if not await self._wait(attempt.seconds_to_read()):
                raise httpcore.ReadTimeout
            if attempt.aborted:
                raise httpcore.ReadError
        taken = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        return taken

    def _read_on(self) -> None:
        """Only when somebody wants more: what was taken last may still be on its way to a slow client."""
        if self._reading_paused and self._transport is not None and not self._end:
            self._reading_paused = False
            self._transport.resume_reading()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Raises `WriteError` before a byte is written if the connection is known to be over or refused."""
        if not buffer:
            return
        attempt = self._attempt = current_attempt.get()
        self._stop_resting()
        if self._received and not attempt.sent:  # said before anything was asked: no answer to this request
            self._received.clear()
            self.abort()
        if self._transport is None or self._end or attempt.aborted or self._refused():
            raise httpcore.WriteError
        attempt.cut = self.abort
        if not buffer.startswith(b"CONNECT ") or attempt.sent:  # what a proxy is told is no byte of the request
            attempt.phase = Phase.SENDING
        self._transport.write(buffer)
        while self._writing_paused:
            if self.lost or self._refused():
                raise httpcore.WriteError
            if not await self._wait(attempt.idle_seconds):
                raise httpcore.WriteTimeout

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Wire:
        attempt = self._attempt = current_attempt.get()
        attempt.cut = self.abort
        transport: asyncio.Transport | None = None
        try:
            transport = await attempt.connect(self._shake_hands(ssl_context, server_hostname))
        except ssl.SSLCertVerificationError:
            raise ConnectFault(Fault.CERTIFICATE) from None
        except OSError:
            raise ConnectFault(Fault.TLS) from None
        finally:
            if transport is None or self.lost:
                self.abort()
                self.connection_lost(None)  # during a handshake the loop does not tell
        if transport is None or self.lost:
            raise ConnectFault(Fault.TLS)
        self._transport = transport
        return self

    async def _shake_hands(self, context: ssl.SSLContext, host: str | None) -> asyncio.Transport | None:
        if self._transport is None or self._end or self._received:  # what came before TLS, TLS would wait for
            raise ConnectFault(Fault.TLS)
        return await self._loop.start_tls(self._transport, self, context, server_hostname=host)

    async def aclose(self) -> None:
        self.abort()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # an idle connection with anything to read is over
            return bool(self._received) or self._end
        return self._transport.get_extra_info(info) if self._transport is not None else None

    # The transport above calls these.

    def rest(self, seconds: float) -> None:
        """The answer was read whole: the connection may serve another request for so long."""
        self._read_on()  # its end must be seen, and what nobody asked for
        self._attempt = None
        self._stop_resting()
        if seconds <= 0:
            self.abort()
        else:
            self._resting = self._loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Cuts the connection now; what waits on it wakes. Idempotent."""
        self._end = True
        self._stop_resting()
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _refused(self) -> bool:
        """Whether an error came while the body was still being sent: the rest of it will not be read."""
        received = bytes(self._received[:4096])
        while received.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in received:
            received = received.partition(b"\r\n\r\n")[2]
        return received[:7] == b"HTTP/1." and received[9:10] in (b"4", b"5")

    def _stop_resting(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _wake(self, *, happened: bool = True) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(happened)

    async def _wait(self, seconds: float) -> bool:
        """Until something happened on the connection; False if nothing did for so long."""
        self._news = self._loop.create_future()
        timer = self._loop.call_later(seconds, lambda: self._wake(happened=False))
        try:
            return await self._news
        finally:
            timer.cancel()
