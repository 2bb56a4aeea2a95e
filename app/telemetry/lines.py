"""Where lines of the log leave. Called by `app.telemetry` only."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, TextIO

# So long a line of a request waits at the most for others, while the loop runs on; and so many wait.
SOON_SECONDS = 0.01
WAITING_MAX = 64

Render = Callable[[list[Any]], bytes]


class Lines:
    """Where rendered lines go, in the order in which they were told. A line that cannot be written is lost, no more.

    A full disk or a closed pipe must neither end a relay nor keep a cost from being settled. Lines of requests wait a
    hundredth of a second for each other: they are made together, and leave in one write. Whatever else is told is
    behind them, and written at once. What waits when the process ends is written then, unless it is killed. (With a
    write for each turn of the loop, a request had 5 of its 131 µs from that, without a ledger and at 64 connections.)
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bytes: BinaryIO | None = getattr(out, "buffer", None)  # UTF-8 whatever the locale says
        self._waiting: list[Any] = []
        self._render: Render | None = None  # what makes lines of what waits
        self._flushing_on: asyncio.AbstractEventLoop | None = None  # which loop will write them
        self._flushing_in = 0  # the thread that runs it
        self._lock = threading.RLock()  # what a write sets off (a collection of garbage) may be told, too

    def write(self, line: bytes) -> None:
        with self._lock:
            self._flush(line)

    def write_soon(self, what: Any, render: Render) -> None:
        """Writes what `render` makes of all that was given so, within `SOON_SECONDS`; where no loop runs, at once."""
        with self._lock:
            self._waiting.append(what)
            self._render = render
            if not self._is_flushed_here():
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:
                    self._flush()
                    return
                self._flushing_on, self._flushing_in = loop, threading.get_ident()
                loop.call_later(SOON_SECONDS, self.flush)
            if len(self._waiting) >= WAITING_MAX:
                self._flush()

    def _is_flushed_here(self) -> bool:
        """The loop that runs in this thread will write them. (To ask which one runs costs more.)"""
        loop = self._flushing_on
        return loop is not None and self._flushing_in == threading.get_ident() and loop.is_running()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self, line: bytes = b"") -> None:
        waiting, self._waiting, self._flushing_on = self._waiting, [], None
        if waiting and self._render is not None:
            line = _made(waiting, self._render) + line
        if not line:
            return
        with contextlib.suppress(OSError, ValueError):
            if self._bytes is not None:
                self._bytes.write(line)
                self._bytes.flush()
            else:
                self._out.write(line.decode())
                self._out.flush()

    debug = info = warning = error = critical = msg = write


def _made(waiting: list[Any], render: Render) -> bytes:
    """One that cannot be made a line is lost, as one that cannot be written is: those beside it are others'."""
    try:
        return render(waiting)
    except Exception:  # whoever logs next must not meet it
        return b"".join(_made([one], render) for one in waiting) if len(waiting) > 1 else b""
