"""One client connection, as far as an exchange may know it and act on it.

Facts it mends: in ASGI a waiting `send()` never learns that the client left, and a client that stopped
reading is kept for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Protocol

from app.proxy.outbox import Outbox

Message = MutableMapping[str, Any]  # of ASGI's

EXTENSION = "irg.connection"

# A piece of a body as it stands on the wire (RFC 9112 §7.1), made of its length and itself.
CHUNK_FORMAT = b"%x\r\n%b\r\n"


class Answering(Protocol):
    """The answer of one request."""

    def send_nowait(self, message: Message) -> None:
        """Sends a message of ASGI's without waiting: to be called while the client takes what is written.

        It goes past ASGI's `send`: what wraps that (FastAPI, with `IRG_FRONT=off`) does not see it. Raises:
        `RuntimeError` for a message out of turn.
        """
        ...

    def answer_nowait(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Sends head and body of an answer, as `send_nowait` would its messages. Raises: `RuntimeError`, also if an
        answer has begun already."""
        ...


class Wire(Protocol):
    """The protocol below a connection."""

    @property
    def cycle(self) -> Answering: ...  # of the last request that began

    flow: Any  # uvicorn's flow control, once a connection is made
    transport: asyncio.Transport
    outbox: Outbox

    def cut(self) -> None: ...

    def take_body(self) -> bytes | None: ...

    def answer_nobody(self) -> None: ...


class Connection:
    """One client connection; one that was made without a wire never leaves, one that is gone has it no more."""

    __slots__ = ("_on_gone", "_wire", "client", "facts", "flowing", "gone", "local")

    def __init__(self, wire: Wire | None = None, *, local: bool = False) -> None:
        self._wire = wire
        self._on_gone: Callable[[], None] | None = None
        self.gone = False
        self.flowing = wire is not None  # the client takes what is written: nothing need wait for it
        self.local = local  # came through the gateway's own Unix socket
        self.facts: dict[str, Any] = {}  # what was made of the request's head alone: there again when that comes again
        self.client: str | None = None  # what limits per address count it under; None: they do not

    def take_body(self) -> bytes | None:
        """The request's whole body, if all of it has come and none was received: a wait with its deadline spared."""
        return self._wire.take_body() if self._wire is not None else None

    @property
    def answering(self) -> Answering | None:
        """What the request is answered through that is being answered now. Keep it: it stays that request's."""
        return self._wire.cycle if self._wire is not None else None

    def watch(self, on_gone: Callable[[], None] | None) -> None:
        """Calls `on_gone` once when the client leaves; at once if it has left. None ends the watch."""
        self._on_gone = on_gone
        if on_gone is not None and self.gone:
            on_gone()

    @property
    def paused(self) -> bool:
        """True while the client reads more slowly than we write."""
        return self._wire is not None and bool(self._wire.flow.write_paused)

    def writer(self) -> Callable[[bytes], object]:
        """A function that writes bytes as they are: of an answer whose head has gone, each in the `CHUNK_FORMAT`.

        Call it only while `flowing`. It goes straight to the outbox: a call less for every event of every stream.
        """
        if self._wire is None:
            return len  # never called: without a wire nothing flows
        return partial(self._wire.outbox.write, self._wire.transport)

    async def writable(self, timeout_seconds: float) -> bool:
        """Waits until the client has read on (or left); False if it did not within the time."""
        if self._wire is None:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._wire.flow.drain()
        except TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """Drops the connection at once; what was not yet written is lost."""
        if self._wire is not None:
            self._wire.transport.abort()
        self.lost()

    def cut(self) -> None:
        """Ends the answer without its end: what was written is flushed, then the connection closes."""
        if self._wire is not None:
            self._wire.cut()

    def lost(self) -> None:
        if self.gone:
            return
        self.gone, self.flowing = True, False
        if self._wire is not None:
            self._wire.answer_nobody()
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()

    def drop_wire(self) -> None:
        """Call it when the wire is closed: nothing can be done to it any more."""
        self._wire = None


def connection_of(scope: MutableMapping[str, Any]) -> Connection:
    """The guard's connection, or one that never leaves (another server, or ASGI driven by hand)."""
    connection = (scope.get("extensions") or {}).get(EXTENSION)
    return connection if isinstance(connection, Connection) else Connection()
