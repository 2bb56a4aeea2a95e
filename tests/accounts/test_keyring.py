"""Keys and teams as people meet them: one secret, clear names, changes that count at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.accounts.errors import (
    AccountsError,
    BadName,
    BadValue,
    KeyNotFound,
    KeyRevoked,
    NameTaken,
    TeamNotFound,
)
from app.accounts.keyring import Identified, Keyring
from app.accounts.ledger import Ledger
from app.accounts.reports import Reports
from app.core.clock import now
from app.core.ids import id_time, new_id
from app.core.keys import hash_secret, is_secret
from app.core.owners import KeyChange, KeyFilter, NewKey
from app.core.records import Admitted, Intent, KeyState, RefusalReason, Refused
from app.core.views import RequestFilter
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store

TOMORROW = now().replace(microsecond=0) + timedelta(days=1)


@pytest.fixture
def keyring(store: Store) -> Keyring:
    return Keyring(store)


def bearer(secret: str) -> bytes:
    return f"Bearer {secret}".encode()


async def ask(
    store: Store, keyring: Keyring, secret: str, model: str = "openai/gpt-4o-mini"
) -> Admitted | Refused | None:
    """A request with a secret: None when nobody has it."""
    who = await keyring.identify(bearer(secret))
    if who is None:
        return None
    request_id = new_id("req")
    intent = Intent(request_id, who.key_id, who.secret_hash, id_time(request_id), model, False)
    return await Ledger(store, settle_wait_seconds=1).admit(intent)


REFUSED = Refused(RefusalReason.KEY_REFUSED)


async def test_a_secret_is_shown_once_and_stored_nowhere(store: Store, keyring: Keyring, path: Path) -> None:
    """The record has its beginning, no file has the rest; it identifies its key."""
    key, secret = await keyring.create(NewKey("alice"))
    assert is_secret(secret)
    assert secret.startswith(key.prefix.rstrip("…"))
    assert len(key.prefix) < 16
    who = await keyring.identify(bearer(secret))
    assert who is not None
    assert who.key_id == key.id
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()
        assert secret.encode()[20:40] not in file.read_bytes()


async def test_what_is_no_known_secret_identifies_nobody(keyring: Keyring) -> None:
    """Absent, malformed, mistyped and well-formed but unknown secrets: None, each time anew."""
    from app.core.keys import new_secret

    _, secret = await keyring.create(NewKey("alice"))
    mistyped = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    for authorization in (None, b"", b"Bearer", b"Basic abc", bearer(mistyped), bearer(new_secret().text)):
        assert await keyring.identify(authorization) is None
        assert await keyring.identify(authorization) is None


async def test_a_secret_is_known_from_when_it_was_first_shown(store: Store, keyring: Keyring) -> None:
    """By each keyring for itself; and what was never a secret does not become known by being shown."""
    key, secret = await keyring.create(NewKey("alice"))
    other = Keyring(store)
    assert other.known(hash_secret(secret)) is None
    assert await other.identified(hash_secret(secret)) is not None
    assert other.known(hash_secret(secret)) == Identified(key.id, hash_secret(secret))
    assert await other.identified(hash_secret("irg_nobody")) is None
    assert other.known(hash_secret("irg_nobody")) is None


async def test_a_key_made_a_moment_ago_works_although_it_was_asked_for_before(store: Store, keyring: Keyring) -> None:
    """That a secret was unknown is not remembered (another process may make it known)."""
    key, secret = await keyring.create(NewKey("alice"))
    assert (await Keyring(store).identify(bearer(secret))) is not None
    assert key.state is KeyState.ACTIVE


async def test_a_key_has_what_it_was_made_with(keyring: Keyring) -> None:
    """Team, tags, models and expiry come back, lists sorted and without doubles; found by name and by id."""
    await keyring.create_team("blue")
    key, _ = await keyring.create(
        NewKey("alice", team="blue", models=("openai/*", "a", "a"), expires_at=TOMORROW, tags=("z", "prod", "z"))
    )
    assert (key.name, key.team, key.state) == ("alice", "blue", KeyState.ACTIVE)
    assert (key.tags, key.models, key.expires_at) == (("prod", "z"), ("a", "openai/*"), TOMORROW)
    assert key.last_used_at is None
    assert abs(key.created_at - now()) < timedelta(minutes=1)
    assert await keyring.find("alice") == await keyring.find(key.id) == key


async def test_a_change_touches_only_what_it_names(keyring: Keyring) -> None:
    """Unset stays, None takes away; a rename keeps the id."""
    await keyring.create_team("blue")
    key, _ = await keyring.create(NewKey("alice", team="blue", tags=("a",), models=("m",), expires_at=TOMORROW))
    assert await keyring.change("alice", KeyChange()) == key
    renamed = await keyring.change("alice", KeyChange(name="bob", team=None))
    assert (renamed.id, renamed.name, renamed.team) == (key.id, "bob", None)
    assert (renamed.tags, renamed.models, renamed.expires_at) == (("a",), ("m",), TOMORROW)
    bare = await keyring.change("bob", KeyChange(tags=(), models=(), expires_at=None))
    assert (bare.tags, bare.models, bare.expires_at) == ((), (), None)
    assert await keyring.change("bob", KeyChange(name="bob")) == bare


async def test_every_change_counts_with_the_next_request(store: Store, keyring: Keyring) -> None:
    """Disable, enable, models, revoke: no cache stands between a change and its effect."""
    _, secret = await keyring.create(NewKey("alice"))
    assert isinstance(await ask(store, keyring, secret), Admitted)
    await keyring.disable("alice")
    assert await ask(store, keyring, secret) == REFUSED
    await keyring.enable("alice")
    assert isinstance(await ask(store, keyring, secret), Admitted)
    await keyring.change("alice", KeyChange(models=("anthropic/*",)))
    assert isinstance(await ask(store, keyring, secret, "anthropic/claude"), Admitted)
    assert await ask(store, keyring, secret) == Refused(RefusalReason.MODEL_NOT_ALLOWED, ("anthropic/*",))
    await keyring.revoke("alice")
    assert await ask(store, keyring, secret, "anthropic/claude") == REFUSED


async def test_revoked_is_final(keyring: Keyring) -> None:
    """Neither enabled nor rotated again; revoking twice is no fault; its name stays taken until it is renamed."""
    await keyring.create(NewKey("alice"))
    assert (await keyring.revoke("alice")).state is KeyState.REVOKED
    assert (await keyring.revoke("alice")).state is KeyState.REVOKED
    for verb in (keyring.enable, keyring.disable, keyring.rotate):
        with pytest.raises(KeyRevoked, match="Create a new key"):
            await verb("alice")
    with pytest.raises(NameTaken):
        await keyring.create(NewKey("alice"))
    await keyring.change("alice", KeyChange(name="alice-2025"))
    assert (await keyring.create(NewKey("alice")))[0].state is KeyState.ACTIVE


async def test_rotation_ends_the_old_secret_now_or_after_its_grace(path: Path) -> None:
    """Without grace at once, with grace both work until it is over; an older grace is never made longer."""
    clock = [now()]
    store = await open_store(path, clock=lambda: clock[0])
    keyring = Keyring(store, clock=lambda: clock[0])
    _, first = await keyring.create(NewKey("alice"))
    _, second = await keyring.rotate("alice")
    assert await ask(store, keyring, first) is None
    key, third = await keyring.rotate("alice", timedelta(hours=1))
    assert third.startswith(key.prefix.rstrip("…"))
    for secret in (second, third):
        assert isinstance(await ask(store, keyring, secret), Admitted)
    _, fourth = await keyring.rotate("alice", timedelta(hours=24))
    clock[0] += timedelta(hours=2)
    assert [isinstance(await ask(store, keyring, secret), Admitted) for secret in (first, second, third, fourth)] == [
        False,
        False,
        True,
        True,
    ]
    clock[0] += timedelta(hours=23)
    assert await ask(store, keyring, third) == REFUSED
    await store.aclose()


async def test_an_expired_key_says_so_and_is_refused(path: Path) -> None:
    """From its very instant; a later expiry brings it back."""
    clock = [now()]
    store = await open_store(path, clock=lambda: clock[0])
    keyring = Keyring(store, clock=lambda: clock[0])
    expires_at = clock[0].replace(microsecond=0) + timedelta(minutes=1)
    _, secret = await keyring.create(NewKey("alice", expires_at=expires_at))
    assert isinstance(await ask(store, keyring, secret), Admitted)
    clock[0] = expires_at
    assert await ask(store, keyring, secret) == REFUSED
    assert (await keyring.find("alice")).state is KeyState.EXPIRED
    assert [key.name for key in (await keyring.list(KeyFilter(state=KeyState.EXPIRED))).items] == ["alice"]
    assert (await keyring.list(KeyFilter(state=KeyState.ACTIVE))).items == ()
    await keyring.change("alice", KeyChange(expires_at=TOMORROW))
    assert isinstance(await ask(store, keyring, secret), Admitted)
    await store.aclose()


async def test_a_rotated_secret_is_gone_even_if_the_clock_steps_back(path: Path) -> None:
    """Without grace it does not depend on a clock at all."""
    clock = [now()]
    store = await open_store(path, clock=lambda: clock[0])
    keyring = Keyring(store, clock=lambda: clock[0])
    _, first = await keyring.create(NewKey("alice"))
    assert isinstance(await ask(store, keyring, first), Admitted)  # from here on the keyring knows its hash
    _, second = await keyring.rotate("alice")
    clock[0] -= timedelta(days=1)
    assert await ask(store, keyring, first) == REFUSED
    assert isinstance(await ask(store, keyring, second), Admitted)
    assert await Keyring(store).identify(bearer(first)) is None
    await store.aclose()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        " alice",
        "alice ",
        "a\nb",
        "a\0b",
        "a\u202eb",
        "a\u200bb",
        "a/b",
        "a\\b",
        "..",
        "-f",
        "key_1",
        "irg_1",
    ],
)
async def test_a_name_that_is_hard_to_read_or_quote_is_refused(keyring: Keyring, name: str) -> None:
    """For keys, teams and renames alike; the sentence says what a name is."""
    await keyring.create(NewKey("alice"))
    await keyring.create_team("blue")
    for attempt in (
        keyring.create(NewKey(name)),
        keyring.create_team(name),
        keyring.change("alice", KeyChange(name=name)),
        keyring.change_team("blue", name=name),
    ):
        with pytest.raises(BadName, match="such as support-bot") as refused:
            await attempt
        assert refused.value.param == "name"


@pytest.mark.parametrize("name", ["a", "Support bot 2", "x" * 64, "käthe", "日本", "a.b", "@t", "O'Neil; --", "100%"])
async def test_other_names_are_taken(keyring: Keyring, name: str) -> None:
    key, _ = await keyring.create(NewKey(name))
    assert (await keyring.find(name)).id == key.id


async def test_the_same_letters_are_the_same_name(keyring: Keyring) -> None:
    """However they were typed: composed and decomposed umlauts cannot be told apart by a reader either."""
    await keyring.create(NewKey("ka\u0308the"))
    with pytest.raises(NameTaken):
        await keyring.create(NewKey("k\u00e4the"))


async def test_a_name_is_found_as_it_was_typed(store: Store) -> None:
    """A file's name, or a text from a Mac, may be decomposed: what it made, it finds."""
    keyring, reports = Keyring(store), Reports(store, zone=ZoneInfo("UTC"))
    typed = "ka\u0308the"
    team = await keyring.create_team(typed)
    key, _ = await keyring.create(NewKey(typed, team=typed))
    assert (await keyring.find(typed)).id == key.id
    assert (await keyring.find_team(typed)).id == team.id
    assert (await reports.requests(RequestFilter(key=typed, team=typed))).items == ()


