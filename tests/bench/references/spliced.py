"""A proxy without any duty, and without uvicorn: one parser's callback writes to the other side. No task, no ASGI.

The least that Python can do with a request, and for answers that are whole. A reference for the bench, run as
`python -m tests.bench.references.spliced PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop

from tests.bench.references.plain_client import ask

_HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"


class Client(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        body, self.body = b"".join(self.body), []
        ask(body, self.answered)

    def answered(self, status: int, kind: bytes, content: bytes) -> None:
        self.transport.write(_HEAD % (status, kind, len(content)) + content)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
