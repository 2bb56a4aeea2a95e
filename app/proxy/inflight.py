"""What is open now: how many exchanges, how many body bytes, and how all of them end at shutdown."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.core.errors import overloaded, shutting_down
from app.core.records import Outcome


class Abortable(Protocol):
    def abort(self, outcome: Outcome) -> None:
        """Ends the exchange soon, from outside; it still settles."""
        ...


class Inflight:
    """Bounds and counts the open exchanges of one process."""

    def __init__(self, *, concurrency_max: int, bodies_bytes_max: int) -> None:
        self._open: set[Abortable] = set()
        self._concurrency_max = concurrency_max
        self._bodies_bytes_max = bodies_bytes_max
        self._bodies_bytes = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False  # a signal came: answers carry `connection: close`
        self.closed = False  # the grace is over: nothing new is taken

    def __len__(self) -> int:
        return len(self._open)

    @property
    def bodies_bytes(self) -> int:
        """Request bodies held in memory now."""
        return self._bodies_bytes

    def enter(self, exchange: Abortable) -> None:
        """Takes a place. Raises: `ApiError` 503 when full or shut down; nothing is taken then."""
        if self.closed:
            raise shutting_down()
        if len(self._open) >= self._concurrency_max:
            raise overloaded()
        self._open.add(exchange)
        self._empty.clear()

    def leave(self, exchange: Abortable) -> None:
        self._open.discard(exchange)
        if not self._open:
            self._empty.set()

    def take_bytes(self, count: int) -> None:
        """Raises: `ApiError` 503 when all bodies together would exceed their bound."""
        if self._bodies_bytes + count > self._bodies_bytes_max:
            raise overloaded()
        self._bodies_bytes += count

    def give_bytes(self, count: int) -> None:
        self._bodies_bytes -= count

    async def drain(self, patience_seconds: float, *, settle_seconds: float = 10.0) -> int:
        """Takes nothing new, waits for the open ones, then ends what is left; returns how many were ended."""
        self.closed = True
        if await self._emptied(patience_seconds):
            return 0
        left = self.abort_all()
        await self._emptied(settle_seconds)
        return left

    def abort_all(self) -> int:
        """Ends all that is open, soon; returns how many that are."""
        left = list(self._open)
        for exchange in left:
            exchange.abort(Outcome.SHUT_DOWN)
        return len(left)

    async def _emptied(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
