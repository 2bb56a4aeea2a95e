"""Keys and teams over the admin API: what each verb changes, at once and for everybody."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from app.core.clock import now
from app.core.ids import new_id
from app.core.keys import new_secret
from app.core.records import Intent, RefusalReason, Refused
from tests.admin.books import Books

BARE_KEY: dict[str, Any] = {
    "team": None,
    "tags": [],
    "state": "active",
    "models": [],
    "budgets": [],
    "limits": {"rpm": None, "tpm": None, "concurrency": None},
    "expires_at": None,
    "last_used_at": None,
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def send(books: Books, method: str, path: str, body: object = None, expected: int = 200) -> dict[str, Any]:
    answer = await books.client.request(method, f"/admin/v1/{path}", json=body)
    assert answer.status_code == expected, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def works(books: Books, secret: str) -> bool:
    """Whether a request with this secret is admitted."""
    books.secrets["tried"] = secret
    identified = await books.services.keyring.identify(f"Bearer {secret}".encode())
    if identified is None:
        return False
    try:
        await books.open("tried")
    except AssertionError:
        return False
    return True


async def test_a_key_is_shown_with_its_secret_once(books: Books) -> None:
    """Creating tells the secret; nothing afterwards does."""
    made = await send(books, "POST", "keys", {"name": "alice"}, 201)
    secret = made.pop("secret")
    assert {name: made[name] for name in BARE_KEY} == BARE_KEY
    assert set(made) == {"id", "name", "prefix", "created_at", *BARE_KEY}
    assert (made["name"], made["id"][:4], made["prefix"][-1]) == ("alice", "key_", "…")
    assert secret.startswith(made["prefix"][:-1])
    assert TIME.fullmatch(made["created_at"])
    for path in ("keys", "keys/alice", f"keys/{made['id']}"):
        assert secret not in (await books.client.get(f"/admin/v1/{path}")).text
    assert await send(books, "GET", "keys/alice") == made
    assert await send(books, "GET", "keys") == {"items": [made], "next": None}
    assert await works(books, secret)


async def test_every_field_of_a_key_is_kept(books: Books) -> None:
    """What was asked for is what is shown."""
    await send(books, "POST", "teams", {"name": "growth"}, 201)
    asked = {"name": "bot", "team": "growth", "models": ["openai/*"], "tags": ["prod"], "expires_at": "2100-01-01"}
    made = await send(books, "POST", "keys", asked, 201)
    assert {**asked, "expires_at": "2100-01-01T00:00:00.000Z"} == {field: made[field] for field in asked}
    assert (await send(books, "GET", "keys?team=growth"))["items"][0]["id"] == made["id"]
    assert (await send(books, "GET", "teams/growth"))["keys"] == 1


async def test_a_change_touches_only_what_is_named(books: Books) -> None:
    """Absent fields stay; null and empty lists take away."""
    await send(books, "POST", "teams", {"name": "growth"}, 201)
    asked = {"name": "bot", "team": "growth", "models": ["a/*"], "tags": ["prod"], "expires_at": "2100-01-01"}
    before = await send(books, "POST", "keys", asked, 201)
    del before["secret"]
    changed = await send(books, "PATCH", "keys/bot", {"models": ["b/*", "c/d"]})
    assert changed == before | {"models": ["b/*", "c/d"]}
    changed = await send(books, "PATCH", "keys/bot", {"team": None, "tags": [], "expires_at": None, "models": []})
    assert changed == before | {"team": None, "tags": [], "expires_at": None, "models": []}
    assert await send(books, "PATCH", "keys/bot", {}) == changed
    assert await send(books, "PATCH", "keys/bot", {"name": "robot"}) == changed | {"name": "robot"}
    assert (await books.refused("GET", "keys/bot"))[0] == 404


async def test_disabled_revoked_and_rotated_keys_stop_at_once(books: Books) -> None:
    """With the answer of the verb the old secret is refused."""
    secret = (await send(books, "POST", "keys", {"name": "alice"}, 201))["secret"]
    assert (await send(books, "POST", "keys/alice/disable"))["state"] == "disabled"
    assert not await works(books, secret)
    assert (await send(books, "POST", "keys/alice/enable"))["state"] == "active"
    assert await works(books, secret)
    rotated = await send(books, "POST", "keys/alice/rotate")
    assert not await works(books, secret)
    assert await works(books, rotated["secret"])
    again = await send(books, "POST", "keys/alice/rotate", {"grace": "24h"})
    assert await works(books, rotated["secret"])
    assert await works(books, again["secret"])
    assert (await send(books, "POST", "keys/alice/revoke"))["state"] == "revoked"
    assert not await works(books, again["secret"])
    assert [(await books.refused("POST", f"keys/alice/{verb}"))[0] for verb in ("enable", "disable", "rotate")] == [
        409
    ] * 3


async def test_a_model_outside_the_allow_list_is_refused_at_once(books: Books) -> None:
    """The change is effective for the next request."""
    secret = (await send(books, "POST", "keys", {"name": "alice"}, 201))["secret"]
    books.secrets["alice"] = secret
    await send(books, "PATCH", "keys/alice", {"models": ["other/*"]})
    identified = await books.services.keyring.identify(f"Bearer {secret}".encode())
    assert identified is not None
    intent = Intent(new_id("req"), identified.key_id, identified.secret_hash, now(), "openai/gpt", stream=False)
    verdict = await books.services.ledger.admit(intent)
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.MODEL_NOT_ALLOWED


async def test_a_renamed_team_keeps_its_keys(books: Books) -> None:
    """The name is only a name."""
    made = await send(books, "POST", "teams", {"name": "growth"}, 201)
    assert set(made) == {"id", "name", "keys", "budgets", "limits", "created_at"}
    await send(books, "POST", "keys", {"name": "alice", "team": made["id"]}, 201)
    assert await send(books, "PATCH", "teams/growth", {"name": "sales"}) == made | {"name": "sales", "keys": 1}
    assert (await send(books, "GET", "keys/alice"))["team"] == "sales"
    assert [team["name"] for team in (await send(books, "GET", "teams"))["items"]] == ["sales"]


async def test_budgets_of_several_periods_set_at_once_all_hold(books: Books) -> None:
    """Whoever sets one takes none away that somebody else sets in the same moment."""
    wishes = ("5/day", "50/week", "500/month", "5000/total")
    await asyncio.gather(*(send(books, "PATCH", "budget", {"budgets": [one]}) for one in wishes))
    assert await _gateway_budgets(books) == ["5.00/day", "50.00/week", "500.00/month", "5000.00/total"]
    await send(books, "PATCH", "budget", {"budgets": ["6/day"], "unset": ["week", "total"]})
    assert await _gateway_budgets(books) == ["6.00/day", "500.00/month"]
    await send(books, "PATCH", "budget", {})
    assert await _gateway_budgets(books) == ["6.00/day", "500.00/month"]


async def _gateway_budgets(books: Books) -> list[str]:
    shape = await send(books, "GET", "budget")
    return [f"{one['amount']}/{one['period']}" for one in shape["budgets"]]


REFUSED: list[tuple[str, str, Any, int, str | None, str]] = [
    ("GET", "keys/alicia", None, 404, "key", "Did you mean alice"),
    ("GET", "teams/nobody", None, 404, "team", "irg teams create"),
    ("POST", "keys", {"name": "alice"}, 409, "name", "Choose another name"),
    ("POST", "keys", {"name": "bob", "team": "growht"}, 404, "team", "Did you mean growth"),
    ("POST", "keys", {"name": "a/b"}, 400, "name", "support-bot"),
    ("POST", "keys", {"name": "bob", "modles": []}, 400, "modles", "Did you mean 'models'"),
    ("POST", "keys", {"name": "bob", "budget": ["45/month"]}, 400, "budget", "Did you mean 'budgets'"),
    ("POST", "keys", {"name": "bob", "budgets": "45/month"}, 400, "budgets", "Write a list"),
    ("POST", "keys", {"name": "bob", "budgets": ["45"]}, 400, "budgets", "AMOUNT/PERIOD"),
    ("POST", "keys", {"name": "bob", "budgets": ["45/fortnight"]}, 400, "budgets", "day, week, month or total"),
    ("POST", "keys", {"name": "bob", "budgets": ["-1/day"]}, 400, "budgets", "not an amount"),
    ("POST", "keys", {"name": "bob", "budgets": ["1/day", "2/day"]}, 400, "budgets", "give one"),
    ("POST", "keys", {"name": "bob", "rpm": 0}, 400, "rpm", "from 1 to"),
    ("POST", "keys", {"name": "bob", "rpm": "60"}, 400, "rpm", "whole number"),
    ("POST", "keys", {"name": "bob", "tpm": 1.5}, 400, "tpm", "whole number"),
    ("POST", "keys", {"name": "bob", "concurrency": True}, 400, "concurrency", "whole number"),
    ("PATCH", "keys/alice", {"concurrency": -1}, 400, "concurrency", "from 1 to"),
    ("PATCH", "teams/growth", {"budgets": ["1/year"]}, 400, "budgets", "day, week, month or total"),
    ("PATCH", "teams/growth", {"name": None}, 400, "name", "Write a name"),
    ("PUT", "budget", {"budgets": ["500"]}, 400, "budgets", "AMOUNT/PERIOD"),
    ("PUT", "budget", {}, 400, "budgets", "budgets is missing"),
    ("PATCH", "budget", {"budgets": ["5/day", "6/day"]}, 400, "budgets", "give one"),
    ("PATCH", "budget", {"budgets": ["5/day"], "unset": ["day"]}, 400, "unset", "one or the other"),
    ("PATCH", "budget", {"unset": ["year"]}, 400, "unset[0]", "periods whose budget is to end"),
    ("POST", "keys", {"name": 5}, 400, "name", "Write a name"),
    ("POST", "keys", {"name": "bob", "models": "openai/*"}, 400, "models", "Write a list"),
    ("POST", "keys", {"name": "bob", "models": ["ok", 7]}, 400, "models[1]", "Write a list"),
    ("POST", "keys", {"name": "bob", "expires_at": "tomorrow"}, 400, "expires_at", "is not a time"),
    ("POST", "keys", {"name": "bob", "expires_at": "2020-01-01"}, 400, "expires_at", "past"),
    ("POST", "keys", {"name": "bob", "expires_at": "9999-12-32"}, 400, "expires_at", "expires_at"),
    ("POST", "keys", {}, 400, "name", "name is missing"),
    ("POST", "keys", ["name"], 400, None, "JSON object"),
    ("PATCH", "keys/alice", {"state": "active"}, 400, "state", "There is no field 'state'"),
    ("PATCH", "keys/alice", {"name": None}, 400, "name", "Write a name"),
    ("POST", "keys/alice/rotate", {"grace": "forever"}, 400, "grace", "24h"),
    ("POST", "keys/alice/rotate", {"grace_seconds": 5}, 400, "grace_seconds", "There is no field"),
    ("GET", "keys?sate=active", None, 400, "sate", "Did you mean 'state'"),
    ("GET", "keys?state=gone", None, 400, "state", "'active'"),
    ("GET", "keys?limit=1001", None, 400, "limit", "1 to 1000"),
]


async def test_a_refusal_names_the_field_and_the_mend(books: Books, subtests: pytest.Subtests) -> None:
    """404, 409 and 400 in OpenAI's shape; and nothing has changed."""
    await send(books, "POST", "teams", {"name": "growth"}, 201)
    await send(books, "POST", "keys", {"name": "alice"}, 201)
    before = await send(books, "GET", "keys")
    for method, path, body, code, param, says in REFUSED:
        with subtests.test(request=f"{method} {path} {body}"):
            status, error = await books.refused(method, path, json=body)
            assert (status, error["param"]) == (code, param)
            assert says in error["message"]
            assert await send(books, "GET", "keys") == before


