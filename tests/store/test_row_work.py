"""What SQLite does for a row of a hot statement is seen in the statement's program, without timing anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.core.records import Settlement
from app.store import limit_statements, statements
from app.store.engine import open_store
from app.store.hot import Hot
from app.store.rows import settlement_row, usage_sums
from app.store.schema import USAGE_SUMS
from app.store.statements import SETTLEMENT_COLUMNS
from tests.store.entries import free, settled, unknown

# What SQLite keeps aside in tables of its own, each made once for all rows: an UPDATE's rows, and what is to change.
ASIDE = {
    "INSERT_INTENTS": 0,
    "SETTLE": 2,
    "ADD_USAGE": 0,
    "ADD_USAGE_DAYS": 0,
    "SAVE_WINDOWS": 0,
    "SAVE_LIMITS": 0,
    "SAVE_MINUTES": 0,
    "ADD_REFUSALS": 0,
    "COUNT_REFUSALS": 0,
}


@pytest.fixture
async def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    await (await open_store(path)).aclose()
    return path


@pytest.mark.parametrize("name", ASIDE)
async def test_no_table_is_made_for_each_row(ledger: Path, name: str) -> None:
    """A list in a constraint (`IN`, of more than two) makes one."""
    statement: Hot = getattr(statements, name, None) or getattr(limit_statements, name)
    text = statement.text(4)
    with sqlite3.connect(ledger) as connection:
        program = [row[1] for row in connection.execute(f"EXPLAIN {text}", [None] * text.count("?"))]
    assert program.count("OpenEphemeral") == ASIDE[name]


@pytest.mark.parametrize(
    ("settlement", "sums"),
    [
        (settled("r", "0.0000123"), (1, 12_300_000, 100_000_000, 0, 0)),
        (unknown("r"), (1, 0, 0, 1, 1)),
        (free("r"), (1, 0, 0, 0, 0)),
    ],
)
def test_a_roll_up_gets_what_the_row_says(settlement: Settlement, sums: tuple[int, ...]) -> None:
    """Of what is unknown the count alone; what is free is not unknown."""
    row = settlement_row(settlement, 0, 1, 0)
    named = dict(zip(("id", *SETTLEMENT_COLUMNS), row, strict=True))
    added = dict(zip(USAGE_SUMS, usage_sums(row), strict=True))
    assert tuple(added.values())[:5] == sums
    tokens = [name for name in USAGE_SUMS if name.endswith("_tokens")]
    assert [added[name] for name in tokens] == [named[name] or 0 for name in tokens]
