"""`/v1/me`: what a key's holder sees of its key, and that it works when nothing else does."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute

from app.admin import build_me
from app.admin.holder import HolderRoute
from app.admin.me_shapes import me_shape
from app.core.bounds import BoundBudget, BoundLimit, KeyStanding
from app.core.budgets import Budget, BudgetPeriod
from app.core.clock import now
from app.core.limits import Limits
from app.core.owners import BudgetRecord, KeyRecord
from app.core.records import KeyState, RefusalReason, Scope
from tests.admin.books import Books
from tests.harness import ADMIN_TOKEN, GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream, json_answer

AT = datetime(2026, 11, 22, 23, 53, 3, 123_456, tzinfo=UTC)
ANSWER = b'{"id": "resp_1", "output": [], "usage": {"cost": 0.05}, "cost": 0.05}'

CENT = 10**10


# --- the shape -----------------------------------------------------------------------------


def test_me_is_this_json() -> None:
    """A key's shape; each budget with its scope before it, and what each limit leaves."""
    key = KeyRecord(
        "key_1", "bot", "irg_02ff…", "growth", ("a",), KeyState.ACTIVE, (), None, AT, None, (), Limits(rpm=60)
    )
    budget = BudgetRecord(45 * 10**12, BudgetPeriod.MONTH, 10**12, 2, AT, AT)
    standing = KeyStanding(
        key,
        (BoundBudget(Scope.KEY, budget), BoundBudget(Scope.GATEWAY, budget)),
        (
            BoundLimit(Scope.KEY, RefusalReason.REQUESTS_PER_MINUTE, 60, 61, AT),
            BoundLimit(Scope.TEAM, RefusalReason.CONCURRENCY, 4, 1, None),
        ),
    )
    stands = (
        '"amount":"45.00","period":"month","spent":"1.00","held":"0.000000000002","remaining":"43.999999999998",'
        '"resets_at":"2026-11-22T23:53:03.123Z","starts_at":"2026-11-22T23:53:03.123Z"'
    )
    assert me_shape(standing).model_dump_json() == (
        '{"id":"key_1","name":"bot","prefix":"irg_02ff…","team":"growth","tags":["a"],"state":"active","models":[],'
        f'"budgets":[{{"scope":"key",{stands}}},{{"scope":"gateway",{stands}}}],'
        '"limits":{"rpm":60,"tpm":null,"concurrency":null},'
        '"expires_at":null,"created_at":"2026-11-22T23:53:03.123Z","last_used_at":null,'
        '"allowances":[{"scope":"key","kind":"requests_per_minute","limit":60,"used":61,"remaining":0,'
        '"resets_at":"2026-11-22T23:53:03.123Z"},'
        '{"scope":"team","kind":"concurrency","limit":4,"used":1,"remaining":3,"resets_at":null}]}'
    )


async def test_a_key_without_limits_sees_itself_as_the_admin_does(books: Books) -> None:
    """The same fields with the same values."""
    await books.key("alice", tags=("prod",), models=("openai/*",))
    me = await books.me("alice")
    assert me.pop("allowances") == []
    assert me == await books.get("keys/alice")


async def limited(books: Books) -> None:
    """alice of growth: limits on all three owners."""
    growth = {"name": "growth", "budgets": ["1/week"], "rpm": 9, "concurrency": 2}
    assert (await books.client.post("/admin/v1/teams", json=growth)).status_code == 201
    await books.key(
        "alice",
        team="growth",
        budgets=(Budget(CENT, BudgetPeriod.DAY), Budget(9 * CENT, BudgetPeriod.TOTAL)),
        limits=Limits(rpm=3, tpm=10_000),
    )
    await books.key("bob", team="growth")
    assert (await books.client.put("/admin/v1/budget", json={"budgets": ["5/month"]})).status_code == 200


