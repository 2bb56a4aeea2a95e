"""Old months are let go of: sealed first, deleted bit by bit, and every sum stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.accounts import exports
from app.accounts.corrections import Corrections, resolution
from app.accounts.errors import CannotResolve, RequestNotFound, RowsLetGo
from app.core.audit import AuditFilter, Via
from app.core.clock import to_ms
from app.core.records import State
from app.core.views import RequestFilter
from app.store.audit_pages import list_audit
from app.store.letting_go import write_seal
from app.store.port import SpanChanged
from app.store.schema import requests
from app.store.seal_form import ROW_COLUMNS
from app.store.sealing import Due, Sealing, next_due
from app.store.seals import let_go_before
from tests.store.by_stretch import wrong
from tests.store.entries import crashed_copy, rows, settled, unknown
from tests.store.letting import BrokenOff, OldLedger, old_ledger, retention
from tests.store.limited import utc

NOVEMBER_MS = to_ms(utc("2026-11-01T00:00"))
BILLED = resolution("0.0123", None, by="ann", reason="as billed")


@pytest.fixture
async def old(path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OldLedger]:
    """October and November of all kinds of requests; it is the third of December."""
    ledger = await old_ledger(path, tmp_path_factory.getbasetemp() / "old" / "gateway.db")
    yield ledger
    await ledger.close()


async def test_a_month_goes_when_its_end_is_so_many_days_ago(old: OldLedger) -> None:
    """Not a day earlier; then its rows are gone, and every sum is what it was."""
    before = await old.everything()
    there = [len(await rows(old.store))]
    for days in (33, 32, 3, 2):
        await retention(old, days=days).run_once()
        there.append(len(await rows(old.store)))
        assert await old.everything() == before
    month = there[0] // 2
    assert there == [2 * month, 2 * month, month, month, 0]
    verified = await old.reports.verify()
    assert (verified.differences, verified.rows, verified.sealed) == ((), 0, 2 * month)


@pytest.mark.usefixtures("short_stretches")
async def test_what_a_request_is_found_by_goes_with_its_row(path: Path, tmp_path: Path) -> None:
    """Its cost and its ids, in the order of closing or out of it."""
    ledger = await old_ledger(path, tmp_path / "made" / "gateway.db")
    there = await ledger.sql("SELECT closed_seq FROM response_ids_by_stretch")
    await retention(ledger, days=32).run_once()
    assert 0 < len(await ledger.sql("SELECT closed_seq FROM response_ids_by_stretch")) < len(there)
    assert await ledger.sql(wrong()) == []
    await ledger.close()


async def test_a_seal_tells_what_was_there(old: OldLedger) -> None:
    """Sums by key, model, state and outcome; one SHA-256 over the rows, which anybody can compute from a copy."""
    october = await old.sql(f"SELECT * FROM requests WHERE created_at < {NOVEMBER_MS} ORDER BY id")
    await retention(old, days=32).run_once()
    ((month, form, count, told),) = await old.sql("SELECT month, form, rows, sha256 FROM seals")
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in october)
    sha256 = hashlib.sha256(lines.encode()).hexdigest()
    assert (month, form, count, told) == ("2026-10", 1, len(october), sha256)
    (entry,) = (await old.store.read(list_audit, AuditFilter(action="month.sealed"), None, 10)).items
    assert (entry.target.name, entry.actor.via, entry.before) == ("2026-10", Via.GATEWAY, None)
    assert entry.after is not None
    total = (await old.usage(month="2026-10")).total
    assert entry.after["rows"] == total.requests == len(october)
    assert entry.after["sha256"] == sha256
    assert entry.after["true_cost_unknown"] == total.true_cost_unknown > 0


async def test_the_form_of_a_seal_has_every_column() -> None:
    """One that is added needs a form of its own: seals that there are must stay what they are."""
    assert tuple(column.name for column in requests.c) == ROW_COLUMNS


async def test_sums_go_on_saying_what_is_unknown(old: OldLedger) -> None:
    """A cost that nobody ever told stays unknown when its row is gone."""
    unknown_before = (await old.usage(month="2026-10")).total.true_cost_unknown
    await retention(old).run_once()
    total = (await old.usage(month="2026-10")).total
    assert total.true_cost_unknown == unknown_before > 0


async def test_what_is_open_is_never_let_go(old: OldLedger) -> None:
    """However old; when it is closed it is a row like any other, and goes with a seal of its own."""
    old.clock.at = utc("2026-10-20T00:00")
    running = await old.admit(old.alice, "0.05")
    old.clock.at = utc("2026-12-03T12:00")
    await retention(old).run_once()
    assert list(await rows(old.store)) == [running]
    await old.verify()
    await old.store.settle(settled(running, "0.04"), 1)
    before = await old.everything()
    await old.verify()
    await retention(old).run_once()
    assert await rows(old.store) == {}
    assert await old.everything() == before
    await old.verify()
    assert await old.sql("SELECT month, number, rows FROM seals WHERE month = '2026-10' ORDER BY number") == [
        ("2026-10", 1, old.rows_of_a_month),
        ("2026-10", 2, 1),
    ]


async def test_a_clock_that_was_set_back_does_no_harm(old: OldLedger) -> None:
    """Requests of a month that is sealed already: admitted, counted, proved, and let go of later."""
    await retention(old).run_once()
    old.clock.at = utc("2026-10-11T00:00")
    late = [await old.spend(old.alice, "0.0001"), await old.admit(old.bob, "0.01")]
    await old.store.settle(unknown(late[1]), 1)
    await Corrections(old.store, zone=old.zone, clock=old.clock).resolve([late[1]], BILLED)
    await old.verify()
    assert list(await rows(old.store)) == late[::-1]
    old.clock.at = utc("2026-12-03T12:00")
    before = await old.everything()
    await retention(old).run_once()
    assert await rows(old.store) == {}
    assert await old.everything() == before
    await old.verify()


@pytest.mark.parametrize("crash", [False, True])
async def test_it_may_end_anywhere(old: OldLedger, crash: bool, tmp_path: Path) -> None:
    """After each step of each piece the books are whole, and it goes on from there; also when the process is killed."""
    before, steps = await old.everything(), 0
    while True:
        try:
            await retention(old, steps=steps % 40).run_once()
        except BrokenOff:
            steps += 7
        else:
            break
        if crash:
            copy = crashed_copy(old.path, tmp_path / str(steps))
            await old.close()
            await old.open(path=copy)
        await old.verify()
        assert await old.everything() == before
    assert steps > 30
    assert await rows(old.store) == {}


async def test_the_order_of_closing_goes_on(old: OldLedger) -> None:
    """Also when no row is left after a restart: a number that was given twice would belong to a seal."""
    last = max(row.closed_seq or 0 for row in (await rows(old.store)).values())
    await retention(old).run_once()
    await old.close()
    await old.open()
    await old.spend(old.alice, "0.0001")
    assert [row.closed_seq for row in (await rows(old.store)).values()] == [last + 1]


async def test_a_month_with_a_difference_is_not_sealed(old: OldLedger) -> None:
    """Nothing of it is deleted, and the log says so; other months go."""
    await old.sql("UPDATE usage SET requests = requests + 1 WHERE bucket_at = (SELECT min(bucket_at) FROM usage)")
    with capture_logs() as logs:
        await retention(old).run_once()
    assert {row.created_at.month for row in (await rows(old.store)).values()} == {10}
    assert await old.sql("SELECT month FROM seals") == [("2026-11",)]
    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert (told["event"], told["month"], told["first"]) == ("month_not_sealed", "2026-10", "rollup")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE requests SET true_cost = true_cost + 1 WHERE id = (SELECT max(id) FROM requests WHERE true_cost > 0)",
        "UPDATE requests SET model_answered = 'another' WHERE id = (SELECT max(id) FROM requests)",
        "DELETE FROM requests WHERE id = (SELECT max(id) FROM requests)",
        "UPDATE usage SET bucket_at = bucket_at + 900000 WHERE bucket_at = (SELECT max(bucket_at) FROM usage)",
        "UPDATE usage SET total_tokens = total_tokens + 1 WHERE bucket_at = (SELECT min(bucket_at) FROM usage)",
        "DELETE FROM usage WHERE bucket_at = (SELECT min(bucket_at) FROM usage)",
        "UPDATE remains SET kept = kept + 1",
        "DELETE FROM remains WHERE true_cost_alone > 0",
        "DROP TRIGGER seals_no_update; UPDATE seals SET rows = rows + 1",
        "DROP TRIGGER seals_no_update; UPDATE seals SET sha256 = usage_sha256",
        "DROP TRIGGER seals_no_update; UPDATE seals SET totals = json_replace(totals, '$.groups[0][6]', 9)",
        "DROP TRIGGER seals_no_update; UPDATE seals SET pieces = '[]'",
        "DROP TRIGGER seals_no_update; UPDATE seals SET usage_sha256 = sha256",
    ],
)
async def test_a_change_is_noticed_by_the_seal(old: OldLedger, change: str) -> None:
    """Of a row that is still there, of the roll-ups, of what budgets count, of the seal itself."""
    with pytest.raises(BrokenOff):  # some rows are gone, some are not
        await retention(old, days=32, steps=old.rows_of_a_month // 2).run_once()
    left = [row for row in (await rows(old.store)).values() if row.created_at.month == 10]
    assert 0 < len(left) < old.rows_of_a_month
    await old.verify()
    await old.sql(f"DELETE FROM requests WHERE created_at >= {NOVEMBER_MS}")  # November is not what this is about
    await old.sql(f"DELETE FROM usage WHERE bucket_at >= {NOVEMBER_MS}")
    told = {difference.what for difference in (await old.reports.verify()).differences}
    await old.sql(change)
    found = {difference.what for difference in (await old.reports.verify()).differences} - told
    assert any("seal" in what for what in found), found


async def test_what_was_changed_is_not_deleted(old: OldLedger) -> None:
    """A row that is no longer what was sealed is evidence: it stays, and the log says so."""
    with pytest.raises(BrokenOff):
        await retention(old, days=32, steps=old.rows_of_a_month // 2).run_once()
    last = f"SELECT max(id) FROM requests WHERE created_at < {NOVEMBER_MS}"
    await old.sql(f"UPDATE requests SET status = 418 WHERE id = ({last})")
    with capture_logs() as logs:
        await retention(old, days=32).run_once()
    left = [row for row in (await rows(old.store)).values() if row.created_at.month == 10]
    assert 418 in [row.status for row in left]
    assert [(line["event"], line["month"]) for line in logs] == [("sealed_rows_changed", "2026-10")]


async def test_what_a_person_says_while_it_is_sealed_is_not_lost(old: OldLedger) -> None:
    """A resolution between the reading and the seal: the seal is not written, and made anew the next time."""
    lost = min(row.id for row in (await rows(old.store)).values() if row.state is State.UNKNOWN)
    sealing = await _sealed_but_not_written(old)
    await Corrections(old.store, zone=old.zone, clock=old.clock).resolve([lost], BILLED)
    with pytest.raises(SpanChanged):
        await old.store.change(write_seal, sealing.made(), old.clock.at)
    before = await old.everything()
    await retention(old, days=32).run_once()
    assert await old.sql("SELECT count(*) FROM seals") == [(1,)]
    assert await old.everything() == before
    await old.verify()


async def _sealed_but_not_written(old: OldLedger) -> Sealing:
    due = await old.store.read(next_due, old.clock.at, old.zone)
    assert isinstance(due, Due)
    sealing = Sealing(due)
    while await old.store.read(sealing.step):
        pass
    return sealing


# --- what is told of rows that are gone ----------------------------------------------------------


async def test_a_request_that_was_let_go_is_said_to_be(old: OldLedger) -> None:
    """By its id for sure, by another id perhaps; nothing of the kind while nothing is gone."""
    ident = min(await rows(old.store))
    with pytest.raises(RequestNotFound, match=r"^There is no request 'resp_none'\. Give .*\(resp_\.\.\.\)\.$"):
        await old.reports.request("resp_none")
    await retention(old).run_once()
    gone = r".*before 2026-12-01T00:00:00\.000Z the rows"
    with pytest.raises(RequestNotFound, match=rf"no request '{ident}' any more\.{gone}"):
        await old.reports.request(ident)
    with pytest.raises(RequestNotFound, match=rf"no request 'resp_none'\. Give {gone}"):
        await old.reports.request("resp_none")


async def test_a_list_says_what_it_lacks(old: OldLedger) -> None:
    """Only if it was asked for."""
    assert (await old.reports.requests()).let_go_before is None
    await retention(old, days=32).run_once()
    edge = utc("2026-11-01T00:00")
    assert (await old.reports.requests()).let_go_before == edge
    assert (await old.reports.requests(RequestFilter(from_at=utc("2026-10-31T23:45")))).let_go_before == edge
    assert (await old.reports.requests(RequestFilter(from_at=edge))).let_go_before is None


async def test_an_export_that_would_lack_rows_is_refused(old: OldLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first line, and in the middle of it when they go meanwhile: never a short file without a word."""
    everything = RequestFilter(from_at=utc("2026-10-01T00:00"), to_at=utc("2027-01-01T00:00"))
    monkeypatch.setattr(exports, "EXPORT_ROWS", 5)
    under_way = old.reports.export(everything)
    assert await anext(under_way)
    await retention(old, days=32).run_once()
    for export in (old.reports.export(everything), under_way):
        with pytest.raises(RowsLetGo, match=r"before 2026-11-01T00:00:00\.000Z .*--from 2026-11-01T00:00:00\.000Z"):
            await anext(export)
    since = old.reports.export(RequestFilter(from_at=utc("2026-11-01T00:00")))
    assert len([entry async for some in since for entry in some]) == old.rows_of_a_month


