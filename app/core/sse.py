"""Finds where the events of an event stream end, however its bytes were cut into chunks.

Lives here: the framing of `text/event-stream` (WHATWG HTML §9.2.5 and §9.2.6), sans-I/O. Must not
live here: what an event means (`core.tap`), JSON, money. Called by the tap, which reads a copy of
every chunk of every stream: events of which nothing is wanted must cost no more than a few searches.

One deliberate difference from the standard: an event still pending when the stream ends counts.
Clients differ there, and a cost must not be lost over a missing blank line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from app.core.frames import frame_at, last_end, value_start
from app.core.outline import Bytes

EVENT_BYTES_MAX = 64 * 1024 * 1024

# What nobody wants whole is kept at both ends: enough to find a type or a sequence number there.
EXCERPT_HEAD_BYTES = 512
EXCERPT_TAIL_BYTES = 96

_BOM = b"\xef\xbb\xbf"
_COLON = 0x3A
_LINE_END = re.compile(rb"\r\n?|\n")


class Event(NamedTuple):
    """One event that has data. `start` and `end` are offsets in the chunk that completed it."""

    name: bytes  # of its last `event:` line; empty = none
    data: Bytes  # its `data:` lines, joined by LF
    start: int  # where its bytes begin in this chunk; 0 if it began in an earlier one
    end: int  # just past the line end that completes it (a CR is one; an LF after it is not waited for)
    whole: bool  # False: `data` is only an excerpt, because nobody wanted it or it is too large
    passed: bool = False  # it stands for several that are dull: `data` is what shall be kept of them


class Dull(NamedTuple):
    """Events that are passed over: what shall be kept of them, and where the last of them ends."""

    kept: bytes
    end: int


def _nothing_is_dull(chunk: bytes, start: int, end: int) -> Dull | None:
    return None


class EventSplitter:
    """Takes every chunk in order, returns the events that each one completes.

    `wanted` tells by an event's name (as far as it is known when data comes) whether its data is
    collected whole, up to `event_bytes_max`; of all other data only an excerpt is kept.

    `dull` tells of the whole events between two places of a chunk where the first that need not be told end, and what
    shall be kept of them; they are passed over in one step then. None: the first must be told.
    """

    __slots__ = (
        "_after_cr",
        "_bom_may_come",
        "_data",
        "_data_bytes",
        "_dull",
        "_event_bytes_max",
        "_line",
        "_looked",
        "_name",
        "_open",
        "_wanted",
        "_whole",
    )

    def __init__(
        self,
        wanted: Callable[[bytes], bool],
        event_bytes_max: int = EVENT_BYTES_MAX,
        dull: Callable[[bytes, int, int], Dull | None] = _nothing_is_dull,
    ) -> None:
        self._wanted = wanted
        self._event_bytes_max = event_bytes_max
        self._dull = dull
        self._looked = False  # in this chunk, for dull events: once, or many chunks would cost time squared
        self._line = bytearray()  # the line that began in an earlier chunk
        self._after_cr = False  # an LF that comes next belongs to the CR before it
        self._bom_may_come = True
        self._clear_event()

    def _clear_event(self) -> None:
        self._open = False  # a line of an event has come, its blank line has not
        self._name = b""
        self._data: Bytes | None = None
        self._data_bytes = 0  # of its data lines as they came
        self._whole = True

    @property
    def at_boundary(self) -> bool:
        """True when nothing of an event, nor of a comment's line, has come since the last one ended."""
        return not self._open and not self._line

    @property
    def between_events(self) -> bool:
        """True when what comes begins a line of its own, and whole events would change nothing here."""
        return not (self._open or self._line or self._after_cr or self._bom_may_come)

    @property
    def buffered(self) -> int:
        """Bytes held in memory for the event that is under way."""
        return len(self._line) + len(self._data or b"")

    def let_go(self) -> None:
        """Keeps no more than an excerpt of the event that is under way, if that has data."""
        if self._line.startswith(b"data:") or self._data is not None:
            self._whole = False
        self._line = bytearray(self._bounded(self._line))
        if self._data is not None:
            self._data = _excerpt(self._data)

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes, in order; a run of dull ones is told as one."""
        events: list[Event] = []
        self._looked = False
        position = 1 if self._after_cr and chunk.startswith(b"\n") else 0
        self._after_cr = chunk.endswith(b"\r") if chunk else self._after_cr
        has_cr = chunk.find(b"\r") >= 0  # `in` is thrice as slow: it tries the bytes as a number first
        start = 0  # where the event under way begins in this chunk
        while position < len(chunk):
            if not self._open and not self._line:
                behind = self._whole_events(chunk, position, has_cr, events)
                if behind > position:
                    position = behind
                    continue
            line_start = 0 if self._line else position
            line, line_end, position = self._next_line(chunk, position, has_cr)
            if line is None:
                break
            if not line:
                self._end_event(start, line_end, events)
            elif line[0] != _COLON:
                if not self._open:
                    self._open, start = True, line_start
                self._take_field(line)
        return events

    def finish(self) -> Event | None:
        """The stream is over: the event that was pending, if it has data. Leaves `at_boundary` as it was."""
        at_boundary = self.at_boundary
        events: list[Event] = []
        line = self._end_line(b"")
        if line and line[0] != _COLON:
            self._take_field(line)
        self._end_event(0, 0, events)
        self._open = not at_boundary
        return events[0] if events else None

    def _whole_events(self, chunk: bytes, position: int, has_cr: bool, events: list[Event]) -> int:
        """Where the dull events, or else the one frame, that begin at `position` end; itself, if none do."""
        if not self._looked and not self._bom_may_come:
            self._looked = True
            end = last_end(chunk, position, len(chunk))
            if end > position and (dull := self._dull(chunk, position, end)) is not None:
                events.append(Event(b"", dull.kept, position, dull.end, False, True))
                return dull.end
        frame = frame_at(chunk, position, b"\r\n" if has_cr else b"\n")
        if frame is None or len(chunk) > self._event_bytes_max:
            return position
        self._bom_may_come = False
        name, data, end = frame
        whole = len(data) <= EXCERPT_HEAD_BYTES + EXCERPT_TAIL_BYTES or self._wanted(name)
        completed = end - 1 if has_cr else end  # by a CR; the LF behind is not waited for
        events.append(Event(name, data if whole else _excerpt(data), position, completed, whole))
        return end

    def _next_line(self, chunk: bytes, position: int, has_cr: bool) -> tuple[Bytes | None, int, int]:
        """The line under way (None if it does not end in this chunk), just past its end, where the next begins."""
        if has_cr:
            ending = _LINE_END.search(chunk, position)
            stop, following = ending.span() if ending else (-1, 0)
        else:
            stop = chunk.find(b"\n", position)
            following = stop + 1
        if stop >= 0:
            return self._end_line(chunk[position:stop]), stop + 1, following
        self._begin_line(chunk[position:])
        return None, 0, 0

    def _begin_line(self, piece: bytes) -> None:
        self._line += piece
        if self._bom_may_come and len(self._line) >= len(_BOM):
            self._bom_may_come = False
            self._line = self._line.removeprefix(_BOM)
        bounded = self._bounded(self._line)
        if bounded is not self._line:
            self._line = bytearray(bounded)

    def _end_line(self, piece: bytes) -> Bytes:
        """The whole line without its end, or an excerpt."""
        line: Bytes = piece
        if self._line:
            line, self._line = self._line, bytearray()
            line += piece
        if self._bom_may_come:
            self._bom_may_come = False
            line = line.removeprefix(_BOM)
        return self._bounded(line)

    def _bounded(self, line: Bytes) -> Bytes:
        """Decides by what is certain of a line, complete or not, so that no chunking changes the result."""
        is_data = line.startswith(b"data:")
        if is_data and self._collects(len(line)):
            return line
        excerpt = _excerpt(line, value_start(line, b"data") if is_data else 0)
        if is_data and excerpt is not line:
            self._whole = False
        return excerpt

    def _collects(self, more_bytes: int) -> bool:
        """So many more bytes of data are wanted whole. Too much once is too much for the whole event."""
        if self._data_bytes + more_bytes > self._event_bytes_max:
            self._whole = False
        return self._whole and self._wanted(self._name)

    def _take_field(self, line: Bytes) -> None:
        """One line of an event; fields that say nothing about cost (`id`, `retry`, unknown) are passed over."""
        if line.startswith(b"data:") or line == b"data":
            self._take_data(line)
        elif line.startswith(b"event:") or line == b"event":
            self._name = bytes(line[value_start(line, b"event") :])

    def _take_data(self, line: Bytes) -> None:
        collects = self._collects(len(line))
        self._data_bytes += len(line)
        start = value_start(line, b"data")
        if isinstance(line, bytearray):
            del line[:start]  # in place: it may be tens of megabytes
        else:
            line = line[start:]
        if self._data is None:
            self._data = line
            return
        joined = self._data if isinstance(self._data, bytearray) else bytearray(self._data)
        joined += b"\n"
        joined += line
        self._data = joined if collects else _excerpt(joined)
        self._whole = self._whole and self._data is joined

    def _end_event(self, start: int, end: int, events: list[Event]) -> None:
        if self._data is not None:
            events.append(Event(self._name, self._data, start, end, self._whole))
        self._clear_event()


def _excerpt(line: Bytes, start: int = 0) -> Bytes:
    """Both ends of what comes from `start` on; the line itself if it is short."""
    if len(line) - start <= EXCERPT_HEAD_BYTES + EXCERPT_TAIL_BYTES:
        return line
    return line[: start + EXCERPT_HEAD_BYTES] + line[-EXCERPT_TAIL_BYTES:]
