"""The least that asks an upstream over HTTP: httptools, a pool of connections, whole answers, no limits and no mercy.

For the references `plain` and `spliced`, which show what a proxy in Python takes before it has any duty.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import httptools

_WHERE = urlsplit(os.environ.get("BENCH_UPSTREAM_URL", ""))
_CA_FILE = os.environ.get("BENCH_CA_FILE")
_TRUSTED = ssl.create_default_context(cafile=_CA_FILE) if _CA_FILE else None

_HEAD = (
    f"POST /v1/openai/responses HTTP/1.1\r\nhost: {_WHERE.netloc}\r\nauthorization: Bearer upstream-key\r\n"
    "content-type: application/json\r\ncontent-length: %d\r\n\r\n"
).encode()

# Is given the status, the content type and the body.
Answered = Callable[[int, bytes, bytes], None]


class Upward(asyncio.Protocol):
    """One connection: `ask`, be `answered`, and it is free again."""

    transport: asyncio.Transport
    answered: Answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpResponseParser(self)
        self.type = b""
        self.body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.type = value

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        body, self.body = b"".join(self.body), []
        _free.append(self)
        self.answered(self.parser.get_status_code(), self.type, body)


_free: list[Upward] = []


async def _connected() -> Upward:
    loop = asyncio.get_running_loop()
    _, upward = await loop.create_connection(Upward, _WHERE.hostname or "", _WHERE.port or 80, ssl=_TRUSTED)
    return upward


def ask(body: bytes, answered: Answered) -> None:
    """At once over a free connection, else over a new one."""
    if _free:
        _send(_free.pop(), body, answered)
    else:
        connecting = asyncio.ensure_future(_connected())
        connecting.add_done_callback(lambda done: _send(done.result(), body, answered))


def _send(upward: Upward, body: bytes, answered: Answered) -> None:
    upward.answered = answered
    upward.transport.write(_HEAD % len(body) + body)
