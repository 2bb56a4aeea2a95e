"""The audit log as people meet it: what each verb tells, who did it, and what is found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.accounts.audit import Audit
from app.accounts.corrections import Corrections, resolution
from app.accounts.errors import AccountsError, BadValue
from app.accounts.keyring import Keyring
from app.core.audit import Action, Actor, AuditFilter, AuditRecord, Setting, Via
from app.core.budgets import parse_budget
from app.core.limits import Limits
from app.core.owners import KeyChange, LimitsChange, NewKey
from app.store.port import Store
from tests.store.entries import Elsewhere, a_holder, unknown

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALICE, BOB = Actor("alice", Via.SOCKET), Actor("bob", Via.NETWORK)
UTC_ZONE = ZoneInfo("UTC")


class Moving:
    """A clock: a second later each time it is asked."""

    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
def keyring(store: Store) -> Keyring:
    return Keyring(store, clock=Moving())


@pytest.fixture
def audit(store: Store) -> Audit:
    return Audit(store, zone=UTC_ZONE)


async def newest(audit: Audit, **wanted: Any) -> AuditRecord:
    return (await audit.entries(AuditFilter(**wanted), limit=1)).items[0]


async def told(audit: Audit) -> tuple[str, Any, Any]:
    """Of the newest entry: the action, before and after."""
    entry = await newest(audit)
    return entry.action, entry.before, entry.after


async def count(audit: Audit) -> int:
    return len((await audit.entries()).items)


async def test_a_key_that_is_made_is_told_with_what_it_was_made_with(keyring: Keyring, audit: Audit) -> None:
    """What says nothing is left out; amounts are decimal text; the way and the name of who did it."""
    await keyring.create_team("blue", by=BOB)
    bare, _ = await keyring.create(NewKey("bare"), by=BOB)
    assert await told(audit) == ("key.created", None, {"name": "bare", "prefix": bare.prefix, "state": "active"})
    spec = NewKey(
        *("bot", "blue", ("openai/*",), AT + timedelta(days=9), ("prod", "eu")),
        budgets=(parse_budget("45/month"), parse_budget("0.5/day")),
        limits=Limits(60, None, 2),
    )
    key, _ = await keyring.create(spec, by=ALICE)
    entry = await newest(audit)
    assert (entry.actor, entry.action) == (ALICE, "key.created")
    assert (entry.target.kind, entry.target.id, entry.target.name) == ("key", key.id, "bot")
    assert entry.at == key.created_at
    assert entry.before is None
    assert entry.after == {
        "name": "bot",
        "prefix": key.prefix,
        "team": "blue",
        "tags": ["eu", "prod"],
        "models": ["openai/*"],
        "state": "active",
        "expires_at": "2026-11-29T12:00:00.000Z",
        "budgets": ["0.50/day", "45.00/month"],
        "rpm": 60,
        "concurrency": 2,
    }


async def test_a_change_of_a_key_tells_the_fields_that_differ(keyring: Keyring, audit: Audit) -> None:
    """Each with what it was and what it is; the name is the one before."""
    await keyring.create_team("blue")
    key, _ = await keyring.create(NewKey("bot", limits=Limits(60, 1000)))
    change = KeyChange(team="blue", tags=("prod",), limits=LimitsChange(rpm=30, tpm=1000))
    await keyring.change("bot", change, by=ALICE)
    assert await told(audit) == (
        "key.changed",
        {"team": None, "tags": [], "rpm": 60},
        {"team": "blue", "tags": ["prod"], "rpm": 30},
    )
    await keyring.change(key.id, KeyChange(limits=LimitsChange(budgets=(parse_budget("45/month"),), rpm=None)))
    assert await told(audit) == ("key.changed", {"budgets": [], "rpm": 30}, {"budgets": ["45.00/month"], "rpm": None})
    await keyring.change(key.id, KeyChange(name="robot"))
    assert await told(audit) == ("key.changed", {"name": "bot"}, {"name": "robot"})
    assert (await newest(audit)).target.name == "bot"
    await keyring.change("robot", KeyChange(expires_at=AT + timedelta(days=1), models=("a/*",)))
    assert await told(audit) == (
        "key.changed",
        {"models": [], "expires_at": None},
        {"models": ["a/*"], "expires_at": "2026-11-21T12:00:00.000Z"},
    )


async def test_states_of_a_key(keyring: Keyring, audit: Audit) -> None:
    """Disabled, enabled, revoked: each its own action."""
    await keyring.create(NewKey("bot"))
    await keyring.disable("bot", by=ALICE)
    assert await told(audit) == ("key.disabled", {"state": "active"}, {"state": "disabled"})
    assert (await newest(audit)).actor == ALICE
    await keyring.enable("bot", by=BOB)
    assert await told(audit) == ("key.enabled", {"state": "disabled"}, {"state": "active"})
    await keyring.revoke("bot", by=ALICE)
    assert await told(audit) == ("key.revoked", {"state": "active"}, {"state": "revoked"})


async def test_a_rotation_tells_the_new_prefix_and_when_the_old_secret_ends(keyring: Keyring, audit: Audit) -> None:
    """At once, or after the grace."""
    first, _ = await keyring.create(NewKey("bot"))
    second, _ = await keyring.rotate("bot", timedelta(hours=24), by=ALICE)
    entry = await newest(audit)
    assert (entry.action, entry.before) == ("key.rotated", {"prefix": first.prefix})
    assert entry.after == {"prefix": second.prefix, "old_secret_ends_at": "2026-11-21T12:00:02.000Z"}
    third, _ = await keyring.rotate("bot", by=ALICE)
    after = {"prefix": third.prefix, "old_secret_ends_at": "2026-11-20T12:00:03.000Z"}
    assert await told(audit) == ("key.rotated", {"prefix": second.prefix}, after)


async def test_teams_and_the_gateways_budgets(keyring: Keyring, audit: Audit) -> None:
    """Limits of a team as of a key; the budgets of everything together are the gateway's."""
    team = await keyring.create_team("blue", LimitsChange(budgets=(parse_budget("200/month"),)), by=ALICE)
    assert await told(audit) == ("team.created", None, {"name": "blue", "budgets": ["200.00/month"]})
    assert (await newest(audit)).target.id == team.id
    await keyring.change_team("blue", name="red", limits=LimitsChange(budgets=(), tpm=9), by=BOB)
    assert await told(audit) == (
        "team.changed",
        {"name": "blue", "budgets": ["200.00/month"], "tpm": None},
        {"name": "red", "budgets": [], "tpm": 9},
    )
    await keyring.set_gateway_budgets((parse_budget("500/month"),), by=BOB)
    entry = await newest(audit)
    assert (entry.actor, entry.action, entry.target.kind) == (BOB, "budget.changed", "gateway")
    assert (entry.before, entry.after) == ({"budgets": []}, {"budgets": ["500.00/month"]})
    await keyring.set_gateway_budgets((), by=BOB)
    assert await told(audit) == ("budget.changed", {"budgets": ["500.00/month"]}, {"budgets": []})


