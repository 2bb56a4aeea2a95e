"""What plain ASGI does not tell: that the client left, that it stopped reading, and how to drop it.

A subclass of uvicorn's httptools protocol, given to uvicorn as `http=`. It puts one
`Connection` into `scope["extensions"]["irg.connection"]`. Facts it mends: in ASGI a
waiting `send()` never learns that the client left, a client that stopped reading is kept
for ever, and uvicorn cancels running exchanges at the end of its grace without awaiting
them. Our tasks are therefore kept in a set of our own: only `Inflight.drain` ends them. And
httptools skips the body of a request that asks for another protocol: see `deaf_to_upgrade`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

EXTENSION = "irg.connection"

# A client that reads nothing holds at most this much of an answer in our memory.
WRITE_BUFFER_BYTES_MAX = 32 * 1024

# After a cut the last bytes may still be on their way; a client that takes none is dropped.
CUT_LINGER_SECONDS = 10.0


_OF_AN_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


class Connection:
    """One client connection, as far as an exchange may know it and act on it."""

    __slots__ = ("_on_gone", "_protocol", "gone", "local")

    def __init__(self, protocol: GuardProtocol | None = None, *, local: bool = False) -> None:
        self._protocol = protocol
        self._on_gone: Callable[[], None] | None = None
        self.gone = False
        self.local = local  # came through the gateway's own Unix socket

    def watch(self, on_gone: Callable[[], None] | None) -> None:
        """Calls `on_gone` once when the client leaves; at once if it has left. None ends the watch."""
        self._on_gone = on_gone
        if on_gone is not None and self.gone:
            on_gone()

    @property
    def paused(self) -> bool:
        """True while the client reads more slowly than we write."""
        return self._protocol is not None and self._protocol.flow.write_paused

    async def writable(self, timeout_seconds: float) -> bool:
        """Waits until the client has read on (or left); False if it did not within the time."""
        if self._protocol is None:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._protocol.flow.drain()
        except TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """Drops the connection at once; what was not yet written is lost."""
        if self._protocol is not None:
            self._protocol.transport.abort()
        self.lost()

    def cut(self) -> None:
        """Ends the answer without its end: what was written is flushed, then the connection closes."""
        if self._protocol is not None:
            self._protocol.cut()

    def lost(self) -> None:
        if self.gone:
            return
        self.gone = True
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()


class GuardProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a `Connection` beside each request."""

    exchange_tasks: set[asyncio.Task[None]]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = Parser(self)
        self.tasks = self.exchange_tasks  # not server_state.tasks: uvicorn would cancel them
        self.connection = Connection(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        sock = transport.get_extra_info("socket")
        self.connection.local = sock is not None and sock.family == socket.AF_UNIX

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.connection.lost()

    def eof_received(self) -> None:
        """A client that closed its sending side counts as gone (no HTTP client in use does that and stays)."""
        super().eof_received()
        self.connection.lost()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self.connection}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        if not self._is_to_come_again():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._is_to_come_again():
            super().on_message_complete()

    def _is_to_come_again(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def deaf_to_upgrade(self, rest: bytes) -> None:
        """Parses a request anew as if it had not asked for another protocol, as HTTP allows (RFC 9110 §7.8).

        Otherwise its body would be taken for the next request on the connection. `rest`: what followed its head.
        """
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [line, *(b"%s: %s" % header for header in _without_upgrade(self.headers)), b"", b""]
        self.parser = Parser(self)
        self.parser.feed_data(b"\r\n".join(lines) + rest)

    def cut(self) -> None:
        # Marked as disconnected first, or uvicorn logs an application error for what is meant.
        self.cycle.disconnected = True
        self.transport.close()
        self.loop.call_later(CUT_LINGER_SECONDS, self.transport.abort)


class Parser(httptools.HttpRequestParser):
    """httptools' parser as uvicorn sets it up, for a protocol that never changes to another."""

    def __init__(self, protocol: GuardProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.get_method() == b"CONNECT":
                raise
            self._protocol.deaf_to_upgrade(bytes(data[upgrade.args[0] :]))


def _without_upgrade(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            kept = [token for token in value.split(b",") if token.strip().lower() not in _OF_AN_UPGRADE]
            yield name, b",".join(kept)
        elif name not in _OF_AN_UPGRADE:
            yield name, value


def connection_of(scope: MutableMapping[str, Any]) -> Connection:
    """The guard's connection, or one that never leaves (another server, or ASGI driven by hand)."""
    connection = (scope.get("extensions") or {}).get(EXTENSION)
    return connection if isinstance(connection, Connection) else Connection()


def guard_protocol(exchange_tasks: set[asyncio.Task[None]]) -> type[GuardProtocol]:
    """The protocol class for one server; its request tasks live in `exchange_tasks`."""
    return type("BoundGuardProtocol", (GuardProtocol,), {"exchange_tasks": exchange_tasks})
