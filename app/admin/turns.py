"""One after the other: what a key asks of its own books, so that nobody else waits behind all of it.

The ledger has few readers, and who is not known yet is looked up by one of them: a single key that asks for the
year's sums on a hundred connections would keep everybody out. Called by `holder`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.core.errors import overloaded

# So many of a key wait for their turn. (A client that leaves does not end what it has asked for.)
WAITING_MAX = 16


@dataclass(slots=True)
class _Line:
    asking: int = 0
    door: asyncio.Lock = field(default_factory=asyncio.Lock)


class Turns:
    """Each name has a line of its own, in the order of asking."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    @contextlib.asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Waits until nobody of this name is before us. Raises: `ApiError` 503 when too many are."""
        line = self._lines.setdefault(name, _Line())
        if line.asking > WAITING_MAX:
            raise overloaded()
        line.asking += 1
        try:
            async with line.door:
                yield
        finally:
            line.asking -= 1
            if not line.asking:
                del self._lines[name]
