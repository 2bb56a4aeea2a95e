"""Brings a database to this version's schema. Alembic does it; an up-to-date database never loads it.

Before an older database is changed it is copied to `<name>.before-<revision>`: the way back.
Called while the store opens, with the writing connection, under the database's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from app.store.port import SchemaTooNew, UpgradeFailed
from app.store.spool import sync_directory
from app.telemetry import get_logger

log = get_logger("ledger")

# The newest revision in `migrations/versions`; a test holds the two together.
HEAD = "0014"

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection, path: Path) -> None:
    """In one transaction, all or nothing. `path`: the database's file.

    Raises: `SchemaTooNew` (written by a newer version), `UpgradeFailed` (no copy could be made, or a step failed).
    """
    revision = current_revision(connection)
    if revision == HEAD:
        return
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it lists its own parts at every import
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaTooNew(
            f"the database has schema {revision}, which this version ({HEAD}) does not know: it was written by a "
            "newer one. Start that version, or go back to the copy that was made before the upgrade, "
            f'{path.name}.before-{revision}: README, "Upgrade and roll back", has the command.'
        )
    if revision is None:
        command.upgrade(config, "head")
        return
    copy = keep_copy(cast("sqlite3.Connection", connection.connection.driver_connection), path)
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise UpgradeFailed(
            f"{path} is of an older version and could not be upgraded ({reason}). Nothing was changed: mend that "
            "(beside the copy, an upgrade needs room for new indices and tables), or start the older version."
        ) from error
    log.info("ledger_upgraded", from_schema=revision, to_schema=HEAD, copy=str(copy))


def keep_copy(connection: sqlite3.Connection, path: Path) -> Path:
    """A whole copy of the database as it is, durable, in place of an older one; for its owner alone.

    Raises: `UpgradeFailed`; then nothing was changed.
    """
    copy = path.with_name(f"{path.name}.before-{HEAD}")
    part = copy.with_name(copy.name + ".part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(sqlite3.connect(part)) as target:
            connection.backup(target)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(copy)
        sync_directory(copy.parent)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise UpgradeFailed(
            f"{path} is of an older version and must be copied to {copy.name} before it is upgraded, which failed "
            f"({reason}). Nothing was changed: make room for another {path.stat().st_size:,} bytes there, or start "
            "the older version."
        ) from error
    return copy


def current_revision(connection: Connection) -> str | None:
    """The revision of a database, None for an empty one."""
    made = connection.scalar(text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"))
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if made else None
