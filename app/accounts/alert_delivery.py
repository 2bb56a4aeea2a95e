"""Alerts on their way: a task beside the requests that sends what is due, and tries again what failed.

At least once: an attempt is written down after it was made, so a process that is killed in
between makes it again, under the same id. Each destination has a worker of its own, which sends
one alert at a time: a slow receiver keeps nobody else waiting. A ledger that is away is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import groupby

from app.accounts.sending import Senders, SendFailed, attempt
from app.core.alert_texts import message
from app.core.alerts import Attempt, Due
from app.core.clock import now
from app.store import alerts as rows
from app.store.port import LedgerUnavailable, Store
from app.telemetry import get_logger

# How often the ledger is looked at.
POLL_SECONDS = 2.0

# The wait after the first failure doubles with each further one up to the longest; all of them are about 22 hours,
# and within a day whatever the jitter.
DELAY_FIRST, DELAY_MAX, ATTEMPTS_MAX = timedelta(seconds=5), timedelta(hours=4), 17
JITTER = 0.1

# At the end of the process, attempts that are under way may go on for so long.
CLOSE_SECONDS = 2.0

log = get_logger("alerts")


def delay_after(attempts: int, luck: float) -> timedelta:
    """How long to wait after so many failed attempts, 1 or more. `luck`, from 0 to 1, spreads what failed at once."""
    doubled: timedelta = DELAY_FIRST * 2 ** (attempts - 1)
    return min(doubled, DELAY_MAX) * (1 + JITTER * (2 * luck - 1))


class Delivery:
    """`start` it in the loop of the store; end it with `aclose`, before the store."""

    def __init__(
        self,
        store: Store,
        senders: Senders,
        *,
        clock: Callable[[], datetime] = now,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._senders = senders
        self._now = clock
        self._wait = wait
        self._luck = luck
        self._looking: asyncio.Task[None] | None = None
        self._workers: dict[str, asyncio.Task[None]] = {}  # by destination
        self._unwritten: dict[tuple[str, str], Attempt] = {}  # made, and not yet in the ledger
        self._closing = False

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def aclose(self) -> None:
        """Begins nothing more. An attempt that is cut off is made again by the next process."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.idle()
        for worker in self._workers.values():
            worker.cancel()
        await self.idle()

    async def idle(self) -> None:
        """Waits until nothing is under way."""
        while self._workers:
            await asyncio.wait(self._workers.values())

    async def _look(self) -> None:
        while True:
            try:
                await self.look_once()
            except LedgerUnavailable:  # which it has said itself
                pass
            except Exception as error:
                _tell_fault(error)
            await self._wait(POLL_SECONDS)

    async def look_once(self) -> None:
        """Queues new alerts for their destinations and sets the workers of all that is due going.

        Raises: `LedgerUnavailable`.
        """
        await self._write()
        # What is under way, or was sent and not written, when the ledger is read may be told as due by it.
        busy, unwritten = set(self._workers), set(self._unwritten)
        unspread, due = await self._store.read(rows.due, self._now())
        if unspread:
            for alert in await self._store.change(rows.spread, self._now()):
                log.warning("alert", alert_id=alert.id, kind=alert.kind, message=message(alert))
            _, due = await self._store.read(rows.due, self._now())
        for ident, group in groupby(due, key=lambda one: one.destination.id):
            waiting = [one for one in group if (one.alert.id, ident) not in unwritten]
            if ident not in busy and waiting:
                self._set_going(ident, waiting)

    def _set_going(self, ident: str, waiting: list[Due]) -> None:
        self._workers[ident] = worker = asyncio.create_task(self._work(waiting))
        worker.add_done_callback(lambda _: self._ended(ident))

    def _ended(self, ident: str) -> None:
        worker = self._workers.pop(ident)
        if not worker.cancelled() and (fault := worker.exception()) is not None:
            _tell_fault(fault)

    async def _work(self, waiting: list[Due]) -> None:
        """One after the other; after a failure the rest waits for the next look."""
        for due in waiting:
            if self._closing:
                return
            made = await self._try(due)
            self._unwritten[due.alert.id, due.destination.id] = made
            try:
                await self._write()
            except LedgerUnavailable:  # the next look writes it
                return
            if made.error is not None:
                return

    async def _try(self, due: Due) -> Attempt:
        number, error, final = due.attempts + 1, None, False
        try:
            await attempt(self._senders, due.destination, due.alert)
        except SendFailed as failure:
            error, final = failure.reason, failure.final or number >= ATTEMPTS_MAX
        at = self._now()
        next_at = None if error is None or final else at + delay_after(number, self._luck())
        self._tell(due, number, error, next_at)
        return Attempt(due.alert.id, due.destination.id, number, at, error, next_at)

    def _tell(self, due: Due, number: int, error: str | None, next_at: datetime | None) -> None:
        told = {
            "alert_id": due.alert.id,
            "kind": due.alert.kind,
            "destination": due.destination.name,
            "attempt": number,
        }
        if error is None:
            log.info("alert_delivered", **told)
        elif next_at is None:
            log.error("alert_given_up", **told, reason=error)
        else:
            log.warning("alert_not_delivered", **told, reason=error, next_at=next_at)

    async def _write(self) -> None:
        """Raises: `LedgerUnavailable`; then it is written later."""
        made = dict(self._unwritten)
        if not made:
            return
        await self._store.change(rows.keep_attempts, list(made.values()))
        for key in made:
            self._unwritten.pop(key, None)


def _tell_fault(fault: BaseException) -> None:
    """A fault of ours: the alerts stay where they are, and the next look goes on."""
    log.error("alerts_failed", reason=type(fault).__name__, exc_info=fault)