async def test_what_changes_nothing_has_no_entry(keyring: Keyring, audit: Audit) -> None:
    """The same values once more."""
    budgets = (parse_budget("45/month"),)
    await keyring.create_team("blue", LimitsChange(budgets=budgets))
    await keyring.create(NewKey("bot", "blue", ("m",), AT + timedelta(days=9), ("t",), budgets, Limits(5)))
    await keyring.set_gateway_budgets(budgets)
    before = await count(audit)
    limits = LimitsChange((parse_budget("45.00/month"),), 5, None, None)
    await keyring.change("bot", KeyChange("bot", "blue", ("m", "m"), AT + timedelta(days=9), ("t",), limits))
    await keyring.change("bot", KeyChange())
    await keyring.enable("bot")
    await keyring.change_team("blue", name="blue", limits=LimitsChange(budgets=budgets))
    await keyring.set_gateway_budgets(budgets)
    assert await count(audit) == before
    await keyring.revoke("bot")
    await keyring.revoke("bot")
    assert await count(audit) == before + 1


# --- resolutions ----------------------------------------------------------------------------------


async def unknown_requests(store: Store, number: int) -> list[str]:
    alice = await a_holder(store)
    ids = []
    for _ in range(number):
        intent = alice.intent(AT)
        await store.admit(intent)
        await store.settle(unknown(intent.request_id), 1)
        ids.append(intent.request_id)
    return ids


