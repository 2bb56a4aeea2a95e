"""What waits for a client that takes nothing, and how little a connection weighs that nobody waits for."""

from __future__ import annotations

import asyncio

from uvicorn import Config
from uvicorn.server import ServerState

from app.proxy.guard import Limits, Places, guard_protocol
from app.proxy.guard.flow import Flow
from app.proxy.outbox import Outbox
from app.proxy.upstream.direct_wire import Wire

# Python keeps the names of as many attributes once for all objects of a class; one more, and each object has its own.
SHARED_NAMES_MAX = 30


class Switch(asyncio.Transport):
    """Counts how often it was told to stop and to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("stop")

    def resume_reading(self) -> None:
        self.told.append("go on")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def close(self) -> None: ...


async def nowhere(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nothing was asked for")


async def test_all_who_wait_go_on_when_the_client_takes_more() -> None:
    flow = Flow(Switch())
    await flow.drain()  # nothing to wait for
    flow.pause_writing()
    flow.pause_writing()
    waiting = [asyncio.create_task(flow.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    assert flow.write_paused
    assert not any(task.done() for task in waiting)
    flow.resume_writing()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert not flow.write_paused
    await asyncio.wait_for(flow.drain(), 5)


async def test_who_waits_for_the_second_time_is_not_woken_by_the_first() -> None:
    flow = Flow(Switch())
    flow.pause_writing()
    first = asyncio.create_task(flow.drain())
    await asyncio.sleep(0)
    flow.resume_writing()
    flow.pause_writing()
    second = asyncio.create_task(flow.drain())
    await asyncio.wait_for(first, 5)
    assert not second.done()
    flow.resume_writing()
    await asyncio.wait_for(second, 5)


def test_the_transport_is_told_once() -> None:
    transport = Switch()
    flow = Flow(transport)
    flow.resume_reading()
    for _ in range(2):
        flow.pause_reading()
    for _ in range(2):
        flow.resume_reading()
    assert transport.told == ["stop", "go on"]


async def test_a_connection_has_few_attributes_of_its_own() -> None:
    """With all of them it would have a table for itself, 1.4 KiB for each idle stream."""
    limits = Limits(Places(connections_max=4, per_client_max=4), trusted_proxies=(), stall_seconds=1.0)
    config = Config(nowhere, log_config=None, lifespan="off")
    config.load()
    protocol = guard_protocol(set(), limits)(config, ServerState(), {})
    protocol.connection_made(Switch())
    assert len(vars(protocol)) < SHARED_NAMES_MAX, "declare it in __slots__"
    assert not hasattr(protocol.flow, "_is_writable_event")
    assert not hasattr(Wire(lambda *_: None, lambda _: None, Outbox()), "__dict__")
    protocol.connection_lost(None)