@pytest.mark.parametrize(
    ("spec", "param"),
    [
        (NewKey("a", tags=("",)), "tags"),
        (NewKey("a", tags=("a,b",)), "tags"),
        (NewKey("a", tags=tuple(map(str, range(21)))), "tags"),
        (NewKey("a", models=("has space",)), "models"),
        (NewKey("a", models=("m" * 201,)), "models"),
        (NewKey("a", models=tuple(map(str, range(101)))), "models"),
        (NewKey("a", expires_at=datetime(2020, 1, 1, tzinfo=UTC)), "expires_at"),
        (NewKey("a", expires_at=datetime(2090, 1, 1)), "expires_at"),  # noqa: DTZ001 - that is the fault
    ],
)
async def test_other_faults_name_their_field_and_make_no_key(keyring: Keyring, spec: NewKey, param: str) -> None:
    with pytest.raises(BadValue) as refused:
        await keyring.create(spec)
    assert refused.value.param == param
    assert (await keyring.list()).items == ()


async def test_what_is_not_there_is_named_with_the_nearest_that_is(keyring: Keyring) -> None:
    """Keys and teams; a new key of an unknown team is not made."""
    await keyring.create(NewKey("support-bot"))
    await keyring.create_team("platform")
    for verb in (keyring.find, keyring.revoke, keyring.rotate, keyring.disable):
        with pytest.raises(KeyNotFound, match="Did you mean support-bot"):
            await verb("suport-bot")
    with pytest.raises(KeyNotFound):
        await keyring.change("nobody", KeyChange(tags=("a",)))
    for attempt in (
        keyring.create(NewKey("new", team="platfrom")),
        keyring.change("support-bot", KeyChange(team="platfrom")),
        keyring.find_team("platfrom"),
        keyring.change_team("platfrom", name="x"),
        keyring.list(KeyFilter(team="platfrom")),
    ):
        with pytest.raises(TeamNotFound, match="Did you mean platform"):
            await attempt
    assert [key.name for key in (await keyring.list()).items] == ["support-bot"]


