"""What the signals of the gateway's process do, from before its ledger is opened until after it is closed.

A process that asks for none of them would die of SIGTERM and SIGHUP in the middle of an upgrade; as number 1 of a
container it would not hear them at all, and be killed when the patience of `docker stop` is over. Called by `server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from app.telemetry import get_logger

# Nothing was promised to anybody yet, and a ledger that was being opened mends itself at the next start.
ENDED_AT_ONCE = 1

log = get_logger("server")


def end_on_terminate() -> None:
    """SIGTERM ends this process with exit code 0 from now on, until `Signals` hears it: there is nothing to save."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class Signals:
    """SIGINT and SIGTERM: the first asks to end, the second to end at once. SIGHUP: renew the upstream key."""

    def __init__(self) -> None:
        self.ending = False
        self._stop: Callable[[], None] | None = None
        self._hang_up: Callable[[], None] | None = None
        self._hung_up = False  # before anybody could act on it

    @contextlib.contextmanager
    def heard(self) -> Iterator[Signals]:
        """Until its end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told_to_end)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_renew)
        try:
            yield self
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def lead_to(self, *, stop: Callable[[], None], hang_up: Callable[[], None]) -> None:
        """Now that something runs: each signal is passed on to it, also one that came before."""
        self._stop, self._hang_up = stop, hang_up
        if self._hung_up:
            hang_up()
        if self.ending:
            stop()

    def _told_to_end(self) -> None:
        if self._stop is not None:
            self._stop()
        elif self.ending:
            os._exit(ENDED_AT_ONCE)
        else:
            log.info("shutting_down", message="As soon as the ledger is open, or cannot be.")
        self.ending = True

    def _told_to_renew(self) -> None:
        if self._hang_up is not None:
            self._hang_up()
        self._hung_up = True
