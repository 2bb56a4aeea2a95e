"""What ASGI cannot say: bytes that are no HTTP, a connection closed or reset inside an answer.

A subclass of uvicorn's httptools protocol, given to uvicorn as `http=`. It puts one `Connection`
into `scope["extensions"]["simulator.connection"]`; an answer may mix what it sends through ASGI
with what it writes here, in order, since both end in the same transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

EXTENSION = "simulator.connection"


class SimulatorProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a `Connection` beside each request."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: Connection(self)}  # type: ignore[dict-item]


class Connection:
    """The client's connection, under HTTP."""

    def __init__(self, protocol: SimulatorProtocol) -> None:
        self._protocol = protocol

    async def write(self, raw: bytes) -> None:
        """Writes bytes as they are; waits while the other side reads more slowly. Nobody there = nothing done."""
        protocol = self._protocol
        if not protocol.transport.is_closing():
            protocol.transport.write(raw)
            await protocol.flow.drain()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """What is written inside travels in one piece, as far as it fits into one (on Linux)."""
        raw = self._protocol.transport.get_extra_info("socket")
        cork = getattr(socket, "TCP_CORK", None)
        if raw is None or cork is None:
            yield
            return
        raw.setsockopt(socket.IPPROTO_TCP, cork, 1)
        yield
        await self._flushed()
        if not self._protocol.transport.is_closing():
            raw.setsockopt(socket.IPPROTO_TCP, cork, 0)

    async def close(self) -> None:
        """Ends the connection after what was written, wherever the answer stands."""
        self._leave()
        self._protocol.transport.close()

    async def reset(self) -> None:
        """Breaks the connection, after what was written has left."""
        transport = self._protocol.transport
        self._leave()
        await self._flushed()
        raw = transport.get_extra_info("socket")
        if raw is not None and not transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def gone(self) -> None:
        """Returns when the other side has closed the connection."""
        await self._protocol.lost.wait()

    async def _flushed(self) -> None:
        """Returns when the kernel has every byte, or the client has left."""
        transport = self._protocol.transport
        if not transport.is_closing():
            transport.set_write_buffer_limits(high=0)  # so that `drain` waits for the last one
            await self._protocol.flow.drain()
        if not transport.is_closing():
            transport.set_write_buffer_limits()

    def _leave(self) -> None:
        # Or uvicorn takes an answer without an end for a fault of the application.
        self._protocol.cycle.disconnected = True
