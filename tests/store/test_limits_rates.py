"""Requests and tokens per minute, and what runs at once: over a real ledger and a clock that the tests move."""

from __future__ import annotations

import asyncio
import heapq
import random
from datetime import timedelta

from app.core.clock import to_ms
from app.core.limits import Limits
from app.core.owners import KeyChange, LimitsChange
from app.core.records import Admitted, Allowance, Asked, RefusalReason, Refused
from app.core.refusals import limit_error
from tests.store.entries import Holder, settled, unknown
from tests.store.limited import LimitedLedger

# --- clocks --------------------------------------------------------------------------------


async def test_a_clock_that_was_set_back_locks_nobody_out(ledger: LimitedLedger) -> None:
    """What then lies in the future counts as of the first request that is asked for: a minute later it is over."""
    alice = await ledger.holder("alice", limits=Limits(rpm=2))
    for _ in range(2):
        await ledger.store.settle(settled(await ledger.admit(alice)), 5)
    ledger.clock.move(hours=-1)
    for _ in range(3):
        refused = await ledger.refused(alice)
        assert refused.reason is RefusalReason.REQUESTS_PER_MINUTE
        assert refused.retry_after_ms is not None
        ledger.clock.move(seconds=20)
    assert isinstance(await ledger.ask(alice), Admitted)


# --- rates ---------------------------------------------------------------------------------


async def test_a_limit_that_is_set_anew_knows_the_last_minute(ledger: LimitedLedger) -> None:
    """Requests count when they were made, tokens when they were known; taking a limit away forgets nothing."""
    limits = Limits(rpm=3, tpm=100)
    alice = await ledger.holder("alice", limits=limits)
    long = await ledger.admit(alice, asked=Asked(max_output_tokens=1))
    ledger.clock.move(minutes=10)
    await ledger.admit(alice, asked=Asked(max_output_tokens=1))
    await ledger.store.settle(settled(long), 5)  # 36 tokens
    ledger.clock.move(seconds=30)
    for wanted in (Limits(), limits):
        change = LimitsChange(rpm=wanted.rpm, tpm=wanted.tpm)
        await ledger.keyring.change("alice", KeyChange(limits=change))
    refused = await ledger.refused(alice, asked=Asked(max_output_tokens=98))
    assert (refused.reason, refused.retry_after_ms) == (RefusalReason.TOKENS_PER_MINUTE, 30_000)
    verdict = await ledger.ask(alice, asked=Asked(max_output_tokens=2))
    assert isinstance(verdict, Admitted)
    assert verdict.allowances.requests == Allowance(3, 1, 60_000)
    assert verdict.allowances.tokens == Allowance(100, 100 - 36 - 1 - 2, 60_000)


class Clients:
    """Some that ask again as soon as they are told to, for ten virtual minutes."""

    def __init__(self, ledger: LimitedLedger, holder: Holder, choose: random.Random) -> None:
        self.ledger = ledger
        self.holder = holder
        self.choose = choose
        self.admitted: list[int] = []
        self.refused = 0

    async def run(self, clients: int, minutes: int) -> None:
        clock, start = self.ledger.clock, self.ledger.clock.at
        due = [(start + timedelta(milliseconds=self.choose.randrange(3000)), number) for number in range(clients)]
        heapq.heapify(due)
        while due[0][0] < start + timedelta(minutes=minutes):
            clock.at, number = heapq.heappop(due)
            heapq.heappush(due, (clock.at + timedelta(milliseconds=await self.ask()), number))

    async def ask(self) -> int:
        """In how many milliseconds this client asks again."""
        verdict = await self.ledger.ask(self.holder)
        if isinstance(verdict, Admitted):
            await self.ledger.store.settle(settled(verdict.request_id), 5)
            self.admitted.append(to_ms(self.ledger.clock.at))
            return self.choose.randrange(50, 2000)
        self.refused += 1
        assert verdict.reason is RefusalReason.REQUESTS_PER_MINUTE
        return 1000 * int(dict(limit_error(verdict, "req_1").headers)["retry-after"])

    def most_in_a_minute(self) -> int:
        return max(sum(start <= at < start + 60_000 for at in self.admitted) for start in self.admitted)


