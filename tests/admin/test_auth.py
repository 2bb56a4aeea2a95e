"""Who opens admin routes: every route against every credential, taken from the route table itself."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from app.admin import build_admin
from app.admin.auth import authorize
from app.admin.route import AdminRoute
from app.core.errors import ApiError
from app.core.keys import new_secret
from tests.admin.books import Books
from tests.harness import ADMIN_TOKEN, GatewayUnderTest


def table(books: Books) -> list[tuple[str, str]]:
    """Every (method, path) there is, with something in place of each parameter."""
    routes = build_admin(books.services).routes
    assert all(isinstance(route, AdminRoute) for route in routes)
    found = [
        (method, re.sub(r"\{[^}]*\}", "nothing", route.path))
        for route in routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    assert len(found) >= 18
    return found


async def status(books: Books, method: str, path: str, headers: list[tuple[str, str]]) -> tuple[int, dict[str, Any]]:
    books.client.headers.pop("authorization", None)
    async with books.client.stream(method, path, headers=headers) as answer:
        streams = answer.headers["content-type"].startswith("text/event-stream")
        return answer.status_code, {} if streams else {"body": await answer.aread()}


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        ("nothing", 401),
        ("team key", 403),
        ("revoked team key", 403),
        ("wrong admin token", 401),
        ("admin token as Basic", 401),
        ("admin token twice", 401),
        ("admin token cut short", 401),
        ("admin token as a cookie", 401),
    ],
)
async def test_no_route_opens_without_the_admin_token(books: Books, credential: str, expected: int) -> None:
    """The same refusal on every route, before a path, a query or a body is looked at."""
    team_key = await books.key("alice")
    revoked = await books.key("gone")
    await books.services.keyring.revoke("gone")
    bearer = ("Authorization", f"Bearer {ADMIN_TOKEN}")
    headers = {
        "nothing": [],
        "team key": [("Authorization", f"Bearer {team_key}")],
        "revoked team key": [("Authorization", f"Bearer {revoked}")],
        "wrong admin token": [("Authorization", "Bearer wrong-admin-token-0123456789abcdef00")],
        "admin token as Basic": [("Authorization", f"Basic {ADMIN_TOKEN}")],
        "admin token twice": [bearer, bearer],
        "admin token cut short": [("Authorization", f"Bearer {ADMIN_TOKEN[:-1]}")],
        "admin token as a cookie": [("Cookie", f"session={ADMIN_TOKEN}; authorization=Bearer {ADMIN_TOKEN}")],
    }[credential]
    answers = {route: await status(books, *route, headers) for route in table(books)}
    assert {code for code, _ in answers.values()} == {expected}
    assert len({answer["body"] for _, answer in answers.values()}) == 1
    assert {record.state for record in (await books.services.keyring.list()).items} == {"active", "revoked"}


async def test_every_route_opens_with_the_admin_token(books: Books) -> None:
    """Whatever the answer is then, it is about what was asked."""
    for route in table(books):
        code, _ = await status(books, *route, [("Authorization", f"Bearer {ADMIN_TOKEN}")])
        assert code in (200, 400, 404), route


async def test_no_answer_is_a_page_or_sets_a_cookie(books: Books) -> None:
    """So another site's page can neither use who is logged in nor run what a name holds."""
    for method, path in table(books):
        async with books.client.stream(method, path) as answer:
            assert "set-cookie" not in answer.headers
            assert answer.headers["content-type"].partition(";")[0] in ("application/json", "text/event-stream"), path


async def test_the_gateway_has_no_other_admin_routes(gateway: GatewayUnderTest) -> None:
    """What the running application serves under /admin is the table that is tested here."""
    served = {path for path in gateway.ready.gateway.fastapi.openapi()["paths"] if path.startswith("/admin")}
    routes = build_admin(gateway.services).routes
    assert served == {route.path.replace(":path", "") for route in routes if isinstance(route, APIRoute)}


async def test_a_refusal_comes_before_the_body_is_read(books: Books) -> None:
    """A stranger learns nothing about what a body should look like."""
    books.client.headers.pop("authorization")
    answer = await books.client.post("/admin/v1/keys", content=b"{not json")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_admin_token"


@pytest.mark.parametrize("front", ["on"], indirect=True)
async def test_the_gateways_own_socket_is_authority_enough(gateway: GatewayUnderTest) -> None:
    """Whoever may open the file is the admin; over TCP the same request is refused."""
    socket = str(gateway.ready.socket_path)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket), base_url="http://gateway") as local:
        assert (await local.get("/admin/v1/keys")).status_code == 200
        wrong = {"authorization": "Bearer wrong"}
        assert (await local.get("/admin/v1/keys", headers=wrong)).status_code == 401
        team_key = {"authorization": f"Bearer {await gateway.create_key()}"}
        assert (await local.get("/admin/v1/keys", headers=team_key)).status_code == 403
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as remote:
        assert (await remote.get("/admin/v1/keys")).status_code == 401
    async with gateway.admin() as remote:
        assert (await remote.get("/admin/v1/keys")).status_code == 200


@pytest.mark.parametrize("local", [False, None, 1, "True"])
def test_only_true_is_local(local: object) -> None:
    """An extension of another server, or a truthy accident, opens nothing."""
    scope = {"headers": [], "extensions": {"irg.connection": SimpleNamespace(local=local)}}
    with pytest.raises(ApiError):
        authorize(scope, ADMIN_TOKEN)


def test_an_admin_token_that_looks_like_a_team_key_is_still_the_admin_token() -> None:
    """What the operator set decides, whatever it begins with."""
    token = new_secret().text
    authorize({"headers": [(b"authorization", f"bearer {token}".encode())]}, token)
