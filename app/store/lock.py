"""One writing process per database: a lock file that the system releases whatever happens.

`<database>.lock` is held by flock and says who holds it: pid, Unix socket, URL. No secret.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from app.store.port import StoreLocked


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a database. `socket` and `url` are None for a command, or while a gateway starts."""

    pid: int
    socket: Path | None = None
    url: str | None = None


class DatabaseLock:
    """Held from creation to `release`. Raises: `StoreLocked`."""

    def __init__(self, database: Path) -> None:
        self._path = lock_path(database)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(self._file)
            os.close(self._file)
            who = f"process {holder.pid}" if holder else "another process"
            raise StoreLocked(
                f"{database} is in use by {who}: one process writes a database. "
                "Stop it, or give this one another with IRG_DATABASE_URL."
            ) from None
        self.announce(None, None)

    def announce(self, socket: Path | None, url: str | None) -> None:
        told = {"pid": os.getpid(), "socket": str(socket) if socket else None, "url": url}
        content = json.dumps(told).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content, 0)

    def release(self) -> None:
        os.ftruncate(self._file, 0)
        os.close(self._file)


def running_holder(database: Path) -> Holder | None:
    """Who holds the database now, or None if nobody does."""
    try:
        file = os.open(lock_path(database), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _holder(file) or Holder(pid=0)
    else:
        return None
    finally:
        os.close(file)


def lock_path(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _holder(file: int) -> Holder | None:
    try:
        told = json.loads(os.pread(file, 4096, 0))
        socket = told["socket"]
        return Holder(int(told["pid"]), Path(socket) if socket else None, told["url"])
    except (ValueError, KeyError, TypeError):
        return None
