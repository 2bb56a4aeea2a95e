"""The quick transport: HTTP/1.1 over asyncio's protocols and httptools, without a task or a request object between.

Rules of this file:
- A connection serves one request at a time: no pipelining. At rest it waits in a pile; the one
  that rested last serves next, so that those not needed grow old and go.
- A connection is taken from the pile only while it is younger than its keep-alive time (the
  peer's, if that is shorter, less a second), no end was seen on it, and nothing came unasked.
- Connecting is tried again once, with names resolved anew, and only while no byte of the request was
  written: nobody can tell a late close from a lost answer that was billed.
- One clock looks at all deadlines several times in the shortest of them: a timer for every read
  would cost more than the read.
- Whoever leaves `open` or `read` leaves nothing behind: there is no task to cancel but a connecting one.
- Interim answers (1xx) are swallowed, 101 is an error, trailers are framing. An answer of 4xx or 5xx
  while the body is still being sent stops the sending; any other lets it go on.
- The peer waits while `AHEAD_BYTES` lie unread; a body is sent as the peer takes it.
- Through a proxy this transport does not go: `httpx` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from urllib.parse import urlsplit

from app.outgoing.trust import trust
from app.proxy.outbox import Outbox
from app.proxy.upstream.connecting import (
    PIECE_BYTES,
    RESPONSES_PATH,
    Connecting,
    abort_late,
    again,
    first_to_answer,
    probe,
    rest_seconds,
)
from app.proxy.upstream.direct_wire import Wire
from app.proxy.upstream.port import Answer, Fault, Headers, Named, UpstreamError, UpstreamRequest, UpstreamTimeout

# Deadlines are looked at so often within the shortest of them, and at least every half second.
LOOKS = 10
LOOK_SECONDS_MAX = 0.5
LOOK_SECONDS_MIN = 0.01

# A closed transport waits so long for the loop to let go of its connections.
CLOSE_SECONDS = 1.0


class DirectUpstream:
    """`Upstream` over its own pile of connections, in the loop in which it is made."""

    def __init__(self, connecting: Connecting) -> None:
        if connecting.proxy is not None:
            raise ValueError("the direct transport goes through no proxy: use httpx")
        origin = urlsplit(connecting.origin)
        tls = origin.scheme == "https"
        self._connecting = connecting
        self._loop = asyncio.get_running_loop()
        self._host = origin.hostname or ""
        self._port = origin.port or (443 if tls else 80)
        self._tls = trust(connecting.ca_file) if tls else None
        target = origin.path.rstrip("/") + RESPONSES_PATH
        self._request_line = b"POST " + target.encode("ascii") + b" HTTP/1.1\r\n"
        self._outbox = Outbox()
        self._wires: set[Wire] = set()
        self._resting: deque[tuple[Wire, float]] = deque()  # with the time until which each may be used
        self._attempts: set[asyncio.Task[Wire]] = set()
        self._look: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._closed = False
        shortest = min(
            connecting.head_seconds, connecting.idle_seconds, connecting.keepalive_seconds or LOOK_SECONDS_MAX
        )
        self._look_seconds = min(LOOK_SECONDS_MAX, max(LOOK_SECONDS_MIN, shortest / LOOKS))

    async def open(self, request: UpstreamRequest) -> Answer:
        """See `Upstream.open`. A caller that is cancelled leaves nothing open: the upstream is cut."""
        if self._closed:
            raise UpstreamError(Fault.ABORTED, sent=False)
        head, body = request
        if head.prepared is None:
            head.prepared = self._request_line + _lines(head.headers)
        wire = self._rested() or await self._connected()
        answer = wire.begin(self._connecting.idle_seconds)  # at once: nothing may happen to it in between
        try:
            start = b"%bcontent-length: %d\r\n\r\n" % (head.prepared, len(body))
            if len(body) <= PIECE_BYTES:
                wire.send_small(start + body)
            else:
                await wire.send(start, body, self._connecting.idle_seconds)
            await answer.begun(self._connecting.head_seconds)
        except BaseException:
            answer.abort()
            raise
        return answer

    async def aclose(self) -> None:
        self._closed = True
        for attempt in list(self._attempts):
            attempt.cancel()
        for wire in list(self._wires):
            wire.fail(Fault.ABORTED)
        self._resting.clear()
        if self._look is not None:
            self._look.cancel()
        if self._wires:
            self._gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), CLOSE_SECONDS)

    # --- connections ------------------------------------------------------------------------

    def _rested(self) -> Wire | None:
        """A connection that may serve another request."""
        now = self._loop.time()
        while self._resting:
            wire, until = self._resting.pop()
            if not wire.over and now < until:
                return wire
            wire.abort()
        return None

    def _released(self, wire: Wire, named: Named) -> None:
        seconds = rest_seconds(named, self._connecting.keepalive_seconds)
        if seconds <= 0 or self._closed:
            wire.abort()
        else:
            self._resting.append((wire, self._loop.time() + seconds))

    def _lost(self, wire: Wire) -> None:
        self._wires.discard(wire)
        if not self._wires:
            self._gone.set()

    async def _connected(self) -> Wire:
        """A fresh connection, tried twice. Raises: `UpstreamError`, `UpstreamTimeout`, unsent."""
        try:
            return await self._fresh()
        except UpstreamError as error:
            if not again(error):
                raise
        return await self._fresh()

    async def _fresh(self) -> Wire:
        """A connection that is there. The loop may have told its end since it was made, to nobody."""
        wire = await self._attempt()
        if wire.over:
            raise UpstreamError(Fault.CONNECT, sent=False)
        return wire

    async def _attempt(self) -> Wire:
        attempt = asyncio.ensure_future(self._connect())
        self._attempts.add(attempt)
        try:
            await asyncio.wait((attempt,), timeout=self._connecting.connect_seconds)
        except asyncio.CancelledError:
            attempt.cancel()
            attempt.add_done_callback(abort_late)
            raise
        finally:
            self._attempts.discard(attempt)
        if not attempt.done():
            attempt.cancel()
            attempt.add_done_callback(abort_late)
            raise UpstreamTimeout(Fault.CONNECT_TIMEOUT, sent=False)
        if attempt.cancelled():
            raise UpstreamError(Fault.ABORTED, sent=False)
        return attempt.result()

    async def _connect(self) -> Wire:
        wire = await first_to_answer(self._host, self._port, self._reach)
        try:
            if self._tls is not None:
                await wire.shake_hands(self._tls, self._host)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _reach(self, family: int, address: str, port: int) -> Wire:
        transport, wire = await self._loop.create_connection(
            lambda: Wire(self._released, self._lost, self._outbox), address, port, family=family
        )
        probe(transport)
        if not wire.over:  # a loop need not tell the end of a connection that it gave up before
            self._wires.add(wire)
            self._watch()
        return wire

    # --- the clock --------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._look is None and not self._closed:
            self._look = self._loop.call_later(self._look_seconds, self._look_around)

    def _look_around(self) -> None:
        """Ends what has waited too long; lets go of what has rested too long."""
        self._look = None
        now = self._loop.time()
        for wire in [wire for wire in self._wires if wire.deadline <= now]:
            wire.time_out()
        if any(until <= now for _, until in self._resting):
            self._resting, rested = deque(), self._resting
            for wire, until in rested:
                if until <= now:
                    wire.abort()
                else:
                    self._resting.append((wire, until))
        if self._wires:
            self._watch()


def _lines(headers: Headers) -> bytes:
    """The header lines. Raises: `UpstreamError` for what cannot stand in a line."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
        raise UpstreamError(Fault.PROTOCOL, sent=False)
    return lines
