"""Credits that run low: told once a day, and again after they were enough."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from app.accounts.alerts import Alerts
from app.accounts.catalog import FetchFailed
from app.accounts.credits import EVERY_SECONDS, CreditsWatch
from app.core.alerts import DestinationKind
from app.store.port import Store
from tests.accounts.senders import Clock, Receiver, Secrets


class Account:
    """What the upstream answers, and who asks."""

    def __init__(self, store: Store) -> None:
        self.clock, self.store, self.asked = Clock(), store, 0
        senders = {DestinationKind.WEBHOOK: Receiver(), DestinationKind.SERVICE: Receiver()}
        self.alerts = Alerts(store, senders, Secrets(), clock=self.clock)
        self.answer: bytes | Exception = b""
        self.watch = self.another()

    def another(self) -> CreditsWatch:
        return CreditsWatch(self.alerts, self.fetch, Decimal("20"), clock=self.clock)

    async def fetch(self) -> bytes:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def has(self, remaining: str) -> int:
        """Looks; how many alerts there are then."""
        self.answer = f'{{"remaining_credits":"{remaining}"}}'.encode()
        await self.watch.look_once()
        return await self.count()

    async def count(self) -> int:
        return len((await self.alerts.history()).items)


@pytest.fixture
def account(store: Store) -> Account:
    return Account(store)


async def test_low_credits_are_told_once_a_day(account: Account) -> None:
    """To the ten-thousandth: as much as was set is enough."""
    assert await account.has("20.0000") == 0
    assert await account.has("19.9999") == 1
    account.clock.pass_by(hours=23)
    assert await account.has("4.5000") == 1
    account.clock.pass_by(hours=1)
    assert await account.has("-0.5000") == 2
    newest = (await account.alerts.history()).items[0].alert
    assert newest.facts == {"remaining_usd": "-0.5000", "threshold_usd": "20"}


async def test_they_are_told_again_after_they_rose(account: Account) -> None:
    """However soon; once."""
    assert await account.has("1.0000") == 1
    account.clock.pass_by(minutes=10)
    assert await account.has("30.0000") == 1
    account.clock.pass_by(minutes=10)
    assert await account.has("1.0000") == 2
    account.clock.pass_by(minutes=10)
    assert await account.has("1.0000") == 2


async def test_a_restart_does_not_tell_them_again(account: Account) -> None:
    """The ledger knows when they were told."""
    assert await account.has("1.0000") == 1
    account.watch = account.another()
    account.clock.pass_by(hours=1)
    assert await account.has("1.0000") == 1


async def test_an_upstream_that_does_not_tell_is_logged_once(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    """For as long as it lasts; it raises no alert and ends nothing."""
    for answer in (FetchFailed("the upstream is away"), FetchFailed("the upstream is away"), b"<html>", b"{}"):
        account.answer = answer
        await account.watch.look_once()
    assert capsys.readouterr().out.count("credits_not_known") == 3
    assert await account.has("1.0000") == 1
    account.answer = FetchFailed("the upstream is away")
    await account.watch.look_once()
    assert "the upstream is away" in capsys.readouterr().out


async def test_a_ledger_that_is_away_changes_nothing(account: Account) -> None:
    await account.store.aclose()
    account.answer = b'{"remaining_credits":"1"}'
    await account.watch.look_once()


@pytest.mark.parametrize("answer", [b'{"remaining_credits":"30"}', RuntimeError("a fault of ours")])
async def test_it_asks_every_ten_minutes_until_it_is_ended(account: Account, answer: bytes | Exception) -> None:
    """Whatever comes of it."""
    asked: list[float] = []
    done = asyncio.Event()

    async def wait(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 3:
            done.set()
            await asyncio.Event().wait()

    watch = CreditsWatch(account.alerts, account.fetch, Decimal("20"), clock=account.clock, wait=wait)
    account.answer = answer
    watch.start()
    async with asyncio.timeout(5):
        await done.wait()
    await watch.aclose()
    assert asked == [EVERY_SECONDS] * 3
    assert account.asked == 3
    await account.watch.aclose()  # never started
