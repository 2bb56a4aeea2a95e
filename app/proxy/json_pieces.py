"""Cuts a large JSON object into small ones, so that checking it never holds the event loop for long.

A C parser holds the interpreter until it is through, in a thread as well; a piece at a time it
does not. Each piece is a whole JSON object of its own: what stands between two commas of the
text, inside the brackets that are open there. The pieces are all valid if and only if the
text is. Lives here: cutting and counting depth. Must not live here: what a member means
(`policy`, the only caller).

How: a comma outside strings is found from the end of a block backwards; what is open there is
known from the brackets outside strings. Around a piece go the brackets that are open at its
two ends, and a filler member beside its first and last comma, so that a comma too many stays one:

    {"model":"m","input":[{"a":1},   {"b":2}],"stream":true}      becomes
    {"model":"m","input":[{"a":1},0]}   and   {"":[0,{"b":2}],"stream":true}

A string longer than a block is checked by itself, in bites, and `LONG` stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

# About a millisecond of work each.
PIECE_BYTES = 64 * 1024

# So far a text may go on without a comma outside strings: nothing but a flood of white space or digits does.
COMMALESS_BYTES_MAX = 1024 * 1024

# What stands for a long string. No name of anything holds a NUL.
LONG = b'"\\u0000"'

_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_CLOSING = bytes.maketrans(b"[{", b"]}")

# Matched brackets are taken out at C speed, two levels a round, before the others are walked through.
_SLIM_ROUNDS = 3


class BrokenJson(ValueError):
    """The text is surely no JSON object, or goes on too long without a comma. Says why, for people."""


class TooDeep(ValueError):
    """The text is nested deeper than allowed."""


Check = Callable[[bytes], None]
Tell = Callable[[int, int], None]


def pieces(
    text: bytes, *, depth_max: int, check_string: Check, on_long: Tell | None = None, piece_bytes: int = PIECE_BYTES
) -> Generator[bytes | None, None, None]:
    """The objects that stand for the text, one by one; None where there is none yet, to breathe.

    `check_string` is given parts of long strings, as JSON strings, and raises if one is not valid; a part may begin
    or end inside a character: that the text is UTF-8 is not checked here. `on_long` is told where each long string
    was, from quote to quote. `piece_bytes` is at least 16, for an escape to fit in. Raises: `TooDeep`, `BrokenJson`.
    """
    if len(text) <= piece_bytes and text.count(b"[") + text.count(b"{") <= depth_max:
        yield text
        return
    stack = bytearray()  # the brackets open at `at`
    carried = b""  # text before `at` that is in no piece yet; ends outside strings
    at = 0
    while True:
        size = max(piece_bytes, len(carried))
        block, opening = carried + text[at : at + size], _opening(stack)
        end = at + size
        if end >= len(text):
            _nest(stack, _brackets(block), depth_max)
            yield opening + block
            return
        comma, quote, brackets = _last_comma(block)
        if comma >= 0:
            _nest(stack, brackets, depth_max)
            yield opening + block[:comma] + _closing(stack)
            carried, at = b"", end - len(block) + comma + 1
        elif len(block) > COMMALESS_BYTES_MAX:
            raise BrokenJson(f"more than {COMMALESS_BYTES_MAX} bytes without a comma outside strings")
        elif quote < 0:
            carried, at = block, end
        else:
            begin = end - len(block) + quote
            at = yield from _string_end(text, begin, check_string, piece_bytes)
            is_long = at - begin > piece_bytes
            carried = block[:quote] + (LONG if is_long else text[begin:at])
            if is_long and on_long is not None:
                on_long(begin, at)


def _opening(stack: bytearray) -> bytes:
    """Opens what is open at the beginning of a piece, with a filler before the piece's first member."""
    if not stack:
        return b""
    outer = bytes(stack[:-1]).replace(b"{", b'{"":')
    return outer + (b'{"":0,' if stack.endswith(b"{") else b"[0,")


def _closing(stack: bytearray) -> bytes:
    """A filler behind the piece's last comma, and the ends of what is still open."""
    if not stack:
        raise BrokenJson("a comma stands behind the object")
    filler = b',"":0' if stack.endswith(b"{") else b",0"
    return filler + bytes(reversed(stack)).translate(_CLOSING)


def _masked(block: bytes) -> bytes:
    """The block without escaped backslashes and quotes, as long as before."""
    return block.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in block else block


def _brackets(block: bytes) -> bytes:
    """The brackets outside strings, of a block that begins outside strings."""
    return b"".join(_masked(block).split(b'"')[::2]).translate(None, _NOT_BRACKETS)


def _last_comma(block: bytes) -> tuple[int, int, bytes]:
    """Where the last comma outside strings is, where a string begins that does not end in the block (each -1 =
    nowhere), and the brackets before that comma. The block begins outside strings."""
    parts = _masked(block).split(b'"')
    end, quote = len(block), -1
    if len(parts) % 2 == 0:
        end = quote = end - len(parts.pop()) - 1
    while parts:
        outside = parts.pop()
        comma = outside.rfind(b",")
        if comma >= 0:
            before = b"".join(parts[::2]) + outside[:comma]
            return end - len(outside) + comma, quote, before.translate(None, _NOT_BRACKETS)
        if parts:
            end -= len(outside) + len(parts.pop()) + 2
    return -1, quote, b""


def _nest(stack: bytearray, brackets: bytes, depth_max: int) -> None:
    """Takes the brackets of a piece to the stack. Which closes which, the parser checks."""
    slim = brackets
    for _ in range(_SLIM_ROUNDS):
        slim = slim.replace(b"[]", b"").replace(b"{}", b"")
    surely_flat = len(stack) + slim.count(b"[") + slim.count(b"{") + 2 * _SLIM_ROUNDS <= depth_max
    for bracket in slim if surely_flat else brackets:
        if bracket in b"[{":
            stack.append(bracket)
            if len(stack) > depth_max:
                raise TooDeep
        elif stack:
            stack.pop()


def _string_end(text: bytes, begin: int, check_string: Check, bite_bytes: int) -> Generator[None, None, int]:
    """Just past the string that begins with a quote at `begin`; its content is checked in bites."""
    at = begin + 1
    while True:
        bite = text[at : at + bite_bytes]
        masked = _masked(bite)
        quote = masked.find(b'"')
        if quote < 0:  # an escape at the end may go on behind it
            escape = masked.rfind(b"\\", len(bite) - 6)
            bite = bite[:escape] if escape >= 0 else bite
        else:
            bite = bite[:quote]
        check_string(b'"' + bite + b'"')
        at += len(bite)
        if quote >= 0:
            return at + 1
        if not bite:
            raise BrokenJson("a string does not end")
        yield
