"""For tests of whose turn it is to write: the loop's, for a request alone, or the writer's own thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store import writer
from app.store.batch import LedgerBatch
from app.store.database import Database
from app.store.port import Store
from tests.store.entries import Holder, a_holder


class Seen:
    """The transactions that were begun. `by_loop`: whether the loop made it; `began_log`: whether the write-ahead log
    began anew with it, which waits for the disk."""

    def __init__(self, path: Path) -> None:
        self.by_loop: list[bool] = []
        self.began_log: list[bool] = []
        self._log = path.with_name(path.name + "-wal")

    def checkpoints(self) -> bytes:
        """As many as there were when the log began (sqlite.org/walformat.html)."""
        if not self._log.exists():
            return b""
        with self._log.open("rb") as log:
            return log.read(16)[12:]


def watch(path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """From now on."""
    seen, transaction, loop_thread = Seen(path), Database.transaction, threading.get_ident()

    @contextlib.contextmanager
    def noted(self: Database, *, patient: bool = True) -> Iterator[LedgerBatch]:
        seen.by_loop.append(threading.get_ident() == loop_thread)
        before = seen.checkpoints()
        with transaction(self, patient=patient) as batch:
            yield batch
        seen.began_log.append(seen.checkpoints() != before)

    monkeypatch.setattr(Database, "transaction", noted)
    monkeypatch.setattr(writer, "ALONE_SECONDS_MAX", 60)  # the machine may be busy
    return seen


async def at_rest(store: Store) -> Holder:
    """Somebody with a key, in a ledger whose writer has done what it does at its start."""
    holder = await a_holder(store)
    await store.change(lambda connection: None)
    return holder
