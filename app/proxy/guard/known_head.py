"""The head of a connection's last request, which is mostly the head of its next one too, but for the length.

Rule: the same bytes in the same state of the parser mean the same request, so they are not parsed again, and nothing
that was judged over them is judged again. Only the digits of the Content-Length may differ. Measured: a head
with ten headers costs 12 µs through the parser and its callbacks, 1 µs here. What is not told apart by its bytes
(a length that is none, a second length, chunks, an expectation) is never learnt. Pure.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

Scope = dict[str, Any]
HeaderList = list[tuple[bytes, bytes]]

# What the application made of a head alone, to have it again when the head comes again.
Facts = dict[str, Any]

# What one connection remembers. Heads of clients in use have some hundred bytes.
HEAD_BYTES_MAX = 4 * 1024

# A client whose heads always differ is not learnt from any more.
MISSES_MAX = 4

# Two heads that are alike but for the length of the body differ by so few bytes.
LENGTH_DIGITS_APART_MAX = 3

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([1-9][0-9]{0,8})\r\n", re.IGNORECASE)
_NOT_LEARNT = (b"transfer-encoding", b"expect", b"upgrade", b"http2-settings")


class Again(NamedTuple):
    """A head that came again: the scope of its request, the length of its body, where that begins, and `facts`."""

    scope: Scope
    length: int
    body_at: int
    facts: Facts


class KnownHead:
    """`raw`: a whole head as it came, with the digits of its length between two places; `scope`: what came of it."""

    __slots__ = ("_before", "_behind", "_facts", "_headers", "_index", "_scope")

    def __init__(self, raw: bytes, digits: tuple[int, int], scope: Scope, facts: Facts) -> None:
        self._before, self._behind = raw[: digits[0]], raw[digits[1] :]
        self._headers: HeaderList = scope["headers"]
        self._index = [name for name, _ in self._headers].index(b"content-length")
        self._facts = facts
        self._scope = {name: value for name, value in scope.items() if name != "state"}  # a request's own

    def again(self, received: bytes, at: int) -> Again | None:
        """The next request, if it begins with this head at `at`, and the head is there to its end."""
        start = at + len(self._before)
        end = received.find(b"\r", start, start + 10)
        digits = received[start:end]
        if end < 0 or not digits.isdigit() or digits.startswith(b"0"):
            return None
        if not (received.startswith(self._before, at) and received.startswith(self._behind, end)):
            return None
        headers = self._headers.copy()
        headers[self._index] = (b"content-length", digits)
        scope = self._scope.copy()
        scope["headers"] = headers
        return Again(scope, int(digits), end + len(self._behind), self._facts)


def learn(raw: bytes, scope: Scope, facts: Facts) -> KnownHead | None:
    """What there is to learn of a request that keeps its connection; None: nothing.

    Its headers hold what the raw bytes say: names in lower case, in their order.
    """
    lowered = raw.lower()
    if (
        len(raw) > HEAD_BYTES_MAX
        or lowered.count(b"content-length") != 1
        or any(name in lowered for name in _NOT_LEARNT)
    ):
        return None
    found = _LENGTH.search(raw)
    if found is None:
        return None
    return KnownHead(raw, found.span(1), scope, facts)
