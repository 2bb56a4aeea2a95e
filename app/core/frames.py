"""The shape that nearly every server gives the events of a stream, found by searches.

Lives here: an event that is whole and shaped so, and where the last event ends for sure. Must not live here: events of
any other shape, or cut anywhere (`core.sse`), what they mean. Called by `core.sse` and `core.deltas`.
"""

from __future__ import annotations

from app.core.outline import Bytes

# Behind each of these a line and an empty one have ended, whatever stands before.
EVENT_ENDS = (b"\n\n", b"\r\n\r\n")


def frame_at(chunk: bytes, start: int, line_end: bytes) -> tuple[bytes, bytes, int] | None:
    """The event that begins at a place, if it is whole and as nearly every server sends it: its name, its data, and
    where the next begins. It means the same whatever surrounds it. (A regular expression took 4 ns a byte, 90 µs for
    the last event of an answer of 20 kB.)
    """
    name, at = b"", start
    if chunk.startswith(b"event:", at):
        stop = _line_stop(chunk, at, line_end)
        if stop < 0:
            return None
        name, at = chunk[value_start(chunk, b"event", at) : stop], stop + len(line_end)
    if not chunk.startswith(b"data:", at):
        return None
    stop = _line_stop(chunk, at, line_end)
    if stop < 0 or not chunk.startswith(line_end, stop + len(line_end)):
        return None
    return name, chunk[value_start(chunk, b"data", at) : stop], stop + 2 * len(line_end)


def _line_stop(chunk: bytes, at: int, line_end: bytes) -> int:
    """Where the line that begins at a place stops, if it ends so; else -1."""
    stop = chunk.find(b"\n", at) + 1 - len(line_end)
    return stop if line_end == b"\n" or (stop >= at and chunk.find(b"\r", at, stop + 1) == stop) else -1


def last_end(chunk: Bytes, start: int, end: int) -> int:
    """Where the last event ends that surely does between these places; `start`, if none does."""
    last = chunk.rfind(b"\n\n", start, end) + 2
    if last == end > start + 1:
        return end  # nearly always
    behind_crlf = chunk.rfind(b"\r\n\r\n", start, end) + 4
    return max(last if last > 1 else start, behind_crlf if behind_crlf > 3 else start)


def value_start(text: Bytes, field: bytes, at: int = 0) -> int:
    """A field's value begins behind its colon and one space, if there are such. `at`: where its line begins."""
    start = at + len(field) + 1
    return start + 1 if text[start : start + 1] == b" " else start
