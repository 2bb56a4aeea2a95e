"""Many writes of one turn leave together: each transport's bytes in order, none lost, none behind an end."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.proxy.outbox import WAITING_BYTES_MAX, Outbox
from tests.proxy.guard.connections import WrittenTransport

TRANSPORTS = 3


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, TRANSPORTS - 1), st.binary(max_size=20)),
            st.just("flush"),
            st.just("turn"),
        ),
        max_size=30,
    )
)
async def test_each_transport_gets_all_its_bytes_in_their_order(steps: list[Any]) -> None:
    """Whatever is flushed when, and wherever a turn of the loop ends."""
    outbox, transports = Outbox(), [WrittenTransport() for _ in range(TRANSPORTS)]
    given_to = [b""] * TRANSPORTS
    for step in steps:
        if step == "flush":
            outbox.flush()
            assert [transport.written for transport in transports] == given_to
        elif step == "turn":
            await asyncio.sleep(0)
            assert [transport.written for transport in transports] == given_to
        else:
            number, data = step
            outbox.write(transports[number], data)
            given_to[number] += data
    await asyncio.sleep(0)
    assert [transport.written for transport in transports] == given_to


async def test_a_connection_that_is_alone_does_not_wait() -> None:
    """Only behind a turn that wrote to several does the first piece wait for the others."""
    outbox, first, second = Outbox(), WrittenTransport(), WrittenTransport()
    outbox.write(first, b"a")
    assert first.writes == [b"a"]
    outbox.write(second, b"b")
    outbox.write(second, b"c")
    assert second.writes == []
    await asyncio.sleep(0)
    assert second.writes == [b"bc"]
    outbox.write(second, b"d")
    assert second.writes == [b"bc"]
    await asyncio.sleep(0)
    outbox.write(second, b"e")
    assert second.writes == [b"bc", b"d", b"e"]


async def test_what_waits_for_a_transport_that_ended_is_dropped() -> None:
    """And keeps nobody else's back."""
    outbox, first, cut, third = Outbox(), WrittenTransport(), WrittenTransport(), WrittenTransport()
    outbox.write(first, b"a")
    outbox.write(cut, b"b")
    outbox.write(third, b"c")
    cut.abort()
    await asyncio.sleep(0)
    assert (cut.writes, third.writes) == ([], [b"c"])
    outbox.write(cut, b"d")
    assert cut.writes == []


async def test_a_transport_that_takes_nothing_keeps_nobody_elses_back() -> None:
    """It says so by an error, as a loop's do behind their end."""

    class Ended(WrittenTransport):
        def write(self, data: Any) -> None:
            raise RuntimeError("the handler is closed")

    outbox, first, third = Outbox(), WrittenTransport(), WrittenTransport()
    outbox.write(first, b"a")
    outbox.write(Ended(), b"b")
    outbox.write(third, b"c")
    await asyncio.sleep(0)
    assert third.writes == [b"c"]


async def test_who_takes_nothing_is_seen_within_a_turn() -> None:
    """What waits is bounded: beyond that the transport is given it, and can say that its client takes no more."""
    outbox, first, second = Outbox(), WrittenTransport(), WrittenTransport()
    outbox.write(first, b"a")
    for _ in range(4):
        outbox.write(second, b"x" * 10_000)
    assert len(second.written) > 4 * 10_000 - WAITING_BYTES_MAX
    await asyncio.sleep(0)
    assert second.written == b"x" * 40_000
