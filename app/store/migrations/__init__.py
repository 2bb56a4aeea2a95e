"""Alembic's scripts, one for each step of the schema; run by `store.migrate`."""
