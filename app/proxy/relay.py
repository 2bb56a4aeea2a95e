"""Moves the bytes of an answer to the client, and holds back its end until the cost is committed.

The tap sees each chunk up to the event that ends the answer, before it is sent, and never alters it. Three kinds:

- a stream (`text/event-stream`): chunks go as they come, those in which no event ends that matters without
  waking this task; from the start of the terminal event's last piece on, bytes wait for the settlement, and leave
  together with the end, if that is there by then;
- another body: collected (mostly it is there already), settled, then sent whole, so that a break inside it becomes
  a clean error; a larger or slower one is streamed with its last byte, or its end, held;
- an error (status ≥ 400): read first, since only a JSON object may pass.

Every failure leaves as `UpstreamError` (or `ReflectedKey`); `endpoint` decides what the client sees.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from app.core.body_tap import BodyTap
from app.core.errors import upstream_auth, upstream_error, upstream_redirect
from app.core.records import Outcome, Reading
from app.core.tap import Tap
from app.proxy.answer_head import content_length, is_stream, with_retry_headers
from app.proxy.chunks import Chunks, Late
from app.proxy.downstream import Downstream, HeaderList
from app.proxy.exchange import Exchange
from app.proxy.notices import Notices
from app.proxy.upstream.port import Answer, Fault, Framing, Take, UpstreamError

# A body up to this size, complete within this time after its head, is sent whole.
WHOLE_BODY_BYTES_MAX = 256 * 1024
WHOLE_BODY_SECONDS = 1.0

# What a tap says of a body that breaks off; of a page, or an encoding it does not read, it cannot tell.
HALF = frozenset({"no_terminal_event", "unparsable"})

ERROR_BODY_BYTES_MAX = 64 * 1024

# HTTP knows no status beyond (RFC 9110 §15), and the server cannot send one.
STATUS_MAX = 599

# How long bytes that may begin the upstream key wait for the next chunk.
REFLECTION_SECONDS = 0.05

# An abandoned answer is read on, but not for ever.
DRAIN_BYTES_MAX = 256 * 1024 * 1024


@dataclass(slots=True)
class Relay:
    """One answer on its way to one client."""

    exchange: Exchange
    answer: Answer
    tap: Tap
    down: Downstream
    headers: HeaderList
    notices: Notices
    collected_bytes: int = 0
    drained_bytes: int = 0
    _chunks: Chunks | None = None

    @property
    def chunks(self) -> Chunks:
        """The one reader of an answer that comes in pieces: a read that is pending is its."""
        if self._chunks is None:
            self._chunks = Chunks(self.answer)
        return self._chunks

    async def run(self) -> None:
        """Relays the answer to its end. Raises: `ApiError`, `UpstreamError`, `ReflectedKey`, `LedgerLost`."""
        status = self.answer.status
        if 300 <= status < 400 and status != 304:
            await self.exchange.settle(self.tap.reading)
            raise upstream_redirect()
        if status >= 400:
            await self._error()
        elif is_stream(self.answer):
            await self._stream()
        elif (body := self.answer.take_rest()) is not None:
            await self._whole(body)
        else:
            await self._body()

    async def read_on(self) -> Reading:
        """Reads the rest for its cost alone, as long as one reads on for a client that left."""
        with contextlib.suppress(UpstreamError):
            while isinstance(chunk := await self.chunks.next(), bytes):
                await self._show(chunk)
        return await finished(self.tap)

    # --- streams -----------------------------------------------------------------------

    async def _stream(self) -> None:
        self.headers.append((b"x-accel-buffering", b"no"))
        await self.down.head(self.answer.status, self.headers)
        take = self.down.taker(self.tap.passes)
        while (chunk := await self._next_of_stream(take)) is not None:
            if isinstance(chunk, Late):
                await self.down.flush()
                continue
            wait_from = await self._show(chunk)
            if wait_from is None or self.exchange.settled:
                await self.down.body(chunk)
                continue
            if wait_from:
                await self.down.body(chunk[:wait_from])
            await self.exchange.settle(self.tap.reading)
            if (rest := self.answer.take_rest()) is not None:  # mostly b"": the end came with the last event
                await self._finish(chunk[wait_from:] + rest)
                return
            await self.down.body(chunk[wait_from:])
        await self._finish()

    async def _next_of_stream(self, take: Take) -> bytes | Late | None:
        """The next chunk that needs a second look; the others are on their way already."""
        if self.down.held or self.down.measured:
            return await self.chunks.next(REFLECTION_SECONDS if self.down.held else None)
        return await self.chunks.pour(take)

    async def _finish(self, last: bytes = b"") -> None:
        """The framing says that the body is over: settle, then pass that end on as the clean end it is, behind what is
        left of the body. Raises: `UpstreamError`, `ReflectedKey`."""
        await self._finish_tap()
        await self.exchange.settle(self.tap.reading)
        await self.down.end(last)

    async def _finish_tap(self) -> None:
        """The tap's last word, and what it held given back. Raises: `UpstreamError`."""
        self._check_end(await finished(self.tap))
        self._give_back()

    def _check_end(self, reading: Reading) -> None:
        """Where only the connection's end ends a body, one that is half was cut. Raises: `UpstreamError`."""
        if self.answer.framing is Framing.CLOSE and reading.unknown_reason in HALF:
            raise UpstreamError(Fault.EOF, sent=True)

    # --- other bodies --------------------------------------------------------------------

    async def _body(self) -> None:
        body, over = await self._collect()
        if over:
            await self._finish_tap()
            await self._send_whole(body)
        else:
            await self.down.head(self.answer.status, self.headers)
            await self._stream_body(body)

    async def _whole(self, body: bytes) -> None:
        """A body that is there to its end: mostly nothing has to be waited for but the settlement."""
        if self.tap.heavy:
            await self._show(body)
        else:  # as `_show` does, without its coroutine
            self.tap.feed(body)
        if self.tap.heavy:  # which the body itself may have made it
            await self._finish_tap()
        else:
            self._check_end(self.tap.finish())
        await self._send_whole(body)

    async def _send_whole(self, body: bytes) -> None:
        reading = self.tap.reading
        await self.exchange.settle(reading)
        if reading.failed:
            self.headers.append((b"x-error-source", b"upstream"))
        await self.down.whole(self.answer.status, self.headers, body)

    async def _collect(self) -> tuple[bytes, bool]:
        """A small, prompt body, or the beginning of another, and whether that was all of it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WHOLE_BODY_SECONDS
        collected: list[bytes] = []
        while self.collected_bytes <= WHOLE_BODY_BYTES_MAX and self.exchange.memory.hold(self._held_bytes):
            chunk = await self.chunks.next(deadline - loop.time())
            if chunk is None:
                return b"".join(collected), True
            if isinstance(chunk, Late):
                break
            if await self._show(chunk) is not None:
                await self.exchange.settle(self.tap.reading)
            collected.append(chunk)
            self.collected_bytes += len(chunk)
        return b"".join(collected), False

    async def _stream_body(self, chunk: bytes) -> None:
        """Streams the rest: with a Content-Length its last byte waits for the settlement, else the end does."""
        left = content_length(self.answer)
        while True:
            if left is not None:
                left -= len(chunk)
            if left is not None and left <= 0:
                break
            await self.down.body(chunk)
            self.collected_bytes = 0
            self._give_back()
            following = await self.chunks.next(REFLECTION_SECONDS if self.down.held else None)
            while isinstance(following, Late):
                await self.down.flush()
                following = await self.chunks.next()
            if following is None:
                chunk = b""
                break
            if await self._show(following) is not None:
                await self.exchange.settle(self.tap.reading)
            chunk = following
        await self.down.body(chunk[:-1])
        await self.down.flush()
        if chunk:
            await _expect_end(self.chunks)
        await self._finish_tap()
        await self.exchange.settle(self.tap.reading)
        await self.down.body(chunk[-1:])
        await self.down.end()

    # --- errors --------------------------------------------------------------------------

    async def _error(self) -> None:
        """An upstream error: a JSON object passes as it is, anything else is replaced, a refused key is ours."""
        status = self.answer.status
        body = await self._error_body()
        no_credits = status == 402 or b"insufficient credit" in body.lower()
        self.notices.tell(402 if no_credits else status)
        self.tap.finish()
        await self.exchange.settle(self.tap.reading)
        if status == 401:
            raise upstream_auth()
        if not self.tap.reading.complete or status > STATUS_MAX:
            raise with_retry_headers(upstream_error(status), self.headers)
        self.headers.append((b"x-error-source", b"upstream"))
        if no_credits:
            self.headers = [h for h in self.headers if h[0] != b"x-should-retry"]
            self.headers.append((b"x-should-retry", b"false"))
        await self.down.whole(status, self.headers, body)

    async def _error_body(self) -> bytes:
        collected: list[bytes] = []
        size = 0
        while (chunk := await self.answer.read()) is not None:
            size += len(chunk)
            if size > ERROR_BODY_BYTES_MAX:
                self.answer.abort()
                break
            self.tap.feed(chunk)
            collected.append(chunk)
        return b"".join(collected)

    # --- shared ----------------------------------------------------------------------------

    async def _show(self, chunk: bytes) -> int | None:
        """Shows a chunk to the tap; a large parse runs beside the loop. Returns where bytes must wait."""
        if self.exchange.connection.gone:
            self.drained_bytes += len(chunk)
            if self.drained_bytes > DRAIN_BYTES_MAX:
                self.exchange.abort(Outcome.CLIENT_DISCONNECTED)
                raise UpstreamError(Fault.ABORTED, sent=True)
        wait_from = await self._feed_heavy(chunk) if self.tap.heavy else self.tap.feed(chunk)
        self._give_back()
        return wait_from

    async def _feed_heavy(self, chunk: bytes) -> int | None:
        if not await self.exchange.memory.hold_in_time(self._held_bytes + len(chunk)):
            self.tap.let_go()
        if isinstance(self.tap, BodyTap):  # it only collects; its weight is its end
            return self.tap.feed(chunk)
        return await asyncio.to_thread(self.tap.feed, chunk)

    @property
    def _held_bytes(self) -> int:
        return self.tap.held_bytes + self.collected_bytes

    def _give_back(self) -> None:
        """What is not held any more is others', although the answer may go on for minutes."""
        if self.exchange.memory.held_bytes:
            self.exchange.memory.hold(self._held_bytes)


async def finished(tap: Tap) -> Reading:
    """The final reading of a body that is over; a large parse runs beside the loop."""
    return await asyncio.to_thread(tap.finish) if tap.heavy and not tap.ended else tap.finish()


async def _expect_end(chunks: Chunks) -> None:
    """After the last announced byte only the end may follow."""
    if await chunks.next() is not None:
        raise UpstreamError(Fault.PROTOCOL, sent=True)
