"""What is open now: how many exchanges, how many body bytes, and how all of them end at shutdown."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

from app.core.errors import overloaded, shutting_down
from app.core.records import Outcome
from app.proxy.memory import Memory


class Abortable(Protocol):
    @property
    def over(self) -> bool:
        """Nobody waits for anything more of it, neither a client nor the ledger."""
        ...

    def abort(self, outcome: Outcome) -> None:
        """Ends the exchange soon, from outside; it still settles."""
        ...


class Inflight:
    """Bounds and counts the open exchanges of one process."""

    def __init__(
        self, *, concurrency_max: int, request_bytes_max: int, bodies_bytes_max: int, answers_bytes_max: int
    ) -> None:
        self._open: set[Abortable] = set()
        self._concurrency_max = concurrency_max
        self._request_bytes_max = request_bytes_max  # of one key so much always fits
        self._bodies_bytes_max = bodies_bytes_max
        self._bodies_bytes = 0
        self._coming_in: Counter[str] = Counter()  # bodies by key, and their bytes
        self._coming_in_bytes: Counter[str] = Counter()
        self.answers = Memory(answers_bytes_max)
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

    def body_begins(self, key_id: str) -> None:
        """A key's body comes in: nothing is decided over it yet, so its key may have half of all places, not more.

        Raises: `ApiError` 503; nothing is taken then.
        """
        self._check_places(key_id)
        self._coming_in[key_id] += 1

    def body_ends(self, key_id: str, count: int) -> None:
        """It came in, or will not. `count`: its bytes so far; they are held until `give_bytes`."""
        for counter, gone in ((self._coming_in, 1), (self._coming_in_bytes, count)):
            counter[key_id] -= gone
            if not counter[key_id]:
                del counter[key_id]

    def take_bytes(self, key_id: str, count: int) -> None:
        """Raises: `ApiError` 503 when all bodies together, or those of a key that still come in, exceed their bound."""
        self._check_bytes(key_id, count)
        self._coming_in_bytes[key_id] += count
        self._bodies_bytes += count

    def came_whole(self, key_id: str, count: int) -> None:
        """A key's body that begins, comes and ends at once. Raises: `ApiError` 503; nothing is taken then."""
        self._check_places(key_id)
        self._check_bytes(key_id, count)
        self._bodies_bytes += count

    def _check_places(self, key_id: str) -> None:
        if self._coming_in.get(key_id, 0) >= (self._concurrency_max + 1) // 2:
            raise overloaded()

    def _check_bytes(self, key_id: str, count: int) -> None:
        of_key = self._coming_in_bytes.get(key_id, 0)
        beyond_share = of_key and of_key + count > max(self._bodies_bytes_max // 2, self._request_bytes_max)
        if beyond_share or self._bodies_bytes + count > self._bodies_bytes_max:
            raise overloaded()

    def give_bytes(self, count: int) -> None:
        self._bodies_bytes -= count

    async def drain(self, patience_seconds: float, *, settle_seconds: float = 10.0) -> int:
        """Takes nothing new, waits for the open ones, then ends what is left; returns how many were.

        One that is settled and has no client any more is not waited for: only its connection would be spared.
        """
        self.closed = True
        for exchange in [exchange for exchange in self._open if exchange.over]:
            exchange.abort(Outcome.SHUT_DOWN)
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
