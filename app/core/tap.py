"""What the relay knows of a tap: it reads a copy of an answer's bytes to learn what it cost, and can never alter them.

Lives here: the surface that all taps share, and which tap an answer gets. Must not live here: how a
body is read (`core.stream_tap`, `core.body_tap`). Called by the relay with each chunk up to
the event that ends the answer, before it is sent.
"""

from __future__ import annotations

import functools
from typing import Protocol

from app.core.body_tap import BlindTap, BodyTap
from app.core.decode import CODINGS, Inflater
from app.core.records import Reading
from app.core.stream_tap import StreamTap

EVENT_STREAM = b"text/event-stream"


class Tap(Protocol):
    """What the relay knows of a tap, whatever the kind of body."""

    @property
    def reading(self) -> Reading:
        """What is known; final once `ended` or after `finish`."""
        ...

    @property
    def heavy(self) -> bool:
        """The next `feed` or `finish` may take more than a millisecond: call it off the event loop."""
        ...

    @property
    def held_bytes(self) -> int:
        """What it keeps of the answer in memory."""
        ...

    @property
    def ended(self) -> bool:
        """The end of the answer has been seen."""
        ...

    @property
    def at_boundary(self) -> bool:
        """An error event may be put in here: the bytes so far are whole events.

        Asking may take in what was put off: the next chunk may have to be fed.
        """
        ...

    @property
    def last_sequence_number(self) -> int | None:
        """That of the last complete event, if it has one."""
        ...

    def passes(self, chunk: bytes) -> bool:
        """Takes in a chunk that ends no event which matters; one may begin in it. False: it took nothing in, and must
        be fed."""
        ...

    def feed(self, chunk: bytes) -> int | None:
        """Shows the next bytes. The offset in them from which on all must wait for the settlement, or None.

        Once `ended`, every further chunk waits from its first byte.
        """
        ...

    def let_go(self) -> None:
        """There is no memory for what it keeps: it drops that, and the cost in it stays unknown."""
        ...

    def finish(self) -> Reading:
        """The body is over, cleanly or not: its final reading. Idempotent."""
        ...


@functools.lru_cache(maxsize=64)  # an upstream has a handful
def media_type(content_type: bytes | None) -> bytes:
    """The type that a Content-Type names, without its parameters."""
    return (content_type or b"").partition(b";")[0].strip().lower()


def open_tap(content_type: bytes | None, content_encoding: bytes | None, *, requested_stream: bool) -> Tap:
    """The tap for an answer with these headers.

    A missing or odd content type is read as what was asked for; a `StreamTap` notices a JSON body.
    """
    media = media_type(content_type)
    coding = (content_encoding or b"").strip().lower()
    inflater = Inflater(coding) if coding in CODINGS else None
    if inflater is None and coding not in (b"", b"identity"):
        return BlindTap()
    is_json = media == b"application/json" or media.endswith(b"+json")
    if media == EVENT_STREAM or (requested_stream and not is_json):
        return StreamTap(inflater)
    return BodyTap(inflater)
