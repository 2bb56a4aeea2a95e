"""Reads answers that are one JSON document, and those that nobody can read.

Lives here: collecting a body within a limit and saying why it could not be read. Must not live here:
JSON paths and money (`core.costs`), encodings (`core.decode`). Called by the relay through `core.tap`.
"""

from __future__ import annotations

from app.core.costs import read_body
from app.core.decode import Inflater, TooLarge, Undecodable
from app.core.document import HEAVY_BYTES, Malformed
from app.core.outline import Bytes
from app.core.plain_answer import plain_body
from app.core.records import Reading

BODY_BYTES_MAX = 64 * 1024 * 1024

# What may stand before a document or an event: white space, a byte order mark.
BEFORE_CONTENT = b" \t\r\n\xef\xbb\xbf"


_NOT_READ = Reading(unknown_reason="unparsable")


class BodyTap:
    """Collects a body that is one JSON document; reads it when it is over."""

    at_boundary = False
    last_sequence_number = None

    def __init__(self, inflater: Inflater | None = None, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self.reading = _NOT_READ
        self.ended = False
        self._inflater = inflater
        self._body_bytes_max = body_bytes_max
        self._body: Bytes = b""  # the first chunk as it is: mostly it is all
        self._too_large = False
        self._finished = False

    @property
    def heavy(self) -> bool:
        return self._inflater is not None or len(self._body) > HEAVY_BYTES

    @property
    def held_bytes(self) -> int:
        return len(self._body)

    def passes(self, chunk: bytes) -> bool:
        return False

    def feed(self, chunk: bytes) -> int | None:
        if self._too_large or len(self._body) + len(chunk) > self._body_bytes_max:
            self.let_go()
        elif not self._body:
            self._body = chunk
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += chunk
        return None

    def let_go(self) -> None:
        self._too_large = True
        self._body = b""

    def finish(self) -> Reading:
        if not self._finished:
            self._finished = True
            self.reading = self._read()
            self.ended = self.reading.complete
            self._body = b""
        return self.reading

    def _read(self) -> Reading:
        if self._too_large:
            return Reading(unknown_reason="body_too_large")
        try:
            text = self._decoded()
        except (Undecodable, TooLarge) as error:
            return Reading(unknown_reason=error.unknown_reason)
        try:
            return plain_body(text) or read_body(text)
        except Malformed:
            is_json = text.lstrip(BEFORE_CONTENT).startswith(b"{")
            return Reading(unknown_reason="unparsable" if is_json else "not_json")

    def _decoded(self) -> Bytes:
        if self._inflater is None:
            return self._body
        decoded = bytearray()
        for piece in self._inflater.feed(bytes(self._body)):
            decoded += piece
        return decoded


class BlindTap:
    """An answer in an encoding that nobody here reads: it is relayed, its cost stays unknown."""

    heavy = False
    held_bytes = 0
    ended = False
    at_boundary = False
    last_sequence_number = None

    def __init__(self) -> None:
        self.reading = Reading(unknown_reason="encoding")

    def passes(self, chunk: bytes) -> bool:
        return True

    def feed(self, chunk: bytes) -> int | None:
        return None

    def let_go(self) -> None:
        return None

    def finish(self) -> Reading:
        return self.reading
