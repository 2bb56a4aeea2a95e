"""A guarded connection without a socket: bytes in, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.proxy.guard import GuardProtocol, Limits, Places
from app.proxy.outbox import Outbox

Message = dict[str, Any]


class WrittenTransport(asyncio.Transport):
    """Keeps what is written, each write by itself."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = False
        self.ended = False  # of what is written; what comes is still read
        self.reading = True

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        if not self.ended and data:
            self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = self.ended = True

    def abort(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return


App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def guarded(app: App, protocol: type[GuardProtocol] = GuardProtocol) -> tuple[GuardProtocol, WrittenTransport]:
    """A connection that was just made. Call it within a loop."""
    config = Config(app, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False)
    limits = Limits(Places(connections_max=10, per_client_max=0), (), 30)
    bound = type("Bound", (protocol,), {"exchange_tasks": set(), "limits": limits, "outbox": Outbox()})
    connection, transport = bound(config, ServerState(), {}), WrittenTransport()
    connection.connection_made(transport)
    return connection, transport
