"""A network that fails as it is told: raw bytes between a gateway and an upstream, with or without TLS.

Lives here: the proxy, its faults, and what it passed on, by request. It knows no HTTP but the marker of a request
(see `MARKER`), which the simulator puts on its bill: so three witnesses can be compared, none of them the gateway.

    async with FaultProxy(simulator.url) as network:
        network.plan = lambda request: Fault(Act.RESET, at_byte=120)   # of each request's way, by its first bytes
        ... a gateway works against network.url ...
        network.passed["one"].struck, network.passed["one"].answer
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self, cast
from urllib.parse import urlsplit

from tests.scripted_upstream import server_tls

MARKER = "x-stainless-marker"

_MARKED = re.compile(rb"\r\n" + MARKER.encode() + rb": *([^\r\n]+)", re.IGNORECASE)
_READ_BYTES = 2**16


class Way(StrEnum):
    UP = "up"  # the request, towards the upstream
    DOWN = "down"  # the answer, towards the gateway


class Act(StrEnum):
    CLOSE = "close"  # the orderly end of the whole connection
    RESET = "reset"
    HALF_CLOSE = "half-close"  # the orderly end of this way; the other goes on
    STALL = "stall"  # nothing more on this way, and the connection stays


@dataclass(frozen=True)
class Fault:
    """What happens on one connection. Bytes are counted from its beginning, or behind the bytes `after`.

    A connection without an act is planned anew at its next request, and then counted from there: the longer ones are
    used again, the fewer requests would meet a fault.
    """

    act: Act | None = None
    way: Way = Way.DOWN
    at_byte: int = 0
    after: bytes = b""
    piece_bytes: int | None = None  # what passes is split into pieces, in both ways
    delay_seconds: float = 0.0  # before whatever passes


@dataclass
class Passed:
    """One request's way through the proxy."""

    marker: str
    answer: bytearray = field(default_factory=bytearray)  # as far as it was passed on
    struck: Act | None = None  # the fault that its connection met before it was over


@dataclass
class _Link:
    """Both ways of one connection."""

    fault: Fault
    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]  # towards the gateway, towards the upstream
    counted: int = 0  # bytes that passed on the fault's way
    kept: bytes = b""  # the last of them, for `after`
    at_byte: int | None = None  # where the fault comes, once that is known
    request: Passed | None = None

    def begin(self, fault: Fault) -> None:
        """Another request begins, with a fault of its own."""
        self.fault, self.counted, self.kept, self.at_byte = fault, 0, b"", None

    def cut_at(self, way: Way, content: bytes) -> int | None:
        """Where in these bytes the fault comes; None: not in them."""
        fault = self.fault
        if fault.act is None or fault.way is not way:
            return None
        if self.at_byte is None:
            self.at_byte = self._found(content)
        at = None if self.at_byte is None else self.at_byte - self.counted
        self.counted += len(content)
        return at if at is not None and at <= len(content) else None

    def _found(self, content: bytes) -> int | None:
        if not self.fault.after:
            return self.fault.at_byte
        window = self.kept + content
        found = window.find(self.fault.after)
        if found < 0:
            self.kept = window[1 - len(self.fault.after) :]
            return None
        return self.counted - len(self.kept) + found + len(self.fault.after) + self.fault.at_byte

    def target(self, way: Way) -> asyncio.StreamWriter:
        return self.ends[0] if way is Way.DOWN else self.ends[1]


