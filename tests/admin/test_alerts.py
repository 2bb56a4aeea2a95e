"""The routes of alerts: destinations made, tried and removed, and the history; addresses never in full."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from app.core.webhooks import signing_secret
from tests.admin.books import Books
from tests.scripted_upstream import ScriptedUpstream, json_answer


async def added(books: Books, name: str, address: str) -> dict[str, Any]:
    answer = await books.client.post("/admin/v1/alerts", json={"name": name, "address": address})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_destination_is_made_shown_and_removed(books: Books, tmp_path: Path) -> None:
    """Its secret once, its address never."""
    made = await added(books, "ops", "https://hooks.example.com/SECRET-PATH?token=SECRET")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made == {
        "id": made["id"],
        "name": "ops",
        "kind": "webhook",
        "address": "https://hooks.example.com",
        "created_at": made["created_at"],
        "waiting": 0,
    }
    assert await books.get("alerts") == {"destinations": [made], "items": [], "next": None}
    master = base64.b64decode((tmp_path / "alerts-secret").read_text())
    assert base64.b64decode(secret.removeprefix("whsec_")) == signing_secret(master, made["id"])
    removed = await books.client.delete("/admin/v1/alerts/ops")
    told = {"name": "ops", "kind": "webhook", "address": "https://hooks.example.com"}
    entries = (await books.get("audit", target="ops"))["items"]
    assert [(entry["action"], entry["before"], entry["after"]) for entry in entries] == [
        ("alert.removed", told, None),
        ("alert.added", None, told),
    ]
    assert "SECRET" not in str(entries)
    assert (removed.status_code, removed.json()) == (200, made)
    assert (await books.get("alerts"))["destinations"] == []


async def test_a_test_is_signed_with_the_secret_that_was_shown(books: Books, upstream: ScriptedUpstream) -> None:
    """And tells the receiver's status, whatever that is."""
    secret = (await added(books, "ops", upstream.url + "/hook"))["secret"]
    upstream.answer(json_answer({}, 202))
    upstream.answer(json_answer({}, 500))
    tried = [(await books.client.post("/admin/v1/alerts/ops/test")).json() for _ in range(2)]
    assert tried == [
        {"delivered": True, "status": 202, "error": None},
        {"delivered": False, "status": 500, "error": "answered 500"},
    ]
    request = await upstream.seen(2)
    ident, stamp = (request.header(name) or b"" for name in (b"webhook-id", b"webhook-timestamp"))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, b".".join((ident, stamp, request.body)), hashlib.sha256))
    assert request.header(b"webhook-signature") == b"v1," + signature
    assert request.json()["message"].startswith("This is a test of the destination ops")
    assert (await books.get("alerts"))["items"] == []


async def test_the_history_is_paged(books: Books) -> None:
    """Newest first, each with its sentence, its facts, and how it fared."""
    alerts, delivery = books.services.alerts, books.services.delivery
    await added(books, "ops", "https://127.0.0.1:9/SECRET")
    for status in (401, 402):
        await alerts.upstream_refuses(status)
    await delivery.look_once()
    await delivery.idle()
    first = await books.get("alerts", limit=1)
    second = await books.get("alerts", limit=1, after=first["next"])
    assert second["next"] is None
    (newest,), (oldest,) = first["items"], second["items"]
    assert (newest["kind"], oldest["kind"]) == ("upstream_credits_used_up", "upstream_key_refused")
    assert set(oldest) == {"id", "at", "kind", "message", "facts", "deliveries"}
    assert oldest["facts"] == {"status": 401}
    assert "IMAGEROUTER_API_KEY" in oldest["message"]
    (told,) = oldest["deliveries"]
    assert told == {
        "destination": "ops",
        "attempts": 1,
        "delivered_at": None,
        "next_at": told["next_at"],
        "given_up_at": None,
        "error": "refuses connections",
    }
    assert newest["deliveries"][0]["attempts"] == 0
    assert first["destinations"][0]["waiting"] == 2


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "says"),
    [
        ("POST", "alerts", {"json": {"name": "ops"}}, 400, "address is missing. Write https://…"),
        ("POST", "alerts", {"json": {"name": "ops", "adress": "x"}}, 400, "Did you mean 'address'?"),
        ("POST", "alerts", {"json": {"name": "a b", "address": "https://x.example"}}, 400, "such as on-call"),
        ("POST", "alerts", {"json": {"name": "ops", "address": "slack://SECRET"}}, 400, "never stored here"),
        ("POST", "alerts", {"json": {"name": "ops", "address": "http://x.example"}}, 400, "IRG_ALLOW_PLAIN_ALERTS"),
        ("DELETE", "alerts/nobody", {}, 404, "irg alerts list"),
        ("POST", "alerts/nobody/test", {}, 404, "irg alerts list"),
        ("GET", "alerts", {"params": {"after": "req_1"}}, 400, "no cursor"),
        ("GET", "alerts", {"params": {"limit": 0}}, 400, "limit"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(
    books: Books, method: str, path: str, sent: dict[str, Any], status: int, says: str
) -> None:
    code, error = await books.refused(method, path, **sent)
    assert code == status
    assert says in error["message"]
    assert "SECRET" not in error["message"]


async def test_a_name_is_taken_once(books: Books) -> None:
    await added(books, "ops", "https://x.example/")
    code, error = await books.refused("POST", "alerts", json={"name": "ops", "address": "https://y.example/"})
    assert (code, error["param"]) == (409, "name")


async def test_a_secret_that_was_lost_is_told(books: Books, tmp_path: Path) -> None:
    """Nothing is signed with another one."""
    await added(books, "ops", "https://x.example/")
    (tmp_path / "alerts-secret").unlink()
    code, error = await books.refused("POST", "alerts", json={"name": "more", "address": "https://y.example/"})
    assert code == 409
    assert "Put it back from a copy" in error["message"]
    assert not (tmp_path / "alerts-secret").exists()
    tried = (await books.client.post("/admin/v1/alerts/ops/test")).json()
    assert tried["error"].startswith("the secret that signs alerts cannot be read")
