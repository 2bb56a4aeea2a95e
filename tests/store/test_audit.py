"""The audit log on the disk: an entry for each change that was committed, none without one, and none that goes away."""

from __future__ import annotations

import ast
import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

import app
from app.accounts.errors import AccountsError
from app.accounts.keyring import Keyring
from app.core.audit import THE_GATEWAY, Action, Target
from app.core.budgets import parse_budget
from app.core.clock import now
from app.core.limits import Limits
from app.core.owners import KeyChange, KeyFilter, LimitsChange, NewKey
from app.store.audit import KEY, TEAM, WHOLE_GATEWAY, Deed, Subject, audited
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, NameExists, Store
from app.store.queries import gateway_budgets, list_keys, list_teams
from tests.store.entries import Elsewhere
from tests.store.test_killed import environment
from tests.store.trail import entries, replayed


async def standing(store: Store) -> dict[str, dict[str, Any]]:
    """What everything is now, as the log tells it."""
    at = now()
    keys = (await store.read(list_keys, KeyFilter(), None, 1000, at)).items
    teams = (await store.read(list_teams, None, 1000, at)).items
    budgets = await store.read(gateway_budgets, at)
    found = {key.id: KEY.facts(key) for key in keys} | {team.id: TEAM.facts(team) for team in teams}
    found |= {"gateway": WHOLE_GATEWAY.facts(budgets)} if budgets else {}
    return {
        ident: {name: value for name, value in facts.items() if value not in (None, [])}
        for ident, facts in found.items()
    }


# --- nobody can change what is written ------------------------------------------------------------

MEDDLING = [
    "UPDATE audit SET actor = 'somebody else'",
    "UPDATE audit SET after = NULL WHERE action = 'key.created'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)",
    "REPLACE INTO audit SELECT * FROM audit",
    "INSERT OR REPLACE INTO audit SELECT id, 0, actor, via, action, target_kind, target_id, target_name, before, after "
    "FROM audit",
    "INSERT INTO audit SELECT * FROM audit WHERE true ON CONFLICT (id) DO UPDATE SET actor = 'else'",
    "UPDATE OR REPLACE audit SET id = 'aud_1'",
]


@pytest.mark.parametrize("statement", MEDDLING)
async def test_an_entry_can_neither_be_changed_nor_removed(store: Store, path: Path, statement: str) -> None:
    """By the gateway's own connection, and by whoever opens the file: the database itself refuses."""
    await Keyring(store).create(NewKey("alice"))
    await Keyring(store).disable("alice")
    before = entries(path)
    assert len(before) == 2
    with pytest.raises(IntegrityError, match=r"audit entries are never (changed|removed|replaced)"):
        await store.change(lambda connection: connection.exec_driver_sql(statement))
    connection = sqlite3.connect(path, timeout=5)
    with pytest.raises(sqlite3.IntegrityError, match="audit entries are never"):
        connection.execute(statement)
    connection.close()
    assert entries(path) == before


@pytest.mark.parametrize(
    "row",
    [
        ("aud_1", 1, "a", "air", "key.created", "key", "key_1", "a", None, "{}"),
        ("aud_1", 1, "a", "network", "key.created", "key", "key_1", "a", None, "{"),
        ("aud_1", 1, "a", "network", "key.created", "key", "key_1", "a", None, None),
        ("aud_1", 1, None, "network", "key.created", "key", "key_1", "a", None, "{}"),
    ],
)
async def test_an_entry_is_whole(store: Store, path: Path, row: tuple[object, ...]) -> None:
    """A known way, JSON, something before or after, and somebody who did it."""
    connection = sqlite3.connect(path, timeout=5)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"INSERT INTO audit VALUES ({','.join('?' * 10)})", row)
    connection.close()
    assert entries(path) == []


# --- neither without the other --------------------------------------------------------------------


