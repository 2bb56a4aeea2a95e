"""What one turn of the loop writes to many sockets leaves together, at the turn's end.

Fact: uvloop writes to the system at once, and each write wakes a peer that sleeps: 8 to 15 µs on a virtual machine,
more than all else that a write costs. One that still runs when the next piece comes is not woken for it. (A seventh
more requests at 64 connections, a tenth less processor time for an event of 500 streams.) Where the last turn that
wrote had nothing to put together, the first piece goes at once: a connection that is alone would wait for the turn's
end, 0.06 ms. (So the first piece behind a busy turn waits, however long ago that was.)

Rule: whoever closes a transport behind what was written, ends its sending side, or writes to it another way, flushes
first, unless nothing of its own can wait. What waits for one that is cut is dropped, as the transport would. Called by
the guard and by the direct transport, each with one of its own.
"""

from __future__ import annotations

import asyncio

# More than this does not wait for the turn's end: the transport must see it, to say when its client takes no more. A
# piece of a stream, as it is read at once, does wait.
WAITING_BYTES_MAX = 16 * 1024


class Outbox:
    """One loop's, in which it is made: it keeps what waits for that loop's turn to end. Raises: `RuntimeError` where no
    loop runs."""

    __slots__ = ("_is_calm", "_is_turn", "_loop", "_waiting")

    def __init__(self) -> None:
        # Kept, here and by whoever needs it often: Python 3.11 asks the system for the process's id each time it shall
        # tell which loop runs, 0.26 µs. (It was eight times a request, and is once.)
        self._loop = asyncio.get_running_loop()
        self._is_calm = True  # nothing was left to put together by the last turn that wrote
        self._is_turn = False  # something was written in this turn, and its end will be told
        self._waiting: dict[asyncio.WriteTransport, bytes] = {}

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        if not self._is_turn:
            self._is_turn = True
            self._loop.call_soon(self._end_turn)
            if self._is_calm:
                _write(transport, data)
                return
        before = self._waiting.get(transport)
        waits = data if before is None else before + data
        if len(waits) <= WAITING_BYTES_MAX:
            self._waiting[transport] = waits
        else:
            self._waiting.pop(transport, None)
            _write(transport, waits)

    def flush(self) -> None:
        """Writes what waits: of each transport in its order, and at once."""
        waiting, self._waiting = self._waiting, {}
        for transport, data in waiting.items():
            try:
                _write(transport, data)
            except RuntimeError:  # (`suppress` would cost each piece 0.2 µs.)
                continue  # this one takes nothing any more; the others still get theirs

    def _end_turn(self) -> None:
        self._is_turn = False
        # Of a calm turn the first piece has gone already; of another it waits among the rest.
        self._is_calm = len(self._waiting) <= (0 if self._is_calm else 1)
        self.flush()


def _write(transport: asyncio.WriteTransport, data: bytes) -> None:
    """A loop's own transports would send on behind what was dropped here."""
    if not transport.is_closing():
        transport.write(data)
