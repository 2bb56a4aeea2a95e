"""The tables of what was let go of: the seals of months, and what budgets count of rows that are no more.

Conventions as in `schema`, which has the rest. A seal is only ever added: triggers refuse everything else, as they do
for the audit log.
"""

from __future__ import annotations

from sqlalchemy import DDL, CheckConstraint, Column, Text, event

from app.store.schema import Whole, strict_table

# What vouches for closed requests whose rows may be gone: those made from `from_at` on and before `to_at`, and closed
# behind `after_seq` up to `through_seq`. A span is sealed once; again only if requests came into it afterwards, which
# takes a clock that was set back.
seals = strict_table(
    "seals",
    Column("from_at", Whole, primary_key=True),
    Column("number", Whole, primary_key=True),  # 1; 2, … = sealed again
    Column("to_at", Whole, nullable=False),
    Column("after_seq", Whole, nullable=False),
    Column("through_seq", Whole, nullable=False),
    Column("month", Text, nullable=False),  # 2026-10, in the calendar that held then
    Column("sealed_at", Whole, nullable=False),
    Column("form", Whole, nullable=False),  # of the lines that are hashed: `seal_form.FORM`
    Column("rows", Whole, nullable=False),
    Column("sha256", Text, nullable=False),  # of the rows
    Column("usage_sha256", Text, nullable=False),  # of what this seal and those before it hold in the roll-ups
    Column("totals", Text, nullable=False),  # JSON: sums of the rows by owner, model, state and outcome
    Column("pieces", Text, nullable=False),  # JSON: shorter spans, each with its rows and their SHA-256
    CheckConstraint("from_at < to_at", name="seals_edges"),
    CheckConstraint("number >= 1 AND after_seq < through_seq", name="seals_order"),
    CheckConstraint("rows > 0", name="seals_rows"),
    CheckConstraint("json_valid(totals) AND json_valid(pieces)", name="seals_json"),
)

SEAL_TRIGGERS = (
    "CREATE TRIGGER seals_no_update BEFORE UPDATE ON seals BEGIN SELECT RAISE(ABORT, 'seals are never changed'); END",
    "CREATE TRIGGER seals_no_delete BEFORE DELETE ON seals BEGIN SELECT RAISE(ABORT, 'seals are never removed'); END",
    "CREATE TRIGGER seals_no_replace BEFORE INSERT ON seals "
    "WHEN EXISTS (SELECT 1 FROM seals WHERE from_at = NEW.from_at AND number = NEW.number) "
    "BEGIN SELECT RAISE(ABORT, 'seals are never replaced'); END",
)
for _trigger in SEAL_TRIGGERS:
    event.listen(seals, "after_create", DDL(_trigger))  # type: ignore[no-untyped-call]

# What budgets count of requests that are no more, as far as the roll-ups do not tell it: known costs of which the
# other one is not known, and what unknown ones keep. In buckets of 15 minutes, by the time of the requests.
remains = strict_table(
    "remains",
    Column("bucket_at", Whole, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("team_id", Text, primary_key=True),  # "" = no team
    Column("true_cost_alone", Whole, nullable=False),  # of requests whose charge is not known
    Column("charged_alone", Whole, nullable=False),  # the other way round
    Column("kept", Whole, nullable=False),
    sqlite_with_rowid=False,
)
