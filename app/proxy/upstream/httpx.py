"""The stock transport: httpx's connection pools, several of them, behind our port.

Rules of this file:
- httpx is never cancelled: it leaks pool slots when it is. A request runs in a task of its
  own; whoever gives up waiting leaves that task to end by itself, and its answer is closed.
- An answer is cut by shutting its socket down, which wakes a pending read at once.
- A transport, not a client: no cookie jar, no redirects, no proxies from the environment.
- One pool serialises its requests behind one lock and walks all its connections each time,
  so there are several, and a request goes to the one with the fewest open.

Facts: httpcore reads the body's timeout from `extensions["timeout"]` when the body's
iteration begins, so it may differ from the head's; a write error is swallowed by httpcore
and shows as a read error, so whatever follows the connect counts as sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import cast

import httpx
import truststore

from app.proxy.upstream.httpx_faults import failure_of
from app.proxy.upstream.port import (
    Fault,
    Framing,
    Headers,
    UpstreamError,
    UpstreamRequest,
    UpstreamTimeout,
)
from app.settings import Settings

POOLS = 8

RESPONSES_PATH = "/v1/openai/responses"

_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class Pool:
    """One httpx transport and how many answers it has open."""

    transport: httpx.AsyncHTTPTransport
    open_answers: int = 0
    retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """How to reach the upstream; times in seconds."""

    origin: str
    connect_seconds: float
    head_seconds: float
    idle_seconds: float
    keepalive_seconds: float
    proxy: str | None = field(default=None, repr=False)  # may hold credentials
    ca_file: str | None = None


class HttpxUpstream:
    """`Upstream` over httpx."""

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting
        self._url = httpx.URL(connecting.origin.rstrip("/") + RESPONSES_PATH)
        self._tls = trust(connecting.ca_file)
        self._keepalive_seconds = connecting.keepalive_seconds
        self._pools = self._new_pools()
        self._answers: set[HttpxAnswer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[HttpxAnswer]] = set()

    @classmethod
    def from_settings(cls, settings: Settings) -> HttpxUpstream:
        return cls(
            Connecting(
                origin=settings.upstream_url,
                connect_seconds=settings.connect_timeout_seconds,
                head_seconds=settings.upstream_timeout_seconds,
                idle_seconds=settings.upstream_idle_seconds,
                keepalive_seconds=settings.upstream_keepalive_seconds,
                proxy=settings.upstream_proxy,
                ca_file=str(settings.upstream_ca_file) if settings.upstream_ca_file else None,
            )
        )

    async def open(self, request: UpstreamRequest) -> HttpxAnswer:
        """See `Upstream.open`. A caller that is cancelled leaves nothing open."""
        opening = asyncio.create_task(self._open(request))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._abandon)
            raise

    async def aclose(self) -> None:
        for answer in list(self._answers):
            answer.abort()
        for opening in list(self._opening):
            opening.cancel()  # the pools die with it, so no slot can leak
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(answer.aclose() for answer in list(self._answers)))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in self._pools:
            await pool.transport.aclose()

    async def _open(self, request: UpstreamRequest) -> HttpxAnswer:
        timeout = {
            "connect": self._connecting.connect_seconds,
            "pool": self._connecting.connect_seconds,
            "write": self._connecting.idle_seconds,
            "read": self._connecting.head_seconds,
        }
        # A name that did not resolve or a refused connection gets one more try: nothing was written.
        for last in (False, True):
            pool = min(self._pools, key=lambda pool: pool.open_answers)
            pool.open_answers += 1
            try:
                response = await pool.transport.handle_async_request(
                    httpx.Request(
                        "POST",
                        self._url,
                        headers=list(request.headers),
                        content=request.body,
                        extensions={"timeout": timeout},
                    )
                )
            except BaseException as error:
                self._leave(pool)
                failure = failure_of(error, in_head=True)
                if failure is None:
                    raise
                if last or failure.sent or isinstance(failure, UpstreamTimeout) or failure.fault is Fault.CERTIFICATE:
                    raise failure from None
            else:
                timeout["read"] = self._connecting.idle_seconds
                return self._answer(response, pool)
        raise AssertionError("unreachable")

    def _answer(self, response: httpx.Response, pool: Pool) -> HttpxAnswer:
        answer = HttpxAnswer(response, lambda answer: self._closed(answer, pool))
        self._answers.add(answer)
        announced = next((value for name, value in answer.headers if name == b"keep-alive"), b"")
        if found := _KEEP_ALIVE_TIMEOUT.search(announced):
            self._lower_keepalive(int(found[1]) - 1)
        return answer

    def _closed(self, answer: HttpxAnswer, pool: Pool) -> None:
        self._answers.discard(answer)
        self._leave(pool)

    def _leave(self, pool: Pool) -> None:
        pool.open_answers -= 1
        if pool.retired and pool.open_answers == 0:
            self._spawn(pool.transport)

    def _lower_keepalive(self, seconds: int) -> None:
        """The peer closes idle connections earlier than we thought: new pools let go earlier still."""
        if seconds >= self._keepalive_seconds:
            return
        self._keepalive_seconds = max(0, seconds)
        old, self._pools = self._pools, self._new_pools()
        for pool in old:
            pool.retired = True
            if pool.open_answers == 0:
                self._spawn(pool.transport)

    def _spawn(self, transport: httpx.AsyncHTTPTransport) -> None:
        task = asyncio.create_task(transport.aclose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _abandon(self, opening: asyncio.Task[HttpxAnswer]) -> None:
        """Nobody waits any more: an answer that still came is cut."""
        if opening.cancelled() or opening.exception() is not None:
            return
        answer = opening.result()
        answer.abort()
        task = asyncio.create_task(answer.aclose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _new_pools(self) -> list[Pool]:
        limits = httpx.Limits(
            max_connections=None,  # the gateway bounds its exchanges itself; nobody waits for a slot
            max_keepalive_connections=None if self._keepalive_seconds > 0 else 0,
            keepalive_expiry=self._keepalive_seconds,
        )
        return [
            Pool(
                httpx.AsyncHTTPTransport(
                    verify=self._tls, trust_env=False, limits=limits, proxy=self._connecting.proxy, retries=0
                )
            )
            for _ in range(POOLS)
        ]


class HttpxAnswer:
    """`Answer` over an httpx response."""

    def __init__(self, response: httpx.Response, on_close: Callable[[HttpxAnswer], None]) -> None:
        self.status = response.status_code
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers.raw]
        self.framing = _framing(self.status, self.headers)
        self._response = response
        self._chunks: AsyncIterator[bytes] = aiter(cast(httpx.AsyncByteStream, response.stream))
        self._on_close = on_close
        self._aborted = False
        self._closed = False

    async def read(self) -> bytes | None:
        chunk: bytes | None = b""
        while chunk == b"" and not self._aborted:
            try:
                chunk = await anext(self._chunks, None)
            except Exception as error:
                failure = failure_of(error, in_head=False)
                if failure is None:
                    raise
                if not self._aborted:
                    raise failure from None
        if self._aborted:
            raise UpstreamError(Fault.ABORTED, sent=True)
        return chunk

    def abort(self) -> None:
        if self._aborted or self._closed:
            return
        self._aborted = True
        stream = self._response.extensions.get("network_stream")
        raw = stream.get_extra_info("socket") if stream is not None else None
        if raw is None:
            return
        # The loop's socket objects forbid `shutdown`; a second handle on the same socket allows it.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(raw.fileno())) as handle:
            handle.shutdown(socket.SHUT_RDWR)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.shield(self._close())
        finally:
            self._on_close(self)

    async def _close(self) -> None:
        with contextlib.suppress(httpx.HTTPError, RuntimeError, OSError):
            await cast(httpx.AsyncByteStream, self._response.stream).aclose()


def trust(ca_file: str | None) -> ssl.SSLContext:
    """Whom to trust: the given file alone, else what the operating system trusts."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _framing(status: int, headers: Headers) -> Framing:
    if status in (204, 304):
        return Framing.NONE
    names = dict(headers)
    if b"chunked" in names.get(b"transfer-encoding", b"").lower():
        return Framing.CHUNKED
    return Framing.LENGTH if b"content-length" in names else Framing.CLOSE
