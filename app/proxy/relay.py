"""Moves the bytes of an answer to the client, and holds back its end until the cost is committed.

The tap sees each chunk before it is sent and never alters it. Three kinds of answer:

- a stream (`text/event-stream`): chunks go as they come; from the start of the terminal
  event's last piece on, bytes wait for the settlement;
- another body: collected, settled, then sent whole, so that a break inside it becomes a
  clean error; a larger or slower one is streamed with its last byte, or its end, held;
- an error (status ≥ 400): read first, since only a JSON object may pass.

Every failure leaves as `UpstreamError` (or `ReflectedKey`); `endpoint` decides what the client sees.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from app.core.body_tap import BodyTap
from app.core.errors import ApiError, upstream_auth, upstream_error, upstream_redirect
from app.core.headers import client_response_headers
from app.core.records import NO_ALLOWANCES, Outcome, Reading
from app.core.refusals import has_rate, limit_headers
from app.core.tap import Tap
from app.proxy.downstream import Downstream, HeaderList
from app.proxy.exchange import Exchange
from app.proxy.notices import Notices
from app.proxy.upstream.port import Answer, Fault, Framing, UpstreamError

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


class Late:
    """The next chunk did not come within the patience; it is still awaited."""


LATE = Late()


class Chunks:
    """Reads an answer with a patience that gives up waiting but never the read itself."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._pending: asyncio.Task[bytes | None] | None = None

    async def next(self, patience_seconds: float | None = None) -> bytes | Late | None:
        if self._pending is None:
            if patience_seconds is None:
                return await self._answer.read()
            self._pending = asyncio.ensure_future(self._answer.read())
            self._pending.add_done_callback(_retrieve)
        if patience_seconds is not None:
            await asyncio.wait({self._pending}, timeout=max(0.0, patience_seconds))
            if not self._pending.done():
                return LATE
        pending, self._pending = self._pending, None
        return await pending