async def test_a_resolution_tells_its_author_cost_and_reason(store: Store, audit: Audit) -> None:
    """The author's name, whoever asks for it; a correction tells the cost that held before."""
    desk = Corrections(store, zone=UTC_ZONE, clock=Moving())
    (one,) = await unknown_requests(store, 1)
    said = resolution("0.0123", None, by="carol", reason="as billed")
    await desk.resolve([one], said, by=BOB)
    entry = await newest(audit)
    assert (entry.actor, entry.action) == (Actor("carol", Via.NETWORK), "requests.resolved")
    assert (entry.target.kind, entry.target.id, entry.target.name) == ("request", one, one)
    assert entry.before == {"state": "unknown", "true_cost": None, "charged": None}
    assert entry.after == {"state": "settled", "true_cost": "0.0123", "charged": "0.0123", "reason": "as billed"}
    await desk.resolve([one], said, by=BOB)  # the same once more
    await desk.preview([one], resolution("1", None, by="carol", reason="x", again=True))
    again = resolution("0.5", "0.0123", by="dave", reason="a slip", again=True)
    await desk.resolve([one], again, by=ALICE)
    assert await told(audit) == (
        "requests.resolved",
        {"true_cost": "0.0123"},
        {"true_cost": "0.50", "reason": "a slip"},
    )
    assert len((await audit.entries(AuditFilter(target=one))).items) == 2
    with pytest.raises(AccountsError):
        await desk.resolve([one], said)
    assert len((await audit.entries(AuditFilter(action="requests"))).items) == 2


async def test_a_resolution_of_many_is_one_entry(store: Store, audit: Audit) -> None:
    """It names a hundred of them; every one of them leads to it."""
    desk = Corrections(store, zone=UTC_ZONE, clock=Moving())
    ids = await unknown_requests(store, 103)
    await desk.resolve(ids, resolution("0", None, by="carol", reason="never billed"), by=ALICE)
    entry = await newest(audit)
    assert (entry.target.kind, entry.target.name) == ("requests", "103 requests")
    assert entry.before == {"state": "unknown", "true_cost": None, "charged": None}
    assert entry.after is not None
    named = entry.after["ids"]
    assert len(named) == 100
    assert set(named) < set(ids)
    costs = {"state": "settled", "true_cost": "0.00", "charged": "0.00"}
    assert entry.after == {**costs, "reason": "never billed", "requests": 103, "ids": named}
    for ident in ids[::20]:
        assert (await audit.entries(AuditFilter(target=ident))).items == (entry,)
    await desk.resolve(ids[:2], resolution("1", None, by="carol", reason="after all", again=True))
    assert (await newest(audit)).before == {}
    assert (await newest(audit)).after == {
        **costs,
        "true_cost": "1.00",
        "charged": "1.00",
        "reason": "after all",
        "requests": 2,
        "ids": ids[:2],
    }


# --- settings -------------------------------------------------------------------------------------

KEY_A, KEY_B = "upstream-key-a-0123456789", "upstream-key-b-0123456789"