async def test_sixty_per_minute_are_never_more_and_hardly_fewer(ledger: LimitedLedger) -> None:
    """Ten virtual minutes of clients who come back when they are told to: 60 in any minute, 95 % of all there is."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    alice = await ledger.holder("alice", limits=Limits(rpm=60))
    clients = Clients(ledger, alice, random.Random(seed))
    await clients.run(clients=40, minutes=10)
    assert clients.most_in_a_minute() <= 60
    assert len(clients.admitted) >= 0.95 * 600
    assert clients.refused > 0


async def test_keys_of_a_team_share_its_limits(ledger: LimitedLedger) -> None:
    """A team's minute and what it runs at once are those of all its keys; the tighter limit is told."""
    await ledger.keyring.create_team("blue", LimitsChange(rpm=3, concurrency=2))
    alice, bob = [await ledger.holder(name, team="blue", limits=Limits(rpm=9)) for name in ("alice", "bob")]
    first = await ledger.admit(alice)
    await ledger.admit(bob)
    refused = await ledger.refused(alice)
    assert (refused.reason, refused.retry_after_ms) == (RefusalReason.CONCURRENCY, 1000)
    assert refused.hit is not None
    assert (refused.hit.scope, refused.hit.owner, refused.hit.limit) == ("team", "blue", 2)
    assert refused.allowances.requests == Allowance(3, 1, 60_000)
    await ledger.store.settle(settled(first), 5)
    await ledger.admit(alice)
    refused = await ledger.refused(bob)
    assert refused.reason is RefusalReason.REQUESTS_PER_MINUTE
    await ledger.keyring.change("bob", KeyChange(team=None))
    await ledger.admit(bob)
    await ledger.verify()


async def test_a_thousand_at_once_are_never_more_than_may_run(ledger: LimitedLedger) -> None:
    """Decided one by one, however they come: exactly so many; and each that ends makes room for one."""
    alice = await ledger.holder("alice", limits=Limits(concurrency=17))
    verdicts = [one for _ in range(5) for one in await asyncio.gather(*(ledger.ask(alice) for _ in range(200)))]
    running = [verdict.request_id for verdict in verdicts if isinstance(verdict, Admitted)]
    assert len(running) == 17
    assert {one.reason for one in verdicts if isinstance(one, Refused)} == {RefusalReason.CONCURRENCY}
    for number in range(17):
        await ledger.store.settle(unknown(running[number]), 5)
        two = await asyncio.gather(ledger.ask(alice), ledger.ask(alice))
        assert [isinstance(verdict, Admitted) for verdict in two] == [True, False]
    await ledger.verify()


async def test_tokens_of_what_runs_are_guessed_and_then_known(ledger: LimitedLedger) -> None:
    """From five ended requests on by what these had; a request that used less makes room at once."""
    alice = await ledger.holder("alice", limits=Limits(tpm=300))
    asked = Asked(prompt_tokens=100, max_output_tokens=100)
    for _ in range(5):
        await ledger.store.settle(settled(await ledger.admit(alice, asked=asked)), 5)  # 36 each
        ledger.clock.move(minutes=1)
    running = [await ledger.admit(alice, asked=asked) for _ in range(5)]  # 54 each
    refused = await ledger.refused(alice, asked=asked)
    assert (refused.reason, refused.retry_after_ms) == (RefusalReason.TOKENS_PER_MINUTE, 1000)
    assert refused.allowances.tokens == Allowance(300, 30, 60_000)
    for request_id in running[:2]:
        await ledger.store.settle(settled(request_id), 5)
    await ledger.admit(alice, asked=asked)
    refused = await ledger.refused(alice, asked=asked)
    assert refused.retry_after_ms == 60_000
    ledger.clock.move(minutes=1)
    await ledger.admit(alice, asked=asked)
    await ledger.verify()
