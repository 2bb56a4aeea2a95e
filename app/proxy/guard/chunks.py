"""Where a body in chunks ends, in bytes that come cut anywhere (RFC 9112 §7.1).

Rule: where this cannot read what the parser might, it goes on as behind the last chunk: the end is sought at
CR LF CR LF, beyond which no message goes. So it may only give too little at once, never too much. Pure.
"""

from __future__ import annotations

import re

END = b"\r\n\r\n"

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[^\n]*)?\r\n")
# Of a line that has not ended, so much is kept: enough to read its size, however long its extension is.
_LINE_KEPT_BYTES = 32


class Chunks:
    """The state of one body."""

    __slots__ = ("_data", "_line", "_trailing")

    def __init__(self) -> None:
        self._data = 0  # bytes of this chunk still to come, its own CR LF included
        self._line = b""  # the size's line, as far as it has come
        self._trailing = False  # the last chunk's line has ended

    def trailers_at(self, received: bytes, at: int) -> int | None:
        """From where on a CR LF CR LF may end the message, from `at` on; None: not within `received`."""
        while not self._trailing:
            if self._data:
                step = min(self._data, len(received) - at)
                self._data -= step
                at += step
            if at == len(received):
                return None
            line = None if self._line else _SIZE_LINE.match(received, at)
            if line is not None:
                at = line.end()
                self._size_came(line)
            else:
                at = self._collect_line(received, at)
        return at

    def _size_came(self, line: re.Match[bytes] | None) -> None:
        size = int(line[1], 16) if line is not None else 0
        self._trailing = not size
        self._data = size + 2 if size else 0

    def _collect_line(self, received: bytes, at: int) -> int:
        """A line that comes in more than one piece, or is none."""
        found = received.find(b"\n", at)
        end = len(received) if found < 0 else found + 1
        room = _LINE_KEPT_BYTES - len(self._line)
        self._line += received[at : min(end, at + max(room, 0))]
        if found >= 0:
            line, self._line = self._line.rstrip(b"\r\n"), b""
            self._size_came(_SIZE_LINE.match(line + b"\r\n"))
        return end


def end_of_block(received: bytes, at: int, before: bytes) -> int:
    """Behind the next CR LF CR LF, which may have begun in the three bytes `before`."""
    if before:
        found = (before + received[at : at + 3]).find(END)
        if found >= 0:
            return at + found + len(END) - len(before)
    found = received.find(END, at)
    return len(received) if found < 0 else found + len(END)