def settings(**values: Any) -> dict[str, Setting]:
    """Three settings: a plain one, a secret, and a URL that may hold one."""
    key, proxy = values.get("key"), values.get("proxy")
    secret = proxy if proxy is not None and "@" in proxy else None
    return {
        "IRG_PORT": Setting(values.get("port", 8000), 8000),
        "IMAGEROUTER_API_KEY": Setting("set" if key else "unset", "unset", key),
        "IRG_UPSTREAM_PROXY": Setting(None if secret else proxy, None, secret),
    }


async def test_the_first_start_tells_what_differs_from_the_defaults(audit: Audit) -> None:
    """And the next ones what differs from the start before; nothing, if nothing does."""
    await audit.note_settings(settings())
    assert await count(audit) == 0
    await audit.note_settings(settings(key=KEY_A, port=9000))
    entry = await newest(audit)
    assert (entry.actor, entry.target.kind) == (Actor("gateway", Via.GATEWAY), "settings")
    assert await told(audit) == (
        "settings.changed",
        {"IRG_PORT": 8000, "IMAGEROUTER_API_KEY": "unset"},
        {"IRG_PORT": 9000, "IMAGEROUTER_API_KEY": "set"},
    )
    await audit.note_settings(settings(key=KEY_A, port=9000))
    assert await count(audit) == 1
    await audit.note_settings(settings(key=KEY_B, port=9000))
    assert await told(audit) == (
        "settings.changed",
        {"IMAGEROUTER_API_KEY": "set"},
        {"IMAGEROUTER_API_KEY": "changed"},
    )
    await audit.note_settings(settings(key=KEY_A))
    assert await told(audit) == (
        "settings.changed",
        {"IRG_PORT": 9000, "IMAGEROUTER_API_KEY": "set"},
        {"IRG_PORT": 8000, "IMAGEROUTER_API_KEY": "changed"},
    )
    await audit.note_settings(settings())
    assert await told(audit) == ("settings.changed", {"IMAGEROUTER_API_KEY": "set"}, {"IMAGEROUTER_API_KEY": "unset"})


async def test_a_setting_may_become_a_secret_and_back(audit: Audit) -> None:
    """A proxy without credentials is told, one with them is only set."""
    steps: list[tuple[str | None, Any, Any]] = [
        ("http://proxy:3128", None, "http://proxy:3128"),
        ("http://user:hush@proxy:3128", "http://proxy:3128", "set"),
        ("http://user:other@proxy:3128", "set", "changed"),
        ("http://proxy:3128", "set", "http://proxy:3128"),
        (None, "http://proxy:3128", None),
    ]
    for proxy, before, after in steps:
        await audit.note_settings(settings(proxy=proxy))
        name = "IRG_UPSTREAM_PROXY"
        assert await told(audit) == ("settings.changed", {name: before}, {name: after})
    assert await count(audit) == len(steps)


async def test_a_part_of_the_settings_may_be_noted(audit: Audit) -> None:
    """The others stay as they were seen."""
    await audit.note_settings(settings(key=KEY_A, port=9000))
    await audit.note_settings({"IMAGEROUTER_API_KEY": Setting("set", "unset", KEY_B)})
    assert (await newest(audit)).after == {"IMAGEROUTER_API_KEY": "changed"}
    await audit.note_settings(settings(key=KEY_B, port=9000))
    assert await count(audit) == 2


async def test_settings_that_cannot_be_noted_are_noted_at_the_next_start(store: Store, audit: Audit, path: Any) -> None:
    """A ledger that is locked keeps nobody from starting."""
    elsewhere = Elsewhere(path)
    await audit.note_settings(settings(port=9000))
    elsewhere.let_go()
    while not store.healthy:
        pass
    assert await count(audit) == 0
    await audit.note_settings(settings(port=9000))
    assert (await newest(audit)).after == {"IRG_PORT": 9000}


# --- what is found again --------------------------------------------------------------------------


