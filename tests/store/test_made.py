"""Whose it is: what a key made is its own with the settlement, through everything that can happen to keys and rows."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection

from app.accounts.corrections import Corrections, resolution
from app.accounts.keyring import Keyring
from app.core.clock import now, to_ms
from app.core.owners import KeyChange
from app.core.records import Admitted, Intent, Outcome, Reading, ReferenceRules, Settlement, State
from app.store import made_lately
from app.store.engine import open_store
from app.store.hot import raw_of
from app.store.made import DAY_MS, SWEPT_MAX, Made, Sweep
from app.store.port import Store
from app.store.rows import id_hash
from tests.store.entries import Elsewhere, Holder, a_holder, crashed_copy, free, settled, unknown

RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))

TEAM = ReferenceRules(of_team=True)
UNKNOWN = ReferenceRules(unknown=True)


async def makes(store: Store, holder: Holder, response_id: str, *made: str, **fields: Any) -> str:
    intent = holder.intent()
    assert isinstance(await store.admit(intent), Admitted)
    reading = {"response_id": response_id, "made": made}
    await store.settle(settled(intent.request_id, reading=reading, **fields), 1)
    return intent.request_id


async def may_refer(store: Store, holder: Holder, *references: str, rules: ReferenceRules | None = None) -> bool:
    fields: dict[str, Any] = {} if rules is None else {"rules": rules}
    verdict = await store.admit(holder.intent(references=references, **fields))
    if isinstance(verdict, Admitted):
        await store.settle(free(verdict.request_id), 1)
    return isinstance(verdict, Admitted)


@pytest.fixture
async def alice(store: Store) -> Holder:
    return await a_holder(store, "alice")


@pytest.fixture
async def bob(store: Store) -> Holder:
    return await a_holder(store, "bob")


async def test_everything_that_an_answer_made_is_its_keys(store: Store, alice: Holder, bob: Holder) -> None:
    """The response, each item of its output, a container; one foreign id among own ones refuses all."""
    await makes(store, alice, "resp_1", "msg_1", "cntr_1")
    await makes(store, bob, "resp_2", "msg_2")
    assert await may_refer(store, alice, "resp_1", "msg_1", "cntr_1")
    for foreign in ("resp_2", "msg_2"):
        assert not await may_refer(store, alice, "resp_1", foreign)
        assert not await may_refer(store, alice, foreign, rules=UNKNOWN)
    assert not await may_refer(store, alice, "file_1")
    assert await may_refer(store, alice, "file_1", "msg_1", rules=UNKNOWN)
    for odd in ("\ud800\0", "msg_2\0", " msg_2", ""):
        assert not await may_refer(store, alice, odd, rules=UNKNOWN)


async def test_an_id_that_two_keys_were_told_is_nobodys(store: Store, alice: Holder, bob: Holder) -> None:
    """Nobody can tell whose it is upstream, so neither may load it; also when both were told it in one transaction."""
    for number in (1, 2):
        assert await makes(store, alice, "resp_again", "msg_same")
        assert await may_refer(store, alice, "resp_again", "msg_same"), number
    intents = [alice.intent(), bob.intent()]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    reading = {"response_id": "resp_both", "made": ("msg_same",)}
    await asyncio.gather(*(store.settle(settled(intent.request_id, reading=reading), 1) for intent in intents))
    await makes(store, alice, "resp_both")
    for holder in (alice, bob):
        for reference in ("resp_both", "msg_same"):
            assert not await may_refer(store, holder, reference)
            assert not await may_refer(store, holder, reference, rules=ReferenceRules(of_team=True, unknown=True))
    assert await may_refer(store, alice, "resp_again")


async def test_an_error_makes_nothing(store: Store, alice: Holder) -> None:
    """Whatever ids its body names."""
    await makes(store, alice, "resp_400", "msg_400", status=400)
    await makes(store, alice, "resp_none", status=None)
    intent = alice.intent()
    await store.admit(intent)
    reading = {"response_id": "resp_body", "made": ("msg_body",), "error_body": True}
    await store.settle(settled(intent.request_id, reading=reading), 1)
    for reference in ("resp_400", "msg_400", "resp_none", "resp_body", "msg_body"):
        assert not await may_refer(store, alice, reference)


async def team_holders(store: Store, **teams: str | None) -> dict[str, Holder]:
    """Holders by name, and their teams."""
    for team in {team for team in teams.values() if team is not None}:
        await Keyring(store).create_team(team)
    return {name: await a_holder(store, name, team=team) for name, team in teams.items()}


# --- teams -----------------------------------------------------------------------------------


async def test_a_team_shares_only_where_it_is_the_rule(store: Store) -> None:
    """And then only what was made in it; who has no team shares with nobody."""
    holders = await team_holders(store, ann="red", art="red", ben="blue", cid=None, dee=None)
    for name, holder in holders.items():
        await makes(store, holder, f"resp_{name}")
    for name, holder in holders.items():
        for other in holders:
            own, of_team = name == other, {name, other} == {"ann", "art"}
            assert await may_refer(store, holder, f"resp_{other}") == own
            assert await may_refer(store, holder, f"resp_{other}", rules=TEAM) == (own or of_team)


async def test_a_key_that_moves_keeps_what_it_made_and_leaves_it_to_its_team(store: Store) -> None:
    """What was made for a team stays with it; its new team gets nothing of it."""
    keyring = Keyring(store)
    ann, art, ben = (await team_holders(store, ann="r", art="r", ben="b")).values()
    await makes(store, ann, "resp_of_red")
    await makes(store, art, "resp_of_art")
    await keyring.change("ann", KeyChange(team="b"))
    await makes(store, ann, "resp_of_blue")
    assert await may_refer(store, ann, "resp_of_red", "resp_of_blue", rules=TEAM)
    assert not await may_refer(store, ann, "resp_of_art", rules=TEAM)
    assert await may_refer(store, art, "resp_of_red", rules=TEAM)
    assert not await may_refer(store, art, "resp_of_blue", rules=TEAM)
    assert await may_refer(store, ben, "resp_of_blue", rules=TEAM)
    assert not await may_refer(store, ben, "resp_of_red", rules=TEAM)
    await keyring.change("ann", KeyChange(team=None))
    assert await may_refer(store, ann, "resp_of_red", "resp_of_blue", rules=TEAM)
    assert not await may_refer(store, ann, "resp_of_art", rules=TEAM)


async def test_what_a_key_was_told_in_two_teams_is_its_own_alone(store: Store) -> None:
    """A container that is used on: what the key adds in one team is not the other's, and nothing is lost to the key."""
    keyring = Keyring(store)
    ann, art, ben = (await team_holders(store, ann="r", art="r", ben="b")).values()
    await makes(store, ann, "resp_1", "cntr_1", "cntr_both")
    assert await may_refer(store, art, "cntr_1", "cntr_both", rules=TEAM)
    await keyring.change("ann", KeyChange(team="b"))
    for team in ("b", "b", "r", None):  # told again, and told once more in the first of them: it stays so
        await keyring.change("ann", KeyChange(team=team))
        await makes(store, ann, "resp_2", "cntr_1")
        assert await may_refer(store, ann, "resp_1", "cntr_1", rules=TEAM)
        for other in (art, ben):
            for rules in (TEAM, ReferenceRules(of_team=True, unknown=True)):
                assert not await may_refer(store, other, "cntr_1", rules=rules)
    await makes(store, ben, "resp_3", "cntr_1", "cntr_both")
    for holder in (ann, art, ben):  # another key was told it too: now it is nobody's, and stays so
        await makes(store, ann, "resp_4", "cntr_1")
        assert not await may_refer(store, holder, "cntr_1", rules=TEAM)
        assert not await may_refer(store, holder, "cntr_both", rules=TEAM)


