"""The same duties in a task for each request, which waits within as many coroutines as the gateway's does.

A reference for the bench, run as `python -m tests.bench.references.duties_in_tasks PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from tests.bench.references.duties import Client, serve

# As deep as cycle, front, endpoint and story; then the exchange, the transport, its answer and what is told of it.
STORY_DEPTH = 4
WAIT_DEPTH = 4

_tasks: set[asyncio.Task[None]] = set()


class ClientOfTasks(Client):
    answer: asyncio.Future[tuple[int, list[tuple[bytes, bytes]], bytes]]

    def begin(self, scope: dict[str, Any], body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self.story(scope, body, STORY_DEPTH - 1))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def story(self, scope: dict[str, Any], body: bytes, depth: int) -> None:
        if depth:
            await self.story(scope, body, depth - 1)
            return
        self.asked(scope, body)
        await self.wait(WAIT_DEPTH - 1)
        super().answered(*self.answer.result())

    async def wait(self, depth: int) -> None:
        if depth:
            await self.wait(depth - 1)
            return
        self.answer = asyncio.get_running_loop().create_future()
        await self.answer

    def answered(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.answer.set_result((status, headers, body))


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), ClientOfTasks))
