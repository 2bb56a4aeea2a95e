"""Refused requests: what is held of them, what is counted, and what is let go of."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.accounts.keyring import Keyring
from app.core.budgets import Budget, BudgetPeriod
from app.core.limits import Limits
from app.core.owners import KeyChange
from app.core.records import Admitted, Asked, LimitHit, ReferenceRules, RefusalReason, Refused, Scope
from app.core.refused import RefusalFilter, RefusalReport
from app.core.windows import bucket_start
from app.store import refusals, writer
from app.store.engine import open_store
from app.store.port import RowMissing, Store
from tests.store.entries import Holder, a_holder

BEGIN = datetime(2026, 11, 22, 12, 7, tzinfo=UTC)


@dataclass
class Ledger:
    """A store whose clock is set by hand."""

    store: Store
    at: list[datetime] = field(default_factory=lambda: [BEGIN])

    async def refuse(self, holder: Holder, **fields: Any) -> str:
        """A request that is not admitted; its id."""
        intent = holder.intent(self.at[0], **fields)
        verdict = await self.store.admit(intent)
        assert isinstance(verdict, Refused)
        return intent.request_id

    async def report(self, after: str | None = None, limit: int = 1000, **wanted: Any) -> RefusalReport:
        return await self.store.read(refusals.refusal_report, RefusalFilter(**wanted), after, limit)

    async def ids(self, **wanted: Any) -> list[str]:
        return [one.id for one in (await self.report(**wanted)).page.items]


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    at = [BEGIN]
    store = await open_store(path, clock=lambda: at[0])
    yield Ledger(store, at)
    await store.aclose()


# --- what is held --------------------------------------------------------------------------


async def test_a_refusal_is_held_as_its_client_was_told(ledger: Ledger) -> None:
    """A spent budget of a team, in the words of the error: whose, which, how much, until when."""
    await Keyring(ledger.store).create_team("blue")
    alice = await a_holder(ledger.store, team="blue", budgets=(Budget(5, BudgetPeriod.MONTH),))
    asked = Asked(default_picodollars=6)
    ident = await ledger.refuse(alice, model="m", stream=True, sdk_retry=2, asked=asked)
    found = await ledger.store.read(refusals.find_refusal, ident)
    assert (found.id, found.at, found.key, found.key_id, found.team) == (ident, BEGIN, "alice", alice.key.id, "blue")
    assert (found.model, found.stream, found.sdk_retry) == ("m", True, 2)
    assert found.reason is RefusalReason.BUDGET_SPENT
    assert found.hit == LimitHit(
        Scope.KEY,
        "alice",
        period="month",
        limit_picodollars=5,
        spent_picodollars=0,
        held_picodollars=0,
        hold_picodollars=6,
        resets_at=datetime(2026, 12, 1, tzinfo=UTC),
    )
    assert (await ledger.report()).page.items == (found,)


async def test_each_reason_keeps_its_own_facts(ledger: Ledger) -> None:
    """A count for a limit of counts, a reference for a response, nothing for the rest."""
    keyring = Keyring(ledger.store)
    alice = await a_holder(ledger.store, limits=Limits(concurrency=1))
    bob = await a_holder(ledger.store, "bob", models=("only/this",))
    gone = await a_holder(ledger.store, "gone")
    await keyring.revoke("gone")
    assert isinstance(await ledger.store.admit(alice.intent(ledger.at[0])), Admitted)
    for holder, fields in ((alice, {}), (alice, {"references": ("resp_x",)}), (bob, {}), (gone, {})):
        await ledger.refuse(holder, **fields)
    found = {one.reason: one for one in (await ledger.report()).page.items}
    assert found.keys() == {"concurrency", "response_not_found", "model_not_allowed", "key_refused"}
    assert found[RefusalReason.CONCURRENCY].hit == LimitHit(Scope.KEY, "alice", limit=1)
    assert found[RefusalReason.RESPONSE_NOT_FOUND].reference == "resp_x"
    assert [one.hit for one in found.values()].count(None) == 3
    assert found[RefusalReason.KEY_REFUSED].key == "gone"


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("text", ["tell me a secret", "PROMPT\n", "x" * 129, "\ud800", ""])
async def test_what_is_no_id_is_not_held(ledger: Ledger, path: Path, text: str, unknown: bool) -> None:
    """A prompt in an id's place is refused, and stored nowhere."""
    alice = await a_holder(ledger.store)
    ident = await ledger.refuse(alice, references=(text,), rules=ReferenceRules(unknown=unknown))
    found = await ledger.store.read(refusals.find_refusal, ident)
    assert (found.reason, found.reference) == (RefusalReason.RESPONSE_NOT_FOUND, None)
    await ledger.store.aclose()
    kept = b"".join(file.read_bytes() for file in path.parent.glob("gateway.db*"))
    assert len(text) < 6 or text.strip().encode() not in kept