async def test_two_teams_in_one_transaction_and_after_a_restart(path: Path) -> None:
    """In whatever order the rows come together, and whether or not the makers are remembered."""
    store = await open_store(path)
    ann, art = (await team_holders(store, ann="r", art="r")).values()
    first, second = ann.intent(), ann.intent()
    await store.admit(first)
    await Keyring(store).create_team("b")
    await Keyring(store).change("ann", KeyChange(team="b"))
    await store.admit(second)
    reading = {"response_id": "resp_1", "made": ("cntr_1",)}
    await asyncio.gather(*(store.settle(settled(one.request_id, reading=reading), 1) for one in (first, second)))
    for _ in range(2):
        assert await may_refer(store, ann, "resp_1", "cntr_1", rules=TEAM)
        assert not await may_refer(store, art, "cntr_1", rules=TEAM)
        await store.aclose()
        store = await open_store(path)
        await makes(store, ann, "resp_1", "cntr_1")
    await store.aclose()


async def test_rotation_keeps_and_revocation_ends(store: Store, alice: Holder) -> None:
    """A rotated key is the same key. What a revoked one made is its team's, where teams share, else nobody's."""
    ann, art = (await team_holders(store, ann="r", art="r")).values()
    await makes(store, ann, "resp_1")
    _, secret = await Keyring(store).rotate("ann", timedelta(0))
    identified = await Keyring(store).identify(f"Bearer {secret}".encode())
    assert identified is not None
    rotated = Holder(ann.key, identified.secret_hash, b"")
    assert await may_refer(store, rotated, "resp_1")
    await Keyring(store).revoke("ann")
    assert not await may_refer(store, rotated, "resp_1")
    assert await may_refer(store, art, "resp_1", rules=TEAM)
    assert not await may_refer(store, art, "resp_1")
    assert not await may_refer(store, alice, "resp_1", rules=TEAM)


