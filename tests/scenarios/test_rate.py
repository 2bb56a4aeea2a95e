"""Requests per minute, in real minutes: by name only."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from openai import AsyncOpenAI, RateLimitError

from app.core.limits import Limits
from app.core.rates import MINUTE_MS
from app.simulator.child import SimulatorChild
from tests.harness import gateway_before

pytestmark = [pytest.mark.scenario, pytest.mark.long]

RPM = 60
CLIENTS = 20
MINUTES = 3


async def test_sixty_a_minute_are_sixty(tmp_path: Path) -> None:
    """Twenty SDK clients on one key ask without a pause for three minutes: never more than 60 within 60 s, and no
    fewer than the limit leaves room for; a client that is refused waits as it is told and goes on."""
    with SimulatorChild(tmp_path / "bill.jsonl") as simulator:
        async with gateway_before(simulator.url, tmp_path) as gateway:
            secret = await gateway.create_key(limits=Limits(rpm=RPM))
            end = asyncio.get_running_loop().time() + MINUTES * 60 - 5

            refused: set[str | None] = set()

            async def ask_on() -> int:
                answered = 0
                async with AsyncOpenAI(base_url=gateway.base_url, api_key=secret, max_retries=2) as client:
                    while asyncio.get_running_loop().time() < end:
                        try:
                            await client.responses.create(model="sim/fast", input="Say hello")
                            answered += 1
                        except RateLimitError as error:
                            refused.add(error.code)
                return answered

            answered = sum(await asyncio.gather(*(ask_on() for _ in range(CLIENTS))))
            rows = await gateway.settled(answered)
            bill = simulator.bill()
    assert refused <= {"rate_limit_exceeded"}
    admitted = sorted(row.created_at.timestamp() * 1000 for row in rows)
    assert len(admitted) == answered == len(bill.answers)
    # Whatever 60 seconds: between a request and the 60th behind it lies more than a minute. Its creation is noted
    # up to some milliseconds before it is admitted.
    gaps = [later - earlier for earlier, later in zip(admitted, itertools.islice(admitted, RPM, None), strict=False)]
    print("answered", answered, "closest", min(gaps))
    assert min(gaps) >= MINUTE_MS - 250
    assert answered >= RPM * MINUTES
