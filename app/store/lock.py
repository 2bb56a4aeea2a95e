"""One writing process per database: a lock file that the system releases whatever happens.

`<database>.lock` is held by flock and says who holds it: pid, Unix socket, URL. No secret.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

from app.core.value import Value
from app.store.port import StoreLocked

_CONTENT_BYTES = 4096
_TRIES = 5
_PAUSE_SECONDS = 0.02


class Holder(Value, frozen=True):
    """Who holds a database; pid 0 = not told (yet). A command has no `socket` and `url`."""

    pid: int
    socket: Path | None = None
    url: str | None = None


class DatabaseLock:
    """Held from creation to `release`. Raises: `StoreLocked`."""

    def __init__(self, database: Path) -> None:
        self._file = os.open(lock_path(database), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._take():
            holder = _holder(self._file)
            os.close(self._file)
            who = f"process {holder.pid}" if holder else "another process"
            raise StoreLocked(
                f"{database} is in use by {who}: only one process may write it. Stop that one first "
                f"({f'kill {holder.pid}' if holder else 'see ps'}), or give this one a database of its own "
                "(IRG_DATABASE_URL)."
            )
        self.announce(None, None)

    def _take(self) -> bool:
        """Tries a few times: `running_holder` of another process holds the lock for an instant."""
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
            else:
                return True
        return False

    def announce(self, socket: Path | None, url: str | None) -> None:
        told = {"pid": os.getpid(), "socket": str(socket) if socket else None, "url": url}
        # One write of one length: nobody reads half of it.
        os.pwrite(self._file, json.dumps(told).encode().ljust(_CONTENT_BYTES), 0)

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
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(file) or Holder(pid=0)
    else:
        return None
    finally:
        os.close(file)


def lock_path(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _holder(file: int) -> Holder | None:
    try:
        told = json.loads(os.pread(file, _CONTENT_BYTES, 0))
        socket = told["socket"]
        return Holder(int(told["pid"]), Path(socket) if socket else None, told["url"])
    except (ValueError, KeyError, TypeError):
        return None
