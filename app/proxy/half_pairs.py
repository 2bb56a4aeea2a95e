"""JSON with half a surrogate pair in a string: valid (RFC 8259 §8.2), but the parser refuses it.

A client that shortens a text by UTF-16 units sends one in the place of half an emoji. Called by `policy`,
which looks at a body and never re-writes it: what is mended here is read, and goes nowhere.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

_string = msgspec.json.Decoder(msgspec.Raw)

# An escape; half a surrogate pair is group 1.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def decode(decoder: msgspec.json.Decoder[T], piece: bytes) -> T:
    """What the decoder makes of a piece, halves of pairs aside. Raises: `msgspec.DecodeError`."""
    try:
        return decoder.decode(piece)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _without_half_pairs(piece)
        if mended == piece:
            raise
        return decoder.decode(mended)


def check_string(string: bytes) -> None:
    """Raises: `msgspec.DecodeError` when it is no JSON string."""
    try:
        _string.decode(string)
    except msgspec.DecodeError:
        _string.decode(_without_half_pairs(string))


def _without_half_pairs(text: bytes) -> bytes:
    """NUL for each half."""
    return _ESCAPE.sub(lambda escape: b"\\u0000" if escape[1] else escape[0], text)
