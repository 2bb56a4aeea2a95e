"""Does it all add up? Every total is recomputed, in steps, each over a snapshot of its own and off the writer.

Knows no SQL: the steps are the store's. What is found is told, never mended.
"""

from __future__ import annotations

from app.core.views import Difference, Verification
from app.store import verify, verify_books, verify_limits, verify_search
from app.store.port import Store
from app.store.seals import Seal, pieces_left, rows_sealed
from app.store.verify_seals import SealProof, verify_piece


class Verifier:
    """One verification: `run` it once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows = 0
        self._differences: list[Difference] = []

    async def run(self) -> Verification:
        """Rows against roll-ups, seals, days, adjustments, windows, running counts and what searches find."""
        next_ms: int | None = 0
        while next_ms is not None:
            step = await self._store.read(verify.verify_step, next_ms)
            if step.seal is not None:
                await self._sealed(step.seal)
            next_ms = self._note(step)
        next_ms = 0
        while next_ms is not None:
            next_ms = self._note(await self._store.read(verify_books.verify_days, next_ms))
        await self._adjustments()
        await self._limits()
        await self._searches()
        found = tuple(self._differences[: verify.DIFFERENCES_MAX])
        return Verification(not found, self._rows, found, await self._store.read(rows_sealed))

    def _note(self, step: verify.Step) -> int | None:
        self._rows += step.rows
        self._differences += step.differences
        return step.next_ms

    async def _sealed(self, seal: Seal) -> None:
        """A sealed span; once more if it is sealed again meanwhile."""
        proof = SealProof(seal)
        while await self._store.read(proof.step):
            pass
        if (newer := await self._store.read(proof.end)) is not None:
            await self._sealed(newer)
            return
        self._rows += proof.rows
        self._differences += proof.differences
        for one in await self._store.read(proof.seals):
            for piece in await self._store.read(pieces_left, one):
                self._differences += await self._store.read(verify_piece, one, piece)

    async def _adjustments(self) -> None:
        after: str | None = ""
        while after is not None:
            found, after = await self._store.read(verify_books.verify_adjustments, after)
            self._differences += found

    async def _limits(self) -> None:
        self._differences += await self._store.read(verify_limits.verify_running)
        found, place = await self._store.read(verify_limits.verify_windows, None)
        while place is not None:
            self._differences += found
            found, place = await self._store.read(verify_limits.verify_windows, place)

    async def _searches(self) -> None:
        found, start = await self._store.read(verify_search.verify_stretches, None)
        self._differences += found
        while start is not None:
            found, start = await self._store.read(verify_search.verify_stretches, start)
            self._differences += found
