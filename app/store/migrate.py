"""Brings a database to this version's schema. Alembic does it; an up-to-date database never loads it.

Called while the store opens, with the writing connection, under the database's lock.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from app.store.port import SchemaTooNew

# The newest revision in `migrations/versions`; a test holds the two together.
HEAD = "0002"

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Raises: `SchemaTooNew` when the database was written by a newer version."""
    revision = current_revision(connection)
    if revision == HEAD:
        return
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
            "newer one. Start that version, or restore the copy made before the upgrade."
        )
    command.upgrade(config, "head")


def current_revision(connection: Connection) -> str | None:
    """The revision of a database, None for an empty one."""
    made = connection.scalar(text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"))
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if made else None
