"""Where one request ends and the next may begin, in bytes: so much, and no more, is given to the parser at once.

Rule: a request that follows another on the connection is not looked at before that one is answered.
Then nothing in it can disturb the answer, and an error that it contains has a place to be told. Fact: a
head, and what follows the last of a body's chunks, end with CR LF CR LF or with an error; a body with a Content-Length
ends where that says. So no piece given to the parser goes beyond the end of a message, and each head begins with
a piece: its bytes can be counted, and its first line be seen as it was sent. Within chunks nothing is cut: a
body of CR LF alone would keep the loop busy. Pure.
"""

from __future__ import annotations

from app.core.errors import ApiError, head_too_large, request_line_too_long
from app.core.request_head import HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX
from app.proxy.guard.chunks import Chunks, end_of_block

# What chunks may have between two bytes of a body: their extensions, and the trailers at the end.
_BETWEEN_BYTES_MAX = HEAD_BYTES_MAX


class Framing:
    """The state of one connection's incoming bytes."""

    __slots__ = ("_between", "_chunks", "_left", "_line_ended", "_tail", "head_bytes", "headers", "in_body", "line")

    def __init__(self) -> None:
        self.next_head()

    def next_head(self) -> None:
        """A message has ended: the next byte begins a head."""
        self.in_body = False
        self.head_bytes = 0  # of this head, so far
        self.headers = 0
        self.line = b""  # the first line, as far as it has come
        self._line_ended = False
        self._tail = b""  # the last three bytes that were given, where an end may have begun
        self._left: int | None = None  # bytes of the body still to come, if that is known
        self._between = 0

    @property
    def at_start(self) -> bool:
        """Nothing of the next message has come."""
        return not self.in_body and not self.head_bytes

    @property
    def is_over(self) -> bool:
        """The body has come to the end that its length tells."""
        return self._left == 0

    def body_begins(self, length: int | None) -> None:
        """The head is complete. `length`: the Content-Length, 0 for none; None: chunks."""
        self.in_body = True
        self._left = length
        self._tail = b""
        if length is None:
            self._chunks = Chunks()

    def body_came(self, count: int) -> None:
        self._between = 0
        if self._left is not None:
            self._left -= count

    def end_of_piece(self, received: bytes, at: int) -> int:
        """Up to where `received` may be given to the parser, from `at` on; asked once for each piece."""
        if self.in_body and self._left is not None:
            return min(at + self._left, len(received))
        block, before = at, self._tail
        if self.in_body:
            trailers = self._chunks.trailers_at(received, at)
            if trailers is None:
                return len(received)
            block, before = trailers, (before + received[max(at, trailers - 3) : trailers])[-3:]
        # One byte too many is enough to be refused, so no more is kept of what has no end.
        return min(end_of_block(received, block, before), block + HEAD_BYTES_MAX + 1)

    def given(self, piece: bytes) -> ApiError | None:
        """Notes what goes to the parser next; why it must not, if it must not."""
        if self.in_body:
            return self._given_of_body(piece)
        self._tail = (self._tail + piece[-3:])[-3:]
        self._collect_line(piece)
        self.head_bytes += len(piece)
        if len(self.line) > REQUEST_LINE_BYTES_MAX:
            return request_line_too_long(REQUEST_LINE_BYTES_MAX)
        if self.head_bytes > HEAD_BYTES_MAX:
            return head_too_large(HEAD_BYTES_MAX, HEADERS_MAX)
        return None

    def _given_of_body(self, piece: bytes) -> ApiError | None:
        if self._left is not None:
            return None
        if self._between > _BETWEEN_BYTES_MAX:
            return head_too_large(HEAD_BYTES_MAX, HEADERS_MAX)
        self._tail = (self._tail + piece[-3:])[-3:]
        self._between += len(piece)
        return None

    def _collect_line(self, piece: bytes) -> None:
        if self._line_ended:
            return
        start = piece if self.line else piece.lstrip(b"\r\n")  # empty lines before a request are no part of it
        end = start.find(b"\n")
        self._line_ended = end >= 0
        self.line += start if end < 0 else start[:end].removesuffix(b"\r")
        if end == 0:
            self.line = self.line.removesuffix(b"\r")
