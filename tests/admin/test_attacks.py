"""What an attacker sends to the control plane, on every route: taken from the route table, so new ones are tried."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from app.admin.lines import FORMULA_STARTS
from app.core.keys import new_secret
from tests.admin.books import ADMIN, Books

# SQL, LIKE and GLOB wildcards, NUL, paths, formulas, half a surrogate pair, JSON, lines of a log.
NASTY = (
    "' OR '1'='1",
    "'; DROP TABLE requests; --",
    '" OR ""="',
    "alice' UNION SELECT hash FROM key_secrets --",
    "%",
    "_lice",
    "al*",
    "[a]lice",
    "alice\x00",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    '{"$ne": null}',
    'alice\n{"event":"forged"}',
    "x" * 5000,
)
PAGE_MAX = 1000
FORMULAS = "=+-@\t\r\n"  # OWASP, CSV injection


def operations(books: Books) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """(method, path, parameters) of every admin route, as /openapi.json describes them."""
    for path, methods in books.app.openapi()["paths"].items():
        if path.startswith("/admin/"):
            for method, described in methods.items():
                yield method.upper(), path, described.get("parameters", [])


def routes_with(books: Books, place: str) -> list[tuple[str, str, str]]:
    """(method, path, parameter) for every parameter in the path or the query."""
    return [
        (method, path, one["name"])
        for method, path, parameters in operations(books)
        for one in parameters
        if one["in"] == place and not path.endswith("/events")
    ]


async def state_of(books: Books) -> tuple[object, ...]:
    """What no attack may change."""
    keys = await books.services.keyring.list()
    rows = await books.services.reports.requests(limit=1000)
    return keys.items, rows.items, (await books.services.keyring.list_teams()).items


async def settled_books(books: Books) -> tuple[object, ...]:
    await books.services.keyring.create_team("blue")
    await books.key("alice", team="blue", tags=("prod",))
    await books.book(model="openai/gpt-4o-mini")
    await books.book(true_cost=None)
    return await state_of(books)


async def test_no_word_in_a_query_or_a_path_is_more_than_a_word(books: Books) -> None:
    """Every parameter of every route: nothing found, or refused in our words; nothing changes, nothing fails."""
    before = await settled_books(books)
    tried = 0
    for method, path, name in routes_with(books, "query") + routes_with(books, "path"):
        for word in NASTY:
            url, query = path, {name: word}
            if "{" + name in path:
                url = path[: path.index("{")] + quote(word, safe="") + path[path.index("}") + 1 :]
                query = {}
            url = url.replace("{", "").replace("}", "")
            answer = await books.client.request(method, url, params=query, json={} if method != "GET" else None)
            assert answer.status_code in (200, 400, 404), (method, url, query, answer.text)
            assert b"Traceback" not in answer.content
            tried += 1
    assert tried >= 500
    assert await state_of(books) == before


async def test_no_wildcard_finds_what_it_does_not_name(books: Books) -> None:
    """An id is looked up by its beginning, a key and a team by their name: `%` and `_` are letters there."""
    await settled_books(books)
    for route, name, word in itertools.product(("requests", "refusals"), ("id", "tag", "key", "team"), NASTY):
        answer = await books.client.get(f"/admin/v1/{route}", params={name: word})
        assert answer.status_code in (400, 404) or answer.json()["items"] == [], (route, name, answer.text)


async def test_pages_are_bounded_on_every_list(books: Books) -> None:
    """Whatever number is asked for: at most a thousand at once, at least one, and only digits."""
    lists = [(path, name) for method, path, name in routes_with(books, "query") if name == "limit" and method == "GET"]
    assert len(lists) >= 5
    for path, _ in lists:
        for limit in ("0", "-1", str(PAGE_MAX + 1), "1e3", "99999999999999999999", "\u0661\u0660", " ", "nan"):
            status, error = await books.refused("GET", path.removeprefix("/admin/v1/"), params={"limit": limit})
            assert (status, error["param"]) == (400, "limit"), (path, limit)
        assert (await books.client.get(path, params={"limit": PAGE_MAX})).status_code == 200


@pytest.mark.parametrize("credential", ["nothing", "team key", "wrong token", "forged team key"])
async def test_strangers_cannot_tell_what_is_there(books: Books, credential: str) -> None:
    """The same status and bytes for a thing that exists and one that does not, on every route with a name in it."""
    secret = await books.key("alice")
    request_id = await books.book()
    headers = {
        "nothing": {},
        "team key": {"authorization": f"Bearer {secret}"},
        "wrong token": {"authorization": f"Bearer {ADMIN['authorization'][7:-1]}x"},
        "forged team key": {"authorization": f"Bearer {new_secret().text}"},
    }[credential]
    books.client.headers.pop("authorization")
    there = {"alice", request_id}
    seen = set()
    for method, path, _ in routes_with(books, "path"):
        for name in (*there, "nobody", "req_00000000000000000000000000"):
            url = path[: path.index("{")] + name + path[path.index("}") + 1 :]
            answer = await books.client.request(method, url, headers=headers)
            seen.add((answer.status_code, answer.content))
    assert len(seen) == 1
    assert seen.pop()[0] in (401, 403)


async def test_a_keys_own_routes_take_no_admin_token(books: Books) -> None:
    """Nor the other way round: /v1/me with the admin token is the 401 of any wrong key."""
    await books.key("alice")
    for path in [path for path in books.app.openapi()["paths"] if path.startswith("/v1/me")]:
        answer = await books.client.get(path.replace("{ref}", "x").replace("{ident}", "x"))
        assert answer.status_code == 401, path


def test_every_start_of_a_formula_is_known() -> None:
    """By the letters themselves, so that none can be dropped from the list unseen."""
    assert set(FORMULAS) <= set(FORMULA_STARTS)


async def test_names_that_would_forge_are_refused_or_shown_as_text(books: Books) -> None:
    """A name with line ends, NUL or control characters is none; one with a formula or markup is only a name."""
    for name in ("a\nb", "a\rb", "a\x00b", "a\x1b[2Jb", "a\u2028b", "\u202ea", ""):
        status, error = await books.refused("POST", "keys", json={"name": name})
        assert (status, error["param"]) == (400, "name"), name
    for name in ("=1+1", "<script>alert(1)</script>", "${jndi:x}", "{{7*7}}"):
        answer = await books.client.post("/admin/v1/keys", json={"name": name})
        assert answer.status_code in (200, 201, 400), answer.text
        assert answer.headers["content-type"] == "application/json"
        if answer.status_code != 400:
            assert json.loads(answer.content)["name"] == name
            books.secrets[name] = answer.json()["secret"]
            await books.book(name)
    text = (await books.client.get("/admin/v1/export", params={"format": "csv"})).text
    cells = [cell.strip('"') for line in text.splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.startswith(tuple(FORMULAS))]


async def test_deep_huge_and_doubled_bodies_are_refused_in_words(books: Books) -> None:
    """Whatever is sent as a body: an answer of ours, and no key is made."""
    bodies = [
        b"[" * 100_000,
        b'{"name":' * 5_000,
        b'{"name":"a"' + b',"x":1' * 100_000 + b"}",
        b'{"name":"\xff\xfe"}',
        b'{"name":"a","rpm":1e999}',
        b'{"name":"a","rpm":' + b"9" * 5000 + b"}",
        b'{"name":"a","budgets":["1e9/day"]}',
        b'{"name":"a","rpm":NaN}',
        b'{"__proto__":{"name":"a"}}',
        b"\x00",
        b"\xef\xbb\xbf{}",
        b"",
    ]
    for body in bodies:
        headers = {"content-type": "application/json"}
        answer = await books.client.post("/admin/v1/keys", content=body, headers=headers)
        assert answer.status_code == 400, (body[:40], answer.status_code, answer.text[:200])
        assert answer.json()["error"]["type"] == "invalid_request_error", answer.text
    assert (await books.services.keyring.list()).items == ()


async def test_names_that_look_like_sql_are_only_names(books: Books) -> None:
    """Whether such a name is taken or refused, what is taken is found again as it is, and the tables stand."""
    for name in ("robert'); DROP TABLE keys;--", "a' OR 'a'='a", "50%", "a_b", "[ab]*"):
        answer = await books.client.post("/admin/v1/keys", json={"name": name})
        assert answer.status_code in (200, 201, 400), answer.text
        if answer.status_code != 400:
            assert (await books.services.keyring.find(name)).name == name
            assert (await books.get(f"keys/{quote(name, safe='')}"))["name"] == name
    assert (await books.client.post("/admin/v1/keys", json={"name": "after"})).status_code in (200, 201)
