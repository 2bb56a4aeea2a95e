"""How clients that come at once are taken, and what their connections have of the listener's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from urllib.parse import urlsplit

import pytest

from app.server import LISTENERS
from app.sockets import UNSENT_BYTES_MAX, bind_tcp
from tests.harness import GatewayUnderTest


def address(gateway: GatewayUnderTest) -> tuple[str, int]:
    found = urlsplit(gateway.url)
    assert found.hostname is not None
    assert found.port is not None
    return found.hostname, found.port


def listens(gateway: GatewayUnderTest) -> bool:
    try:
        socket.create_connection(address(gateway)).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_clients_that_come_at_once_are_taken_at_once(gateway: GatewayUnderTest) -> None:
    """Not one in each turn of the loop, between which everything else is done."""
    places = gateway.ready.places
    before = places.taken
    with contextlib.ExitStack() as clients:
        for _ in range(LISTENERS):  # the system makes the connections while the loop waits for this
            clients.enter_context(socket.create_connection(address(gateway)))
        turns = 0
        while places.taken - before < LISTENERS:
            await asyncio.sleep(0)
            turns += 1
            assert turns < LISTENERS / 2
    assert turns


async def test_nothing_listens_any_more_when_it_has_ended(gateway: GatewayUnderTest) -> None:
    """However often it listened."""
    gateway.ready.stop()
    async with asyncio.timeout(10):
        while listens(gateway):
            await asyncio.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a connection has no option of its listener")
def test_a_connection_has_the_listeners_bound_for_what_waits_unsent() -> None:
    with bind_tcp("127.0.0.1", 0) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            taken, _ = listening.accept()
            with taken:
                assert taken.getsockopt(socket.IPPROTO_TCP, 25) == UNSENT_BYTES_MAX