async def test_a_refusal_is_found_by_its_id_and_its_key_alone(ledger: Ledger) -> None:
    """Another key's is as absent as one that never was."""
    alice = await a_holder(ledger.store, models=("other",))
    bob = await a_holder(ledger.store, "bob")
    ident = await ledger.refuse(alice)
    assert (await ledger.store.read(refusals.find_refusal, ident, alice.key.id)).id == ident
    for asked in ((ident, bob.key.id), ("req_never",), ("req_never", alice.key.id), (ident[:-1],), ("",)):
        with pytest.raises(RowMissing):
            await ledger.store.read(refusals.find_refusal, *asked)


# --- what is asked of it -------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What is known of a refusal that was made."""

    id: str
    at: datetime
    key: str
    team: str | None
    model: str
    reason: RefusalReason


async def a_history(ledger: Ledger, seed: int, count: int) -> list[Told]:
    """Refusals of three keys, two teams, some models and reasons, over some hours; newest first."""
    chance = random.Random(seed)
    for team in ("blue", "red"):
        await Keyring(ledger.store).create_team(team)
    teams = {"alice": "blue", "bob": "red", "carol": None}
    holders = {name: await a_holder(ledger.store, name, team=team, models=("none",)) for name, team in teams.items()}
    made = []
    for _ in range(count):
        ledger.at[0] += timedelta(minutes=chance.choice([0, 0, 1, 9]), milliseconds=1)
        name, model = chance.choice(sorted(teams)), chance.choice(["openai/a", "openai/b", "x"])
        fields: dict[str, Any] = {"model": model}
        reason = RefusalReason.MODEL_NOT_ALLOWED
        if chance.random() < 0.4:
            fields, reason = {"model": "none", "references": ("resp_x",)}, RefusalReason.RESPONSE_NOT_FOUND
        ident = await ledger.refuse(holders[name], **fields)
        made.append(Told(ident, ledger.at[0], name, teams[name], fields["model"], reason))
    return made[::-1]


WANTED: dict[str, list[Any]] = {
    "key": [None, "alice", "carol"],
    "team": [None, "blue", "red"],
    "model": [None, "openai/*", "x", "none", "[ab]", "*"],
    "reason": [None, RefusalReason.RESPONSE_NOT_FOUND, RefusalReason.CONCURRENCY],
    "from_at": [None, BEGIN + timedelta(minutes=50)],
    "to_at": [None, BEGIN + timedelta(minutes=100)],
}


def meets(told: Told, wanted: dict[str, Any]) -> bool:
    model = wanted["model"]
    return (
        wanted["key"] in (None, told.key)
        and wanted["team"] in (None, told.team)
        and wanted["reason"] in (None, told.reason)
        and (model in (None, told.model, "*") or (model == "openai/*" and told.model.startswith("openai/")))
        and (wanted["from_at"] is None or told.at >= wanted["from_at"])
        and (wanted["to_at"] is None or told.at < wanted["to_at"])
    )


async def test_every_condition_and_all_together(ledger: Ledger) -> None:
    """Each combination finds just the refusals that meet all of it, newest first."""
    made = await a_history(ledger, seed=7, count=60)
    found_some = 0
    for values in itertools.product(*WANTED.values()):
        wanted = dict(zip(WANTED, values, strict=True))
        expected = [told.id for told in made if meets(told, wanted)]
        assert await ledger.ids(**wanted) == expected, wanted
        found_some += bool(expected)
    assert found_some > 100
    for length in (4, 12, 20, 30):
        beginning = made[9].id[:length]
        assert await ledger.ids(ident=beginning) == [told.id for told in made if told.id.startswith(beginning)]


