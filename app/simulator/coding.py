"""Content codings: the bytes of a body as they travel, piece by piece, so that each piece can be decoded when it comes.

Brotli is written by hand, in stored blocks (RFC 7932 §9.2): nothing here compresses well, it only has to be true.
"""

from __future__ import annotations

import functools
import gzip
import zlib
from typing import Protocol

from app.simulator.behaviours import Coding

# What the header says.
LABELS = {
    Coding.GZIP: "gzip",
    Coding.FALSE_GZIP: "gzip",
    Coding.BOMB: "gzip",
    Coding.DEFLATE: "deflate",
    Coding.RAW_DEFLATE: "deflate",
    Coding.BROTLI: "br",
}

_WINDOW_BITS = {Coding.GZIP: 31, Coding.DEFLATE: 15, Coding.RAW_DEFLATE: -15, Coding.BOMB: 31}
_BLOCK_BYTES = 1 << 16  # 16 bits of length


class Encoder(Protocol):
    def feed(self, content: bytes) -> bytes:
        """The bytes that let everything fed so far be decoded."""
        ...

    def end(self) -> bytes:
        """What ends the coding."""
        ...


def encoder_of(coding: Coding, *, stream: bool, bomb_bytes: int = 0) -> Encoder:
    """`bomb_bytes`: so much comes out of a bomb before the content."""
    if coding is Coding.BROTLI:
        return _Brotli()
    if coding in _WINDOW_BITS:
        return _Zlib(_WINDOW_BITS[coding], bomb(bomb_bytes, stream=stream) if coding is Coding.BOMB else b"")
    return _Plain()


@functools.lru_cache(maxsize=4)
def bomb(size_bytes: int, *, stream: bool) -> bytes:
    """A gzip member of white space (of one comment line, in a stream); another member may follow."""
    return gzip.compress(b":" + b" " * size_bytes + b"\n\n" if stream else b" " * size_bytes, compresslevel=1, mtime=0)


class _Plain:
    def feed(self, content: bytes) -> bytes:
        return content

    def end(self) -> bytes:
        return b""


class _Zlib:
    def __init__(self, window_bits: int, prefix: bytes) -> None:
        self._engine = zlib.compressobj(wbits=window_bits)
        self._prefix = prefix

    def feed(self, content: bytes) -> bytes:
        prefix, self._prefix = self._prefix, b""
        return prefix + self._engine.compress(content) + self._engine.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._engine.flush()


class _Brotli:
    """A window of 64 KiB (one bit, WBITS = 16), then stored meta-blocks, then an empty last one."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, content: bytes) -> bytes:
        coded = b""
        for start in range(0, len(content), _BLOCK_BYTES):
            block = content[start : start + _BLOCK_BYTES]
            coded += self._header(len(block)) + block
        return coded

    def end(self) -> bytes:
        return b"\x03" if self._begun else b"\x06"  # ISLAST and ISLASTEMPTY, behind WBITS if nothing came

    def _header(self, size: int) -> bytes:
        """From the lowest bit: WBITS (once), ISLAST 0, MNIBBLES 4 (00), MLEN - 1, ISUNCOMPRESSED, padding."""
        bits = (size - 1) << 3 | 1 << 19
        bits = bits if self._begun else bits << 1
        self._begun = True
        return bits.to_bytes(3, "little")
