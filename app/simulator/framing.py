"""Writes events as the frames of one stream, and numbers them (WHATWG HTML §9.2.5)."""

from __future__ import annotations

from typing import Any

from app.simulator.behaviours import Frames
from app.simulator.jsontext import Number, write

BOM = b"\xef\xbb\xbf"

# Neither a lone continuation byte, nor an overlong form, nor a character cut off is UTF-8.
_BROKEN = b"\xff\xc0\xaf\xe2\x82"
# Stands in every text that the simulator says.
_BREAKABLE = b"imulated"


class Framer:
    """Writes the events of one stream, in order."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._next = 0

    def frame(self, event: dict[str, Any]) -> bytes:
        """One event, and what the behaviour puts before it."""
        before = self._unknown() if self._frames.unknown and self._next % 3 == 2 else b""
        return before + self._frame(event)

    def terminal(self, event: dict[str, Any]) -> bytes:
        """The terminal event."""
        frame = self.frame(event)
        return frame if self._frames.last_line_ends else frame.rstrip(b"\r\n")

    def after_terminal(self, event: dict[str, Any]) -> bytes:
        """What follows the terminal event, if anything does."""
        after = b"data: [DONE]\n\n" if self._frames.done else b""
        if self._frames.trailing:
            after += b": still here\n\n" + self._frame({"type": "ping"})
            usage = {"input_tokens": 0, "output_tokens": 0, "cost": Number("0")}
            after += self._frame(event | {"response": event["response"] | {"usage": usage}})
        return after

    def _frame(self, event: dict[str, Any]) -> bytes:
        frames, number = self._frames, self._next
        content = write({"type": event["type"], "sequence_number": number, **event})
        space = b" " if frames.space else b""
        lines = [b"event:" + space + event["type"].encode()] if frames.named else []
        if frames.comments:
            lines.insert(0, b": inside an event")
        if frames.ids:
            lines += [b"id: %d" % number, b"retry: 3000"]
        lines += [b"data:" + space + part for part in (_split(content) if frames.split else [content])]
        if frames.comments and number % 3 == 0:
            lines = [b": PROCESSING", b"", *lines]
        self._next += 1
        whole = frames.newline.join([*lines, b"", b""])
        bom = BOM if frames.bom and number == 0 else b""
        return bom + (broken(whole) if frames.broken_utf8 else whole)

    def _unknown(self) -> bytes:
        known = {"usage": {"cost": Number("0")}, "response": {"id": "resp_other"}}
        return self._frame({"type": "response.not_invented_yet", **known}) + self._frame({"type": "keepalive"})


def broken(content: bytes) -> bytes:
    """The same text with bytes in it that are no UTF-8."""
    return content.replace(_BREAKABLE, _BROKEN + _BREAKABLE)


def _split(content: bytes) -> list[bytes]:
    """JSON over several lines: a line end is white space between two members."""
    return content.replace(b',"', b',\n"', 3).split(b"\n")
