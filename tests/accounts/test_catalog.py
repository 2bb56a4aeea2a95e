"""When the upstream is asked for its models, and what is told when it does not answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.accounts import catalog as module
from app.accounts.catalog import FRESH, RETRY_AFTER, Catalog, CatalogUnknown, FetchFailed
from app.core.records import Prices
from app.store import catalog as kept
from app.store.port import Store

PRICED = b'[{"id":"openai/gpt-5","pricing":{"prompt":"0.00000125","completion":"0.00001"}},{"id":"google/gemini"}]'
PRICES = Prices(1_250_000, 10_000_000)

FIRST, SECOND = b'[{"id":"openai/gpt-5"},{"id":"google/gemini"}]', b'[{"id":"openai/gpt-6"}]'


class Upstream:
    """Answers what it is told, and counts."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    async def fetch(self) -> bytes:
        self.asked += 1
        await self.go.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


async def ids(catalog: Catalog, *patterns: str) -> list[str]:
    return [model.id for model in await catalog.models(patterns)]


async def test_the_list_is_asked_for_once_and_then_every_few_minutes(store: Store) -> None:
    """Whoever asks, and whatever they may see."""
    upstream, clock = Upstream(FIRST), Clock()
    catalog = Catalog(store, upstream.fetch, clock=clock)
    assert await ids(catalog) == ["openai/gpt-5", "google/gemini"]
    assert await ids(catalog, "openai/*") == ["openai/gpt-5"]
    upstream.answer = SECOND
    clock.at += FRESH - timedelta(seconds=1)
    assert (await ids(catalog), upstream.asked) == (["openai/gpt-5", "google/gemini"], 1)
    clock.at += timedelta(seconds=1)
    assert (await ids(catalog), upstream.asked) == (["openai/gpt-6"], 2)


async def test_many_at_once_ask_once(store: Store) -> None:
    """They share one answer."""
    upstream = Upstream(FIRST)
    upstream.go.clear()
    catalog = Catalog(store, upstream.fetch)
    asking = [asyncio.create_task(ids(catalog)) for _ in range(20)]
    while not upstream.asked:
        await asyncio.sleep(0.001)
    upstream.go.set()
    assert await asyncio.gather(*asking) == [["openai/gpt-5", "google/gemini"]] * 20
    assert upstream.asked == 1


@pytest.mark.parametrize("answer", [FetchFailed("the upstream is away"), b'{"error":{}}'], ids=["away", "no-list"])
async def test_an_old_list_is_better_than_none(store: Store, answer: bytes | Exception) -> None:
    """Also in a process that has never reached the upstream; which is left alone for a while after a failure."""
    clock = Clock()
    await ids(Catalog(store, Upstream(FIRST).fetch, clock=clock))
    clock.at += timedelta(days=30)
    upstream = Upstream(answer)
    later = Catalog(store, upstream.fetch, clock=clock)
    for _ in range(3):
        assert await ids(later) == ["openai/gpt-5", "google/gemini"]
    assert upstream.asked == 1
    upstream.answer = SECOND
    clock.at += RETRY_AFTER
    assert await ids(later) == ["openai/gpt-6"]


