"""Bounds what the answers of all exchanges together hold in memory.

What is held: small bodies that are collected before they are sent, and the copies that taps keep of large bodies and
large events, to read their cost from. A body without room is streamed instead; a copy waits for room, since a cost is
worth waiting for. So that those who wait do not wait for each other, one of them at a time may go beyond the bound.
Small pieces are not counted: the number of exchanges bounds them.
"""

from __future__ import annotations

import asyncio

# An exchange's first bytes are its own.
UNCOUNTED_BYTES = 64 * 1024

# While it waits, an answer is not read on.
WAIT_SECONDS = 30.0


class Memory:
    """So many bytes, shared by all exchanges of a process."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._waiting: list[asyncio.Future[None]] = []
        self.foremost: Share | None = None  # who may go beyond the bound
        self.taken_bytes = 0

    def fits(self, count: int) -> bool:
        return self.taken_bytes + count <= self._bytes_max

    def give(self, count: int) -> None:
        self.taken_bytes -= count
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def freed(self) -> None:
        """Until somebody gave something back."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter


class Share:
    """What one exchange holds of it."""

    __slots__ = ("_memory", "held_bytes")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held_bytes = 0

    def hold(self, count: int) -> bool:
        """Holds so many bytes in all from now on; False, and nothing changes, when there is no room for more."""
        more = max(0, count - UNCOUNTED_BYTES) - self.held_bytes
        if more > 0 and not self._memory.fits(more) and self._memory.foremost is not self:
            return False
        self.held_bytes += more
        if more > 0:
            self._memory.taken_bytes += more
        elif more < 0:
            if self.held_bytes == 0 and self._memory.foremost is self:
                self._memory.foremost = None
            self._memory.give(-more)
        return True

    async def hold_in_time(self, count: int) -> bool:
        """The same, but goes beyond the bound if nobody else does, and else waits a while for room."""
        if self.hold(count):
            return True
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not self._hold_foremost(count):
                    await self._memory.freed()
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        if self.held_bytes:
            self.hold(0)

    def _hold_foremost(self, count: int) -> bool:
        if self._memory.foremost is None and not self.hold(count):
            self._memory.foremost = self
        return self.hold(count)