@pytest.mark.parametrize("limit", [1, 7, 20, 1000])
async def test_pages_hold_every_refusal_once(ledger: Ledger, limit: int) -> None:
    """One after the other, also of one key, of a team and of a model."""
    made = await a_history(ledger, seed=11, count=20)
    conditions: list[dict[str, Any]] = [{}, {"key": "bob"}, {"team": "blue"}, {"model": "openai/*"}]
    for wanted in conditions:
        expected = [told.id for told in made if meets(told, dict.fromkeys(WANTED) | wanted)]
        found: list[str] = []
        after, pages = None, 0
        while pages == 0 or after is not None:
            report = await ledger.report(after, limit, **wanted)
            found += [one.id for one in report.page.items]
            after, pages = report.page.next, pages + 1
        assert found == expected
        assert pages == max(1, -(-len(expected) // limit))


async def test_what_is_not_there_is_named(ledger: Ledger) -> None:
    """A misspelt key or team never reads as one without refusals."""
    missing: list[dict[str, Any]] = [{"key": "nobody"}, {"team": "nowhere"}]
    for wanted in missing:
        with pytest.raises(RowMissing):
            await ledger.report(**wanted)


async def test_a_team_is_the_one_that_the_key_belongs_to_now(ledger: Ledger) -> None:
    """What was refused follows its key, in rows and counts alike."""
    keyring = Keyring(ledger.store)
    for team in ("blue", "red"):
        await keyring.create_team(team)
    alice = await a_holder(ledger.store, team="blue", models=("other",))
    ident = await ledger.refuse(alice)
    await keyring.change("alice", KeyChange(team="red"))
    for team, ids in (("blue", []), ("red", [ident])):
        report = await ledger.report(team=team)
        assert [one.id for one in report.page.items] == ids
        assert report.counts is not None
        assert report.counts.total == len(ids)


# --- what is counted -----------------------------------------------------------------------


async def test_the_counts_are_those_of_the_history(ledger: Ledger) -> None:
    """By key and reason, in whole quarters of an hour: edges in between are widened, and told."""
    made = await a_history(ledger, seed=3, count=60)
    quarter = timedelta(minutes=15)
    for values in itertools.product(*(WANTED[name] for name in WANTED if name != "model")):
        wanted = dict(zip([name for name in WANTED if name != "model"], values, strict=True))
        counts = (await ledger.report(**wanted)).counts
        assert counts is not None
        from_at, to_at = wanted["from_at"], wanted["to_at"]
        edges = (from_at and bucket_start(from_at), to_at and bucket_start(to_at - timedelta(milliseconds=1)) + quarter)
        assert (counts.from_at, counts.to_at) == edges
        widened = wanted | {"model": None, "from_at": edges[0], "to_at": edges[1]}
        expected = Counter((told.key, told.reason) for told in made if meets(told, widened))
        assert {(one.key, one.reason): one.refused for one in counts.counts} == expected
        assert [(one.key, one.reason) for one in counts.counts] == sorted(expected)
        assert counts.total == sum(expected.values())


@pytest.mark.parametrize("wanted", [{"model": "m"}, {"ident": "req_"}])
async def test_what_is_not_counted_by_is_not_guessed(ledger: Ledger, wanted: dict[str, Any]) -> None:
    """Models and ids are in the rows alone."""
    assert (await ledger.report(**wanted)).counts is None


# --- what is let go of ---------------------------------------------------------------------


async def test_the_newest_are_kept_and_all_stay_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first, some at a time, down to the bound and no further."""
    monkeypatch.setattr(refusals, "ROWS_MAX", 10)
    monkeypatch.setattr(refusals, "PRUNED_MAX", 4)
    alice = await a_holder(ledger.store, models=("other",))
    ids = [await ledger.refuse(alice) for _ in range(23)]
    left = len(await ledger.ids())
    more = True
    while more:
        more = await ledger.store.change(refusals.prune_refusals)
        held = await ledger.ids()
        assert held == ids[::-1][: max(10, left - 4)]
        left = len(held)
    assert left == 10
    assert not await ledger.store.change(refusals.prune_refusals)
    report = await ledger.report()
    assert report.counts is not None
    assert (len(report.page.items), report.counts.total) == (10, 23)
    with pytest.raises(RowMissing):
        await ledger.store.read(refusals.find_refusal, ids[0])


async def test_the_heartbeat_keeps_the_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were refused at once: it comes again until all that is too much is gone."""
    monkeypatch.setattr(refusals, "ROWS_MAX", 5)
    monkeypatch.setattr(refusals, "PRUNED_MAX", 2)
    monkeypatch.setattr(writer, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(writer, "HURRY_SECONDS", 0.0)
    store = await open_store(path)
    try:
        alice = await a_holder(store, models=("other",))
        ids = []
        for _ in range(40):
            intent = alice.intent()
            await store.admit(intent)
            ids.append(intent.request_id)
        async with asyncio.timeout(10):
            while len(held := (await _report(store)).page.items) > 5:
                await asyncio.sleep(0.01)
        assert [one.id for one in held] == ids[:-6:-1]
    finally:
        await store.aclose()


async def test_no_admission_prunes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client waits for never pays for it."""
    alice = await a_holder(ledger.store, models=("other",))
    monkeypatch.setattr(refusals, "ROWS_MAX", 1)
    ids = [await ledger.refuse(alice) for _ in range(8)]
    assert await ledger.ids() == ids[::-1]


async def _report(store: Store) -> RefusalReport:
    return await store.read(refusals.refusal_report, RefusalFilter(key="alice"), None, 1000)
