"""Reads a copy of an answer's bytes to learn what it cost; can never alter them.

Lives here: one class per kind of body, all with the surface of `Tap`: which event ends an answer,
from which byte on the answer must wait for its settlement, what to say when nothing can be read.
Must not live here: framing (`core.sse`), JSON paths and money (`core.costs`), encodings
(`core.decode`). Called by the relay with every chunk, before it is sent.

Text in a model's output that looks like an event or a cost never counts: only real framing and
exact JSON paths do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from app.core.costs import read_body, read_event
from app.core.document import Malformed
from app.core.decode import Inflater, TooLarge, Undecodable
from app.core.records import Reading
from app.core.outline import Bytes
from app.core.sse import EVENT_BYTES_MAX, Event, EventSplitter

BODY_BYTES_MAX = 64 * 1024 * 1024
HEAVY_BYTES = 256 * 1024

_TERMINAL_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})
_WANTED_RESPONSE_EVENTS = frozenset(
    {b"response.created", b"response.completed", b"response.incomplete", b"response.failed"}
)
_WORTH_PARSING = re.compile(rb'"(?:response\.(?:created|completed|incomplete|failed)|error)"')
_TYPE = re.compile(rb'"type"\s*:\s*"([^"\\]*)"')
_SEQUENCE_NUMBER = re.compile(rb'[{,]\s*"sequence_number"\s*:\s*([0-9]{1,15})')

_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})
_BEFORE_CONTENT = b" \t\r\n\xef\xbb\xbf"


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
    def ended(self) -> bool:
        """The end of the answer has been seen."""
        ...

    @property
    def at_boundary(self) -> bool:
        """An error event may be put in here: the bytes so far are whole events."""
        ...

    @property
    def last_sequence_number(self) -> int | None:
        """That of the last complete event, if it has one."""
        ...

    def feed(self, chunk: bytes) -> int | None:
        """Shows the next bytes. The offset in them from which on all must wait for the settlement, or None.

        Once `ended`, every further chunk waits from its first byte.
        """
        ...

    def finish(self) -> None:
        """The body is over, cleanly or not. Idempotent."""
        ...


def open_tap(content_type: bytes | None, content_encoding: bytes | None, *, requested_stream: bool) -> Tap:
    """The tap for an answer with these headers.

    A missing or odd content type is read as what was asked for; a `StreamTap` notices a JSON body.
    """
    media = (content_type or b"").partition(b";")[0].strip().lower()
    coding = (content_encoding or b"").strip().lower()
    inflater = Inflater(coding) if coding in _CODINGS else None
    if inflater is None and coding not in (b"", b"identity"):
        return BlindTap()
    is_json = media == b"application/json" or media.endswith(b"+json")
    if media == b"text/event-stream" or (requested_stream and not is_json):
        return StreamTap(inflater)
    return BodyTap(inflater)


class StreamTap:
    """Watches an event stream for the event that ends the answer and tells its cost."""

    def __init__(self, inflater: Inflater | None = None, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.reading = Reading(unknown_reason="no_terminal_event")
        self.ended = False
        self._inflater = inflater
        self._encoded = inflater is not None
        self._splitter = EventSplitter(_worth_collecting, event_bytes_max)
        self._body: BodyTap | None = None  # what was announced as a stream is a body all the same
        self._begun = False
        self._finished = False

    @property
    def heavy(self) -> bool:
        if self._body is not None:
            return self._body.heavy
        return self._encoded or self._splitter.buffered > HEAVY_BYTES

    @property
    def at_boundary(self) -> bool:
        return self._body is None and not self._encoded and self._splitter.at_boundary

    @property
    def last_sequence_number(self) -> int | None:
        return _sequence_number(self._splitter.latest)

    def feed(self, chunk: bytes) -> int | None:
        if self.ended:
            return 0
        if self._encoded:
            return self._feed_encoded(chunk)
        return self._feed_plain(chunk)

    def finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._body is not None:
            self._body.finish()
            self.reading = self._body.reading
        elif not self.ended and (event := self._splitter.finish()):
            self._take(event)

    def _feed_plain(self, chunk: bytes) -> int | None:
        if not self._begun:
            self._begin(chunk)
        if self._body is not None:
            return self._body.feed(chunk)
        for event in self._splitter.feed(chunk):
            self._take(event)
            if self.ended:
                return event.start
        return None

    def _feed_encoded(self, chunk: bytes) -> int | None:
        """Which bytes of a chunk hold the end cannot be told through an encoding: all of it waits."""
        if self._inflater is None:
            return None
        try:
            for piece in self._inflater.feed(chunk):
                self._feed_plain(piece)
                if self.ended:
                    return 0
        except (Undecodable, TooLarge) as error:
            self._inflater = None
            self.reading = replace(self.reading, unknown_reason=_encoding_reason(error))
        return None

    def _begin(self, chunk: bytes) -> None:
        content = chunk.lstrip(_BEFORE_CONTENT)
        self._begun = bool(content)
        if content.startswith((b"{", b"[", b"<")):  # no field of an event begins so
            self._body = BodyTap()

    def _take(self, event: Event) -> None:
        if not event.whole:
            self._take_excerpt(event)
        elif not event.name.startswith(b"response.") and not _WORTH_PARSING.search(event.data):
            return
        else:
            self._take_whole(event)

    def _take_whole(self, event: Event) -> None:
        try:
            told = read_event(event.data)
        except Malformed:
            return
        if told.type in _TERMINAL_TYPES:
            self.ended = True
            self.reading = replace(self._with_identity(told.reading), complete=True)
        elif told.reading.failed:
            reason = told.reading.unknown_reason and "no_terminal_event"
            self.reading = replace(self._with_identity(told.reading), unknown_reason=reason)
        elif told.type == "response.created":
            self.reading = replace(
                self.reading,
                response_id=told.reading.response_id,
                model_answered=told.reading.model_answered,
            )

    def _take_excerpt(self, event: Event) -> None:
        kind = _TYPE.search(event.data)
        if (kind[1] if kind else event.name).decode("latin-1") in _TERMINAL_TYPES:
            self.ended = True
            self.reading = replace(self.reading, complete=True, unknown_reason="event_too_large")

    def _with_identity(self, reading: Reading) -> Reading:
        """A later event that does not say whose it is belongs to the response that was created."""
        return replace(
            reading,
            response_id=reading.response_id or self.reading.response_id,
            model_answered=reading.model_answered or self.reading.model_answered,
        )


class BodyTap:
    """Collects a body that is one JSON document; reads it when it is over."""

    at_boundary = False
    last_sequence_number = None

    def __init__(self, inflater: Inflater | None = None, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self.reading = Reading(unknown_reason="unparsable")
        self.ended = False
        self._inflater = inflater
        self._body_bytes_max = body_bytes_max
        self._body = bytearray()
        self._too_large = False
        self._finished = False

    @property
    def heavy(self) -> bool:
        return self._inflater is not None or len(self._body) > HEAVY_BYTES

    def feed(self, chunk: bytes) -> int | None:
        if self._too_large or len(self._body) + len(chunk) > self._body_bytes_max:
            self._too_large = True
            self._body.clear()
        else:
            self._body += chunk
        return None

    def finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        self.reading = self._read()
        self.ended = self.reading.complete
        self._body.clear()

    def _read(self) -> Reading:
        if self._too_large:
            return Reading(unknown_reason="body_too_large")
        try:
            text = self._body if self._inflater is None else _joined(self._inflater.feed(bytes(self._body)))
        except (Undecodable, TooLarge) as error:
            return Reading(unknown_reason=_encoding_reason(error))
        try:
            return read_body(text)
        except Malformed:
            is_json = text.lstrip(_BEFORE_CONTENT).startswith(b"{")
            return Reading(unknown_reason="unparsable" if is_json else "not_json")


class BlindTap:
    """An answer in an encoding that nobody here reads: it is relayed, its cost stays unknown."""

    heavy = False
    ended = False
    at_boundary = False
    last_sequence_number = None

    def __init__(self) -> None:
        self.reading = Reading(unknown_reason="encoding")

    def feed(self, chunk: bytes) -> int | None:
        return None

    def finish(self) -> None:
        return None


def _worth_collecting(name: bytes) -> bool:
    """The name of an event is only a pre-filter; its type decides (decision 8)."""
    return not name.startswith(b"response.") or name in _WANTED_RESPONSE_EVENTS


def _sequence_number(data: Bytes) -> int | None:
    """Of an event that was not parsed: near its start, where everybody writes it, or at its end."""
    found = _SEQUENCE_NUMBER.search(data[:256]) or _SEQUENCE_NUMBER.search(data[-64:])
    return int(found[1]) if found else None


def _encoding_reason(error: Undecodable | TooLarge) -> str:
    return "body_too_large" if isinstance(error, TooLarge) else "encoding"


def _joined(pieces: Iterable[bytes]) -> bytearray:
    joined = bytearray()
    for piece in pieces:
        joined += piece
    return joined
