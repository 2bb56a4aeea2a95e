"""How a connection's answers leave it: whoever takes nothing of them, before or behind the close, is dropped.

Fact: a transport that is closed first writes all that it was given, and waits for that without end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.proxy.deadline import Deadline
from app.proxy.guard.connection import Connection
from app.proxy.guard.cycle import Cycle
from app.proxy.guard.flow import Flow
from app.proxy.guard.limits import CLOSE_LINGER_SECONDS, CUT_LINGER_SECONDS, LEFTOVER_BYTES_MAX, Limits
from app.proxy.outbox import Outbox
from app.proxy.quiet_end import QuietEnd


class Closing(QuietEnd):
    """The guard's lower half: writing and closing. `protocol` is the upper one."""

    __slots__ = ("_deadline", "_ended", "_refused", "_stall", "_thrown_away", "connection")

    limits: Limits
    outbox: Outbox
    cycle: Cycle  # type: ignore[assignment]
    flow: Flow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.connection = Connection(self)
        self._ended = False  # nothing that comes is read any more
        self._refused = False
        self._thrown_away = 0  # bytes that came behind the last answer
        self._deadline = Deadline(self.loop)  # for a head, or for what is left of a body
        self._stall = Deadline(self.loop)  # for a client that takes nothing

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._ended = True
        self._deadline.end()
        self._stall.end()

    def eof_received(self) -> None:
        """A client that closed its sending side counts as gone (no HTTP client in use does that and stays)."""
        self.outbox.flush()  # the transport is closed behind this call
        super().eof_received()
        self._closes()
        self.connection.lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.connection.flowing = False
        self._stall.set(self.limits.stall_seconds, self.connection.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.connection.flowing = not self.connection.gone
        self._stall.unset()
        if self.transport.is_closing():
            self._closes()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._closes()
            return
        self.flow.resume_reading()
        if not self._ended:
            self._close_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.outbox.flush()  # a timer may run before the turn's end is told
        super().timeout_keep_alive_handler()
        if self.transport.is_closing():
            self._closes()

    def cut(self) -> None:
        if self._refused:
            return  # it closes, when its client has read why
        # Marked as disconnected first, or uvicorn logs an application error for what is meant.
        self.cycle.disconnected = True
        self.close()
        self.loop.call_later(CUT_LINGER_SECONDS, self.transport.abort)

    def write(self, data: bytes) -> None:
        self.outbox.write(self.transport, data)

    def close(self) -> None:
        """Closes behind what was written; what waits for other connections leaves with it."""
        self.outbox.flush()
        self.transport.close()

    def take_body(self) -> bytes | None:
        return self.cycle.take_body()

    def answer_nobody(self) -> None:
        """Nobody is there to answer: uvicorn would log that nothing was."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True

    def close_behind_answer(self) -> None:
        """An answer that is its connection's last was written whole; what comes behind it is read and thrown away for a
        moment, since the system tells whoever closes on unread bytes by a reset, which takes the answer away. (A TLS
        connection has no half that ends by itself: it closes at once.)
        """
        self._ended = True
        self._close_softly()

    def _close_softly(self) -> None:
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self._end()
            return
        try:
            self.outbox.flush()
            self.transport.write_eof()
        except OSError:  # reset meanwhile
            self._end()
        else:
            self._deadline.set(CLOSE_LINGER_SECONDS, self._end)

    def _throw_away(self, count: int) -> None:
        self._thrown_away += count
        if self._thrown_away > LEFTOVER_BYTES_MAX:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._deadline.unset()
        self.close()
        self._closes()

    def _closes(self) -> None:
        """The last bytes may take as long as any others; a deadline that runs already goes on."""
        if not self._stall.is_set:
            self._stall.set(self.limits.stall_seconds, self.connection.abort)
