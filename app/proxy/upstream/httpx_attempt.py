"""One try to send one request: its deadlines, how far it came, and the way to cut it.

Knows no connection and no HTTP: `httpx_wire` and `httpx_network` tell it how far things are and
ask it how long they may take. httpcore's own timeouts are not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from enum import Enum, auto
from typing import Any, TypeVar

import httpcore

from app.proxy.upstream.port import Fault

_T = TypeVar("_T")


class ConnectFault(httpcore.ConnectError):
    """Connecting failed, and it is known how."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Phase(Enum):
    CONNECTING = auto()  # no byte of the request was written yet
    SENDING = auto()
    HEAD = auto()  # waiting for the head of the answer
    BODY = auto()


class Attempt:
    """One try to send one request: its deadlines in seconds, how far it came, and the way to cut it."""

    def __init__(self, *, connect_seconds: float, head_seconds: float, idle_seconds: float) -> None:
        self.phase = Phase.CONNECTING
        self.aborted = False
        self.ended = False  # the end of the connection was read
        self.cut: Callable[[], None] | None = None  # cuts the connection that it uses
        self._head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self._deadline = asyncio.get_running_loop().time() + connect_seconds
        self._step: asyncio.Future[Any] | None = None

    @property
    def sent(self) -> bool:
        return self.phase is not Phase.CONNECTING

    def abort(self) -> None:
        """Cuts what there is: the step of connecting that is under way, and the connection. Idempotent."""
        self.aborted = True
        if self._step is not None:
            self._step.cancel()
        self.disconnect()

    def disconnect(self) -> None:
        """Cuts the connection alone."""
        if self.cut is not None:
            self.cut()

    def reads(self) -> None:
        """A byte of the answer is asked for. The head as a whole has one deadline, from its first read on."""
        if self.phase is Phase.SENDING:
            self.phase = Phase.HEAD
            self._deadline = asyncio.get_running_loop().time() + self._head_seconds

    def seconds_to_read(self) -> float:
        """How long the next byte may take."""
        if self.phase is Phase.BODY:
            return self.idle_seconds
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def connect(self, step: Coroutine[Any, Any, _T]) -> _T:
        """Runs one step of connecting, TCP or TLS, within what is left of the time for connecting.

        Raises: `httpcore.ConnectTimeout`, `ConnectFault`, and what the step raises.
        """
        running = self._step = asyncio.ensure_future(step)
        try:
            if self.aborted:
                running.cancel()
            left = self._deadline - asyncio.get_running_loop().time()
            await asyncio.wait({running}, timeout=max(0.0, left))
            if not running.done():
                running.cancel()
                await asyncio.wait({running})
        finally:
            running.cancel()
            self._step = None
        if running.cancelled():
            raise ConnectFault(Fault.CONNECT) if self.aborted else httpcore.ConnectTimeout
        result: _T = running.result()
        return result


current_attempt: ContextVar[Attempt] = ContextVar("current_attempt")