async def test_names_are_taken_once(keyring: Keyring) -> None:
    """By creating and by renaming; the refused change leaves everything as it was."""
    await keyring.create(NewKey("alice"))
    await keyring.create(NewKey("bob", tags=("a",)))
    await keyring.create_team("blue")
    await keyring.create_team("red")
    for attempt in (
        keyring.create(NewKey("alice")),
        keyring.change("bob", KeyChange(name="alice", tags=())),
        keyring.create_team("blue"),
        keyring.change_team("red", name="blue"),
    ):
        with pytest.raises(NameTaken, match="Choose another name"):
            await attempt
    assert (await keyring.find("bob")).tags == ("a",)
    assert (await keyring.change_team("red", name="red")).name == "red"


async def test_lists_are_paged_by_name_and_filtered(keyring: Keyring) -> None:
    """Every item once, in order, whatever the page size; a page has bounds."""
    await keyring.create_team("blue")
    for number in range(7):
        await keyring.create(NewKey(f"key {number}", team="blue" if number % 2 else None))
        await keyring.create_team(f"team {number}")
    await keyring.disable("key 3")
    names, after = [], None
    while True:
        page = await keyring.list(after=after, limit=3)
        names += [key.name for key in page.items]
        if (after := page.next) is None:
            break
    assert names == [f"key {number}" for number in range(7)]
    blue = await keyring.list(KeyFilter(team="blue", state=KeyState.ACTIVE))
    assert [key.name for key in blue.items] == ["key 1", "key 5"]
    first = await keyring.list_teams(limit=5)
    rest = await keyring.list_teams(after=first.next, limit=5)
    assert [team.name for team in (*first.items, *rest.items)] == ["blue", *(f"team {number}" for number in range(7))]
    assert first.items[0].keys == 3
    for limit in (0, -1, 1001):
        with pytest.raises(BadValue):
            await keyring.list(limit=limit)


async def test_a_team_is_found_renamed_and_keeps_its_keys(keyring: Keyring) -> None:
    team = await keyring.create_team("blue")
    await keyring.create(NewKey("alice", team=team.id))
    assert (await keyring.change_team("blue", name="navy")).id == team.id
    assert (await keyring.find("alice")).team == "navy"
    assert (await keyring.find_team(team.id)).keys == 1


async def test_an_unreadable_ledger_is_no_wrong_key(path: Path) -> None:
    """A secret that cannot be looked up now is not refused as unknown: `LedgerUnavailable`."""
    store = await open_store(path)
    keyring = Keyring(store)
    _, secret = await keyring.create(NewKey("alice"))
    await store.aclose()
    with pytest.raises(LedgerUnavailable):
        await keyring.identify(bearer(secret))


def test_every_error_is_a_sentence() -> None:
    """What is shown of a name is shortened, and what cannot be seen is marked."""
    for error in (KeyNotFound("a\x1b[31m" + "x" * 200), TeamNotFound("t"), NameTaken("key", "n"), KeyRevoked("n")):
        assert isinstance(error, AccountsError)
        assert error.message == str(error)
        assert error.message.isprintable()
        assert len(error.message) < 400
