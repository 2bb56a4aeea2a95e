"""Which models there are: the upstream's list, kept in the database, filtered for each key.

Lives here: when to ask the upstream anew and what to do when it does not answer. Knows
neither SQL nor HTTP: the fetch is handed in. Served stale rather than not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app.core.catalog import Model, allowed_models, dump, load, read_catalog
from app.core.clock import now
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
        self._fetched_at: datetime | None = None
        self._failed_at: datetime | None = None
        self._fault = "the upstream has not answered yet"
        self._renewing: asyncio.Task[None] | None = None

    async def models(self, patterns: tuple[str, ...] = ()) -> tuple[Model, ...]:
        """What a key with these model patterns may use. Raises: `CatalogUnknown`, `LedgerUnavailable`."""
        if self._models is None:
            await self._recall()
        if not self._fresh():
            await self._renew()
        if self._models is None:
            raise CatalogUnknown(self._fault)
        return allowed_models(self._models, patterns)

    async def aclose(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _recall(self) -> None:
        """The list that this or an earlier process kept."""
        kept = await self._store.read(catalog.kept_models)
        if kept is not None and self._models is None:
            self._fetched_at, self._models = kept[0], load(kept[1])

    def _fresh(self) -> bool:
        """True while there is nothing to ask for: the list is young, or the upstream has just failed."""
        at = self._now()
        young = self._fetched_at is not None and at - self._fetched_at < FRESH
        return young or (self._failed_at is not None and at - self._failed_at < RETRY_AFTER)

    async def _renew(self) -> None:
        """One fetch at a time, whoever asks; with a list in hand nobody waits long for a newer one."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._fetch_and_keep())
        patience = PATIENCE_SECONDS if self._models is not None else None
        await asyncio.wait([self._renewing], timeout=patience)

    async def _fetch_and_keep(self) -> None:
        try:
            # Off the loop: a long list is many small steps.
            found, text = await asyncio.to_thread(_read, await self._fetch())
        except (FetchFailed, ValueError) as error:
            self._failed_at, self._fault = self._now(), str(error)
            log.warning("models_not_fetched", reason=str(error), stale_since=self._fetched_at)
            return
        self._models, self._fetched_at, self._failed_at = found, self._now(), None
        try:
            await self._store.change(catalog.keep_models, self._fetched_at, text)
        except StoreError as error:
            log.warning("models_not_kept", reason=str(error))


def _read(document: bytes) -> tuple[tuple[Model, ...], str]:
    """The models, and as they are kept. Raises: `ValueError`."""
    found = read_catalog(document)
    return found, dump(found)
