"""A file beside the database that takes settlements while the database takes none.

One megabyte is reserved at the start, so that a full disk still leaves room. An entry is a
line: CRC-32 in hex, a space, JSON; NUL bytes follow the last one. A torn last line is the
end. Every append is on the disk (fsync) before it returns.
"""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

import msgspec

from app.core.records import Settlement

RESERVED_BYTES = 1024 * 1024

_decoder = msgspec.json.Decoder(Settlement)


class Spool:
    """Appends are thread-safe. Raises `OSError` when the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = 0
        self.entries = self._read()
        self._reserve()

    @property
    def empty(self) -> bool:
        return self._end == 0

    def append(self, settlement: Settlement) -> None:
        content = msgspec.json.encode(settlement)
        line = b"%08x %b\n" % (zlib.crc32(content), content)
        with self._lock:
            os.pwrite(self._file, line, self._end)
            os.fsync(self._file)
            self._end += len(line)

    def clear(self) -> None:
        """Forgets everything: all entries are in the database."""
        with self._lock:
            if self._end:
                os.pwrite(self._file, bytes(self._end), 0)
                os.fsync(self._file)
                self._end = 0
                self._reserve()

    def close(self) -> None:
        os.close(self._file)

    def _read(self) -> list[Settlement]:
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        entries = []
        for line in content.split(b"\n"):
            checksum, _, text = line.partition(b" ")
            if len(checksum) != 8 or checksum != b"%08x" % zlib.crc32(text):
                break
            entries.append(_decoder.decode(text))
            self._end += len(line) + 1
        return entries

    def _reserve(self) -> None:
        size = os.fstat(self._file).st_size
        if size < RESERVED_BYTES:
            os.posix_fallocate(self._file, 0, RESERVED_BYTES)
        elif size > RESERVED_BYTES and self._end <= RESERVED_BYTES:
            os.ftruncate(self._file, RESERVED_BYTES)
        os.fsync(self._file)
