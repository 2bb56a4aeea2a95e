"""The tables of the audit log: who changed what, and the settings that the gateway ran with last.

Entries are only ever added: triggers refuse everything else, whoever has the file open (but for
somebody who removes the triggers first). Conventions as in `schema`.
"""

from __future__ import annotations

from sqlalchemy import DDL, CheckConstraint, Column, Index, Text, event

from app.store.schema import Whole, strict_table

audit = strict_table(
    "audit",
    Column("id", Text, primary_key=True),  # aud_<ulid>: in the order of commits, whatever the clock
    Column("at", Whole, nullable=False),
    Column("actor", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("target_name", Text, nullable=False),  # as it was before the change
    Column("before", Text),  # JSON: the fields that differ; NULL = it was not there
    Column("after", Text),  # the same; NULL = it is no more
    CheckConstraint("via IN ('network', 'socket', 'process', 'gateway')", name="audit_via"),
    CheckConstraint("json_valid(COALESCE(before, 'null')) AND json_valid(COALESCE(after, 'null'))", name="audit_json"),
    CheckConstraint("before IS NOT NULL OR after IS NOT NULL", name="audit_change"),
    sqlite_with_rowid=False,
)
Index("audit_target", audit.c.target_id, audit.c.id)
Index("audit_name", audit.c.target_name, audit.c.target_id)

# The third: REPLACE removes a row without asking the triggers of DELETE.
AUDIT_TRIGGERS = (
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'audit entries are never changed'); END",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'audit entries are never removed'); END",
    "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
    "BEGIN SELECT RAISE(ABORT, 'audit entries are never replaced'); END",
)
for _trigger in AUDIT_TRIGGERS:
    event.listen(audit, "after_create", DDL(_trigger))  # type: ignore[no-untyped-call]

# What the gateway ran with last, so that its next start can tell what differs. Of a secret only a fingerprint.
settings_seen = strict_table(
    "settings_seen",
    Column("name", Text, primary_key=True),  # its variable
    Column("value", Text, nullable=False),  # JSON; of a secret 12 hex digits of SHA-256 over salt and secret
    Column("salt", Text),  # NULL = no secret
    sqlite_with_rowid=False,
)
