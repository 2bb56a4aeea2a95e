"""Lets go of the rows of old requests, month by month: sealed first, then deleted a few at a time.

A month goes when its last day is longer ago than the setting says. Roll-ups, adjustments, windows, the audit log and
who made what stay, and every sum with them. All of it is done at a walk, with pauses several times as long as
each step: there is no hurry, and requests come first. Ended at any point it goes on from there the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from app.core.clock import now
from app.core.value import Value
from app.store.letting_go import ROWS_AT_ONCE, is_as_sealed, let_go, write_seal
from app.store.port import LedgerUnavailable, SpanChanged, Store
from app.store.sealing import PIECE_ROWS, Due, Sealing, next_due
from app.store.seals import Seal, oldest_row_ms, pieces_left
from app.telemetry import get_logger

# A start has other things to do first.
FIRST_SECONDS, EVERY_SECONDS = 60.0, 3600.0

log = get_logger("retention")

T = TypeVar("T")


class Pace(Value, frozen=True):
    """How much is done at once, and how long nothing is done in between."""

    piece_rows: int = PIECE_ROWS  # read over one snapshot
    deleted_rows: int = ROWS_AT_ONCE  # by one statement
    deleting_seconds: float = 0.003  # by the writer at once: whoever asks meanwhile waits for it
    pauses: int = 4  # a pause is so many times as long as what came before it,
    pause_seconds_min: float = 0.02  # and never shorter than that


DEFAULT_PACE = Pace()


class Retention:
    """`zone`: whose months these are. `days`: how long rows are kept at least."""

    def __init__(
        self,
        store: Store,
        *,
        zone: ZoneInfo,
        days: int,
        clock: Callable[[], datetime] = now,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self._store = store
        self._zone = zone
        self._kept = timedelta(days=days)
        self._now = clock
        self._wait = wait
        self._pace = pace
        self._walking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._walking = asyncio.create_task(self._walk())

    async def aclose(self) -> None:
        if self._walking is not None:
            self._walking.cancel()
            await asyncio.wait([self._walking])

    async def _walk(self) -> None:
        await self._wait(FIRST_SECONDS)
        while True:
            try:
                await self.run_once()
            except LedgerUnavailable as error:
                log.info("retention_waits", reason=str(error))  # the ledger's own fault is told by the ledger
            except Exception as error:  # a fault of ours must cost this round alone
                log.exception("retention_failed", reason=type(error).__name__)
            await self._wait(EVERY_SECONDS)

    async def run_once(self) -> None:
        """Lets go of all that is due. What cannot be sealed is told, passed over, and looked at again the next time.

        Raises: `LedgerUnavailable`.
        """
        since_ms = 0
        while True:
            due = await self._store.read(next_due, self._now() - self._kept, self._zone, since_ms)
            if due is None:
                return
            done = await (self._let_go(due) if isinstance(due, Seal) else self._seal(due))
            if not done:
                since_ms = due.to_ms

    async def _seal(self, due: Due) -> bool:
        sealing = Sealing(due, self._pace.piece_rows)
        while await self._paced(self._store.read(sealing.step)):
            pass
        if sealing.differences:
            first = sealing.differences[0]
            log.error("month_not_sealed", month=due.month, differences=len(sealing.differences), first=first.what)
            return False
        made = sealing.made()
        try:
            await self._store.change(write_seal, made, self._now())
        except SpanChanged:
            return False
        log.info("month_sealed", month=due.month, rows=made.rows, sha256=made.sha256)
        return True

    async def _let_go(self, seal: Seal) -> bool:
        """The rows of a seal, piece by piece, each read once more before. False: they are not what was sealed."""
        pace, gone = self._pace, 0
        for piece in await self._store.read(pieces_left, seal):
            if not await self._paced(self._store.read(is_as_sealed, seal, piece)):
                break
            some = (let_go, seal, piece.to_ms, pace.deleting_seconds, pace.deleted_rows)
            while count := await self._paced(self._store.change(*some)):
                gone += count
        if await self._store.read(oldest_row_ms, seal) is not None:
            log.error("sealed_rows_changed", month=seal.month)
            return False
        log.info("month_let_go", month=seal.month, rows=gone)
        return True

    async def _paced(self, step: Awaitable[T]) -> T:
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await step
        await self._wait(max(self._pace.pause_seconds_min, self._pace.pauses * (loop.time() - began)))
        return result
