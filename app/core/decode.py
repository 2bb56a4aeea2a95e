"""Inflates a side copy of an encoded answer, so that its cost can be read.

Lives here: gzip and deflate (RFC 1951, 1952), piece by piece and with a limit, so that a bomb costs
bounded time and memory. The client gets the bytes as they came; nothing here touches them. Called by
the tap.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

PIECE_BYTES = 64 * 1024
DECODED_BYTES_MAX = 64 * 1024 * 1024

CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})

_GZIP_WINDOW_BITS = 31
_ZLIB_WINDOW_BITS = 15
_RAW_WINDOW_BITS = -15


class _Engine(Protocol):
    """What `zlib.decompressobj` makes."""

    @property
    def eof(self) -> bool: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, chunk: bytes, max_length: int, /) -> bytes: ...


class Undecodable(ValueError):
    """The bytes are not what their Content-Encoding says."""

    unknown_reason = "encoding"


class TooLarge(ValueError):
    """More than the limit came out."""

    unknown_reason = "body_too_large"


class Inflater:
    """One answer's decoder; `coding` is one of `CODINGS`."""

    def __init__(self, coding: bytes, decoded_bytes_max: int = DECODED_BYTES_MAX) -> None:
        self._is_deflate = coding == b"deflate"
        self._room_bytes = decoded_bytes_max
        self._head = b""  # the two bytes that tell zlib's wrapper from raw deflate
        self._engine = None if self._is_deflate else zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._over = False  # what follows is padding

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded bytes, in pieces of at most `PIECE_BYTES`. Raises: `Undecodable`, `TooLarge`."""
        more = bool(chunk)
        while more and not self._over:
            engine = self._engine or self._begin(chunk)
            if engine is None:
                return
            chunk, self._head = self._head + chunk, b""
            piece, chunk, more = self._step(engine, chunk)
            self._room_bytes -= len(piece)
            if self._room_bytes < 0:
                raise TooLarge
            if piece:
                yield piece

    def _begin(self, chunk: bytes) -> _Engine | None:
        """The engine for what begins here; None if that cannot be told yet, or nothing does."""
        if not self._is_deflate:  # a gzip file may be several in a row (RFC 1952 §2.2)
            self._over = not chunk.startswith(b"\x1f")
            self._engine = None if self._over else zlib.decompressobj(_GZIP_WINDOW_BITS)
        elif len(self._head + chunk) < 2:
            self._head += chunk
        else:
            wrapped = _has_zlib_header(self._head + chunk)
            self._engine = zlib.decompressobj(_ZLIB_WINDOW_BITS if wrapped else _RAW_WINDOW_BITS)
        return self._engine

    def _step(self, engine: _Engine, chunk: bytes) -> tuple[bytes, bytes, bool]:
        """One piece, the bytes not yet used, and whether they (or the engine) may hold more."""
        try:
            piece = engine.decompress(chunk, PIECE_BYTES)
        except zlib.error as error:
            raise Undecodable from error
        if not engine.eof:
            return piece, engine.unconsumed_tail, bool(engine.unconsumed_tail) or len(piece) == PIECE_BYTES
        self._engine = None
        self._over = self._is_deflate
        return piece, engine.unused_data, bool(engine.unused_data)


def _has_zlib_header(start: bytes) -> bool:
    """RFC 1950 §2.2: "deflate" means the zlib wrapper, but some servers send raw deflate."""
    return start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
