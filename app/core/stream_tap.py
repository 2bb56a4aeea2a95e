"""Watches an event stream for the event that ends the answer and tells its cost.

Lives here: which events matter, from which byte on an answer must wait for its settlement, what a
stream that broke off still told. Must not live here: framing (`core.sse`), JSON paths and money
(`core.costs`), encodings (`core.decode`). Called by the relay through `core.tap`.

Text in a model's output that looks like an event or a cost never counts: only real framing and
exact JSON paths do. Deltas are never decoded, nor even cut apart: a run of events that holds no word
which could matter is passed over as a whole (`core.deltas`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.core.body_tap import BEFORE_CONTENT, BodyTap
from app.core.costs import TERMINAL_TYPES, read_event
from app.core.decode import Inflater, TooLarge, Undecodable
from app.core.deltas import Deltas
from app.core.document import HEAVY_BYTES, Malformed
from app.core.frames import EVENT_ENDS
from app.core.outline import Bytes
from app.core.plain_answer import plain_event
from app.core.records import Reading
from app.core.sse import EVENT_BYTES_MAX, Event, EventSplitter
from app.core.value import replace

_TERMINAL_NAMES = frozenset(kind.encode() for kind in TERMINAL_TYPES)
_WANTED_NAMES = _TERMINAL_NAMES | {b"response.created"}
_WORTH_READING = tuple(b'"%s"' % name for name in (*_WANTED_NAMES, b"error"))
# What has none of these anywhere has neither a wanted name nor data worth reading.
_TELLING = (*_WANTED_NAMES, b'"error"')

# What is put off is kept as long as a stream lasts.
_PUT_OFF_BYTES_MAX = 1024

_NOTHING_YET = Reading(unknown_reason="no_terminal_event")

# Most events are shorter by far; what has begun of a longer one goes to the splitter at once.
_CUT_BYTES_MAX = 1024

# In an excerpt of JSON. A quote inside a string has a backslash before it, so this is a name.
_TYPE = re.compile(rb'[{,]\s*"type"\s*:\s*"([^"\\]*)"')


class StreamTap:
    """Watches an event stream for the event that ends the answer and tells its cost."""

    __slots__ = (
        "_begun",
        "_between",
        "_body",
        "_cut",
        "_deltas",
        "_encoded",
        "_finished",
        "_inflater",
        "_put_off",
        "_reading",
        "_splitter",
        "ended",
    )

    def __init__(self, inflater: Inflater | None = None, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.ended = False
        self._reading = _NOTHING_YET
        self._put_off: Bytes | None = None  # data of an event named response.created, not read yet
        self._inflater = inflater
        self._encoded = inflater is not None
        self._deltas = Deltas(_TELLING)
        self._splitter = EventSplitter(_worth_collecting, event_bytes_max, self._deltas.dull)
        self._body: BodyTap | None = None  # what was announced as a stream is a body all the same
        self._begun = False
        self._cut = b""  # the beginning of an event, which the splitter has not been shown
        self._between = False  # events come, not encoded, the last has not, and the splitter is inside none
        self._finished = False

    @property
    def reading(self) -> Reading:
        if self._put_off is not None:
            data, self._put_off = self._put_off, None
            self._read(b"response.created", data)
        return self._reading

    @property
    def heavy(self) -> bool:
        if self._body is not None:
            return self._encoded or self._body.heavy
        return self._encoded or self._splitter.buffered > HEAVY_BYTES

    @property
    def held_bytes(self) -> int:
        if self._body is not None:
            return self._body.held_bytes
        return self._splitter.buffered + len(self._cut) + len(self._put_off or b"")

    @property
    def at_boundary(self) -> bool:
        self._take_cut()
        return self._body is None and not self._encoded and self._splitter.at_boundary

    @property
    def last_sequence_number(self) -> int | None:
        return self._deltas.last_number

    def passes(self, chunk: bytes) -> bool:
        if not self._between:
            return False
        if not self._cut and chunk.endswith(EVENT_ENDS):
            return self._deltas.passes(chunk)
        whole, cut = self._divided(chunk)
        if not (cut or whole.endswith(EVENT_ENDS)) or (whole and not self._deltas.passes(whole)):
            return False
        self._cut = cut
        return True

    def _divided(self, chunk: bytes) -> tuple[bytes, bytes]:
        """What was cut off and this chunk, up to where the last event surely ends; and what has begun behind it.

        A fast stream comes in full chunks, of which each ends anywhere. With its beginning an event is whole, and can
        be passed over with the others: 12 µs for a chunk of 12 kB, and 27 where it is put together from lines. Only
        where lines end with LF: behind a CR an end may be hidden, so a chunk that is cut there is fed.
        """
        joined = self._cut + chunk if self._cut else chunk
        found = joined.rfind(b"\n\n")
        if found < 0 and not self._splitter.between_events:
            return joined, b""
        end = found + 2 if found >= 0 else 0
        cut = joined[end:]
        if len(cut) > _CUT_BYTES_MAX or cut.find(b"\r") >= 0:
            return joined, b""
        return joined[:end], cut

    def _take_cut(self) -> None:
        """Shows the splitter the beginning of an event that was put off. No event ends in it: there is none to take."""
        if self._cut:
            cut, self._cut = self._cut, b""
            self._splitter.feed(cut)
            self._between = self._between and self._splitter.between_events

    def feed(self, chunk: bytes) -> int | None:
        if self.ended:
            return 0
        if self._encoded:
            return self._feed_encoded(chunk)
        return self._feed_plain(chunk)

    def let_go(self) -> None:
        self._take_cut()
        if self._body is not None:
            self._body.let_go()
        else:
            self._splitter.let_go()

    def finish(self) -> Reading:
        if not self._finished:
            self._finished = True
            self._take_cut()
            if self._body is not None:
                self._reading, self.ended = self._body.finish(), self._body.ended
            elif not self.ended and (event := self._splitter.finish()):
                self._take(event)
        return self.reading

    def _feed_plain(self, chunk: bytes) -> int | None:
        if not self._begun:
            self._begin(chunk)
        if self._body is not None:
            return self._body.feed(chunk)
        self._between = False  # stays so if the end is among these
        came_before = len(self._cut)
        whole, self._cut = self._divided(chunk)
        for event in self._splitter.feed(whole):
            self._take(event)
            if self.ended:
                return max(0, event.start - came_before)
        self._between = self._begun and not self._encoded and self._splitter.between_events
        return None

    def _feed_encoded(self, chunk: bytes) -> int | None:
        """Which bytes of a chunk hold the end cannot be told through an encoding: all of them wait."""
        if self._inflater is None:
            return None
        try:
            for piece in self._inflater.feed(chunk):
                self._feed_plain(piece)
                if self.ended:
                    return 0
        except (Undecodable, TooLarge) as error:
            self._inflater = None
            self._reading = replace(self.reading, unknown_reason=error.unknown_reason)
        return None

    def _begin(self, chunk: bytes) -> None:
        """No event begins with a bracket, and every other kind of body does."""
        content = chunk.lstrip(BEFORE_CONTENT)
        self._begun = bool(content)
        if content.startswith((b"{", b"[", b"<")):
            self._body = BodyTap()

    def _take(self, event: Event) -> None:
        name, data = event.name, event.data
        if event.passed:
            self._deltas.keep(data)
            return
        self._deltas.note(data)
        if name.startswith(b"response."):
            if name not in _WANTED_NAMES:
                return
        elif not _has_any(data, _WORTH_READING):
            return
        if not event.whole:
            self._take_excerpt(event)
        elif self._put_off is None and name == b"response.created" and _may_be_put_off(data):
            self._put_off = data
        else:
            self._read(name, data)

    def _read(self, name: bytes, data: Bytes) -> None:
        try:
            kind, reading = plain_event(data) or read_event(data)
        except Malformed:
            if name in _TERMINAL_NAMES:
                self._reading = replace(self.reading, unknown_reason="unparsable")
            return
        if kind in TERMINAL_TYPES:
            self.ended = True
            self._adopt(reading)
        elif reading.failed:  # `response.failed` may follow, so this is not the end yet
            self._adopt(replace(reading, unknown_reason=reading.unknown_reason and "no_terminal_event"))
        elif kind == "response.created":
            self._reading = replace(
                self.reading, response_id=reading.response_id, model_answered=reading.model_answered
            )

    def _take_excerpt(self, event: Event) -> None:
        """An event too large to be read can still be the last one."""
        kind = _TYPE.search(event.data)
        if event.name in _TERMINAL_NAMES or (kind and kind[1] in _TERMINAL_NAMES):
            self.ended = True
            self._reading = replace(self.reading, complete=True, unknown_reason="event_too_large")

    def _adopt(self, reading: Reading) -> None:
        """What does not say whose it is belongs to the response that was created."""
        if not (reading.response_id and reading.model_answered):
            begun = self.reading
            reading = replace(
                reading,
                response_id=reading.response_id or begun.response_id,
                model_answered=reading.model_answered or begun.model_answered,
            )
        self._reading = reading
        self._put_off = None  # what it would tell is in the reading, or was replaced


def _may_be_put_off(data: Bytes) -> bool:
    """Whether data under the name `response.created` surely does not end the answer. It is read when somebody asks, and
    mostly nobody does, since the last event tells the same: 7 µs of every stream."""
    is_plain = len(data) <= _PUT_OFF_BYTES_MAX and data.find(b"\\u") < 0
    return is_plain and not _has_any(data, _TERMINAL_NAMES)


def _has_any(data: Bytes, words: Iterable[bytes]) -> bool:
    return any(data.find(word) >= 0 for word in words)  # two thirds of what `in` takes


def _worth_collecting(name: bytes) -> bool:
    """The name of an event is only a pre-filter; its type decides."""
    return not name.startswith(b"response.") or name in _WANTED_NAMES
