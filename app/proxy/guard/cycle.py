"""One request and its answer as the ASGI application sees them, in fewer steps than uvicorn's own cycle takes.

Rules: a body that came whole is received without waiting. The head of an answer that announces its length leaves with
the first piece of its body, empty or not, as ASGI has it: one write instead of two. Headers are judged
together. Whatever an application does wrong is told as uvicorn tells it. Made by `requests` for each request; called by
the application, and past it by an exchange.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.proxy.guard.connection import CHUNK_FORMAT, Message
from app.proxy.guard.flow import Flow

AsgiApp = Callable[[Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A body up to this size is copied behind its head, rather than given to the connection by itself.
_ONE_WRITE_BYTES_MAX = 64 * 1024

# The server's own words, as uvicorn has them.
_FAULT_BODY = b"Internal Server Error"
_FAULT_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAULT_BODY)),
    (b"connection", b"close"),
)

_BAD_IN_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_CONTROL = bytes({*range(0x20), 0x7F} - {0x09})  # of these a head has CR LF at each line's end, and no other

log = logging.getLogger("uvicorn.error")


class Host(Protocol):
    """The connection below, as far as a cycle acts on it."""

    flow: Flow
    tasks: set[asyncio.Task[None]]

    @property
    def transport(self) -> asyncio.Transport: ...

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def close_behind_answer(self) -> None: ...

    def on_response_complete(self) -> None: ...


class Cycle:
    """`keep_alive`: the connection may go on behind the answer. `body`: what has come of the request's already."""

    __slots__ = (
        "_body",
        "_chunked",
        "_event",
        "_head",
        "_host",
        "_is_head",
        "_left",
        "_news",
        "_received",
        "_tells_close",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "waiting_for_100_continue",
    )

    def __init__(self, host: Host, scope: Message, *, keep_alive: bool, expects_continue: bool = False) -> None:
        self.scope = scope
        self.task: asyncio.Task[None] | None = None  # that runs this
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects_continue
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.more_body = True
        self._host = host
        self._body = b""
        self._news = False  # more of the request has come than was received
        self._received = False  # some of it was
        self._event: asyncio.Event | None = None
        self._head = b""  # of the answer, not written yet
        self._chunked = False
        self._left: int | None = None  # of the answer's announced length, if it has one
        self._tells_close = False
        self._is_head = scope["method"] == "HEAD"

    # --- what comes --------------------------------------------------------------------------

    @property
    def message_event(self) -> asyncio.Event:
        """What wakes who waits in `receive`; uvicorn sets it when the connection is lost."""
        if self._event is None:
            self._event = asyncio.Event()
        return self._event

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()

    def body_came(self, body: bytes) -> int:
        """More of the request's body; how much of it lies here now."""
        self._body = self._body + body if self._body else body
        self._news = True
        self.wake()
        return len(self._body)

    def came_whole(self, body: bytes) -> None:
        """The request is there with its head: nobody waits for it yet."""
        self._body, self._news, self.more_body = body, True, False

    def whole(self) -> None:
        """The request has come to its end."""
        self.more_body = False
        self._news = True
        self.wake()

    def take_body(self) -> bytes | None:
        """What `receive` would give, if it is the whole body and nothing has to be done or waited for. Else None."""
        if self.more_body or not self._news or self._received or self.waiting_for_100_continue or self.disconnected:
            return None
        self._news = False
        body, self._body = self._body, b""
        return body

    async def receive(self) -> Message:
        host = self._host
        if self.waiting_for_100_continue and not host.transport.is_closing():
            host.write(CONTINUE)
            self.waiting_for_100_continue = False
        if not (self._news or self.disconnected or self.response_complete):
            host.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        self._received = True
        body, self._body, self._news = self._body, b"", False
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    # --- what goes ---------------------------------------------------------------------------

    async def run(self, app: AsgiApp) -> None:
        """Calls the application; what it leaves undone is answered for it."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as fault:
            log.error("Exception in ASGI application\n", exc_info=fault)  # noqa: TRY400 - a cancellation is told as well
            await self._answer_for_it()
        else:
            if not self.response_complete and not self.disconnected:
                undone = "completing" if self.response_started else "starting"
                log.error("ASGI callable returned without %s response.", undone)
                await self._answer_for_it()
        finally:
            task, self.task = self.task, None  # they know each other
            self._host.tasks.discard(task)

    async def _answer_for_it(self) -> None:
        if self.response_started:
            self._host.close()
        else:
            await self.send({"type": "http.response.start", "status": 500, "headers": _FAULT_HEADERS})
            await self.send({"type": "http.response.body", "body": _FAULT_BODY})

    async def send(self, message: Message) -> None:
        flow = self._host.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        self.send_nowait(message)

    def send_nowait(self, message: Message) -> None:
        """The same without waiting; see `Answering`."""
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._start(message["status"], message.get("headers", ()))
        elif self.response_complete:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        elif kind != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        else:
            self._go_on(message.get("body", b""), last=not message.get("more_body", False))

    def answer_nowait(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Head and body together; see `Answering`."""
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("An answer has begun already.")
        self._start(status, headers)
        self._go_on(body, last=True)

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        parts = [STATUS_LINE[status][:-2]]
        for name, value in headers:
            begins, framing = _line(name)
            if framing is not None:
                self._frame(framing, value)
            parts += (begins, value)
        if not self.keep_alive and not self._tells_close:
            parts += _CLOSE_LINE
        if self._left is None and not (self._chunked or self._is_head or status in (204, 304)):
            self._chunked = True
            parts += _CHUNKED_LINE
        parts.append(b"\r\n\r\n")
        head = b"".join(parts)
        lines = len(parts) // 2 + 1  # status, headers, the empty one
        if len(head) - len(head.translate(None, _CONTROL)) != 2 * lines:
            raise RuntimeError("Invalid HTTP header value.")
        if self._left is not None and not self._chunked:
            self._head = head
        else:
            self._left = 0
            self._host.write(head)

    def _frame(self, name: bytes, value: bytes) -> None:
        """Takes in a header that says where the answer ends, or the connection."""
        if name == b"connection":
            if b"close" in [token.strip() for token in value.lower().split(b",")]:
                self.keep_alive = False
                self._tells_close = True
        elif name == b"content-length":
            self._left = int(value)
        elif value.lower() == b"chunked":
            self._chunked = True

    def _go_on(self, body: bytes, *, last: bool) -> None:
        if self._is_head:
            self._left, body = 0, b""
        elif self._chunked:
            chunk = CHUNK_FORMAT % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n" if last else chunk
        else:
            self._left = (self._left or 0) - len(body)
            if self._left < 0:
                raise RuntimeError("Response content longer than Content-Length")
        self._write(body)
        if last:
            if self._left:
                raise RuntimeError("Response content shorter than Content-Length")
            self._complete()

    def _write(self, body: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            if len(body) <= _ONE_WRITE_BYTES_MAX:
                self._host.write(head + body)
                return
            self._host.write(head)
        self._host.write(body)

    def _complete(self) -> None:
        self.response_complete = True
        self.wake()
        if not self.keep_alive:
            self._host.close_behind_answer()
        self._host.on_response_complete()


_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_CLOSE_LINE = (b"\r\nconnection: ", b"close")
_CHUNKED_LINE = (b"\r\ntransfer-encoding: ", b"chunked")


@functools.lru_cache(maxsize=512)  # a few dozen names come with every answer
def _line(name: bytes) -> tuple[bytes, bytes | None]:
    """The end of the line before, and what a header's line begins with; its name, if it says where an answer ends.

    Raises: `RuntimeError`.
    """
    if _BAD_IN_NAME.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    name = name.lower()
    return b"\r\n" + name + b": ", name if name in _FRAMING else None
