"""Reads an answer's body with a patience. Called by `relay`."""

from __future__ import annotations

import asyncio

from app.proxy.upstream.port import Answer, Take


class Late:
    """The next chunk did not come within the patience; it is still awaited."""


LATE = Late()


class Chunks:
    """Reads an answer with a patience that gives up waiting but never the read itself."""

    __slots__ = ("_answer", "_pending")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._pending: asyncio.Task[bytes | None] | None = None

    async def next(self, patience_seconds: float | None = None) -> bytes | Late | None:
        if self._pending is None:
            if patience_seconds is None:
                return await self._answer.read()
            self._pending = asyncio.ensure_future(self._answer.read())
            self._pending.add_done_callback(_retrieve)
        if patience_seconds is not None:
            await asyncio.wait({self._pending}, timeout=max(0.0, patience_seconds))
            if not self._pending.done():
                return LATE
        pending, self._pending = self._pending, None
        return await pending

    async def pour(self, take: Take) -> bytes | None:
        """See `Answer.pour`. A read that is pending is waited for first: its chunk is returned, whatever it is."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            return await pending
        return await self._answer.pour(take)


def _retrieve(read: asyncio.Task[bytes | None]) -> None:
    """A read that nobody awaits any more may fail without a word: its exchange is over."""
    if not read.cancelled():
        read.exception()
