"""How clients that come at once are taken, and what their connections have of the listener's."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.proxy.guard.limits import HEAD_SECONDS_MAX
from app.proxy.guard.places import RESERVE
from app.server import MORE_AT_ONCE_MAX
from app.sockets import UNSENT_BYTES_MAX, UNSENT_OPTION, bind_tcp
from tests.harness import GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream

CLIENTS = 32


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
        for _ in range(CLIENTS):  # the system makes the connections while the loop waits for this
            clients.enter_context(socket.create_connection(address(gateway)))
        turns = 0
        while places.taken - before < CLIENTS:
            await asyncio.sleep(0)
            turns += 1
            assert turns < CLIENTS / 2


async def test_each_of_them_is_served(gateway: GatewayUnderTest) -> None:
    async def one() -> bytes:
        async with gateway.connect(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n") as reply:
            await reply.read_head()
            return await reply.body()

    answers = await asyncio.gather(*(one() for _ in range(3 * MORE_AT_ONCE_MAX)))
    assert {answer[:14] for answer in answers} == {b'{"status":"ok"'}


async def test_those_for_whom_there_is_no_room_are_dropped(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Without a word, and nothing of them waits when it ends."""
    async with gateway_before(upstream.url, tmp_path, connections_max=10, shutdown_grace_seconds=60) as gateway:
        with contextlib.ExitStack() as clients:
            opened = [
                clients.enter_context(socket.create_connection(address(gateway))) for _ in range(10 + RESERVE + 20)
            ]
            async with asyncio.timeout(4):  # those that are kept are told after 5 seconds that they ask for nothing
                while len(select.select(opened, [], [], 0)[0]) < 20:
                    await asyncio.sleep(0.005)
        begun = time.monotonic()
    assert time.monotonic() - begun < 30


async def test_clients_that_come_at_once_over_tls_are_served(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Beside some that shake no hands, for which the end waits no longer than their time."""
    certificates = Path(__file__).parent / "certificates"
    trusting = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    keys = {"tls_cert_file": certificates / "server.pem", "tls_key_file": certificates / "server.key"}
    with contextlib.ExitStack() as clients:
        async with gateway_before(upstream.url, tmp_path, shutdown_grace_seconds=60, **keys) as gateway:

            async def one() -> bytes:
                where = address(gateway)
                reader, writer = await asyncio.open_connection(*where, ssl=trusting, server_hostname="localhost")
                with contextlib.closing(writer):
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
                    return await reader.read()

            rude = [clients.enter_context(socket.create_connection(address(gateway))) for _ in range(4)]
            rude[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
            answers = await asyncio.gather(*(one() for _ in range(CLIENTS)))
            assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
            ends_at = time.monotonic() + HEAD_SECONDS_MAX + 10
        assert time.monotonic() < ends_at


async def test_nothing_listens_any_more_when_it_has_ended(gateway: GatewayUnderTest) -> None:
    """Who comes then is refused."""
    gateway.ready.stop()
    async with asyncio.timeout(10):
        while listens(gateway):
            await asyncio.sleep(0.005)


@pytest.mark.skipif(UNSENT_OPTION is None, reason="elsewhere a connection has no option of its listener")
def test_a_connection_has_the_listeners_bound_for_what_waits_unsent() -> None:
    with bind_tcp("127.0.0.1", 0) as listening:
        listening.listen()
        assert UNSENT_OPTION is not None
        with socket.create_connection(listening.getsockname()):
            taken, _ = listening.accept()
            with taken:
                assert taken.getsockopt(socket.IPPROTO_TCP, UNSENT_OPTION) == UNSENT_BYTES_MAX