class FaultProxy:
    """Listens on a port of its own; `certificate`: with TLS towards the gateway."""

    def __init__(self, upstream_url: str, *, certificate: str | None = None) -> None:
        self.plan: Callable[[bytes], Fault] = lambda request: Fault()
        self.passed: dict[str, Passed] = {}
        self.doubled: list[str] = []  # markers that were sent more than once
        self.connections = 0
        self.broken: list[BaseException] = []  # faults of the proxy itself; raised at the end of the `with`
        self._upstream = urlsplit(upstream_url)
        self._tls = server_tls(certificate) if certificate is not None else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        port = cast(int, self._server.sockets[0].getsockname()[1])
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, backlog=2048)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.broken and fault is None:
            raise self.broken[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            with contextlib.suppress(ConnectionError, TimeoutError):
                first = await reader.read(_READ_BYTES)
                if not first:
                    return
                there_reader, there_writer = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
                async with _closing(there_writer):
                    link = _Link(self.plan(first), (writer, there_writer))
                    await self._both_ways(link, first, reader, there_reader)

    async def _both_ways(
        self, link: _Link, first: bytes, reader: asyncio.StreamReader, there: asyncio.StreamReader
    ) -> None:
        """Until one way is over and the other has nothing more to say, or the connection is cut."""
        up = asyncio.create_task(self._pass_on(link, Way.UP, reader, first))
        down = asyncio.create_task(self._pass_on(link, Way.DOWN, there))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            up.cancel()
            down.cancel()
            ends = await asyncio.gather(up, down, return_exceptions=True)
            self.broken += [end for end in ends if isinstance(end, Exception) and not isinstance(end, OSError)]

    async def _pass_on(self, link: _Link, way: Way, reader: asyncio.StreamReader, first: bytes = b"") -> None:
        """One way to its end. Raises: `ConnectionError` when the connection is over."""
        while content := first or await reader.read(_READ_BYTES):
            first = b""
            if way is Way.UP:
                self._note_request(link, content)
            if link.fault.delay_seconds:
                await asyncio.sleep(link.fault.delay_seconds)
            at = link.cut_at(way, content)
            await self._send(link, way, content if at is None else content[:at])
            if at is not None:
                await self._strike(link, way, reader)
                return
        if way is Way.UP:
            raise ConnectionResetError  # the gateway is through with this connection
        if _half_closed(link.target(way)):
            return
        link.target(way).close()

    async def _send(self, link: _Link, way: Way, content: bytes) -> None:
        writer = link.target(way)
        for piece in _pieces(content, link.fault.piece_bytes or len(content)):
            if way is Way.DOWN and link.request is not None:
                link.request.answer += piece
            writer.write(piece)
            await writer.drain()
            if link.fault.piece_bytes:
                await asyncio.sleep(0)  # so that each piece is a segment of its own

    async def _strike(self, link: _Link, way: Way, reader: asyncio.StreamReader) -> None:
        if link.request is not None:
            link.request.struck = link.fault.act
        match link.fault.act:
            case Act.RESET:
                for writer in link.ends:
                    reset(writer)
                raise ConnectionResetError
            case Act.CLOSE:
                raise ConnectionResetError  # both writers are closed in order
            case Act.HALF_CLOSE if not _half_closed(link.target(way)):
                raise ConnectionResetError
        while await reader.read(_READ_BYTES):
            pass  # nobody hears it; the connection ends when the other side has had enough
        if way is Way.UP:
            raise ConnectionResetError

    def _note_request(self, link: _Link, content: bytes) -> None:
        marked = _MARKED.search(content)
        if marked is None:
            return
        marker = marked[1].decode()
        if marker in self.passed:
            self.doubled.append(marker)
        if link.request is not None and link.fault.act is None:
            link.begin(self.plan(content))
        link.request = self.passed[marker] = Passed(marker)


class RandomFaults:
    """A plan for many connections: about half of them fail, at a random byte of a random way."""

    def __init__(self, chance: random.Random, *, stalls: bool = True) -> None:
        self._chance = chance
        self._acts = [Act.CLOSE, Act.RESET, Act.RESET, Act.HALF_CLOSE, *([Act.STALL] if stalls else [])]

    def __call__(self, request: bytes) -> Fault:
        chance = self._chance
        split = chance.choice((None, None, None, None, 1, 16, 100))
        delay = chance.choice((0.0, 0.0, 0.0, 0.002, 0.02))
        if MARKER.encode() not in request.lower() or chance.random() < 0.5:
            return Fault(piece_bytes=split, delay_seconds=delay)
        at = int(2 ** chance.uniform(0, 14)) - 1
        way = chance.choice((Way.UP, Way.DOWN, Way.DOWN, Way.DOWN))
        return Fault(chance.choice(self._acts), way, at, piece_bytes=split, delay_seconds=delay)


def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _half_closed(writer: asyncio.StreamWriter) -> bool:
    """Ends one way of a connection; False where there are no halves (TLS), or no connection any more."""
    if writer.is_closing() or not writer.can_write_eof():
        return False
    with contextlib.suppress(RuntimeError):  # uvloop: the peer closed it just now
        writer.write_eof()
    return True


def _pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size)) if content else iter(())


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):  # ENOTCONN too; a timeout is an OSError
            async with asyncio.timeout(1):
                await writer.wait_closed()
        writer.transport.abort()
