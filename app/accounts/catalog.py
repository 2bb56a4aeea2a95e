"""Which models there are and what they cost: the upstream's list, kept in the database, filtered for each key.

Lives here: when to ask the upstream anew and what to do when it does not answer. Knows
neither SQL nor HTTP: the fetch is handed in. Served stale rather than not at all. `pricing`
makes holds of the prices.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app.core.catalog import Model, allowed_models, dump, load, read_catalog
from app.core.clock import now
from app.core.records import Prices
from app.store import catalog
from app.store.port import Store, StoreError
from app.telemetry import get_logger

# A list this young is given as it is; an older one is asked for anew.
FRESH = timedelta(minutes=5)
# After a failure the upstream is left alone for so long.
RETRY_AFTER = timedelta(seconds=30)
# How long somebody waits for a newer list than the one we have.
PATIENCE_SECONDS = 2.0

log = get_logger("models")


class CatalogUnknown(Exception):
    """The upstream has never told its models, and does not now. The text is fixed and may be shown."""


class FetchFailed(Exception):
    """Raised by the fetch that is handed in; its text is fixed and may be logged and shown."""


class Catalog:
    """`fetch`: the upstream's list as it answers it. Raises: `FetchFailed`."""

    def __init__(
        self, store: Store, fetch: Callable[[], Awaitable[bytes]], *, clock: Callable[[], datetime] = now
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._now = clock
        self._models: tuple[Model, ...] | None = None
        self._prices: dict[str, Prices] = {}
        self._fetched_at: datetime | None = None
        self._failed_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._fault = "the upstream has not answered yet"
        self._renewing: asyncio.Task[None] | None = None
        self._closed = False

    async def models(self, patterns: tuple[str, ...] = ()) -> tuple[Model, ...]:
        """What a key with these model patterns may use. Raises: `CatalogUnknown`, `LedgerUnavailable`."""
        if self._models is None:
            await self._recall()
        if not self._fresh():
            await self._renew()
        if self._models is None:
            raise CatalogUnknown(self._fault)
        return allowed_models(self._models, patterns)

    def price_of(self, model: str) -> Prices | None:
        """By the list in hand, without waiting. A variant (`model:variant`) is taken to cost what its model does."""
        return self._prices.get(model) or self._prices.get(model.partition(":")[0])

    async def recall(self) -> None:
        """Takes the kept list in hand, if the database tells it: so prices are known from the first request on."""
        with contextlib.suppress(StoreError):
            await self._recall()

    def renew_soon(self, older_than: timedelta = timedelta(0)) -> None:
        """Has a list of this age renewed in the background; asks at most every few minutes, also after failures.

        Never waits, never raises.
        """
        at = self._now()
        aged = self._fetched_at is None or at - self._fetched_at >= older_than
        asked = self._asked_at is not None and at - self._asked_at < FRESH
        if aged and not asked and not self._closed:
            self._begin_renewal()

    async def aclose(self) -> None:
        self._closed = True
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _recall(self) -> None:
        """The list that this or an earlier process kept."""
        kept = await self._store.read(catalog.kept_models)
        if kept is None or self._models is not None:
            return
        with contextlib.suppress(ValueError, TypeError, KeyError):  # another version's: as good as none
            self._take(load(kept[1]), kept[0])

    def _take(self, models: tuple[Model, ...], fetched_at: datetime) -> None:
        self._models, self._fetched_at = models, fetched_at
        self._prices = {model.id: model.prices for model in models if model.prices is not None}

    def _fresh(self) -> bool:
        """True while there is nothing to ask for: the list is young, or the upstream has just failed."""
        at = self._now()
        young = self._fetched_at is not None and at - self._fetched_at < FRESH
        return young or (self._failed_at is not None and at - self._failed_at < RETRY_AFTER)

    async def _renew(self) -> None:
        """With a list in hand nobody waits long for a newer one."""
        patience = PATIENCE_SECONDS if self._models is not None else None
        await asyncio.wait([self._begin_renewal()], timeout=patience)

    def _begin_renewal(self) -> asyncio.Task[None]:
        """One fetch at a time, whoever asks."""
        if self._renewing is None or self._renewing.done():
            self._asked_at = self._now()
            self._renewing = asyncio.create_task(self._fetch_and_keep())
        return self._renewing

    async def _fetch_and_keep(self) -> None:
        try:
            # Off the loop: a long list is many small steps.
            found, text = await asyncio.to_thread(_read, await self._fetch())
        except (FetchFailed, ValueError) as error:
            self._failed_at, self._fault = self._now(), str(error)
            log.warning("models_not_fetched", reason=str(error), stale_since=self._fetched_at)
            return
        fetched_at = self._now()
        self._take(found, fetched_at)
        self._failed_at = None
        try:
            await self._store.change(catalog.keep_models, fetched_at, text)
        except StoreError as error:
            log.warning("models_not_kept", reason=str(error))


def _read(document: bytes) -> tuple[tuple[Model, ...], str]:
    """The models, and as they are kept. Raises: `ValueError`."""
    found = read_catalog(document)
    return found, dump(found)
