"""A proxy without any duty: a raw ASGI callable and the least of a client. No key is looked at, no cost read; an
answer is passed on when it is whole.

What an application on uvicorn takes before it does anything. A reference for the bench, run as
`uvicorn tests.bench.references.plain:app`.
"""

from __future__ import annotations

import asyncio

from tests.bench.references.asgi import Message, Receive, Send, body_of
from tests.bench.references.plain_client import ask


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    body = await body_of(receive)
    came: asyncio.Future[tuple[int, bytes, bytes]] = asyncio.get_running_loop().create_future()
    ask(body, lambda *answer: came.set_result(answer))
    status, kind, content = await came
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
