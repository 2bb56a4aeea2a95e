"""An upstream that does exactly what a test tells it, byte by byte, on a real socket.

Lives here: the server, its steps, and the bytes of ordinary answers. What it must not do is
think: it neither checks nor mends what it is told to send. Used by the transport contract
suite and by every test that needs an upstream to break in one exact place.

    async with ScriptedUpstream() as upstream:
        upstream.answer(json_answer({"id": "resp_1"}))               # for the next request
        upstream.answer(sse_head(), chunk(b"data: 1\\n\\n"), go, END)  # `go`: an asyncio.Event to wait for
        upstream.answer(sse_head(), chunk(b"data: half"), RESET)
        ... upstream.url, upstream.requests, upstream.connections

Steps: bytes are written as they are; an `asyncio.Event` is waited for; `reached(event)` sets one;
CLOSE ends the connection after what was written, RESET breaks it, HALF_CLOSE ends our
direction only, READ_BODY takes in the rest of the body of a request answered early,
STOP_READING leaves it in the network, UNTIL_GONE waits until the client has left (and reads
on meanwhile), `pause(seconds)` lets time pass where time itself is tested.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

CERTIFICATES = Path(__file__).parent / "certificates"
CA_FILE = CERTIFICATES / "ca.pem"


class Act(Enum):
    CLOSE = auto()
    RESET = auto()
    HALF_CLOSE = auto()
    READ_BODY = auto()
    STOP_READING = auto()
    UNTIL_GONE = auto()


CLOSE, RESET, HALF_CLOSE, READ_BODY, STOP_READING, UNTIL_GONE = Act


@dataclass(frozen=True)
class Reached:
    """A step that tells the test how far the script has come."""

    event: asyncio.Event


@dataclass(frozen=True)
class Pause:
    seconds: float


Step = bytes | asyncio.Event | Reached | Pause | Act
Script = Sequence[Step]


@dataclass
class SeenRequest:
    """One request as it came over the wire."""

    connection: int  # 1 = the first connection that was accepted
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]  # as received, names in lower case
    raw_head: bytes
    body: bytes = b""
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # set when the client's connection is lost

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that must be there at most once."""
        values = [value for known, value in self.headers if known == name]
        assert len(values) <= 1, f"{name!r} was sent {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def raw(self) -> bytes:
        return self.raw_head + self.body


# --- the bytes of ordinary answers ---------------------------------------------------------

HeaderPairs = Sequence[tuple[str, str]]


