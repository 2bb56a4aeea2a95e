"""How SQLite is opened: the one writing connection, which can be lost and opened again, and the readers.

WAL; exactly one connection writes and checkpoints (SQLite before 3.51.3 can corrupt a WAL that
two connections reset), so readers are `query_only`. No connection ever makes a database file:
a file that was removed under a running gateway must not come back empty.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

# How long a statement waits for another process's lock. Who asks meanwhile waits for this
# attempt and for the next one: about a second.
BUSY_SECONDS = 0.4

READERS = 4

# Pages in the write-ahead log when a commit copies them into the database, and waits for the disk. A request alone
# writes 16: with SQLite's own 1,000 one request in 64 waits, with these one in 250 to 330. With 4,000 where there were
# 2,000, p99 at one connection was 1.4 ms, not 2.0; at 64 there were 4 % more requests, the slowest a tenth slower.
CHECKPOINT_PAGES = 4000

# Primary result codes that tell of the database's state, not of the statement that met it.
_AWAY = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOTADB,
    }
)
# After these a connection may be used again; after all others it is opened anew.
_HARMLESS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})


class DatabaseGone(Exception):
    """The file that was opened is no longer at its path: what is written into it would be lost with it."""


def is_away(error: BaseException) -> bool:
    """True when the database cannot be reached or written, False when the statement itself is at fault."""
    return isinstance(error, DatabaseGone) or _primary_code(error) in _AWAY


def _primary_code(error: BaseException) -> int | None:
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


class WritingConnection:
    """The one connection that writes. Belongs to one thread at a time.

    `raw` is the driver's (hot statements), `sql` the same one through SQLAlchemy (all others).
    """

    def __init__(self, path: Path, durability: str) -> None:
        self._path = path
        synchronous = "FULL" if durability == "power" else "NORMAL"
        self._pragmas = [f"synchronous = {synchronous}", f"wal_autocheckpoint = {CHECKPOINT_PAGES}"]
        self._engine = create_engine(
            "sqlite://",
            creator=lambda: _connect(path, *self._pragmas),
            poolclass=NullPool,
            hide_parameters=True,  # an error is logged, and where alerts go may be secret
        )
        self._syncs_always = durability == "power"
        self._identity = None if (there := _stat(path)) is None else _identity(there)
        self._open: tuple[Connection, sqlite3.Connection] | None = None
        self._patient = True  # what the open connection's pragmas say
        self._begun: tuple[sqlite3.Connection, int]  # by `begin`: over what, and the file's time just before
        self._begun_behind: int | None = None  # the checkpoint behind which the log has begun anew, by its time
        self._seen: os.stat_result | None = None  # the file just now, for the transaction that is about to begin
        self._version: int | None = None
        self.generation = 0  # grows with every opening: what was read over an earlier one may be stale

    @property
    def sql(self) -> Connection:
        return self._connected()[0]

    @property
    def raw(self) -> sqlite3.Connection:
        return self._connected()[1]

    def keep_temporary_in_memory(self) -> None:
        """From now on SQLite keeps this connection's statement journals and sorts in memory: a file made for each
        statement of many rows cost a batch of 64 a tenth of its time. Call it behind the migrations, whose sorts for an
        index are as large as the ledger. (The largest sort left, for a budget of the whole gateway that begins: 60 MiB
        for a year of 1,500 keys.)
        """
        self._pragmas.append("temp_store = MEMORY")
        self.raw.execute("PRAGMA temp_store = MEMORY")

    def begin(self, *, patient: bool = True) -> None:
        """`BEGIN IMMEDIATE`; let `commit` or `roll_back` follow. Raises: the driver's errors, `DatabaseGone`: then
        nothing was begun.

        If not `patient`, it waits neither for another process's lock nor for a checkpoint, and, where `commits_at_once`
        said so, not for the disk: let a patient one come soon.
        """
        there, self._seen = self._seen or _stat(self._path), None
        if there is None or _identity(there) != self._identity:
            raise DatabaseGone(f"{self._path} was moved, removed or replaced; put it back, or restart")
        raw = self.raw
        if raw.in_transaction:  # an error that came between two lines of this left it open: nobody knows what it holds
            self.close()
            raw = self.raw
        if patient is not self._patient:
            self._set_patience(raw, patient=patient)
        try:
            raw.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self.roll_back(error)
            raise
        self._begun = raw, there.st_mtime_ns

    def commit(self) -> None:
        """`COMMIT` of what was begun. Raises: the driver's errors; let `roll_back` follow then."""
        raw, behind = self._begun
        raw.execute("COMMIT")
        self._begun_behind = behind

    def commits_at_once(self) -> bool:
        """Whether the next commit waits for no disk, if it is not `patient`.

        The first one behind a checkpoint does: it begins the log anew, whose header must be on the disk before the
        rest. Nothing but a checkpoint writes into the database's own file, so that file's time tells of one. Ask it
        right before that commit's transaction, which takes the same look at the file for its own.
        """
        there = None if self._syncs_always or self._open is None else _stat(self._path)
        self._seen = there if there is not None and there.st_mtime_ns == self._begun_behind else None
        return self._seen is not None

    def _set_patience(self, raw: sqlite3.Connection, *, patient: bool) -> None:
        raw.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000) if patient else 0}")
        raw.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES if patient else 0}")
        self._patient = patient

    def changed_elsewhere(self) -> bool:
        """Whether another connection has written since this was last asked. Ask it in a transaction."""
        before = self._version
        (self._version,) = self.raw.execute("PRAGMA data_version").fetchone()
        return self._version != before

    def close(self) -> None:
        """Never raises."""
        if self._open is not None:
            with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                self._open[0].close()
            self._open = None

    def _connected(self) -> tuple[Connection, sqlite3.Connection]:
        if self._open is None:
            sql = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._open = sql, cast("sqlite3.Connection", sql.connection.driver_connection)
            self.generation += 1
            self._patient = True
        return self._open

    def roll_back(self, error: BaseException) -> None:
        """Ends what was begun, and the connection if it is broken. `error`: why. Raises nothing."""
        code = _primary_code(error)
        try:
            if self._open is not None and self._open[1].in_transaction:
                self._open[1].execute("ROLLBACK")
        except sqlite3.Error:
            self.close()
        if is_away(error) and code not in _HARMLESS:
            self.close()


def reading_engine(path: Path) -> Engine:
    """A pool of readers; each transaction of theirs sees one snapshot."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "query_only = ON"),
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        hide_parameters=True,
    )
    # The driver opens no transaction for a SELECT.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def make_file(path: Path) -> None:
    """Makes an empty database, readable by its owner alone, and its directory. Raises: `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _connect(path: Path, *pragmas: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        isolation_level=None,
    )
    try:
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _identity(there: os.stat_result) -> tuple[int, int]:
    return there.st_dev, there.st_ino
