"""The only door through which the hot path speaks HTTP: a Protocol, and whose fault a failure is.

Lives here: the shapes that every transport shares. Lives elsewhere: the transports (`direct.py`,
`httpx.py`), which headers cross (`core.headers`), what a failure means to the ledger
(`exchange.py`). The contract test suite in `tests/proxy/upstream/` runs against every transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[bytes, bytes]]
Named = Mapping[bytes, bytes]

# Takes a chunk and passes it on at once; False: it left the chunk as it is.
Take = Callable[[bytes], bool]


class Fault(StrEnum):
    """What broke. The value is a fixed text that may be logged and shown: never `str(exc)`."""

    DNS = "name not resolved"
    REFUSED = "connection refused"
    CERTIFICATE = "certificate not trusted"
    TLS = "TLS handshake failed"
    CONNECT = "connection failed"
    CONNECT_TIMEOUT = "connect timed out"
    RESET = "connection reset"
    EOF = "connection closed inside the answer"
    PROTOCOL = "not valid HTTP"
    HEAD_TIMEOUT = "no answer in time"
    IDLE_TIMEOUT = "answer stalled"
    ABORTED = "cut by the gateway"


class Framing(StrEnum):
    """How the end of an answer's body is told (RFC 9112 §6.3)."""

    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "close"  # only the end of the connection tells it
    NONE = "none"  # 204, 304


class UpstreamError(Exception):
    """The upstream did not give what it should have.

    `sent` is False only when surely no byte of the request was written: only then may
    the request be tried again, and only then is it surely not billed.
    """

    def __init__(self, fault: Fault, *, sent: bool) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.sent = sent


class UpstreamTimeout(UpstreamError):
    """A deadline passed: connect, first byte, or between two bytes."""


class UpstreamHead:
    """What goes up before a body: headers complete with credentials, but for the Content-Length.

    That is each body's own, and the transport writes it. A head may serve many requests: what a transport
    makes of it, it may keep in `prepared`.
    """

    __slots__ = ("headers", "prepared")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.prepared: bytes | None = None


class UpstreamRequest(NamedTuple):
    """What goes up: a head, and the body as received."""

    head: UpstreamHead
    body: bytes


class Answer(Protocol):
    """An answer whose head has arrived. Exactly one task reads it; `abort` may come from any."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers:
        """As received, in order, names in lower case."""
        ...

    @property
    def named(self) -> Named:
        """The same by name; of more than one of a name the last."""
        ...

    @property
    def framing(self) -> Framing: ...

    async def read(self) -> bytes | None:
        """The next bytes of the body as they come (never empty), or None at its end.

        Raises: `UpstreamError` (reset, EOF inside the framing, aborted), `UpstreamTimeout`.
        """
        ...

    def take_rest(self) -> bytes | None:
        """What was not read yet, if the body is there to its end (`b""`: only the end was left). Else None, and nothing
        was taken. Never raises: a failure is the next `read`'s."""
        ...

    async def pour(self, take: Take) -> bytes | None:
        """Gives each chunk to `take` as it comes, until that leaves one: this one is returned, or None at the end.

        `take` may be called outside the reading task, by whatever brings the chunk. Raises: as `read`, and what
        `take` raises.
        """
        ...

    def abort(self) -> None:
        """Cuts the connection: a pending or later `read` raises `Fault.ABORTED`. Idempotent, sync."""
        ...

    @property
    def closed(self) -> bool:
        """`aclose` has nothing to do: the answer came to its end. False says nothing."""
        ...

    async def aclose(self) -> None:
        """Gives the connection back if the body was read to its end, else cuts it. Never raises."""
        ...


class Upstream(Protocol):
    """One upstream origin, one fixed path behind that of `IRG_UPSTREAM_URL`, a pool of connections."""

    async def open(self, request: UpstreamRequest) -> Answer:
        """Sends the request and waits for the head of the answer (1xx are swallowed).

        Connects again at most once, and only while no byte of the request was written.
        Raises: `UpstreamError`, `UpstreamTimeout`.
        """
        ...

    async def aclose(self) -> None:
        """Cuts everything still open: pending reads raise. Never raises."""
        ...