async def test_pages_go_from_the_newest_to_the_first(keyring: Keyring, audit: Audit) -> None:
    """Every entry once, whatever the size of a page, also while there are new ones."""
    for number in range(7):
        await keyring.create(NewKey(f"key-{number}"))
    names: list[str] = []
    after: str | None = None
    while True:
        page = await audit.entries(after=after, limit=3)
        names += [entry.target.name for entry in page.items]
        await keyring.create(NewKey(f"meanwhile-{len(names)}"))
        if (after := page.next) is None:
            break
    assert names == [f"key-{number}" for number in range(6, -1, -1)]


async def test_filters(keyring: Keyring, audit: Audit) -> None:
    """By target, action, actor and time; all of them hold."""
    await keyring.create_team("growth", by=ALICE)
    await keyring.create(NewKey("bot"), by=ALICE)
    await keyring.create(NewKey("other"), by=BOB)
    await keyring.disable("bot", by=BOB)
    await keyring.change_team("growth", name="sales", by=BOB)

    async def found(**wanted: Any) -> list[str]:
        page = await audit.entries(AuditFilter(**wanted))
        return [f"{entry.action} {entry.target.name}" for entry in page.items]

    assert await found(actor="alice") == ["key.created bot", "team.created growth"]
    assert await found(action="key.created") == ["key.created other", "key.created bot"]
    assert await found(action="key") == ["key.disabled bot", "key.created other", "key.created bot"]
    assert await found(target="bot", actor="bob") == ["key.disabled bot"]
    assert await found(target="nothing") == []
    at = (await newest(audit, target="other")).at
    assert await found(from_at=at) == ["team.changed growth", "key.disabled bot", "key.created other"]
    assert await found(to_at=at) == ["key.created bot", "team.created growth"]
    assert await found(from_at=at, to_at=at + timedelta(milliseconds=1)) == ["key.created other"]


async def test_a_target_is_found_by_every_name_it_had(keyring: Keyring, audit: Audit) -> None:
    """By its id, the name it has now, and those before; also when there are no entries under them."""
    key, _ = await keyring.create(NewKey("one"))
    for before, after in (("one", "two"), ("two", "three")):
        await keyring.change(before, KeyChange(name=after))
    team = await keyring.create_team("blue")
    await keyring.change_team("blue", name="re\u0301d")
    everything = {ref: (await audit.entries(AuditFilter(target=ref))).items for ref in ("one", "two", "three", key.id)}
    assert {len(items) for items in everything.values()} == {3}
    assert all(items == everything["one"] for items in everything.values())
    for ref in (team.id, "blue", "re\u0301d", "r\u00e9d"):
        assert len((await audit.entries(AuditFilter(target=ref))).items) == 2


async def test_entries_are_in_the_order_in_which_they_were_made(store: Store, audit: Audit) -> None:
    """Also when the clock is set back: the newest is the last one written, and each has its own time."""
    moments = [AT, AT + timedelta(days=1), AT - timedelta(days=1), AT - timedelta(days=1)]
    for number, moment in enumerate(moments):
        await Keyring(store, clock=lambda moment=moment: moment).create(NewKey(f"key-{number}"))  # type: ignore[misc]
    items = (await audit.entries()).items
    assert [entry.target.name for entry in items] == ["key-3", "key-2", "key-1", "key-0"]
    assert [entry.at for entry in items] == moments[::-1]
    found = await audit.entries(AuditFilter(from_at=AT))
    assert [entry.target.name for entry in found.items] == ["key-1", "key-0"]


async def test_what_cannot_be_asked_for(audit: Audit) -> None:
    """A cursor of something else, an action that there is not, a page of nothing."""
    with pytest.raises(BadValue, match="no cursor"):
        await audit.entries(after="req_1")
    with pytest.raises(BadValue, match=r"'key.made' is none\. Write one of key\.created, .* or key, team"):
        await audit.entries(AuditFilter(action="key.made"))
    for limit in (0, 1001):
        with pytest.raises(BadValue, match="between 1 and 1000"):
            await audit.entries(limit=limit)
    for action in Action:
        assert (await audit.entries(AuditFilter(action=action))).items == ()
