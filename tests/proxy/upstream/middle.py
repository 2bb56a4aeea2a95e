"""A relay of raw bytes between a transport and a server: a flaky network, or a CONNECT proxy with or without TLS."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self, cast

from tests.scripted_upstream import server_tls


class Middle:
    """Listens on a port of its own and passes bytes both ways to `port`.

    `drop_first`: so many connections are closed as soon as they are accepted.
    `connect_answer`: acts as a proxy, answers CONNECT with these bytes and goes on after a 200; b"" = stays silent.
    """

    def __init__(
        self, port: int, *, drop_first: int = 0, connect_answer: bytes | None = None, tls: bool = False
    ) -> None:
        self.connections = 0
        self.heads: list[bytes] = []  # what CONNECT said
        self._port = port
        self._drop_first = drop_first
        self._connect_answer = connect_answer
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return cast(int, self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        context = server_tls("server.pem") if self._tls else None
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        if self.connections <= self._drop_first:
            writer.close()
            return
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connect_answer is not None:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self._connect_answer)
            if b" 200 " not in self._connect_answer[:20]:
                await reader.read()
                return
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.add(onward_writer)
        await asyncio.gather(_pour(reader, onward_writer), _pour(onward_reader, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()
    writer.close()
