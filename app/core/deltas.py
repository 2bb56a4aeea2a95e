"""What the many events between the first and the last leave behind: nothing but a sequence number.

Lives here: telling at the speed of a search which events of a stream cannot matter, and remembering the
number of the last one. Must not live here: framing (`core.sse`), what the other events mean. Called by
`core.stream_tap`, for every chunk of every stream.
"""

from __future__ import annotations

import re

from app.core.frames import last_end
from app.core.outline import Bytes
from app.core.sse import Dull, EventSplitter

# In an excerpt of JSON. A quote inside a string has a backslash before it, so this is a name.
_NUMBER = re.compile(rb'[{,]\s*"sequence_number"\s*:\s*([0-9]{1,15})\s*[,}]')  # whole, not cut by a window
_NAME = b'"sequence_number"'
_HEAD_BYTES, _TAIL_BYTES = 256, 64

# The beginning of an event whose number surely counts, wherever its data ends; its name, if by that its data is of
# no interest.
_IN_HEAD = re.compile(rb'(?:event: ?+(response\.)?[^\r\n]*+\r?\n)?data:[^\r\n]{0,200}?"sequence_number"')

# Of events that were passed over so much is kept at the most, to find a number in if it is asked for.
_KEPT_BYTES_MAX = 1024


class Deltas:
    """Of one stream. `telling`: the words without which an event cannot matter."""

    __slots__ = ("_looked_at", "_numbered", "_passed", "_telling", "_usual")

    def __init__(self, telling: tuple[bytes, ...]) -> None:
        self._telling = telling
        self._usual = b"\r"  # how the last one began that was known by its name; at first what no chunk without CR has
        self._numbered: Bytes = b""  # data of the last event told that has a number, or its ends
        self._passed: Bytes = b""  # a later event that was passed over and has a number, perhaps some more without
        # The chunk that did not pass, and what was found in it: until it is fed, which is next.
        self._looked_at: tuple[bytes, Dull | None] | None = None

    def passes(self, chunk: bytes) -> bool:
        """Passes over a chunk that is whole events; False: some must be told.

        Most are one event that begins as the one before did, up to the name of its number. Then two lines and
        nothing else is left to be made sure of: a fifth of the time that searching for words takes.
        """
        if (
            len(chunk) <= _KEPT_BYTES_MAX
            and chunk.startswith(self._usual)
            and chunk.count(b"\n") == 3
            and chunk.find(b"\r") < 0
        ):
            self._passed = chunk
            return True
        if self._looked_at is not None and self._looked_at[0] is chunk:  # its reader, awake now, asks again
            return False
        dull = self._search(chunk, 0, len(chunk))
        if dull is None or dull.end < len(chunk):
            self._looked_at = chunk, dull
            return False
        self.keep(dull.kept)
        return True

    def dull(self, chunk: bytes, start: int, end: int) -> Dull | None:
        """Where the first of these whole events that can be passed over end, and the last numbered one of them, to be
        kept. None: the first must be told."""
        if self._looked_at is not None:
            (looked_at, found), self._looked_at = self._looked_at, None
            if looked_at is chunk and end - start == len(chunk):
                return found
        return self._search(chunk, start, end)

    def _search(self, chunk: bytes, start: int, end: int) -> Dull | None:
        for word in self._telling:
            found = chunk.find(word, start, end)
            if found >= 0:
                end = last_end(chunk, start, found)
                if end == start:
                    return None
        if end - start > _KEPT_BYTES_MAX:
            start = _last_numbered(chunk, start, end)
        if end - start <= _KEPT_BYTES_MAX and (head := _IN_HEAD.match(chunk, start, end)):
            if head[1]:
                self._usual = head[0]
            return Dull(chunk[start:end], end)
        return Dull(b"", end) if chunk.find(_NAME, start, end) < 0 else None

    def keep(self, passed: Bytes) -> None:
        """Events were passed over, and this is what `dull` said to keep."""
        if passed:
            self._passed = passed

    def note(self, data: Bytes) -> None:
        """An event was told, with this data or an excerpt of it."""
        if _has_number(data):
            self._passed = b""
            self._numbered = data if len(data) <= _HEAD_BYTES + _TAIL_BYTES else b"".join(_ends(data))

    @property
    def last_number(self) -> int | None:
        """That of the last event that has a `sequence_number` where it usually stands, if it is a number."""
        numbered = self._numbered
        for event in EventSplitter(lambda name: True).feed(bytes(self._passed)):
            numbered = event.data if _has_number(event.data) else numbered
        head, tail = _ends(numbered)
        found = _NUMBER.search(head) or _NUMBER.search(tail)
        return int(found[1]) if found else None


def _has_number(data: Bytes) -> bool:
    head, tail = _ends(data)
    return head.find(_NAME) >= 0 or tail.find(_NAME) >= 0


def _ends(data: Bytes) -> tuple[Bytes, Bytes]:
    """Where everybody writes the sequence number, and where it may stand as well."""
    return data[:_HEAD_BYTES], data[-_TAIL_BYTES:]


def _last_numbered(chunk: bytes, start: int, end: int) -> int:
    """Where the last event with a number begins, or one before it."""
    at = chunk.rfind(_NAME, start, end)
    for mark in (b"\n\n", b"\n\r\n"):
        found = chunk.rfind(mark, start, at) if at >= 0 else -1
        if found >= 0:
            return found + len(mark)
    return start