async def test_nobody_waits_long_for_a_newer_list(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one is given meanwhile; the newer one is there for the next."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    upstream, clock = Upstream(FIRST), Clock()
    catalog = Catalog(store, upstream.fetch, clock=clock)
    await ids(catalog)
    clock.at += FRESH
    upstream.answer = SECOND
    upstream.go.clear()
    assert await ids(catalog) == ["openai/gpt-5", "google/gemini"]
    upstream.go.set()
    async with asyncio.timeout(5):
        while await ids(catalog) != ["openai/gpt-6"]:
            await asyncio.sleep(0.001)
    assert upstream.asked == 2


async def test_without_any_list_the_reason_is_told(store: Store) -> None:
    """And the upstream is not asked again at once."""
    upstream = Upstream(FetchFailed("the upstream is away"))
    catalog = Catalog(store, upstream.fetch)
    for _ in range(2):
        with pytest.raises(CatalogUnknown, match="the upstream is away"):
            await ids(catalog)
    assert upstream.asked == 1


async def test_a_fetch_that_is_under_way_ends_with_the_process(store: Store) -> None:
    """Nothing is left running."""
    upstream = Upstream(FIRST)
    upstream.go.clear()
    catalog = Catalog(store, upstream.fetch)
    asking = asyncio.create_task(ids(catalog))
    while not upstream.asked:
        await asyncio.sleep(0.001)
    await catalog.aclose()
    with pytest.raises(CatalogUnknown):
        await asking


# --- prices, in the background ----------------------------------------------------------------


async def renewed(catalog: Catalog, upstream: Upstream, times: int) -> None:
    """Waits until the upstream was asked so often, and what it said is in hand."""
    async with asyncio.timeout(5):
        while upstream.asked < times or not (catalog._renewing and catalog._renewing.done()):
            await asyncio.sleep(0.001)


async def test_prices_are_told_from_what_is_in_hand(store: Store) -> None:
    """Nothing is asked for that; a variant costs what its model does, an unknown model nobody knows what."""
    upstream = Upstream(PRICED)
    catalog = Catalog(store, upstream.fetch)
    assert catalog.price_of("openai/gpt-5") is None
    await ids(catalog)
    assert catalog.price_of("openai/gpt-5") == PRICES
    assert catalog.price_of("openai/gpt-5:online") == PRICES
    assert catalog.price_of("google/gemini") is None
    assert catalog.price_of("openai/gpt-5-mini") is None
    assert upstream.asked == 1


async def test_prices_outlive_the_process(store: Store) -> None:
    """A gateway that starts anew knows them before it has asked anybody."""
    await ids(Catalog(store, Upstream(PRICED).fetch))
    later = Catalog(store, Upstream(FetchFailed("the upstream is away")).fetch)
    await later.recall()
    assert later.price_of("openai/gpt-5") == PRICES


async def test_a_list_that_another_version_kept_is_none(store: Store) -> None:
    """It is asked for anew instead of ending the gateway's start."""
    for text in (
        '{"models":[]}',
        "[7]",
        '[{"name":"m"}]',
        '[{"id":"m","created":0,"owned_by":"","prices":{"x":1}}]',
        "[",
    ):
        await store.change(kept.keep_models, datetime(2026, 11, 23, tzinfo=UTC), text)
        catalog = Catalog(store, Upstream(FIRST).fetch)
        await catalog.recall()
        assert await ids(catalog) == ["openai/gpt-5", "google/gemini"]


async def test_a_renewal_in_the_background_keeps_nobody_waiting(store: Store) -> None:
    """However often it is asked for, one fetch is under way, and then none for a few minutes."""
    upstream, clock = Upstream(PRICED), Clock()
    upstream.go.clear()
    catalog = Catalog(store, upstream.fetch, clock=clock)
    for _ in range(100):
        catalog.renew_soon()
    assert catalog.price_of("openai/gpt-5") is None
    upstream.go.set()
    await renewed(catalog, upstream, 1)
    assert catalog.price_of("openai/gpt-5") == PRICES
    clock.at += FRESH - timedelta(seconds=1)
    catalog.renew_soon()
    await asyncio.sleep(0.01)
    assert upstream.asked == 1
    clock.at += timedelta(seconds=1)
    catalog.renew_soon()
    await renewed(catalog, upstream, 2)
    clock.at += timedelta(minutes=59)
    catalog.renew_soon(timedelta(hours=1))
    await asyncio.sleep(0.01)
    assert upstream.asked == 2
    clock.at += timedelta(minutes=1)
    catalog.renew_soon(timedelta(hours=1))
    await renewed(catalog, upstream, 3)


async def test_an_upstream_that_fails_is_left_alone_for_minutes(store: Store) -> None:
    """The background has time; who waits for the list asks sooner. Old prices stay."""
    upstream, clock = Upstream(PRICED), Clock()
    catalog = Catalog(store, upstream.fetch, clock=clock)
    await ids(catalog)
    upstream.answer = FetchFailed("the upstream is away")
    clock.at += FRESH
    catalog.renew_soon()
    await renewed(catalog, upstream, 2)
    clock.at += RETRY_AFTER
    catalog.renew_soon()
    await asyncio.sleep(0.01)
    assert upstream.asked == 2
    assert catalog.price_of("openai/gpt-5") == PRICES
    await ids(catalog)
    assert upstream.asked == 3


async def test_nothing_is_begun_at_the_end(store: Store) -> None:
    """A request that closes while the gateway does starts no fetch."""
    upstream = Upstream(PRICED)
    catalog = Catalog(store, upstream.fetch)
    await catalog.aclose()
    catalog.renew_soon()
    await asyncio.sleep(0.01)
    assert upstream.asked == 0
