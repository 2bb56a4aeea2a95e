"""Finds where the events of an event stream end, however its bytes were cut into chunks.

Lives here: the framing of `text/event-stream` (WHATWG HTML §9.2.5 and §9.2.6), sans-I/O. Must not
live here: what an event means (`core.tap`), JSON, money. Called by the tap, which reads a copy of
every chunk of every stream, so an ordinary event must cost no more than one regular expression.

One deliberate difference from the standard: an event still pending when the stream ends counts.
Clients differ there, and a cost must not be lost over a missing blank line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

EVENT_BYTES_MAX = 64 * 1024 * 1024

# What nobody wants whole is kept at both ends: enough to find a type or a sequence number there.
EXCERPT_HEAD_BYTES = 512
EXCERPT_TAIL_BYTES = 96
_EXCERPT_BYTES = EXCERPT_HEAD_BYTES + EXCERPT_TAIL_BYTES

_BOM = b"\xef\xbb\xbf"
_COLON = 0x3A

# The frame that nearly every server sends. It holds no CR, so it means the same whatever surrounds it.
_ORDINARY_FRAME = re.compile(rb"event: ?([^\r\n]*+)\ndata: ?([^\r\n]*+)\n\n")
_LINE_END = re.compile(rb"\r\n?|\n")

Bytes = bytes | bytearray


class Event(NamedTuple):
    """One event with data. `start` and `end` are offsets in the chunk that completed it."""

    name: bytes  # of its last `event:` line; empty = none
    data: Bytes  # its `data:` lines, joined by LF
    start: int  # where its bytes begin in this chunk; 0 if it began in an earlier one
    end: int  # just past the line end that completes it
    whole: bool  # False: `data` is an excerpt, because the event is larger than the limit


class EventSplitter:
    """Takes every chunk in order, returns the events that each one completes.

    Only events `wanted` by their name (as far as it is known when their data comes) are collected
    and returned. Of the others an excerpt is kept, so memory is bounded whatever arrives.
    """

    def __init__(self, wanted: Callable[[bytes], bool], event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.latest: Bytes = b""  # data of the last complete event, wanted or not; possibly an excerpt
        self._wanted = wanted
        self._event_bytes_max = event_bytes_max
        self._line = bytearray()  # the line that began in an earlier chunk
        self._after_cr = False  # an LF that comes next belongs to the CR before it
        self._bom_may_come = True
        self._clear_event()

    def _clear_event(self) -> None:
        self._open = False  # a line of an event has come, its blank line has not
        self._name = b""
        self._data: Bytes | None = None
        self._size_bytes = 0  # of its data lines
        self._whole = True

    @property
    def at_boundary(self) -> bool:
        """True when nothing of an event, nor of a comment's line, has come since the last one ended."""
        return not self._open and not self._line

    @property
    def buffered(self) -> int:
        """Bytes held in memory for the event that is under way."""
        return len(self._line) + len(self._data or b"")

    def feed(self, chunk: bytes) -> list[Event]:
        """The wanted events that this chunk completes, in order."""
        events: list[Event] = []
        position = 1 if self._after_cr and chunk.startswith(b"\n") else 0
        self._after_cr = chunk.endswith(b"\r") if chunk else self._after_cr
        may_be_ordinary = len(chunk) <= self._event_bytes_max
        has_cr = b"\r" in chunk
        start = 0  # where the event under way begins in this chunk
        while position < len(chunk):
            if may_be_ordinary and not self._open and not self._line:
                frame = _ORDINARY_FRAME.match(chunk, position)
                if frame:
                    self._take_frame(frame, events)
                    position = frame.end()
                    continue
            stop, after = _line_end(chunk, position, has_cr)
            if stop < 0:
                self._begin_line(chunk[position:])
                break
            line_start = 0 if self._line else position
            line = self._end_line(chunk[position:stop])
            position = after
            if not line:
                self._end_event(start, stop + 1, events)
            elif line[0] != _COLON:
                if not self._open:
                    self._open, start = True, line_start
                self._take_field(line)
        return events

    def finish(self) -> Event | None:
        """The stream is over: the event that was pending, if it is a wanted one."""
        events: list[Event] = []
        line = self._end_line(b"")
        if line and line[0] != _COLON:
            self._take_field(line)
        self._end_event(0, 0, events)
        return events[0] if events else None

    def _take_frame(self, frame: re.Match[bytes], events: list[Event]) -> None:
        name, data = frame.groups()
        self._bom_may_come = False
        self.latest = data
        if self._wanted(name):
            events.append(Event(name, data, frame.start(), frame.end(), True))

    def _begin_line(self, piece: bytes) -> None:
        self._line += piece
        if self._bom_may_come and len(self._line) >= len(_BOM):
            self._bom_may_come = False
            self._line = self._line.removeprefix(_BOM)
        self._line = bytearray(self._bounded(self._line))

    def _end_line(self, piece: bytes) -> Bytes:
        """The whole line, without its end (an excerpt if nobody wants it whole)."""
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
        if is_data:
            self._whole = self._whole and self._size_bytes + len(line) <= self._event_bytes_max
            if self._collects:
                return line
        if len(line) <= _EXCERPT_BYTES:
            return line
        if is_data:
            self._whole = False
        return _excerpt(line)

    @property
    def _collects(self) -> bool:
        return self._whole and self._wanted(self._name)

    def _take_field(self, line: Bytes) -> None:
        """One line of an event; fields that say nothing about cost (`id`, `retry`, unknown) are passed over."""
        if line.startswith(b"data:") or line == b"data":
            self._take_data(line)
        elif line.startswith(b"event:") or line == b"event":
            self._name = bytes(line[_value_start(line, b"event") :])

    def _take_data(self, line: Bytes) -> None:
        self._size_bytes += len(line)
        start = _value_start(line, b"data")
        if isinstance(line, bytearray):
            del line[:start]  # in place: it may be tens of megabytes
        else:
            line = line[start:]
        if self._data is None:
            self._data = line
        else:
            self._data = bytearray(self._data) if isinstance(self._data, bytes) else self._data
            self._data += b"\n"
            self._data += line
        if len(self._data) > _EXCERPT_BYTES and not self._collects:
            self._whole = False
            self._data = _excerpt(self._data)

    def _end_event(self, start: int, end: int, events: list[Event]) -> None:
        if self._data is not None:
            self.latest = _excerpt(self._data)
            if self._wanted(self._name):
                events.append(Event(self._name, self._data, start, end, self._whole))
        self._clear_event()


def _line_end(chunk: bytes, position: int, has_cr: bool) -> tuple[int, int]:
    """Where the line at `position` stops and where the next one starts; (-1, 0) = not in this chunk."""
    if has_cr:
        match = _LINE_END.search(chunk, position)
        return match.span() if match else (-1, 0)
    stop = chunk.find(b"\n", position)
    return stop, stop + 1


def _value_start(line: Bytes, field: bytes) -> int:
    """A field's value begins behind its colon and one space, if there are such."""
    start = len(field) + 1
    return start + 1 if line[start : start + 1] == b" " else start


def _excerpt(line: Bytes) -> Bytes:
    if len(line) <= _EXCERPT_BYTES:
        return line
    return line[:EXCERPT_HEAD_BYTES] + line[-EXCERPT_TAIL_BYTES:]
