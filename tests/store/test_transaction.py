"""Transactions of the writer: whatever fails in one, nothing of it is kept, none stays open, and the next commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from tests.store.entries import settled
from tests.store.limited import LimitedLedger
from tests.store.test_desk import Writing, writing


def _before_its_first_statement(at_work: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells whether another process wrote cannot be read."""
    monkeypatch.setattr(at_work.database.connection, "changed_elsewhere", _fails)
    with at_work.database.transaction():
        pytest.fail("it has begun")


def _within(at_work: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_work.database.transaction() as batch:
        batch.settle([settled(at_work.running.request_id, "0.03")])
        _fails()


def _while_limits_are_saved(at_work: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_work.database.transaction() as batch:
        batch.settle([settled(at_work.running.request_id, "0.03")])
        monkeypatch.setattr(batch, "save", _fails)


def _at_its_commit(at_work: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constraint that is looked at only there; SQLite leaves the transaction open."""
    with at_work.database.transaction() as batch:
        batch.settle([settled(at_work.running.request_id, "0.03")])
        raw = at_work.database.connection.raw
        raw.execute("PRAGMA defer_foreign_keys = ON")
        raw.execute("INSERT INTO makers (key_id, team_id) VALUES ('key_of_nobody', '')")


def _fails() -> None:
    raise sqlite3.DataError("it failed")


@pytest.mark.parametrize("fault", [_before_its_first_statement, _within, _while_limits_are_saved, _at_its_commit])
async def test_a_transaction_that_fails_is_undone_and_the_next_one_commits(
    ledger: LimitedLedger, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Writing, pytest.MonkeyPatch], None]
) -> None:
    """What it settled is open still, and held for; then it is settled once."""
    async with writing(ledger) as at_work:
        with monkeypatch.context() as patches, pytest.raises((sqlite3.DataError, sqlite3.IntegrityError)):
            fault(at_work, patches)
        assert not at_work.database.connection.raw.in_transaction
        with at_work.database.transaction() as batch:
            batch.settle([settled(at_work.running.request_id, "0.02")])
    assert await ledger.budgets(at_work.holder) == {"day": ("0.02", "0.00"), "total": ("0.02", "0.00")}


async def test_what_was_left_open_is_not_gone_on_with(ledger: LimitedLedger) -> None:
    """An exception between two lines, that no `except` sees: what was done before is neither kept nor remembered."""
    async with writing(ledger) as at_work:
        at_work.database.begin_transaction(patient=True).settle([settled(at_work.running.request_id, "0.03")])
        with at_work.database.transaction() as batch:
            batch.settle([settled(at_work.running.request_id, "0.02")])
    assert await ledger.budgets(at_work.holder) == {"day": ("0.02", "0.00"), "total": ("0.02", "0.00")}
