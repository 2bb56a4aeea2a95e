"""The store's errors; its Protocol follows below them.

Lives here: what the accounts may expect of any store. Lives elsewhere: how SQLite keeps it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeVar

from app.core.records import Admitted, Intent, Refused, Settlement
from app.core.views import RequestRecord

T = TypeVar("T")


class StoreError(Exception):
    """Something about the store; `str(exc)` is a sentence for the operator."""


class LedgerUnavailable(StoreError):
    """The ledger cannot be read or written now; nothing was forwarded because of it. Try again later."""


class LedgerLost(StoreError):
    """A settlement reached neither the database nor the spool: the end of its answer must not be sent."""


class StoreLocked(StoreError):
    """Another process owns the database."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of the gateway."""


class UpgradeFailed(StoreError):
    """The database is of an older version, and was left as it is."""


class BadDatabaseUrl(StoreError):
    """The database URL names nothing that can be opened."""


class NameExists(StoreError):
    """A key or team of this name is there already."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} exists")
        self.kind = kind
        self.name = name


class RowMissing(StoreError):
    """The key or team referred to is not there."""

    def __init__(self, kind: str, ref: str) -> None:
        super().__init__(f"no {kind} {ref!r}")
        self.kind = kind
        self.ref = ref


class SecretExists(StoreError):
    """A key has this secret, or had it before it was given another."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the secret is that of key {name!r}")
        self.name = name


class KeyIsRevoked(StoreError):
    """A revoked key is final."""

    def __init__(self, name: str) -> None:
        super().__init__(f"key {name!r} is revoked")
        self.name = name


class NotResolvable(StoreError):
    """A person cannot settle this request's cost. `why`: its state, `resolved`, or `sealed`."""

    def __init__(self, record: RequestRecord, why: str) -> None:
        super().__init__(f"{record.id} is {why}")
        self.record = record
        self.why = why


class RowsChanged(StoreError):
    """Since the preview, requests have come or gone."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"{found} requests, not {expected}")
        self.expected = expected
        self.found = found


class TooManyRows(StoreError):
    """More than one transaction should take."""

    def __init__(self, rows_max: int) -> None:
        super().__init__(f"more than {rows_max} requests")
        self.rows_max = rows_max


class SpanChanged(StoreError):
    """While a span was looked through, somebody said something about its requests: look again."""


class TooMuch(StoreError):
    """More than the books of one day can hold."""

    def __init__(self, day: date, usd_max: int) -> None:
        super().__init__(f"more than {usd_max} USD on {day}")
        self.day = day
        self.usd_max = usd_max


class Store(Protocol):
    """Where the ledger lives. Every method may raise `LedgerUnavailable`; once it returns, all is committed."""

    @property
    def healthy(self) -> bool:
        """The database takes writes, and nothing waits in the spool."""
        ...

    async def admit(self, intent: Intent) -> Admitted | Refused:
        """Decides over an intent and, if admitted, writes its open row, in one transaction."""
        ...

    def settle(self, settlement: Settlement, wait_seconds: float) -> Awaitable[None]:
        """Closes an open row (a closed one is left alone); after the wait, in the spool instead. The
        call writes or queues it; await that it is done. Raises, called or awaited: `LedgerLost` when neither took it.
        """
        ...

    async def change(self, change: Callable[..., T], *values: Any) -> T:
        """Runs a changing function of the store in the writer's transaction: `changes`, `resolve`, `catalog`.

        Raises: the store's errors.
        """
        ...

    async def read(self, query: Callable[..., T], *values: Any) -> T:
        """Runs a reading function of the store (`queries`, `search`, …) over one snapshot, off the event loop."""
        ...

    def announce(self, socket_path: Path, url: str) -> None:
        """Tells other processes how to reach this one (in the lock file)."""
        ...

    async def aclose(self) -> None:
        """Writes what is queued (or spools it) and lets go of the database."""
        ...
