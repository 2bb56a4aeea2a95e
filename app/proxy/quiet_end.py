"""How a connection ends at shutdown, so that no request on its way finds it closed.

uvicorn closes an idle connection the moment it shuts down, and any other with its answer. A client that has just sent
the next request there sees a reset, and cannot tell whether it was read. Here a connection tells its end with the next
answer that begins (`connection: close`), and is closed without one only when nothing was asked for a while: by then a
client in use has either asked or gone. Called by the guard, whose base it is; the server calls `shutdown`.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.proxy.deadline import Deadline

# Longer than a request is under way between two machines; all that it costs is a shutdown that takes so much longer
# where clients keep connections that they do not use.
QUIET_SECONDS = 1.0


class QuietEnd(HttpToolsProtocol):
    """uvicorn's protocol, but for how it parts."""

    # Here and in the classes built on it: an object with 30 attributes or more beside its slots has a table of names of
    # its own, 1.3 KiB for each stream that waits.
    __slots__ = ("_idle",)

    ending = False  # then every answer that begins tells that it is its connection's last

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._idle = Deadline(self.loop)  # in uvicorn's `timeout_keep_alive_task`'s place

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._idle.end()

    def shutdown(self) -> None:
        """Called once, when no more connections are taken."""
        self.ending = True
        keep_alive_seconds, self.timeout_keep_alive = self.timeout_keep_alive, QUIET_SECONDS  # type: ignore[assignment]
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.response_started:
                self.cycle.keep_alive = False
            return
        quiet = keep_alive_seconds - self._idle.left_seconds if self._idle.is_set else 0.0
        self._close_in(max(0.0, QUIET_SECONDS - quiet))

    def timeout_keep_alive_handler(self) -> None:
        """Closes, unless a request has come that was not read yet."""
        if self._has_unread():
            self._close_in(self.timeout_keep_alive)
        else:
            super().timeout_keep_alive_handler()

    def _close_in(self, seconds: float) -> None:
        self._idle.set(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle.unset()

    def _has_unread(self) -> bool:
        sock = self.transport.get_extra_info("socket")
        if sock is None or self.transport.is_closing():
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return any(not event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
