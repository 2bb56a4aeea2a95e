"""One timer that is set and unset with every request.

Making a timer and taking it back costs a microsecond and a half; so a timer that runs goes on, and looks when it fires
whether it is still meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Loops count whole milliseconds: what is due so soon is due.
_GRAIN_SECONDS = 0.001


class Deadline:
    __slots__ = ("_at", "_fires_at", "_loop", "_then", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._at: float | None = None  # on the loop's clock
        self._then: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0  # if there is a timer

    @property
    def is_set(self) -> bool:
        return self._at is not None

    @property
    def left_seconds(self) -> float:
        """Until it is reached; 0 if it is not set."""
        return 0.0 if self._at is None else self._at - self._loop.time()

    def set(self, seconds: float, then: Callable[[], object]) -> None:
        """Calls `then` in so many seconds, unless it is set anew or unset before."""
        self._at = at = self._loop.time() + seconds
        self._then = then
        if self._timer is None or self._fires_at > at:
            self._wait(at, seconds)

    def unset(self) -> None:
        self._at = None

    def end(self) -> None:
        """Unsets it for good: nothing is held by the loop any more."""
        self._at = self._then = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, at: float, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._fires_at = self._loop.call_later(seconds, self._look), at

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        left = self._at - self._loop.time()
        if left >= _GRAIN_SECONDS:
            self._wait(self._at, left)
        elif self._then is not None:
            self._at = None
            self._then()
