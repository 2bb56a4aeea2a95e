"""What every transport needs to reach the upstream: its configuration, names and addresses, what may be tried again."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from app.proxy.upstream.port import Fault, Framing, Named, UpstreamError, UpstreamTimeout
from app.settings import Settings

RESPONSES_PATH = "/v1/openai/responses"

# What is written at once: a large body is encrypted and sent in pieces, so that the loop goes on between them.
PIECE_BYTES = 64 * 1024

# So much of an answer waits for its reader before the peer is made to wait.
AHEAD_BYTES = 4 * 1024

# So much is read at once for who waits for it, and so much for who does not yet: a client that takes nothing holds as
# much. (asyncio's own way is a quarter of a megabyte.)
READ_BYTES = 12 * 1024
READ_AHEAD_BYTES = 4 * 1024

# Nobody knows the peer's clock or the way there: let go so long before it does.
KEEPALIVE_MARGIN_SECONDS = 1

# The next address of a name is tried beside the one that is silent (RFC 8305 §5).
STAGGER_SECONDS = 0.25

_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)

# A model may think for minutes without a byte: probes keep the route's middleboxes from
# forgetting the connection, and find a dead peer within two minutes.
_PROBES = (("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """How to reach the upstream; times in seconds."""

    origin: str  # may have a path, which stands in front of the fixed one
    connect_seconds: float
    head_seconds: float
    idle_seconds: float
    keepalive_seconds: float
    proxy: str | None = field(default=None, repr=False)  # may hold credentials
    ca_file: str | None = None


def connecting(settings: Settings) -> Connecting:
    """As the settings say."""
    return Connecting(
        origin=settings.upstream_url,
        connect_seconds=settings.connect_timeout_seconds,
        head_seconds=settings.upstream_timeout_seconds,
        idle_seconds=settings.upstream_idle_seconds,
        keepalive_seconds=settings.upstream_keepalive_seconds,
        proxy=settings.upstream_proxy,
        ca_file=str(settings.upstream_ca_file) if settings.upstream_ca_file else None,
    )


# One for all connections: what is read into it is taken out before anything else happens.
READ_ROOM = memoryview(bytearray(READ_BYTES))
READ_AHEAD_ROOM = READ_ROOM[:READ_AHEAD_BYTES]


class Abortable(Protocol):
    def abort(self) -> None: ...


_C = TypeVar("_C", bound=Abortable)

# Connects to one address: (family, address, port).
Reach = Callable[[int, str, int], Awaitable[_C]]


async def first_to_answer(host: str, port: int, reach: Reach[_C]) -> _C:
    """The first address of a name that answers; the next one is tried beside a silent one.

    Raises: `UpstreamError` (DNS, REFUSED, CONNECT), unsent.
    """
    running: set[asyncio.Future[_C]] = set()
    reached: list[_C] = []
    faults: list[BaseException] = []
    waiting = await _addresses(host, port)
    try:
        while (running or waiting) and not reached:
            if waiting:
                running.add(asyncio.ensure_future(reach(*waiting.pop(0))))
            beside = STAGGER_SECONDS if waiting else None
            done, running = await asyncio.wait(running, timeout=beside, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                fault = task.exception()
                faults.append(fault) if fault is not None else reached.append(task.result())
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(abort_late)
        for late in reached[1:]:
            late.abort()
    if reached:
        return reached[0]
    refused = any(isinstance(fault, ConnectionRefusedError) for fault in faults)
    raise UpstreamError(Fault.REFUSED if refused else Fault.CONNECT, sent=False)


async def _addresses(host: str, port: int) -> list[tuple[int, str, int]]:
    """What a name resolves to, the families taking turns, the resolver's first one first (RFC 8305 §4)."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UpstreamError(Fault.DNS, sent=False) from None
    families: dict[int, list[tuple[int, str, int]]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, str(address[0]), port))
    turns = max(len(addresses) for addresses in families.values())
    return [addresses[turn] for turn in range(turns) for addresses in families.values() if turn < len(addresses)]


def abort_late(task: asyncio.Future[_C]) -> None:
    """A connection that came although another was first, or nobody waits any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def probe(transport: asyncio.BaseTransport) -> None:
    """Has the system look after a connection on which nothing is heard for long."""
    raw = transport.get_extra_info("socket")
    for name, value in _PROBES:
        if option := getattr(socket, name, None):  # not every system has them all
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            raw.setsockopt(level, option, value)


def again(failure: BaseException) -> bool:
    """Whether a fresh connection may help: nothing was written, and neither time nor trust is what lacks."""
    if not isinstance(failure, UpstreamError) or isinstance(failure, UpstreamTimeout) or failure.sent:
        return False
    return failure.fault not in (Fault.CERTIFICATE, Fault.PROTOCOL, Fault.ABORTED)


def framing_of(status: int, named: Named) -> Framing:
    """From the head of an answer to a POST."""
    if status in (204, 304):
        return Framing.NONE
    coding = named.get(b"transfer-encoding")
    if coding is not None and b"chunked" in coding.lower():
        return Framing.CHUNKED
    return Framing.LENGTH if b"content-length" in named else Framing.CLOSE


def rest_seconds(named: Named, keepalive_seconds: float) -> float:
    """How long a connection may rest after such an answer: what the peer says counts, if it is less."""
    announced = named.get(b"keep-alive")
    if announced is not None and (found := _KEEP_ALIVE_TIMEOUT.search(announced)):
        return min(keepalive_seconds, int(found[1]) - KEEPALIVE_MARGIN_SECONDS)
    return keepalive_seconds