def test_no_change_goes_around_the_log() -> None:
    """Every changing function of keys, teams and budgets is named only where it is wrapped."""
    named = wrapped = 0
    for source in (Path(app.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            named += isinstance(node, ast.Attribute) and ast.unparse(node.value) == "changes"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "audited":
                wrapped += ast.unparse(node.args[0]).startswith("changes.")
            if isinstance(node, ast.ImportFrom) and node.module == "app.store.changes":
                raise AssertionError(f"{source} takes functions out of their module, where nobody sees them")
    assert named == wrapped == 10


async def test_without_its_entry_nothing_changes(store: Store, path: Path) -> None:
    """The entry cannot be written: the change is undone, neighbours in its batch are not."""
    keyring = Keyring(store)
    await keyring.create(NewKey("alice"))
    meddler = sqlite3.connect(path, timeout=5)
    meddler.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON audit WHEN NEW.target_name IN ('bob', 'alice', 'gateway') "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    meddler.commit()
    before = await standing(store)
    verbs = [
        keyring.create(NewKey("bob")),
        keyring.create(NewKey("carol")),
        keyring.change("alice", KeyChange(limits=LimitsChange(rpm=5, budgets=(parse_budget("5/day"),)))),
        keyring.revoke("alice"),
        keyring.rotate("alice"),
        keyring.set_gateway_budgets((parse_budget("5/day"),)),
        keyring.create_team("blue"),
    ]
    told = await asyncio.gather(*verbs, return_exceptions=True)
    assert [isinstance(one, IntegrityError) for one in told] == [True, False, True, True, True, True, False]
    after = await standing(store)
    assert {facts["name"] for ident, facts in after.items() if ident not in before} == {"carol", "blue"}
    assert {ident: facts for ident, facts in after.items() if ident in before} == before
    assert replayed(path) == after
    meddler.execute("DROP TRIGGER poison")
    meddler.commit()
    meddler.close()


async def test_a_refused_change_has_no_entry(store: Store, path: Path) -> None:
    """Neither what the accounts refuse, nor what the store does."""
    keyring = Keyring(store)
    await keyring.create(NewKey("alice"))
    await keyring.create(NewKey("bob"))
    await keyring.revoke("bob")
    before = entries(path)
    for verb in (
        keyring.create(NewKey("alice")),
        keyring.create(NewKey("carol", team="nowhere")),
        keyring.create(NewKey("carol", limits=Limits(rpm=0))),
        keyring.change("alice", KeyChange(name="bob", tags=("a",), limits=LimitsChange(rpm=1))),
        keyring.change("alice", KeyChange(tags=("a",), team="nowhere")),
        keyring.change("nobody", KeyChange(tags=("a",))),
        keyring.rotate("bob"),
        keyring.enable("bob"),
        keyring.change_team("nowhere", name="x"),
    ):
        with pytest.raises(AccountsError):
            await verb
    assert entries(path) == before
    assert replayed(path) == await standing(store)


async def test_a_change_that_is_never_committed_has_no_entry(store: Store, path: Path) -> None:
    """The database is locked by another process; when it is back, each is there once."""
    keyring = Keyring(store)
    await keyring.create(NewKey("alice"))
    elsewhere = Elsewhere(path)
    for verb in (keyring.create(NewKey("bob")), keyring.revoke("alice"), keyring.create_team("blue")):
        with pytest.raises(LedgerUnavailable):
            await verb
    elsewhere.let_go()
    while not store.healthy:
        await asyncio.sleep(0.01)
    assert [entry["action"] for entry in entries(path)] == ["key.created"]
    await keyring.create(NewKey("bob"))
    assert [(entry["action"], entry["target_name"]) for entry in entries(path)][1:] == [("key.created", "bob")]
    assert replayed(path) == await standing(store)


FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from app.accounts.keyring import Keyring
from app.core.owners import NewKey
from app.store.engine import open_store
from app.store.port import LedgerUnavailable

async def main():
    store = await open_store(Path(sys.argv[1]))
    keyring = Keyring(store)
    await keyring.create(NewKey("alice"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))  # no file takes another byte
    for verb in (keyring.create(NewKey("bob")), keyring.revoke("alice")):
        try:
            await verb
        except LedgerUnavailable:
            print("refused")
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    while not store.healthy:
        await asyncio.sleep(0.01)
    await keyring.create(NewKey("carol"))
    await store.aclose()

asyncio.run(main())
"""


async def test_a_commit_that_fails_takes_the_entry_with_it(path: Path) -> None:
    """The disk is full: nothing changed, and nothing is told of it."""
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=True,
    )
    assert [line for line in ran.stdout.splitlines() if line == "refused"] == ["refused"] * 2, ran.stdout
    assert [(entry["action"], entry["target_name"]) for entry in entries(path)] == [
        ("key.created", "alice"),
        ("key.created", "carol"),
    ]
    store = await open_store(path)
    assert replayed(path) == await standing(store)
    await store.aclose()


def random_verb(keyring: Keyring, chance: random.Random) -> Coroutine[Any, Any, object]:
    """One verb over few names: many change nothing, or are refused."""
    name, team = chance.choice("abcd"), chance.choice(["red", "blue", "grey"])
    budgets = tuple(map(parse_budget, chance.sample(["5/day", "45/month", "100/total"], chance.randrange(3))))
    rpm = chance.choice([None, 10, 20])
    limits = chance.choice([LimitsChange(rpm=rpm), LimitsChange(budgets=budgets), LimitsChange(tpm=5, concurrency=rpm)])
    verbs: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: keyring.create(NewKey(name, team=chance.choice([None, team]), budgets=budgets, limits=Limits(rpm))),
        lambda: keyring.change(name, KeyChange(tags=chance.choice([(), ("x", "y")]), limits=limits)),
        lambda: keyring.change(name, KeyChange(name=chance.choice("abcdef"), team=chance.choice([None, team]))),
        lambda: keyring.change(name, KeyChange(expires_at=chance.choice([None, now() + timedelta(days=9)]))),
        lambda: keyring.rotate(name, timedelta(hours=chance.choice([0, 1]))),
        lambda: keyring.disable(name),
        lambda: keyring.enable(name),
        lambda: keyring.create_team(team, limits),
        lambda: keyring.change_team(team, name=chance.choice([None, "red", "green"]), limits=limits),
        lambda: keyring.set_gateway_budgets(budgets),
    ]
    return chance.choice(verbs)()


async def test_the_log_played_again_is_what_there_is(store: Store, path: Path) -> None:
    """After any verbs, many of them at once: each entry goes on where the one before ended, and says a difference."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, keyring = random.Random(seed), Keyring(store)
    for _ in range(40):
        verbs = [random_verb(keyring, chance) for _ in range(chance.randrange(1, 8))]
        told = await asyncio.gather(*verbs, return_exceptions=True)
        assert all(isinstance(one, AccountsError) for one in told if isinstance(one, BaseException)), told
    found = await standing(store)
    assert {ident: facts for ident, facts in replayed(path).items() if facts} == found
    for entry in entries(path):
        assert entry["before"] != entry["after"]
    assert len({entry["id"] for entry in entries(path)}) == len(entries(path)) > 20


WORKER = """
import asyncio, random, sys
from pathlib import Path
from app.accounts.errors import AccountsError
from app.accounts.keyring import Keyring
from app.store.engine import open_store
from tests.store.test_audit import random_verb

async def main():
    store = await open_store(Path(sys.argv[1]))
    chance = random.Random(int(sys.argv[2]))

    async def work():
        while True:
            try:
                await random_verb(Keyring(store), chance)
            except AccountsError:
                pass
            print("done", flush=True)

    await asyncio.gather(*(work() for _ in range(8)))

asyncio.run(main())
"""


async def test_a_killed_process_leaves_no_change_without_its_entry(tmp_path: Path) -> None:
    """SIGKILL in the middle of changes: the log played again is what there is."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    path = tmp_path / "gateway.db"
    command = [sys.executable, "-c", WORKER, str(path), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as worker:
        assert worker.stdout is not None
        for _ in range(150):
            assert worker.stdout.readline() == "done\n"
        time.sleep(random.Random(seed).random() / 20)
        worker.send_signal(signal.SIGKILL)
    store = await open_store(path)
    assert {ident: facts for ident, facts in replayed(path).items() if facts} == await standing(store)
    await store.aclose()


# --- what comes and goes --------------------------------------------------------------------------


async def test_what_is_removed_is_told_as_it_was(store: Store, path: Path) -> None:
    """Of what ends there is nothing afterwards; whatever a changing function raises, nothing is written."""

    def found(connection: Connection, ref: str, at: object) -> str:
        del connection, at
        return ref

    subject = Subject(found, lambda name: Target("thing", "thg_1", name), lambda name: {"name": name, "more": None})
    removal = Deed(THE_GATEWAY, Action.ALERT_REMOVED, subject, now(), "lamp")

    def remove(connection: Connection) -> str:
        del connection
        return "whatever"

    def refuse(connection: Connection) -> str:
        raise NameExists("thing", "lamp")

    with pytest.raises(NameExists):
        await store.change(audited(refuse, removal))
    assert entries(path) == []
    assert await store.change(audited(remove, removal)) == "whatever"
    (entry,) = entries(path)
    assert (entry["action"], entry["target_name"]) == ("alert.removed", "lamp")
    assert (entry["before"], entry["after"]) == ({"name": "lamp"}, None)
