"""uvicorn's httptools protocol, given to uvicorn as `http=`, with what it lacks.

It puts one `Connection` into `scope["extensions"]["irg.connection"]`; bounds what a request's head may be and how long
head, unread body and unread answer may take; reads one request after the other (see `framing`); counts
connections; and tells all this in OpenAI's shape. uvicorn cancels running exchanges at the end of its
grace without awaiting them, so our tasks are kept in a set of our own: only `Inflight.drain` ends them.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from app.core.errors import ApiError, bad_http, request_timeout
from app.proxy.guard.flow import Flow
from app.proxy.guard.limits import (
    HEAD_SECONDS_MAX,
    HELD_BYTES_MAX,
    LEFTOVER_BYTES_MAX,
    LEFTOVER_KEPT_BYTES_MAX,
    LEFTOVER_SECONDS_MAX,
    WRITE_BUFFER_BYTES_MAX,
    Limits,
)
from app.proxy.guard.places import Place
from app.proxy.guard.refusal import refusal_bytes
from app.proxy.guard.requests import Requests
from app.proxy.guard.seat import Seat
from app.proxy.outbox import Outbox


class GuardProtocol(Requests):
    """One client connection."""

    __slots__ = ("_held",)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._held = b""

    # --- the connection --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._attach(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        sock = transport.get_extra_info("socket")
        self.connection.local = sock is not None and sock.family == socket.AF_UNIX
        peer = None if self.connection.local else self.client[0] if self.client is not None else ""
        if peer is not None and self.limits.places.are_full:
            self._end_one_that_rests()
        self._seat = Seat(self.limits.places, self.limits.trusted_proxies, peer)
        self.connection.client = self._seat.client
        if self._seat.place is Place.NONE:
            self._ended = True
            transport.abort()
        else:
            self._deadline.set(HEAD_SECONDS_MAX, self._head_is_late)

    def _attach(self, transport: asyncio.Transport) -> None:
        """What uvicorn's `connection_made` does, without its trace line."""
        self.connections.add(self)
        self.transport = transport
        self.flow = Flow(transport)
        # Asked of the transport: a socket's own methods let go of the interpreter's lock, and the ledger's thread takes
        # it then, with each of a hundred clients that come at once.
        self.client = _pair(transport.get_extra_info("peername"))
        here = transport.get_extra_info("sockname")
        self.server = (here, None) if isinstance(here, str) else _pair(here)
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._held = b""
        self._seat.leave()
        self.connection.lost()
        # This, its connection and its cycle know each other: else they would stay until Python looks for garbage, which
        # takes 40 ms for 1,500 connections.
        self.connection.drop_wire()
        self.cycle = None  # type: ignore[assignment]

    def _end_one_that_rests(self) -> None:
        """Whoever opened all places, and asks for nothing, keeps nobody out who does."""
        for other in self.server_state.connections:
            if isinstance(other, GuardProtocol) and other.rests:
                other.give_way()
                return

    @property
    def rests(self) -> bool:
        """Has a place, was answered, and has asked for nothing since."""
        return self._idle.is_set and not self.connection.local and not self._has_unread()

    def give_way(self) -> None:
        self._idle.unset()
        self._end()
        self._seat.leave()

    # --- what comes ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self._throw_away(len(data))
            return
        self._idle.unset()
        if self._held or self._is_answering():
            self._hold(data)
        else:
            self._take(data)

    def _is_answering(self) -> bool:
        return self._whole and not self.cycle.response_complete

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > HELD_BYTES_MAX:
            self.flow.pause_reading()  # until the answer is complete

    def _take(self, data: bytes) -> None:
        at, framing = 0, self._framing
        while at < len(data) and not self._ended:
            if self._is_answering():
                self._hold(data[at:])
                return
            if self._known is not None and framing.at_start and (again := self._known.again(data, at)) is not None:
                at = self._begin_again(again, data)
                continue
            end = framing.end_of_piece(data, at)
            self._feed(data if end - at == len(data) else data[at:end])
            at = end
        if not framing.in_body and framing.head_bytes and not self._deadline.is_set and not self._ended:
            self._deadline.set(HEAD_SECONDS_MAX, self._head_is_late)

    def _feed(self, piece: bytes) -> None:
        if self._leftover_bytes is not None:
            self._leftover_bytes += len(piece)
            if self._leftover_bytes > LEFTOVER_BYTES_MAX:
                self._end()
                return
        if self._framing.in_body and not self._parsed:
            self._body_goes_on(piece)
            return
        begins = self._framing.at_start
        fault = self._framing.given(piece) or self._parse(piece)
        if fault is not None:
            self._refuse(fault)
        elif begins and self._framing.in_body:
            self._learn(piece)

    def _parse(self, piece: bytes) -> ApiError | None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserCallbackError:
            return self._fault or bad_http("it cannot be read")
        except httptools.HttpParserError as error:  # its text is one of the parser's own
            return bad_http(f"{error}")
        return None

    # --- answers and their ends ------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._seat.answered()
        if self.transport.is_closing() or self._ended:
            return
        if not self._whole:
            self._idle.unset()
            self._leftover_bytes = 0
            self._deadline.set(LEFTOVER_SECONDS_MAX, self._end)
        elif self._held:
            self._idle.unset()
            held, self._held = self._held, b""
            self._take(held)

    def _leftover_came(self) -> None:
        """The request's end came behind its answer's, where uvicorn begins to wait for the next one."""
        came, self._leftover_bytes = self._leftover_bytes or 0, None
        self._deadline.unset()
        if came > LEFTOVER_KEPT_BYTES_MAX:
            self._end()
            return
        self._close_in(self.timeout_keep_alive)

    def _head_is_late(self) -> None:
        self._refuse(request_timeout("request's head"))

    def _refuse(self, error: ApiError) -> None:
        """Answers what is no request, or no more, as far as nothing was answered yet, and closes the connection."""
        cycle = self.cycle
        running = cycle is not None and not cycle.response_complete
        if running and cycle.response_started:
            cycle.keep_alive = False  # its answer is under way, and the last
            self._ended = True
            return
        if running:  # what it would still write, "100 Continue" included, comes behind the end
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False
            cycle.wake()
        self._ended = True
        self._deadline.unset()
        self._idle.unset()
        if self.transport.is_closing():
            return
        self._refused = True
        self.write(refusal_bytes(error))
        self._close_softly()


def _pair(address: Any) -> tuple[str, int] | None:
    """A host and a port, as ASGI has them; None for what is none, or not known any more."""
    return address[:2] if isinstance(address, tuple) else None


def guard_protocol(exchange_tasks: set[asyncio.Task[None]], limits: Limits) -> type[GuardProtocol]:
    """The protocol class for one server, in the running loop; its request tasks live in `exchange_tasks`. Raises:
    `RuntimeError` where no loop runs."""
    attributes = {"exchange_tasks": exchange_tasks, "limits": limits, "outbox": Outbox()}
    return type("BoundGuardProtocol", (GuardProtocol,), attributes)
