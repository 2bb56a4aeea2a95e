"""Recorded streams, replayed in random pieces: what arrives is what was recorded, and no event waits for another."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from app.core.records import State
from tests.harness import GatewayUnderTest
from tests.scripted_upstream import END, ScriptedUpstream, chunk, sse_head
from tests.simulated_upstream import SimulatorUnderTest

RECORDED = [
    "sim/fast",
    "sim/words:120",
    "sim/reasoning",
    "sim/refusal",
    "sim/failed",
    "sim/data-only",
    "sim/comments",
    "sim/done",
    "sim/extra-usage",
    "openai/gpt-5:both",
]
ROUNDS = 12


@pytest.mark.parametrize("model", RECORDED)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
async def test_a_recorded_stream_in_random_pieces_arrives_identical(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, simulator: SimulatorUnderTest, model: str, line_end: bytes
) -> None:
    """Whatever the pieces are, down to single bytes; its cost is read all the same."""
    secret = await gateway.create_key()
    recorded = (await simulator.stream(model)).content.replace(b"\n", line_end)
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        upstream.answer(sse_head(), *map(chunk, pieces(recorded, chance)), END)
        async with gateway.post({"model": "m", "stream": True}, secret) as reply:
            assert await reply.body() == recorded
    rows = await gateway.settled(ROUNDS)
    assert {row.state for row in rows} == {State.SETTLED}
    assert len({(row.true_cost_raw, row.usage) for row in rows}) == 1


async def test_an_event_never_waits_for_the_following_one(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, simulator: SimulatorUnderTest
) -> None:
    """Each event of a recorded stream is with the client before the upstream has sent the next one."""
    secret = await gateway.create_key()
    recorded = (await simulator.stream("sim/words:40")).content
    events = [event + b"\n\n" for event in recorded.split(b"\n\n") if event]
    gates = [asyncio.Event() for _ in events]
    steps = [step for event, gate in zip(events, gates, strict=True) for step in (gate, chunk(event))]
    upstream.answer(sse_head(), *steps, END)
    async with gateway.post({"model": "m", "stream": True}, secret) as reply:
        for event, gate in zip(events, gates, strict=True):
            gate.set()
            assert await reply.chunk() == event
        assert await reply.body() == b""


def pieces(recorded: bytes, chance: random.Random) -> list[bytes]:
    """Between one byte each and everything at once; half of the time cut where lines end, where it is hardest."""
    places = [match.end() for match in re.finditer(rb"[\r\n]", recorded)] if chance.random() < 0.5 else None
    places = places or list(range(1, len(recorded)))
    cuts = sorted(set(chance.sample(places, chance.randrange(min(len(places), 400)))))
    return [recorded[start:end] for start, end in zip([0, *cuts], [*cuts, len(recorded)], strict=True) if start != end]