# --- what becomes of requests ----------------------------------------------------------------


async def test_an_open_or_lost_request_has_made_nothing(path: Path, tmp_path: Path) -> None:
    """Until its settlement an id belongs to nobody; a crash before it leaves it so."""
    store = await open_store(path)
    alice = await a_holder(store, "alice")
    await makes(store, alice, "resp_1", "msg_1")
    await store.admit(alice.intent())
    assert not await may_refer(store, alice, "resp_2")
    copy = crashed_copy(path, tmp_path / "crashed")
    await store.aclose()
    again = await open_store(copy)
    assert await may_refer(again, alice, "resp_1", "msg_1")
    assert not await may_refer(again, alice, "resp_2")
    await again.aclose()


async def test_what_waits_in_the_spool_is_known_once_it_is_applied(path: Path, tmp_path: Path) -> None:
    """Also by the next process, after a crash."""
    store = await open_store(path)
    alice = await a_holder(store, "alice")
    intent = alice.intent()
    await store.admit(intent)
    elsewhere = Elsewhere(path)
    await store.settle(settled(intent.request_id, reading={"response_id": "resp_1", "made": ("msg_1", "\ud800")}), 0)
    copy = crashed_copy(path, tmp_path / "crashed")
    elsewhere.let_go()
    await store.aclose()
    again = await open_store(copy)
    assert await may_refer(again, alice, "resp_1", "msg_1")
    await again.aclose()


async def test_an_answer_that_broke_off_made_what_it_had_told(store: Store, alice: Holder, bob: Holder) -> None:
    """Its cost is unknown, its response is its key's; that a person settles the cost changes nothing."""
    intent = alice.intent()
    await store.admit(intent)
    reading = Reading(response_id="resp_1", unknown_reason="no_terminal_event")
    cut = Settlement(intent.request_id, State.UNKNOWN, Outcome.CLIENT_DISCONNECTED, reading, 200, unknown_reason="x")
    await store.settle(cut, 1)
    for _ in range(2):
        assert await may_refer(store, alice, "resp_1")
        assert not await may_refer(store, bob, "resp_1")
        assert not await may_refer(store, bob, "resp_1", rules=UNKNOWN)
        await resolve(store, intent)
    await store.settle(unknown(intent.request_id), 1)  # a second settlement makes nothing either
    await store.settle(settled(intent.request_id, reading={"response_id": "resp_late"}), 1)
    assert not await may_refer(store, alice, "resp_late")


