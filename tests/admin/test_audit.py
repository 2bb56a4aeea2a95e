"""The audit log over the admin API: every route that changes something says who did it; pages, filters, no secret."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute

from app.accounts.errors import AccountsError
from app.admin import build_admin
from app.admin.who import PROCESS_EXTENSION, actor_of
from app.core.audit import Actor, Via
from app.core.keys import hash_secret
from app.core.owners import NewKey
from tests.admin.books import Books
from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream

FIELDS = ["id", "at", "actor", "via", "action", "target", "target_id", "target_kind", "before", "after"]


async def entries(books: Books, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await books.get("audit", **query))["items"]
    return found


# --- who ------------------------------------------------------------------------------------------

# Every route that changes something, with a body that does.
CHANGES: dict[tuple[str, str], tuple[str, dict[str, Any], str]] = {
    ("POST", "/keys"): ("keys", {"name": "new"}, "key.created"),
    ("PATCH", "/keys/{ref}"): ("keys/alice", {"rpm": 5}, "key.changed"),
    ("POST", "/keys/{ref}/rotate"): ("keys/alice/rotate", {}, "key.rotated"),
    ("POST", "/keys/{ref}/disable"): ("keys/alice/disable", {}, "key.disabled"),
    ("POST", "/keys/{ref}/enable"): ("keys/sleeper/enable", {}, "key.enabled"),
    ("POST", "/keys/{ref}/revoke"): ("keys/alice/revoke", {}, "key.revoked"),
    ("POST", "/teams"): ("teams", {"name": "new"}, "team.created"),
    ("PATCH", "/teams/{ref}"): ("teams/growth", {"name": "sales"}, "team.changed"),
    ("PUT", "/budget"): ("budget", {"budgets": ["5/day"]}, "budget.changed"),
    ("PATCH", "/budget"): ("budget", {"budgets": ["6/day"]}, "budget.changed"),
    ("POST", "/requests/resolve"): (
        "requests/resolve",
        {"all": True, "cost": "1", "reason": "told"},
        "requests.resolved",
    ),
    ("POST", "/requests/{ref:path}/resolve"): (
        "requests/{request}/resolve",
        {"cost": "1", "reason": "told"},
        "requests.resolved",
    ),
    ("POST", "/alerts"): ("alerts", {"name": "ops", "address": "https://ops.example/path"}, "alert.added"),
    ("DELETE", "/alerts/{name}"): ("alerts/mail", {}, "alert.removed"),
}
CHANGE_NOTHING = {("POST", "/verify"), ("POST", "/alerts/{name}/test")}


async def test_every_changing_route_is_tried_here(books: Books) -> None:
    """From the route table: a new one must say who."""
    there = {
        (method, route.path.removeprefix("/admin/v1"))
        for route in build_admin(books.services).routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method != "GET"
    }
    assert there - CHANGE_NOTHING == CHANGES.keys()


@pytest.mark.parametrize("route", sorted(CHANGES), ids=" ".join)
async def test_every_changing_route_says_who(books: Books, route: tuple[str, str]) -> None:
    """One entry, by whom the header names; none when a body is refused."""
    await books.key("alice")
    await books.key("sleeper")
    await books.services.keyring.disable("sleeper")
    await books.services.keyring.create_team("growth")
    await books.services.alerts.add("mail", "https://mail.example/path")
    request = await books.book(true_cost=None)
    before = await entries(books)
    path, body, action = CHANGES[route]
    path = f"/admin/v1/{path.format(request=request)}"
    if body:
        assert (await books.client.request(route[0], path, json=body | {"nonsense": 1})).status_code == 400
    assert (await books.client.request(route[0], path, json=body, headers={"x-irg-actor": "Eve"})).is_success
    made = (await entries(books))[: -len(before)]
    assert [(entry["action"], entry["actor"], entry["via"]) for entry in made] == [(action, "Eve", "process")]
    assert list(made[0]) == FIELDS


async def test_a_resolutions_author_wins(books: Books) -> None:
    """`by` is the name in both places; without it, who asks is the author."""
    await books.key("alice")
    one, other = [await books.book(true_cost=None) for _ in range(2)]
    headers = {"x-irg-actor": "Eve"}
    for request, by in ((one, {"by": "carol"}), (other, {})):
        path = f"/admin/v1/requests/{request}/resolve"
        answer = await books.client.post(path, json={"cost": "1", "reason": "told", **by}, headers=headers)
        (entry,) = await entries(books, target=request)
        assert answer.json()["items"][0]["resolved"]["by"] == entry["actor"] == (by.get("by") or "Eve")


@pytest.mark.parametrize("front", ["on"], indirect=True)
async def test_the_way_is_the_gateways_own_word(gateway: GatewayUnderTest) -> None:
    """Network or socket, whatever a client says; also with a token on the socket."""
    bearer = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    said = {"x-irg-actor": "eve", "x-irg-via": "process", "via": "process"}
    transport = httpx.AsyncHTTPTransport(uds=str(gateway.ready.socket_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as local:
        await local.post("/admin/v1/keys", json={"name": "one"})
        await local.post("/admin/v1/keys", json={"name": "two"}, headers=bearer | said)
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as remote:
        await remote.post("/admin/v1/keys", json={"name": "three"}, headers=bearer | said)
        await remote.post("/admin/v1/keys", json={"name": "four"}, headers=bearer)
        found = (await remote.get("/admin/v1/audit?action=key", headers=bearer)).json()["items"]
    assert [(entry["target"], entry["actor"], entry["via"]) for entry in found] == [
        ("four", "admin", "network"),
        ("three", "eve", "network"),
        ("two", "eve", "socket"),
        ("one", "admin", "socket"),
    ]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([], "admin"),
        ([(b"x-irg-actor", b"")], "admin"),
        ([(b"x-irg-actor", "käthe".encode())], "käthe"),
        ([(b"x-irg-actor", b"\xff\xfe")], "\ufffd\ufffd"),
        ([(b"x-irg-actor", b"a" * 5000)], "a" * 64),
        ([(b"x-irg-actor", b"first"), (b"x-irg-actor", b"second")], "first"),
        ([(b"x-irg-actor", b"a\tb\x7f\x1b[0m")], "ab[0m"),
    ],
)
def test_a_name_is_what_the_header_says_cleaned(headers: list[tuple[bytes, bytes]], name: str) -> None:
    """UTF-8; nothing that cannot be seen."""
    assert actor_of({"headers": headers}) == Actor(name, Via.NETWORK)
    assert actor_of({"headers": headers, "extensions": {PROCESS_EXTENSION: {}}}) == Actor(name, Via.PROCESS)


# --- what is asked --------------------------------------------------------------------------------


@pytest.fixture
async def busy(books: Books) -> Books:
    """Some changes by two people."""
    for number in range(5):
        headers = {"x-irg-actor": "ann" if number % 2 else "ben"}
        await books.client.post("/admin/v1/keys", json={"name": f"key-{number}"}, headers=headers)
    await books.client.patch("/admin/v1/keys/key-0", json={"rpm": 60}, headers={"x-irg-actor": "ann"})
    await books.client.patch("/admin/v1/keys/key-0", json={"rpm": 30}, headers={"x-irg-actor": "ben"})
    return books


async def test_pages_newest_first(busy: Books) -> None:
    """Each entry once, in any size of page; the shape is the same everywhere."""
    whole = await entries(busy)
    assert [entry["target"] for entry in whole] == ["key-0", "key-0", "key-4", "key-3", "key-2", "key-1", "key-0"]
    paged: list[dict[str, Any]] = []
    after: str | None = None
    for size in (3, 3, 3):
        page = await busy.get("audit", limit=size, **({"after": after} if after else {}))
        paged, after = paged + page["items"], page["next"]
    assert after is None
    assert paged == whole
    assert all(list(entry) == FIELDS for entry in whole)
    newest = whole[0]
    assert newest["id"].startswith("aud_")
    key = (await busy.get("keys/key-0"))["id"]
    assert {field: newest[field] for field in FIELDS[2:]} == {
        "actor": "ben",
        "via": "process",
        "action": "key.changed",
        "target": "key-0",
        "target_id": key,
        "target_kind": "key",
        "before": {"rpm": 60},
        "after": {"rpm": 30},
    }


async def test_filters(busy: Books) -> None:
    """All of them hold; periods are those of requests."""
    assert len(await entries(busy, target="key-0")) == 3
    assert len(await entries(busy, target="key-0", actor="ann")) == 1
    assert len(await entries(busy, action="key.created")) == 5
    assert len(await entries(busy, action="key")) == 7
    assert len(await entries(busy, last="1h")) == 7
    assert len(await entries(busy, month="2020-01")) == 0
    assert len(await entries(busy, **{"from": "2020-01-01"})) == 7
    assert len(await entries(busy, to="2020-01-01")) == 0


@pytest.mark.parametrize(
    ("query", "param", "says"),
    [
        ({"action": "key.made"}, "action", "key.created"),
        ({"after": "req_1"}, "after", "cursor"),
        ({"limit": "0"}, "limit", "1 to 1000"),
        ({"who": "ann"}, "who", "Fields:"),
        ({"last": "soon"}, "last", "24h"),
        ({"last": "7d", "month": "2026-10"}, "last", ""),
        ({"from": "2026-10-02", "to": "2026-10-01"}, "from", "before"),
    ],
)
async def test_what_cannot_be_asked_is_told(books: Books, query: dict[str, str], param: str, says: str) -> None:
    """The field at fault, and what to write."""
    status, error = await books.refused("GET", "audit", params=query)
    assert (status, error["param"]) == (400, param)
    assert says in error["message"]


async def test_nothing_else_is_offered_on_the_log(books: Books) -> None:
    """No route changes or removes an entry."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await books.client.request(method, "/admin/v1/audit")).status_code == 405


