"""Models that differ in how their events are written."""

from __future__ import annotations

from app.simulator.behaviours import Behaviour, Frames

FRAMES: dict[str, Behaviour] = {
    "sim/data-only": Behaviour(summary="events without an event: line", frames=Frames(named=False)),
    "sim/no-space": Behaviour(summary="no space behind data:", frames=Frames(space=False)),
    "sim/comments": Behaviour(summary="comment lines between events and inside them", frames=Frames(comments=True)),
    "sim/ids": Behaviour(summary="id: and retry: lines", frames=Frames(ids=True)),
    "sim/split-data": Behaviour(summary="the JSON of an event over several data: lines", frames=Frames(split=True)),
    "sim/cr": Behaviour(summary="lines end with CR", frames=Frames(newline=b"\r")),
    "sim/crlf": Behaviour(summary="lines end with CR LF", frames=Frames(newline=b"\r\n")),
    "sim/bom": Behaviour(summary="a byte order mark first, before a body too", frames=Frames(bom=True)),
    "sim/invalid-utf8": Behaviour(summary="bytes in the text that are no UTF-8", frames=Frames(broken_utf8=True)),
    "sim/unknown-events": Behaviour(summary="events of types that nobody knows", frames=Frames(unknown=True)),
    "sim/queued": Behaviour(summary="response.queued before response.in_progress", frames=Frames(queued=True)),
    "sim/done": Behaviour(summary="data: [DONE] after the terminal event", frames=Frames(done=True)),
    "sim/trailing-events": Behaviour(
        summary="more after the terminal event: a comment, an event, another terminal event with a cost of 0",
        frames=Frames(trailing=True),
    ),
    "sim/no-final-blank-line": Behaviour(
        summary="neither a line end nor a blank line after the terminal event", frames=Frames(last_line_ends=False)
    ),
}
