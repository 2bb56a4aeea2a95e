"""Tells when the event loop stood still, and where: every other request waited meanwhile.

A thread asks the loop for a sign of life; when none comes, it notes what the loop's thread is at. Knows
nothing of requests. Begun and ended by `app.server`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from app.telemetry import get_logger

# A loop that stands still for longer than this is told.
BLOCKED_SECONDS = 0.2

# So often a sign is asked for. What begins just after one is asked for as late as this, so that much is allowed less.
ASK_SECONDS = 0.05

# A loop that answers so soon is not looked at further: nine calls of the system less, twenty times a second.
PROMPT_SECONDS = 0.005

# The innermost ones; what called them is the same for all.
FRAMES_MAX = 16

log = get_logger("watchdog")


class Spent(NamedTuple):
    """Seconds of the loop's thread, each counted from anywhere."""

    at: float
    ran: float
    queued: float  # ready to run, and no processor was free


def held(before: Spent, now: Spent) -> float:
    """How long the loop was held by what runs in it, of a time that should have been `ASK_SECONDS`.

    Not the machine's part: not what it waited for a processor, nor what nobody ran (a process that was stopped). A
    call that lets no other thread run makes the time long, and ran for all of it.
    """
    ran, queued = now.ran - before.ran, now.queued - before.queued
    return max(ran, min(now.at - before.at, ASK_SECONDS) - queued)


class Watchdog:
    """Watches the loop that runs it. Use as a context manager, within the loop."""

    def __init__(self, *, blocked_seconds: float = BLOCKED_SECONDS) -> None:
        self._patience_seconds = blocked_seconds - ASK_SECONDS - PROMPT_SECONDS
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._spent_by_kernel = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._sign = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()  # seen within the next ASK_SECONDS, whatever it waits for
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(ASK_SECONDS):
            asked_at = time.monotonic()
            self._sign.clear()
            try:
                self._loop.call_soon_threadsafe(self._sign.set)
            except RuntimeError:  # the loop is closed
                return
            if self._answers():
                continue
            log.warning("event_loop_blocked", stack=self._stack())
            while not self._sign.wait(ASK_SECONDS):
                if self._ended.is_set():
                    return
            log.warning("event_loop_free", blocked_seconds=round(time.monotonic() - asked_at, 3))

    def _answers(self) -> bool:
        """Waits for the sign; False once the loop was held for longer than it should be."""
        if self._sign.wait(PROMPT_SECONDS):
            return True
        held_seconds, before = 0.0, self._spent()
        while not self._sign.wait(ASK_SECONDS) and not self._ended.is_set():
            now = self._spent()
            held_seconds += held(before, now)
            before = now
            if held_seconds >= self._patience_seconds:
                return self._sign.is_set()
        return True

    def _spent(self) -> Spent:
        try:  # proc(5): nanoseconds on a processor, and ready for one
            ran, queued, *_ = self._spent_by_kernel.read_bytes().split()
            return Spent(time.monotonic(), int(ran) / 1e9, int(queued) / 1e9)
        except (OSError, ValueError):
            return Spent(time.monotonic(), time.process_time(), 0.0)

    def _stack(self) -> str:
        """Where the loop's thread is, innermost last, a line each: file, line and function, never a value."""
        frames = traceback.walk_stack(sys._current_frames().get(self._watched))
        inner = [f"{at.f_code.co_filename}:{line} {at.f_code.co_name}" for at, line in islice(frames, FRAMES_MAX)]
        return "\n".join(reversed(inner))
