"""One client of many: so many requests at once over connections of its own, round after round.

Reads a line of JSON for each round ({"requests", "model", "stream"}), answers it with a line: how many
answers of each status and error code there were. The key is in API_KEY, the gateway in BASE_URL.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

# Connecting all at once would overflow the listening queue, which is not what is tried here.
CONNECTING_AT_ONCE = 64


async def connect(room: asyncio.Semaphore) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(os.environ["BASE_URL"])
    async with room:
        return await asyncio.open_connection(where.hostname, where.port)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> str:
    where = urlsplit(os.environ["BASE_URL"])
    head = (
        f"POST {where.path}/responses HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n"
        f"Authorization: Bearer {os.environ['API_KEY']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    status = (await reader.readline()).split()[1].decode()
    answer = await reader.read()
    writer.close()
    return f"{status} {code(answer)}".strip()


def code(answer: bytes) -> str:
    content = answer.partition(b"\r\n\r\n")[2]
    return json.loads(content)["error"]["code"] if content.startswith(b'{"error": {') else ""


async def rush(order: dict[str, Any]) -> Counter[str]:
    body = json.dumps({"model": order["model"], "input": "Say hello", "stream": order["stream"]}).encode()
    room = asyncio.Semaphore(CONNECTING_AT_ONCE)
    connections = await asyncio.gather(*(connect(room) for _ in range(order["requests"])))
    return Counter(await asyncio.gather(*(ask(*connection, body) for connection in connections)))


for line in sys.stdin:
    print(json.dumps(asyncio.run(rush(json.loads(line)))), flush=True)
