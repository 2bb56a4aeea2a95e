"""How a connection to the upstream comes about: names, addresses, the first that answers.

Called by httpcore's pools, which `httpx` beside it hands this network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpcore

from app.proxy.upstream.connecting import first_to_answer, probe
from app.proxy.upstream.httpx_attempt import ConnectFault, current_attempt
from app.proxy.upstream.httpx_wire import Wire, Wires
from app.proxy.upstream.port import UpstreamError


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
        try:
            return await first_to_answer(host, port, self._reach)
        except UpstreamError as error:
            raise ConnectFault(error.fault) from None

    async def _reach(self, family: int, address: str, port: int) -> Wire:
        loop = asyncio.get_running_loop()
        transport, wire = await loop.create_connection(lambda: Wire(self._wires), address, port, family=family)
        probe(transport)
        self._wires.add(wire)
        return wire