async def test_what_was_let_go_is_not_resolved(old: OldLedger) -> None:
    """By its id a clear error; among all others it is none. Adjustments that there were stay, and are proved."""
    october = sorted(row.id for row in (await rows(old.store)).values() if row.state is State.UNKNOWN)[:3]
    corrections = Corrections(old.store, zone=old.zone, clock=old.clock)
    await corrections.resolve(october[:1], BILLED)
    with pytest.raises(BrokenOff):
        await retention(old, days=32, steps=old.rows_of_a_month // 2).run_once()
    before = await old.everything()
    still_there = [ident for ident in october if ident in await rows(old.store)]
    gone = [ident for ident in october if ident not in still_there]
    assert gone
    with pytest.raises(RequestNotFound, match="any more"):
        await corrections.resolve(gone[-1:], BILLED)
    last = max(row.id for row in (await rows(old.store)).values() if row.created_at.month == 10 and row.unknown_reason)
    with pytest.raises(CannotResolve, match="its month is sealed"):
        await corrections.resolve([last], BILLED)
    report = await corrections.preview(RequestFilter(), BILLED)
    assert {request.created_at.month for request in report.requests} == {11}
    await retention(old, days=32).run_once()
    assert await old.everything() == before
    await old.verify()
    assert await old.sql("SELECT request_id FROM adjustments") == [(october[0],)]


async def test_budgets_that_begin_afterwards_know_the_past(old: OldLedger) -> None:
    """Taken away and set anew, a budget for ever is as spent as before: also by what the roll-ups do not tell."""
    spent = (await old.budgets(old.alice))["total"]
    await retention(old).run_once()
    await old.set_budgets("alice")
    await old.set_budgets("alice", "100/total")
    assert (await old.budgets(old.alice))["total"] == spent


async def test_a_calendar_that_changes_leaves_no_gap(old: OldLedger) -> None:
    """What lies between the months of two time zones has a seal of its own."""
    old.clock.at = utc("2026-11-01T02:00")  # still October in New York
    await old.spend(old.bob, "0.0001")
    old.clock.at = utc("2026-12-03T12:00")
    before = (await old.usage()).total
    await retention(old, days=32).run_once()
    await old.close()
    await old.open(zone="America/New_York")
    await retention(old).run_once()
    assert await rows(old.store) == {}
    edges = await old.sql("SELECT month, from_at, to_at, rows FROM seals ORDER BY from_at")
    assert [(month, count) for month, _, _, count in edges] == [
        ("2026-10", old.rows_of_a_month),
        ("2026-10", 1),
        ("2026-11", old.rows_of_a_month),
    ]
    assert [edges[0][2], edges[1][2]] == [edges[1][1], edges[2][1]]
    assert (await old.usage()).total == before
    await old.verify()
    assert await old.store.read(let_go_before) == utc("2026-12-01T05:00")


async def test_a_seal_cannot_be_changed(old: OldLedger) -> None:
    """Triggers refuse it to everybody who has the file open."""
    await retention(old).run_once()
    for statement in ("UPDATE seals SET rows = 1", "DELETE FROM seals", "REPLACE INTO seals SELECT * FROM seals"):
        with pytest.raises(Exception, match="seals are never"):
            await old.sql(statement)


async def test_nothing_is_due_in_an_empty_ledger(path: Path) -> None:
    ledger = OldLedger(path, "2026-10-01T00:00")
    await ledger.open()
    await retention(ledger).run_once()
    await ledger.verify()
    await ledger.close()
