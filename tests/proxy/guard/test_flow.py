"""What waits for a client that takes nothing, and how little a connection weighs that nobody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.proxy.guard import GuardProtocol, Limits, Places, guard_protocol
from app.proxy.guard.flow import Flow
from app.proxy.outbox import Outbox
from app.proxy.upstream.direct_wire import Wire

# Python 3.11 to 3.13 keep the names of attributes once for all objects of a class, while each has fewer than this.
OWN_NAMES_FROM = 30


class Switch(asyncio.Transport):
    """Counts how often it was told to stop and to go on."""

    def __init__(self, extra: dict[str, Any] | None = None) -> None:
        super().__init__(extra)
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("stop")

    def resume_reading(self) -> None:
        self.told.append("go on")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def close(self) -> None: ...


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


async def never(scope: object, receive: object, send: object) -> None:
    await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def made(extra: dict[str, Any]) -> Iterator[tuple[GuardProtocol, HttpToolsProtocol]]:
    """A connection of ours and one of uvicorn's, each over a transport that tells this of itself."""
    limits = Limits(Places(connections_max=4, per_client_max=4), trusted_proxies=(), stall_seconds=1.0)
    config = Config(never, log_config=None, lifespan="off")
    config.load()
    ours = guard_protocol(set(), limits)(config, ServerState(), {})
    theirs = HttpToolsProtocol(config, ServerState(), {})
    for protocol in (ours, theirs):
        protocol.connection_made(Switch(extra))
    yield ours, theirs
    for task in ours.tasks:
        task.cancel()
    for protocol in (ours, theirs):
        protocol.connection_lost(None)


async def test_a_connection_has_few_attributes_of_its_own() -> None:
    """Also while it is answered, and at the end."""
    with made({}) as (protocol, _):
        protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        protocol.shutdown()
        assert len(vars(protocol)) < OWN_NAMES_FROM, "declare it in __slots__"


async def test_a_wire_has_no_attributes_but_its_slots() -> None:
    assert not hasattr(Wire(lambda *_: None, lambda _: None, Outbox()), "__dict__")


async def test_nobody_waits_so_no_event_is_made() -> None:
    with made({}) as (protocol, _):
        assert not any(isinstance(one, asyncio.Event) for one in gc.get_referents(protocol.flow))


@pytest.mark.parametrize(
    ("family", "here", "there"),
    [
        (socket.AF_INET, ("127.0.0.1", 80), ("1.2.3.4", 5)),
        (socket.AF_INET6, ("::1", 80, 0, 0), ("::2", 5, 0, 0)),
        (socket.AF_UNIX, "/run/gateway.db.sock", ""),
        (socket.AF_INET, ("127.0.0.1", 80), None),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
async def test_a_connection_knows_its_addresses_as_uvicorn_does(
    family: socket.AddressFamily, here: Any, there: Any, tls: bool
) -> None:
    """Also that of a client that has gone meanwhile: nobody's."""
    sock = Mock(family=family)
    sock.getsockname.return_value = here
    sock.getpeername.side_effect = [there] if there is not None else OSError
    extra = {"socket": sock, "sockname": here, "peername": there, "sslcontext": "one" if tls else None}
    with made(extra) as (ours, theirs):
        assert (ours.client, ours.server, ours.scheme) == (theirs.client, theirs.server, theirs.scheme)
        assert ours.connection.local == (family == socket.AF_UNIX)
