"""How a connection to the upstream comes about: names, addresses, the first that answers.

Called by httpcore's pools, which `httpx` beside it hands this network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

from app.proxy.upstream.httpx_attempt import ConnectFault, current_attempt
from app.proxy.upstream.httpx_wire import Wire, Wires
from app.proxy.upstream.port import Fault

# The next address of a name is tried beside the one that is silent (RFC 8305 §5).
STAGGER_SECONDS = 0.25

# A model may think for minutes without a byte: probes keep the route's middleboxes from
# forgetting the connection, and find a dead peer within two minutes.
_PROBES = (("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class Network(httpcore.AsyncNetworkBackend):
    """Opens wires, each within the time of the attempt that needs it."""

    def __init__(self) -> None:
        self._wires = Wires()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Wire:
        attempt = current_attempt.get()
        return await attempt.connect(self._connect(host, port))

    async def aclose(self) -> None:
        """Cuts every connection."""
        await self._wires.aclose()

    async def _connect(self, host: str, port: int) -> Wire:
        """The first address that answers; the next one is tried beside a silent one."""
        running: set[asyncio.Task[Wire]] = set()
        reached: list[Wire] = []
        faults: list[BaseException] = []
        waiting = await _addresses(host, port)
        try:
            while (running or waiting) and not reached:
                if waiting:
                    running.add(asyncio.ensure_future(self._reach(*waiting.pop(0))))
                beside = STAGGER_SECONDS if waiting else None
                done, running = await asyncio.wait(running, timeout=beside, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    fault = task.exception()
                    faults.append(fault) if fault is not None else reached.append(task.result())
        finally:
            for task in running:
                task.cancel()
                task.add_done_callback(_abort_late)
            for wire in reached[1:]:
                wire.abort()
        if reached:
            return reached[0]
        refused = any(isinstance(fault, ConnectionRefusedError) for fault in faults)
        raise ConnectFault(Fault.REFUSED if refused else Fault.CONNECT)

    async def _reach(self, family: int, address: str, port: int) -> Wire:
        loop = asyncio.get_running_loop()
        transport, wire = await loop.create_connection(lambda: Wire(self._wires), address, port, family=family)
        raw = transport.get_extra_info("socket")
        for name, value in _PROBES:
            if option := getattr(socket, name, None):  # not every system has them all
                level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
                raw.setsockopt(level, option, value)
        self._wires.add(wire)
        return wire


async def _addresses(host: str, port: int) -> list[tuple[int, str, int]]:
    """What a name resolves to, the families taking turns, the resolver's first one first (RFC 8305 §4)."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConnectFault(Fault.DNS) from None
    families: dict[int, list[tuple[int, str, int]]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, str(address[0]), port))
    turns = max(len(addresses) for addresses in families.values())
    return [addresses[turn] for turn in range(turns) for addresses in families.values() if turn < len(addresses)]


def _abort_late(task: asyncio.Task[Wire]) -> None:
    """A connection that came although another was first, or nobody waits any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()