# --- no secret ------------------------------------------------------------------------------------

PROXY = "http://canary-user:canary-pass-5d41402a@127.0.0.1:9"


def forms(secret: str) -> set[str]:
    """A secret in plain, URL-encoded, and in base64 wherever it begins."""
    found = {secret, quote(secret, safe=""), secret.encode().hex()}
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        inner = whole[4 if shift else 0 : -4]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


async def test_no_secret_is_anywhere_in_the_log(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Keys, tokens, proxies with passwords: neither they nor their hashes, in the tables or in what is told of them."""
    renewed = "another-upstream-key-77c2b5"
    async with gateway_before(
        upstream.url,
        tmp_path,
        upstream_transport="httpx",
        upstream_proxy=PROXY,
        admin_token="canary-admin-token-0123456789abcdef",
    ) as gateway:
        secrets = [await gateway.create_key("alice")]
        async with gateway.admin() as admin:
            for body in ({"grace": "1h"}, {}):
                secrets.append((await admin.post("/admin/v1/keys/alice/rotate", json=body)).json()["secret"])
            made = await admin.post("/admin/v1/keys", json={"name": "bob", "rpm": 5})
            secrets.append(made.json()["secret"])
            await admin.post("/admin/v1/keys/bob/revoke")
            await admin.patch("/admin/v1/keys/alice", json={"name": secrets[0]})  # refused: it looks like a secret
            gateway.ready.gateway.renew_key(renewed.encode())
            told = ""
            while "IMAGEROUTER_API_KEY" not in told or '"changed"' not in told:
                told = (await admin.get("/admin/v1/audit")).text
    connection = sqlite3.connect(tmp_path / "gateway.db")
    rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("audit", "settings_seen")]
    connection.close()
    stored = repr(rows)
    assert stored.count("key.rotated") == 2
    assert stored.count("settings.changed") == 2
    hidden = [*secrets, UPSTREAM_KEY, renewed, "canary-admin-token-0123456789abcdef", ADMIN_TOKEN, PROXY]
    hidden += ["canary-user", "canary-pass-5d41402a"]
    hidden += [hash_secret(secret) for secret in secrets]
    for secret in hidden:
        for form in forms(secret):
            assert form not in stored, form
            assert form not in told, form


async def test_a_secret_as_a_name_is_refused(books: Books) -> None:
    """What begins like one is no name, so it cannot stand in the log as a target."""
    secret = await books.key("alice")
    with pytest.raises(AccountsError):
        await books.services.keyring.create(NewKey(secret))
    assert secret not in str(await entries(books))