@dataclass(slots=True)
class Relay:
    """One answer on its way to one client."""

    exchange: Exchange
    answer: Answer
    tap: Tap
    down: Downstream
    headers: HeaderList
    notices: Notices
    drained_bytes: int = 0

    async def run(self) -> None:
        """Relays the answer to its end. Raises: `ApiError`, `UpstreamError`, `ReflectedKey`, `LedgerLost`."""
        status = self.answer.status
        if 300 <= status < 400 and status != 304:
            await self.exchange.settle(self.tap.reading)
            raise upstream_redirect()
        if status >= 400:
            await self._error()
        elif _is_stream(self.answer):
            await self._stream()
        else:
            await self._body()

    async def read_on(self) -> Reading:
        """Reads the rest for its cost alone, as long as one reads on for a client that left."""
        with contextlib.suppress(UpstreamError):
            while (chunk := await self.answer.read()) is not None:
                await self._show(chunk)
        return await finished(self.tap)

    # --- streams -----------------------------------------------------------------------

    async def _stream(self) -> None:
        self.headers.append((b"x-accel-buffering", b"no"))
        await self.down.head(self.answer.status, self.headers)
        chunks = Chunks(self.answer)
        while (chunk := await chunks.next(REFLECTION_SECONDS if self.down.held else None)) is not None:
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
            await self.down.body(chunk[wait_from:])
        await self._finish()

    async def _finish(self) -> None:
        """The framing says that the body is over: settle, then pass that end on as the clean end it is."""
        self._refuse_cut(await finished(self.tap))
        await self.exchange.settle(self.tap.reading)
        await self.down.end()

    def _refuse_cut(self, reading: Reading) -> None:
        """Where only the connection's end ends a body, one that is half was cut. Raises: `UpstreamError`."""
        if self.answer.framing is Framing.CLOSE and reading.unknown_reason in HALF:
            raise UpstreamError(Fault.EOF, sent=True)

    # --- other bodies --------------------------------------------------------------------

    async def _body(self) -> None:
        chunks = Chunks(self.answer)
        collected, over = await self._collect(chunks)
        if over:
            self._refuse_cut(await finished(self.tap))
            await self.exchange.settle(self.tap.reading)
            if self.tap.reading.failed:
                self.headers.append((b"x-error-source", b"upstream"))
            await self.down.whole(self.answer.status, self.headers, b"".join(collected))
            return
        await self.down.head(self.answer.status, self.headers)
        await self._stream_body(chunks, b"".join(collected))

    async def _collect(self, chunks: Chunks) -> tuple[list[bytes], bool]:
        """Chunks of a small, prompt body, and whether that was all of it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WHOLE_BODY_SECONDS
        collected: list[bytes] = []
        size = 0
        while size <= WHOLE_BODY_BYTES_MAX:
            chunk = await chunks.next(deadline - loop.time())
            if chunk is None:
                return collected, True
            if isinstance(chunk, Late):
                break
            if await self._show(chunk) is not None:
                await self.exchange.settle(self.tap.reading)
            collected.append(chunk)
            size += len(chunk)
        return collected, False

    async def _stream_body(self, chunks: Chunks, chunk: bytes) -> None:
        """Streams the rest: with a Content-Length its last byte waits for the settlement, else the end does."""
        left = _content_length(self.answer)
        while True:
            if left is not None:
                left -= len(chunk)
            if left is not None and left <= 0:
                break
            await self.down.body(chunk)
            following = await chunks.next(REFLECTION_SECONDS if self.down.held else None)
            while isinstance(following, Late):
                await self.down.flush()
                following = await chunks.next()
            if following is None:
                chunk = b""
                break
            if await self._show(following) is not None:
                await self.exchange.settle(self.tap.reading)
            chunk = following
        await self.down.body(chunk[:-1])
        await self.down.flush()
        if chunk:
            await _expect_end(chunks)
        self._refuse_cut(await finished(self.tap))
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
            raise _with_retry_headers(upstream_error(status), self.headers)
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
        if self.tap.heavy and not isinstance(self.tap, BodyTap):  # which only collects; its weight is its end
            return await asyncio.to_thread(self.tap.feed, chunk)
        return self.tap.feed(chunk)


async def finished(tap: Tap) -> Reading:
    """The final reading of a body that is over; a large parse runs beside the loop."""
    if tap.heavy:
        await asyncio.to_thread(tap.finish)
    else:
        tap.finish()
    return tap.reading


def _retrieve(read: asyncio.Task[bytes | None]) -> None:
    """A read that nobody awaits any more may fail without a word: its exchange is over."""
    if not read.cancelled():
        read.exception()


def response_headers(exchange: Exchange, answer: Answer, secret: bytes | None, *, closing: bool) -> HeaderList:
    """The head for the client: what may cross of the upstream's, and ours."""
    allowances = exchange.admitted.allowances if exchange.admitted is not None else NO_ALLOWANCES
    headers = client_response_headers(
        answer.headers, request_id=exchange.request_id, upstream_key=secret, replace_ratelimit=has_rate(allowances)
    )
    headers += [(name.encode(), value.encode()) for name, value in limit_headers(allowances)]
    if closing:
        headers.append((b"connection", b"close"))
    return headers


def _is_stream(answer: Answer) -> bool:
    kind = next((value for name, value in answer.headers if name == b"content-type"), b"")
    return kind.split(b";", 1)[0].strip().lower() == b"text/event-stream"


def _content_length(answer: Answer) -> int | None:
    if answer.framing is not Framing.LENGTH:
        return None
    return next((int(value) for name, value in answer.headers if name == b"content-length"), None)


async def _expect_end(chunks: Chunks) -> None:
    """After the last announced byte only the end may follow."""
    if await chunks.next() is not None:
        raise UpstreamError(Fault.PROTOCOL, sent=True)


def _with_retry_headers(error: ApiError, headers: HeaderList) -> ApiError:
    """Our stand-in keeps what the upstream said about trying again."""
    kept = tuple(
        (name.decode(), value.decode("latin-1"))
        for name, value in headers
        if name in (b"retry-after", b"retry-after-ms", b"x-should-retry")
    )
    return ApiError(error.status, error.code, error.message, type=error.type, headers=error.headers + kept)
