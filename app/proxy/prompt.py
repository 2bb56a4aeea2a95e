"""How long a prompt may be at the most, measured while `policy` goes through the body.

Text counts by its bytes. A picture, a sound or a film in base64 counts as one part instead, however
large: that holds for the value of a member that is named after one (`image_url`, `file_data`, …)
and says that it is one (`data:image/png;base64,…`), or is long and nothing but base64. Parts
that are only named, by id or URL, are told by their type. Whatever is not surely a part is
text: a guess too high costs a hold that is too high for seconds, one too low a budget. So text
files in base64 are text, and so is everything behind the first thousand parts.
"""

from __future__ import annotations

import re

from app.core.holds import prompt_tokens

# So many parts are looked for; each takes some microseconds.
PARTS_MAX = 1000

# Ends of a long value that are looked at: prose shows itself in a line.
_SAMPLE_BYTES = 256

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\\"
_MARK = b";base64,"

# What stands before a value: the name of its member. Longer ones and more white space make it text.
_BEFORE_BYTES = 64
_NAME = re.compile(rb'"(?:\w{1,24}_)?(?:url|data|image|audio|video|file|result|b64_json)"\s*:\s*\Z')

_MEDIA = rb"(?:image|audio|video)\\?/[\w.+-]+|application\\?/(?:pdf|msword|vnd\.[\w.+-]+)"
_HEAD = re.compile(rb'"data:(?:' + _MEDIA + rb")(?:;[\w.=-]+)*;base64,")
_HEAD_BYTES = 160


class PromptSize:
    """What was measured of one body; `take` and `take_long` are given all of it, in whatever order."""

    __slots__ = ("_body", "_encoded", "_encoded_bytes", "_looked", "_named")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._encoded_bytes = 0  # inside parts
        self._encoded = 0
        self._named = 0
        self._looked = 0

    @property
    def tokens(self) -> int:
        """A guess from above of the prompt's tokens."""
        text_bytes = len(self._body) - self._encoded_bytes
        return prompt_tokens(text_bytes, max(self._encoded, self._named))

    def take(self, piece: bytes) -> None:
        """A part of the body that no string crosses; without its long strings."""
        if piece.find(b'"input_') >= 0:  # most bodies are text: one search instead of two
            self._named += piece.count(b'"input_image"') + piece.count(b'"input_file"')
        mark = piece.find(_MARK)
        while mark >= 0 and self._looked < PARTS_MAX:
            self._looked += 1
            begin = piece.rfind(b'"', max(0, mark - _HEAD_BYTES), mark)
            end = piece.find(b'"', mark)
            if begin >= 0 and end >= 0:
                self._look(piece, begin, end, may_be_bare=False)
            mark = piece.find(_MARK, max(mark, end) + 1)

    def take_long(self, begin: int, end: int) -> None:
        """A string of the body, from its first quote to behind its last."""
        if self._looked < PARTS_MAX:
            self._looked += 1
            self._look(self._body, begin, end - 1, may_be_bare=True)

    def _look(self, text: bytes, begin: int, end: int, *, may_be_bare: bool) -> None:
        """Counts the value between these quotes, if it is a part. Bare: it does not say what it is."""
        if _NAME.search(text[max(0, begin - _BEFORE_BYTES) : begin]) is None:
            return
        head = _HEAD.match(text, begin, begin + _HEAD_BYTES)
        if head is None and not may_be_bare:
            return
        if _is_base64(text, head.end() if head is not None else begin + 1, end):
            self._encoded += 1
            self._encoded_bytes += end - begin - 1


def _is_base64(text: bytes, begin: int, end: int) -> bool:
    """By its two ends and its middle; slashes may be escaped, quotes are none."""
    middle = (begin + end) // 2
    places = (begin, max(begin, middle), max(begin, end - _SAMPLE_BYTES))
    samples = b"".join(text[place : min(end, place + _SAMPLE_BYTES)] for place in places)
    return not samples.translate(None, _BASE64)
