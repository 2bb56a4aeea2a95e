"""uvicorn's flow control, for connections of which thousands wait.

uvicorn makes an `asyncio.Event` with each connection, whose queue alone takes 624 bytes. Here it is made for who waits.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """Whether a connection reads, and whether its client takes what is written."""

    __slots__ = ("_taken", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:  # not uvicorn's, which makes the event
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._taken: asyncio.Event | None = None  # while somebody waits

    async def drain(self) -> None:
        """Waits until the client takes more, or has left."""
        if not self.write_paused:
            return
        if self._taken is None:
            self._taken = asyncio.Event()
        await self._taken.wait()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.set()
