"""The tables of what can be referred to: responses, items of their outputs, containers, and who made them.

Conventions as in `schema`, which has the rest. A row is some twenty bytes: answers make several each.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, LargeBinary, Text, UniqueConstraint

from app.store.schema import Whole, strict_table

# A key, and a team to which it belonged when it made something.
makers = strict_table(
    "makers",
    Column("id", Whole, primary_key=True),
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False),
    Column("team_id", Text, nullable=False),  # "" = no team
    UniqueConstraint("key_id", "team_id"),
)

# What was made. An id that two keys were told belongs to neither: nobody can tell whose it is upstream.
made = strict_table(
    "made",
    Column("id_hash", Whole, primary_key=True, autoincrement=False),  # `rows.id_hash`
    Column("maker_id", Whole),
    Column("made_on", Whole, nullable=False),  # days since 1970, UTC
)

# What was made and has not come to its place in `made` yet, in the order in which it was told: a row is what one
# transaction told, packed as `made_lately` has it.
made_lately = strict_table(
    "made_lately",
    Column("seq", Whole, primary_key=True),
    Column("placed", Whole, nullable=False),  # how many buckets had been put in their place before
    Column("entries", LargeBinary, nullable=False),
)