async def test_a_body_that_is_no_json_object_is_refused_in_words(books: Books, subtests: pytest.Subtests) -> None:
    """Whatever the bytes are, the answer is 400 in the same shape."""
    headers = {"content-type": "application/json"}
    for content in (b"", b"{", b'{"name": NaN', b"\xff\xfe", b"null"):
        with subtests.test(content=content):
            status, error = await books.refused("POST", "keys", content=content, headers=headers)
            assert status == 400
            assert "JSON" in error["message"]


async def test_a_key_takes_the_secret_of_another_gateways_key(books: Books) -> None:
    """Made or rotated with it: the same secret works on both, and is not shown again either."""
    secret, other = new_secret().text, new_secret().text
    made = await send(books, "POST", "keys", {"name": "alice", "secret": secret}, 201)
    assert (made["secret"], made["prefix"][:-1]) == (secret, secret[:8])
    assert await works(books, secret)
    rotated = await send(books, "POST", "keys/alice/rotate", {"grace": "24h", "secret": other})
    assert rotated["secret"] == other
    assert await works(books, secret)
    assert await works(books, other)
    assert secret not in (await books.client.get("/admin/v1/keys/alice")).text
    assert secret not in (await books.client.get("/admin/v1/audit")).text


async def test_a_secret_is_one_keys_alone(books: Books) -> None:
    """Otherwise nobody could tell who asked; and nothing that looks like one is taken for it."""
    secret = (await send(books, "POST", "keys", {"name": "alice"}, 201))["secret"]
    await send(books, "POST", "keys", {"name": "bob"}, 201)
    taken = {"secret": secret, "grace": "24h"}
    for path, body in (("keys", {"name": "carol", "secret": secret}), ("keys/bob/rotate", taken)):
        status, error = await books.refused("POST", path, json=body)
        assert (status, error["param"]) == (409, "secret")
        assert "alice" in error["message"]
        assert secret not in error["message"]
    wrong = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    for text in (wrong, "", "irg_", secret + "0", f" {secret}", "x" * 73):
        status, error = await books.refused("POST", "keys", json={"name": "carol", "secret": text})
        assert (status, error["param"]) == (400, "secret")
        assert len(text) < 10 or text not in error["message"]
    assert (await books.refused("GET", "keys/carol"))[0] == 404


async def test_a_secret_that_was_rotated_away_can_be_another_keys(books: Books) -> None:
    """From then on its requests are that key's."""
    old = (await send(books, "POST", "keys", {"name": "alice"}, 201))["secret"]
    assert await works(books, old)
    await send(books, "POST", "keys/alice/rotate")
    assert not await works(books, old)
    await send(books, "POST", "keys", {"name": "bob", "secret": old}, 201)
    assert await works(books, old)
