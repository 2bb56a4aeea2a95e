"""A file beside the database that takes settlements while the database takes none.

One megabyte is reserved when it is made, so that a full disk still leaves room. An entry is a
line: CRC-32 in hex, a space, JSON; NUL bytes follow the last one. A line that does not match
its checksum was torn by a crash before anybody relied on it, and is passed over. Entries may
be applied again after a crash: closing a row twice does nothing.

Called while the store opens and then by the writer thread alone.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.core.records import Settlement
from app.store.rows import storable_settlement
from app.telemetry import get_logger

log = get_logger("ledger")

RESERVED_BYTES = 1024 * 1024

_decoder = msgspec.json.Decoder(Settlement)


class Spool:
    """Raises `OSError` wherever the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._end = 0
        try:
            self._find_end()
            self._reserve()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def empty(self) -> bool:
        return self._end == 0

    def append(self, settlements: Sequence[Settlement]) -> None:
        """When this returns they are on the disk; when it raises, none of them counts."""
        content = b"".join(_line(msgspec.json.encode(storable_settlement(settlement))) for settlement in settlements)
        written = 0
        while written < len(content):
            written += os.pwrite(self._file, content[written:], self._end + written)
        os.fsync(self._file)
        self._end += len(content)

    def entries(self) -> list[Settlement]:
        """What waits for the database, oldest first. What nobody can read any more is put aside."""
        found = []
        for line in os.pread(self._file, self._end, 0).split(b"\n"):
            text = _checked(line)
            if text is None:
                continue
            try:
                found.append(_decoder.decode(text))
            except msgspec.MsgspecError:
                self._put_aside(line)
        return found

    def reject(self, settlement: Settlement) -> None:
        """Puts an entry that the database will never take into a file of its own, for a person."""
        self._put_aside(_line(msgspec.json.encode(settlement)).rstrip(b"\n"))

    def clear(self) -> None:
        """Forgets everything: all entries are in the database."""
        if self._end:
            os.pwrite(self._file, bytes(self._end), 0)
            if os.fstat(self._file).st_size > RESERVED_BYTES:
                os.ftruncate(self._file, RESERVED_BYTES)
            os.fsync(self._file)
            self._end = 0

    def close(self) -> None:
        os.close(self._file)

    def _find_end(self) -> None:
        content = os.pread(self._file, os.fstat(self._file).st_size, 0).rstrip(b"\0")
        self._end = len(content)
        if any(_checked(line) is None for line in content.split(b"\n") if line):
            log.warning("spool_torn", path=str(self._path))

    def _reserve(self) -> None:
        size = os.fstat(self._file).st_size
        if size < RESERVED_BYTES:  # written, not only allocated: some file systems promise more than they have
            os.pwrite(self._file, bytes(RESERVED_BYTES - size), size)
            os.fsync(self._file)
            sync_directory(self._path.parent)

    def _put_aside(self, line: bytes) -> None:
        path = self._path.with_name(self._path.name + ".rejected")
        log.error("settlement_rejected", path=str(path))
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, line + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


def sync_directory(path: Path) -> None:
    """Makes what was created or renamed in a directory survive a power cut. Raises: `OSError`."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _line(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _checked(line: bytes) -> bytes | None:
    """The text of a whole line, None for a torn one."""
    checksum, _, text = line.strip(b"\0").partition(b" ")
    return text if text and checksum == b"%08x" % zlib.crc32(text) else None