async def resolve(store: Store, intent: Intent) -> None:
    said = resolution("0.5", None, by="ann", reason="as billed")
    await Corrections(store, zone=ZoneInfo("UTC")).resolve([intent.request_id], said)


# --- letting go ------------------------------------------------------------------------------


JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


async def test_what_is_old_is_let_go_of(path: Path) -> None:
    """After so many days, seen to at every start and from time to time; then it is as unknown as what never was."""
    day = [0]
    for day[0] in (0, 20, 31):
        store = await open_store(path, clock=lambda: JANUARY + timedelta(days=day[0]), references_days=30)
        alice = await a_holder(store, f"alice-{day[0]}")
        if day[0] == 0:
            first = alice
        if day[0] == 31:
            break
        intent = first.intent(JANUARY + timedelta(days=day[0]))
        await store.admit(intent)
        await store.settle(settled(intent.request_id, reading={"response_id": f"resp_{day[0]}", "made": ("m",)}), 1)
        await store.aclose()
    async with asyncio.timeout(10):
        while await may_refer(store, first, "resp_0"):
            await asyncio.sleep(0.01)
    assert await may_refer(store, first, "resp_20", "m")
    assert await may_refer(store, alice, "resp_0", rules=UNKNOWN)
    assert not await may_refer(store, alice, "resp_20", rules=UNKNOWN)
    await store.aclose()


async def test_what_is_written_again_is_not_older_for_it(store: Store, alice: Holder) -> None:
    """Behind a crash what was told first may be put in its place behind what was told last."""

    def tell(connection: Connection) -> list[Any]:
        made = Made(raw_of(connection))
        for day in (40, 10):
            made.note([(("msg_1",), alice.key.id, None, day * DAY_MS)])
            made.makers_of([alice.intent(references=("msg_1",))])  # it has its place now
        return raw_of(connection).execute("SELECT made_on FROM made").fetchall()

    assert await store.change(tell) == [(40,)]


async def test_the_sweep_goes_round_through_everything(
    store: Store, alice: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some rows at a time, from the least hash to the greatest and again; what is new stays."""
    monkeypatch.setattr(made_lately, "WAITING_MAX", 0)
    ids = [f"msg_{number}" for number in range(2 * SWEPT_MAX + 500)]
    await makes(store, alice, "resp_1", *ids)
    sweep, today = Sweep(10), to_ms(now())
    later = today + 11 * DAY_MS

    async def step(at_ms: int) -> bool:
        return await store.change(lambda connection: sweep.step(connection, at_ms))

    assert [await step(today + 9 * DAY_MS) for _ in range(4)] == [False] * 4
    assert await may_refer(store, alice, *ids)
    while await step(later):
        pass
    assert not any([await may_refer(store, alice, one) for one in ("resp_1", ids[0], ids[-1])])
    await makes(store, alice, "resp_2")
    assert not await step(today)
    assert await may_refer(store, alice, "resp_2")


def test_a_hash_fits_the_database_and_takes_any_text() -> None:
    """64 bits, the same for ever: rows of years ago must be found."""
    assert id_hash("resp_1") == 8830340303854924255
    for text in ("", "é", "\ud800", "x" * 10_000):
        assert -(2**63) <= id_hash(text) < 2**63


@pytest.mark.parametrize("dump", RELEASED, ids=lambda dump: str(dump.stem))
async def test_what_an_older_version_knew_is_known(dump: Path, path: Path) -> None:
    """Each response is still that of the key that made it, and of the team to which it then belonged."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text("utf-8"))
        before = connection.execute(
            "SELECT responses.response_id, responses.key_id, requests.team_id FROM responses "
            "JOIN requests USING (response_id) ORDER BY 1"
        ).fetchall()
    assert len(before) > 2
    assert {team for _, _, team in before} > {None}
    await (await open_store(path)).aclose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT id_hash, key_id, NULLIF(team_id, '') FROM made JOIN makers ON makers.id = maker_id"
        after = connection.execute(query).fetchall()
        assert sorted(after) == sorted((id_hash(one), key, team) for one, key, team in before)
        assert connection.execute("SELECT min(made_on) FROM made").fetchone()[0] > 20_000  # days: later than 2024
