"""How requests come about: from the parser's callbacks, or from a head that came before.

The middle of the guard, between `protocol`, which takes in bytes, and `closing`.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from app.core.errors import ApiError, head_too_large
from app.core.request_head import HEAD_BYTES_MAX, HEADERS_MAX, head_fault
from app.proxy.guard.closing import Closing
from app.proxy.guard.connection import EXTENSION
from app.proxy.guard.cycle import Cycle
from app.proxy.guard.framing import Framing
from app.proxy.guard.known_head import LENGTH_DIGITS_APART_MAX, MISSES_MAX, Again, KnownHead, learn
from app.proxy.guard.parser import Parser, without_upgrade
from app.proxy.guard.places import Place
from app.proxy.guard.seat import Seat


class Requests(Closing):
    """One connection's requests, one after the other."""

    __slots__ = (
        "_extensions",
        "_fault",
        "_framing",
        "_known",
        "_leftover_bytes",
        "_misses",
        "_parsed",
        "_parsed_bytes",
        "_seat",
        "_whole",
    )

    exchange_tasks: set[asyncio.Task[None]]
    scope: dict[str, Any]  # type: ignore[assignment]
    _seat: Seat  # once the connection is made

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = Parser(self)
        del self.pipeline  # uvicorn's own, 0.7 KiB for each connection: what comes early is held as bytes
        self.tasks = self.exchange_tasks  # not server_state.tasks: uvicorn would cancel them
        self._extensions = {EXTENSION: self.connection}
        self._framing = Framing()
        self._whole = False  # the request has come to its end
        self._fault: ApiError | None = None  # why the head is refused, out of the parser's reach
        self._leftover_bytes: int | None = None  # what came of a body behind its answer
        self._known: KnownHead | None = None
        self._misses = 0  # heads in a row that were not the known one
        self._parsed_bytes = 0  # how long the last head was that the parser saw
        self._parsed = True  # the parser has seen this request's head

    def _refuse(self, error: ApiError) -> None:
        raise NotImplementedError

    def _leftover_came(self) -> None:
        raise NotImplementedError

    # --- a head that came before -------------------------------------------------------------

    def _learn(self, head: bytes) -> None:
        """From the second head that seems to be the same: what a connection remembers are kibibytes, and many a
        connection has one request, a stream of minutes."""
        self._misses += 1
        alike = abs(len(head) - self._parsed_bytes) <= LENGTH_DIGITS_APART_MAX
        worth_it = alike and self._misses <= MISSES_MAX and self.cycle.keep_alive
        self._parsed_bytes = len(head)
        self._known = learn(head, self.scope, self.connection.facts) if worth_it else None

    def _begin_again(self, again: Again, data: bytes) -> int:
        """Begins a request without the parser; returns how much of the data was its."""
        self._misses = 0
        self._parsed = self.expect_100_continue = False
        self.connection.facts = again.facts
        self.scope = again.scope
        self.headers = again.scope["headers"]
        fault = self._seat.fault(again.scope["raw_path"], self.headers)
        if fault is not None:
            self._refuse(fault)
            return len(data)
        self._whole = False
        self._begin(keep_alive=True)
        end = again.body_at + again.length
        if end <= len(data):
            self.cycle.came_whole(data[again.body_at : end])
            self._whole = True
            return end
        self._framing.body_begins(again.length)
        return again.body_at

    def _body_goes_on(self, piece: bytes) -> None:
        self.on_body(piece)
        if self._framing.is_over:
            self._message_is_whole()

    # --- the parser calls these ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._whole = False
        self._parsed = True
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        framing = self._framing
        framing.headers += 1  # trailers too
        if framing.headers > HEADERS_MAX:
            self._fault = fault = head_too_large(HEAD_BYTES_MAX, HEADERS_MAX)
            raise fault
        if framing.in_body:  # a trailer is no header (RFC 9110 §6.5.1): it comes when all is decided
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_to_come_again():
            return
        line = self._framing.line
        self._fault = head_fault(line, self.headers) or self._seat.fault(self.url, self.headers)
        if self._fault is not None:
            raise self._fault
        version = self.parser.get_http_version()
        if version == "1.0":
            self.expect_100_continue = False
        self.connection.facts = {}
        self.scope = self._new_scope(line, version)
        self._begin(keep_alive=version != "1.0" and self.parser.should_keep_alive())
        self._framing.body_begins(self._body_length())

    def on_body(self, body: bytes) -> None:
        self._framing.body_came(len(body))
        if not self.cycle.response_complete and self.cycle.body_came(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if not self._is_to_come_again():
            self._message_is_whole()

    def _message_is_whole(self) -> None:
        self._whole = True
        self._framing.next_head()
        if not self.cycle.response_complete:
            self.cycle.whole()
            self.flow.resume_reading()  # nothing more of it comes: that the client leaves must be seen
        if self._leftover_bytes is not None:
            self._leftover_came()

    def _new_scope(self, line: bytes, version: str) -> dict[str, Any]:
        """What ASGI calls a scope. The line was judged: it has three parts, and its target begins with a slash."""
        method, target, _ = line.split(b" ")
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": self.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
            "extensions": self._extensions,
        }

    def _begin(self, *, keep_alive: bool) -> None:
        """A request has a head that is one: the application is called, while its body may still come."""
        self._deadline.unset()
        self._idle.unset()  # set with the bytes before, if a body ended there behind its answer
        self.connection.client = self._seat.client
        keep_alive = keep_alive and not self.ending and self._seat.place is Place.OPEN
        self.cycle = Cycle(self, self.scope, keep_alive=keep_alive, expects_continue=self.expect_100_continue)
        self.cycle.task = task = self.loop.create_task(self.cycle.run(self.app))
        self.tasks.add(task)  # a connection that is lost lets go of its cycle, and the drain waits for this one still

    def _body_length(self) -> int | None:
        lengths = [value for name, value in self.headers if name == b"content-length"]
        if lengths:
            return int(lengths[0])
        return None if any(name == b"transfer-encoding" for name, _ in self.headers) else 0

    # --- an upgrade that is not wanted -----------------------------------------------------

    def _is_to_come_again(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def deaf_to_upgrade(self, rest: bytes) -> None:
        """Parses a request anew as if it had not asked for another protocol, as HTTP allows (RFC 9110 §7.8).

        Otherwise its body would be taken for the next request on the connection. `rest`: what followed its head.
        """
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [line, *(b"%s: %s" % header for header in without_upgrade(self.headers)), b"", b""]
        self.parser = Parser(self)
        self._framing.headers = 0
        self.parser.feed_data(b"\r\n".join(lines) + rest)
