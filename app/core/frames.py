"""The shape that nearly every server gives the events of a stream, found by searches.

Lives here: an event that is whole and shaped so, where the last event ends for sure, and where a field's value begins.
Must not live here: events of any other shape, or cut anywhere (`core.sse`), what they mean. Called by `core.sse`,
`core.deltas` and `core.stream_tap`.
"""

from __future__ import annotations

from app.core.outline import Bytes

# Behind each of these a line and an empty one have ended, whatever stands before.
EVENT_ENDS = (b"\n\n", b"\r\n\r\n")

# Where two kinds of line ends are looked for, so much is looked at first.
_WINDOW_BYTES = 256


def frame_at(chunk: bytes, start: int, line_end: bytes) -> tuple[bytes, bytes, int] | None:
    """The event whose first line begins at `start`, if it is whole and has at most one `event:` line, then one `data:`
    line: its name, its data, and where the next one begins. None: it is shaped otherwise.

    `line_end`: LF of a chunk that has no CR anywhere, CRLF of any other. No event may be under way at `start`. (A
    regular expression took 4 ns a byte.)
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
    """Where the line that begins at a place stops, if it ends with `line_end`; else -1. With LF no CR is looked for."""
    if line_end == b"\n":
        return chunk.find(line_end, at)
    # In windows that grow: where CR or LF is rare, each line would be searched to the chunk's end for it.
    width = _WINDOW_BYTES
    while at < len(chunk):
        end = at + width
        cr = chunk.find(b"\r", at, end)
        if chunk.find(b"\n", at, cr if cr >= 0 else end) >= 0:
            return -1
        if cr >= 0:
            return cr if chunk.startswith(line_end, cr) else -1
        at, width = end, 4 * width
    return -1


def last_end(chunk: Bytes, start: int, end: int) -> int:
    """Where the last event ends that surely does between these places; `start`, if none does."""
    if chunk.endswith(b"\n\n", start, end):
        return end  # as chunks of nearly every server do
    return max((at + len(mark) for mark in EVENT_ENDS if (at := chunk.rfind(mark, start, end)) >= 0), default=start)


def value_start(text: Bytes, field: bytes, at: int = 0) -> int:
    """A field's value begins behind its colon and one space, if there are such. `at`: where its line begins."""
    start = at + len(field) + 1
    return start + 1 if text[start : start + 1] == b" " else start