async def test_everything_that_can_refuse_a_key_is_there(books: Books) -> None:
    """Budgets of key, team and gateway, in this order; what is spent and held of each is true right now."""
    await limited(books)
    await books.close(await books.open("alice", costs_up_to=CENT // 2), "0.002")
    await books.open("alice", costs_up_to=CENT // 2)
    await books.close(await books.open("bob", costs_up_to=CENT), "0.01")
    budgets = (await books.me("alice"))["budgets"]
    told = [(one["scope"], one["period"], one["spent"], one["held"], one["remaining"]) for one in budgets]
    assert told == [
        ("key", "day", "0.002", "0.005", "0.003"),
        ("key", "total", "0.002", "0.005", "0.083"),
        ("team", "week", "0.012", "0.005", "0.983"),
        ("gateway", "month", "0.012", "0.005", "4.983"),
    ]
    own = (await books.get("keys/alice"))["budgets"]
    assert [one | {"scope": "key"} for one in own] == budgets[:2]
    assert [one["scope"] for one in (await books.me("bob"))["budgets"]] == ["team", "gateway"]


async def test_what_limits_leave_is_what_an_admission_finds(books: Books) -> None:
    """What is left is less than the next request needs: it is refused for such a reason."""
    await limited(books)
    for _ in range(2):
        await books.open("alice")
    me = await books.me("alice")
    left = {(one["scope"], one["kind"]): (one["used"], one["remaining"]) for one in me["allowances"]}
    assert left == {
        ("key", "requests_per_minute"): (2, 1),
        ("key", "tokens_per_minute"): (8192, 1808),  # a running one is taken for 4,096
        ("team", "requests_per_minute"): (2, 7),
        ("team", "concurrency"): (2, 0),
    }
    assert me["limits"] == {"rpm": 3, "tpm": 10_000, "concurrency": None}
    rpm, tpm, *_ = me["allowances"]
    assert now() < datetime.fromisoformat(rpm["resets_at"]) <= now() + timedelta(minutes=1)
    assert tpm["resets_at"] is None  # nothing is used up yet but by what runs
    await books.refuse("alice")
    refused = (await books.me("alice", "/refusals"))["items"][0]
    assert (refused["scope"], refused["reason"]) in [("key", "tokens_per_minute"), ("team", "concurrency")]


async def test_a_key_follows_its_team(books: Books) -> None:
    """Another team's limits bind from the moment it belongs there, and no longer."""
    await limited(books)
    assert (await books.client.patch("/admin/v1/keys/bob", json={"team": None})).status_code == 200
    bob = await books.me("bob")
    assert ([one["scope"] for one in bob["budgets"]], bob["allowances"], bob["team"]) == (["gateway"], [], None)


# --- who is let in -------------------------------------------------------------------------


def paths(books: Books) -> list[str]:
    """Every path there is, with something in place of each parameter."""
    routes = build_me(books.services).routes
    assert all(isinstance(route, HolderRoute) and route.methods == {"GET"} for route in routes)
    found = [re.sub(r"\{[^}]*\}", "nothing", route.path) for route in routes if isinstance(route, APIRoute)]
    assert len(found) == 6
    return found


async def test_every_refused_credential_gets_the_same_401(books: Books) -> None:
    """The data plane's own; before a path, a query or a body is looked at. An admin token is no team key."""
    keyring = books.services.keyring
    for name in ("alice", "disabled", "revoked", "rotated"):
        await books.key(name)
    await books.key("expired", expires_at=now() + timedelta(milliseconds=20))
    await keyring.disable("disabled")
    await keyring.revoke("revoked")
    await keyring.rotate("rotated")
    await asyncio.sleep(0.03)
    shown = [books.secrets[name] for name in ("disabled", "revoked", "rotated", "expired")]
    shown += ["irg_" + "0" * 69, ADMIN_TOKEN, books.secrets["alice"][:-1], ""]
    headers: list[list[tuple[str, str]]] = [[("authorization", f"Bearer {secret}")] for secret in shown]
    right = ("authorization", f"Bearer {books.secrets['alice']}")
    headers += [[], [right, right], [("authorization", f"Basic {books.secrets['alice']}")]]
    del books.client.headers["authorization"]
    bodies = set()
    for path in paths(books):
        for given in headers:
            answer = await books.client.get(f"{path}?limit=many", headers=given)
            assert (answer.status_code, answer.headers["cache-control"]) == (401, "no-store"), (path, given)
            bodies.add(answer.content)
        assert (await books.client.get(path, headers=[right])).status_code in (200, 404)
    assert len(bodies) == 1


async def test_the_401_is_the_data_planes(gateway: GatewayUnderTest) -> None:
    """Whoever tries keys learns nothing from another route."""
    bodies = set()
    for path in ("/v1/me", "/v1/me/usage", "/v1/models"):
        async with gateway.post(b"", "irg_" + "0" * 69, method="GET", path=path) as reply:
            assert (reply.status, reply.header("x-error-source")) == (401, "gateway")
            bodies.add(await reply.body())
    async with gateway.post({"model": "m"}, "irg_" + "0" * 69) as reply:
        bodies.add(await reply.body())
    assert len(bodies) == 1


async def test_the_routes_are_described(gateway: GatewayUnderTest) -> None:
    """With the credential that they take."""
    document = gateway.ready.gateway.fastapi.openapi()
    there = {path: operations for path, operations in document["paths"].items() if path.startswith("/v1/me")}
    assert len(there) == 6
    assert {str(operations["get"]["security"]) for operations in there.values()} == {"[{'team key': []}]"}


async def test_the_gateways_own_socket_is_no_team_key(gateway: GatewayUnderTest) -> None:
    """The admin's ways open the admin's routes; these are a holder's."""
    import httpx

    socket = str(gateway.ready.socket_path)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket), base_url="http://gateway") as local:
        assert (await local.get("/v1/me")).status_code == 401
    async with gateway.admin() as remote:
        assert (await remote.get("/v1/me")).status_code == 401


# --- when it works -------------------------------------------------------------------------


async def test_it_works_while_the_budget_is_spent_and_counts_against_nothing(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """One request per minute is what one may make, however often one looks; and a spent budget shows as such."""
    budgets = (Budget(5 * CENT, BudgetPeriod.DAY),)  # what is held for a model without prices
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "other"}]))
    secret = await gateway.create_key("alice", budgets=budgets, limits=Limits(rpm=1, concurrency=1))
    upstream.answer(json_answer(ANSWER))
    async with gateway.client(secret) as client:
        for _ in range(3):
            before = (await client.get("/v1/me")).json()
            assert [one["remaining"] for one in before["allowances"]] == [1, 1]
            assert before["last_used_at"] is None
        async with gateway.post({"model": "m"}, secret) as reply:
            assert reply.status == 200
            await reply.body()
        async with gateway.post({"model": "m"}, secret) as again:
            assert again.status == 429
            assert again.header("x-should-retry") == "false" or again.header("retry-after") is not None
        for path in ("", "/usage", "/requests", f"/requests/{reply.request_id}", "/refusals"):
            answer = await client.get(f"/v1/me{path}")
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        after = (await client.get("/v1/me")).json()
        refusals = (await client.get("/v1/me/refusals")).json()
        opened = (await client.get(f"/v1/me/refusals/{again.request_id}")).json()
        usage = (await client.get("/v1/me/usage")).json()
    (budget,) = after["budgets"]
    assert (budget["spent"], budget["remaining"]) == ("0.05", "0.00")
    assert [one["remaining"] for one in after["allowances"]] == [0, 1]
    assert refusals["items"] == [opened]
    assert refusals["counts"]["total"] == 1
    assert (usage["total"]["requests"], usage["total"]["charged"]) == (1, "0.05")
    assert len(upstream.requests) == 1


