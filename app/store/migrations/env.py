"""Alembic's entry: runs the steps over the connection that `store.migrate` hands in, in one transaction."""

from __future__ import annotations

from alembic import context

from app.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
connection.exec_driver_sql("BEGIN IMMEDIATE")
try:
    context.run_migrations()
    connection.exec_driver_sql("COMMIT")
except BaseException:
    if connection.connection.driver_connection.in_transaction:  # a full disk has ended it already
        connection.exec_driver_sql("ROLLBACK")
    raise