def head(status: int = 200, headers: HeaderPairs = (), reason: str = "Told") -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def json_answer(body: object, status: int = 200, headers: HeaderPairs = ()) -> bytes:
    """A whole answer with Content-Length; `body` bytes are sent as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    return head(status, [*named, *headers]) + content


def sse_head(status: int = 200, headers: HeaderPairs = ()) -> bytes:
    """The head of a chunked event stream."""
    named = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]
    return head(status, [*named, *headers])


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


END = b"0\r\n\r\n"


def pause(seconds: float) -> Pause:
    return Pause(seconds)


def reached(event: asyncio.Event) -> Reached:
    return Reached(event)


# --- the server ----------------------------------------------------------------------------

Answerer = Callable[[SeenRequest], Script]


@dataclass
class Planned:
    steps: Script
    early: bool = False


class ScriptedUpstream:
    """Plays one script per request, in the order given; without one, `otherwise` answers."""

    def __init__(self, *, tls: bool = False, certificate: str = "server.pem") -> None:
        self.requests: list[SeenRequest] = []
        self.connections = 0  # accepted since the start
        self.open_connections = 0
        self.otherwise: Answerer = lambda request: [json_answer({"id": "resp_scripted", "object": "response"})]
        self.faults: list[BaseException] = []  # a script that itself broke; raised at the end of the `with`
        self.asides: list[SeenRequest] = []  # requests for what `aside` answers
        self._aside: dict[bytes, Script] = {}
        self._planned: deque[Planned] = deque()
        self._on_connection: deque[Script] = deque()
        self._arrived = asyncio.Condition()
        self._links: set[_Link] = set()
        self._tls = server_tls(certificate) if tls else None
        self._server: asyncio.Server | None = None

    def answer(self, *steps: Step) -> None:
        """Queues what to play once the next request has been read whole."""
        self._planned.append(Planned(steps))

    def answer_early(self, *steps: Step) -> None:
        """The same, but from the request's head on, its body unread (see READ_BODY)."""
        self._planned.append(Planned(steps, early=True))

    def aside(self, target: bytes, *steps: Step) -> None:
        """Answers every request for this target so, whatever is planned; such requests are kept in `asides` alone."""
        self._aside[target] = steps

    def on_connection(self, *steps: Step) -> None:
        """Queues what to play when the next connection is accepted, before any byte is read."""
        self._on_connection.append(steps)

    async def seen(self, count: int = 1, timeout: float = 5) -> SeenRequest:
        """Waits until so many requests have come (the head at least); the last of them."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def quiet(self, open_connections: int = 0, timeout: float = 5) -> None:
        """Waits until at most so many connections are open."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: self.open_connections <= open_connections)

    def reset_idle(self) -> None:
        """Breaks every open connection, as a restarting server does."""
        for link in list(self._links):
            link.reset()

    def close_idle(self) -> None:
        """Closes every open connection in the orderly way."""
        for link in list(self._links):
            link.transport.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return cast(int, self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The origin, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Link(self), "127.0.0.1", 0, ssl=self._tls, backlog=2048)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        links = list(self._links)
        for link in links:
            link.stop()
        await asyncio.gather(*(link.player for link in links if link.player), return_exceptions=True)
        await self.quiet()
        if self.faults and fault is None:
            raise self.faults[0]

    # What the links call.

    def take_connection_script(self) -> Script:
        return self._on_connection.popleft() if self._on_connection else ()

    def take_plan(self) -> Planned | None:
        return self._planned.popleft() if self._planned else None

    def take_aside(self, request: SeenRequest) -> Script | None:
        steps = self._aside.get(request.target)
        (self.requests if steps is None else self.asides).append(request)
        return steps

    async def announce(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()


class _Link(asyncio.Protocol):
    """One accepted connection: collects bytes, plays scripts in a task of its own."""

    transport: asyncio.Transport

    def __init__(self, server: ScriptedUpstream) -> None:
        self.server = server
        self.player: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()
        self._ended = False

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections += 1
        self.server.open_connections += 1
        self.number = self.server.connections
        self.server._links.add(self)
        self.player = asyncio.get_running_loop().create_task(self._play_connection())

    def data_received(self, received: bytes) -> None:
        self._buffer += received
        self._news.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open_connections -= 1
        self.server._links.discard(self)
        for event in (self._gone, self._news, self._room):
            event.set()
        self._told = asyncio.get_running_loop().create_task(self.server.announce())

    # The script.

    def stop(self) -> None:
        if self.player:
            self.player.cancel()
        self.transport.abort()

    def reset(self) -> None:
        """RST instead of FIN: what was written and not yet read is lost to the client."""
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        self._ended = True

    async def _play_connection(self) -> None:
        try:
            await self._play(self.server.take_connection_script(), None)
            while not self._ended and await self._play_request():
                pass
        except (ConnectionError, EOFError):
            self.transport.close()
        except Exception as exc:
            self.server.faults.append(exc)
            self.transport.abort()

    async def _play_request(self) -> bool:
        request = await self._read_head()
        if request is None:
            return False
        aside = self.server.take_aside(request)
        plan = self.server.take_plan() if aside is None else Planned(aside)
        if plan is None or not plan.early:
            await self._read_body(request)
        await self.server.announce()
        await self._play(plan.steps if plan else self.server.otherwise(request), request)
        return not self._gone.is_set()

    async def _play(self, steps: Script, request: SeenRequest | None) -> None:
        for step in steps:
            if self._gone.is_set():
                return  # there is nobody to play to
            if isinstance(step, bytes):
                self.transport.write(step)
                await self._room.wait()
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Reached):
                step.event.set()
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                await self._act(step, request)

    async def _act(self, act: Act, request: SeenRequest | None) -> None:
        if act is RESET:
            self.reset()
        elif act is CLOSE:
            self.transport.close()
            self._ended = True
        elif act is HALF_CLOSE:
            self.transport.write_eof()
        elif act is READ_BODY:
            assert request is not None, "READ_BODY needs a request"
            self.transport.resume_reading()
            await self._read_body(request)
        elif act is STOP_READING:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
            await self._gone.wait()

    # The request.

    async def _read_head(self) -> SeenRequest | None:
        try:
            raw_head = await self._until(b"\r\n\r\n")
        except EOFError:
            return None
        first, *lines = raw_head[:-4].split(b"\r\n")
        method, target, _version = first.split(b" ")
        pairs = [line.partition(b":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        return SeenRequest(self.number, method, target, headers, raw_head, gone=self._gone)

    async def _read_body(self, request: SeenRequest) -> None:
        if request.header(b"transfer-encoding") == b"chunked":
            while size := int(await self._until(b"\r\n"), 16):
                request.body += await self._exactly(size)
                await self._exactly(2)
            await self._until(b"\r\n")
        else:
            request.body += await self._exactly(int(request.header(b"content-length") or 0))

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        return self._take(at + len(mark))

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _more(self) -> None:
        if self._gone.is_set():
            raise EOFError
        self._news.clear()
        await self._news.wait()


def server_tls(certificate: str) -> ssl.SSLContext:
    """Certificates for 127.0.0.1 (`server.pem`) or another host (`elsewhere.pem`), valid for a century."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / certificate, CERTIFICATES / "server.key")
    return context