async def test_a_rotated_key_sees_what_it_did_before(books: Books) -> None:
    """The history is the key's, not the secret's; in its grace the old secret opens it too."""
    old = await books.key("alice")
    ident = await books.book("alice")
    _, books.secrets["alice"] = await books.services.keyring.rotate("alice", timedelta(hours=1))
    books.secrets["before"] = old
    for name in ("alice", "before"):
        assert [item["id"] for item in (await books.me(name, "/requests"))["items"]] == [ident]


# --- its own books -------------------------------------------------------------------------


async def test_its_requests_are_found_by_each_of_their_ids(books: Books) -> None:
    """Ours, the upstream's (whatever is in it), and the response's; as the admin sees them."""
    await books.key()
    ident = await books.book(upstream_request_id="up/1 ?#%2F")
    expected = await books.get(f"requests/{ident}")
    for ref in (ident, "up/1 ?#%2F", f"resp_{ident}"):
        assert await books.me("alice", f"/requests/{quote(ref, safe='')}") == expected


async def test_an_upstream_id_that_two_keys_share_opens_each_ones_own(books: Books) -> None:
    """An upstream may repeat itself: the newest of this key, not the newest of all."""
    await books.key("alice")
    await books.key("bob")
    mine = await books.book("alice", upstream_request_id="up_1")
    await books.book("bob", upstream_request_id="up_1")
    assert (await books.me("alice", "/requests/up_1"))["id"] == mine


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("/requests", {"key": "alice"}, "key"),
    ("/requests", {"team": "growth"}, "team"),
    ("/requests", {"limit": 0}, "limit"),
    ("/requests", {"status": "6xx"}, "status"),
    ("/requests", {"last": "7d", "month": "2026-01"}, "last"),
    ("/requests", {"after": "key_1"}, "after"),
    ("/usage", {"by": "team"}, "by"),
    ("/usage", {"by": "key,team"}, "by"),
    ("/usage", {"by": "colour"}, "by"),
    ("/usage", {"key": "bob"}, "key"),
    ("/usage", {"last": "yesterday"}, "last"),
    ("/refusals", {"key": "bob"}, "key"),
    ("/refusals", {"reason": "spent"}, "reason"),
]


async def test_what_cannot_be_asked_is_refused_by_name(books: Books, subtests: pytest.Subtests) -> None:
    """400 with the field at fault: above all whose books are meant, which is never a question here."""
    await books.key("alice")
    for path, query, param in REFUSED:
        with subtests.test(path=path, query=query):
            answer = await books.ask_me("alice", path, **query)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert "team" not in (await books.ask_me("alice", "/usage", by="team")).json()["error"]["message"].split("Write")[1]


async def test_it_is_told_while_the_ledger_cannot_be_read(books: Books) -> None:
    """503 with retry-after, in the same shape."""
    await books.key("alice")
    await books.services.aclose()
    answer = await books.ask_me("alice")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["retry-after"]
