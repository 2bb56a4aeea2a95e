"""`irg me`: a holder's page over HTTP with nothing but the key, and a sentence for all that can be wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.cli.holder import address_of
from app.core.budgets import Budget, BudgetPeriod
from app.core.keys import new_secret
from app.core.limits import Limits
from app.store.lock import DatabaseLock
from tests.cli.irg import Ran, irg, irg_process
from tests.harness import ADMIN_TOKEN, GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream, json_answer

ANSWER = b'{"id": "resp_1", "output": [], "usage": {"cost": 0.0000123, "total_tokens": 36}, "cost": 0.0001}'


@pytest.fixture(params=["on"])
def front(request: pytest.FixtureRequest) -> str:
    """A holder's routes have one way in."""
    return str(request.param)


@pytest.fixture
async def secret(gateway: GatewayUnderTest, upstream: ScriptedUpstream, directory: Path) -> str:
    """A key with a budget and limits, one request that was answered and one that was refused."""
    await gateway.services.keyring.create_team("growth")
    made = await gateway.create_key(
        "alice",
        team="growth",
        budgets=(Budget(45 * 10**12, BudgetPeriod.MONTH), Budget(10**12, BudgetPeriod.TOTAL)),
        limits=Limits(rpm=60, concurrency=4),
        models=("m",),
    )
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "other"}]))
    upstream.answer(json_answer(ANSWER))
    for model in ("m", "other"):
        async with gateway.post({"model": model}, made) as reply:
            await reply.body()
    assert (directory / "gateway.db").exists()
    return made


async def run(*arguments: str, terminal: bool = False) -> Ran:
    return await asyncio.to_thread(irg, *arguments, terminal=terminal)


async def test_json_is_what_the_route_answers(
    gateway: GatewayUnderTest, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either door for the key and for the address; beside the gateway no address is needed."""
    async with gateway.client(secret) as client:
        shape = (await client.get("/v1/me")).json()
    assert (await run("me", "--json", "--url", gateway.url, "--key", secret)).json == shape
    assert (await run("me", "--json", "--key", secret)).json == shape
    monkeypatch.setenv("IRG_KEY", secret)
    assert (await run("me", "--json")).json == shape
    monkeypatch.setenv("IRG_URL", gateway.url)
    monkeypatch.setenv("IRG_DATABASE_URL", "sqlite:////nowhere/gateway.db")
    assert (await run("me", "--json")).json == shape


async def test_the_page_tells_what_is_spent_and_left(gateway: GatewayUnderTest, secret: str) -> None:
    """Key, budgets, limits, the last 30 days, the newest requests; in a pipe as tab-separated lines."""
    ran = await run("me", "--key", secret)
    cells = [line.split("\t") for line in ran.out.splitlines()]
    fields = {row[0]: row[1] for row in cells if len(row) == 2}
    assert (fields["name"], fields["team"], fields["state"], fields["models"]) == ("alice", "growth", "active", "m")
    assert (fields["requests"], fields["true cost"], fields["charged"]) == ("1", "$0.0000123", "$0.0001")
    assert (fields["tokens"], fields["refused"]) == ("36", "1 (1 model_not_allowed)")
    month, total = (row for row in cells if row[0] == "key" and len(row) == 7)
    assert month[1:6] == ["month", "$45.00", "$0.0001", "$0.00", "$44.9999"]
    assert total[1:] == ["total", "$1.00", "$0.0001", "$0.00", "$0.9999", "never"]
    rpm, concurrency = (row for row in cells if row[0] == "key" and len(row) == 5)
    assert (rpm[1:4], concurrency[1:]) == (["60 requests/min", "1", "59"], ["4 requests at once", "0", "4", "-"])
    (request,) = [row for row in cells if row[1].startswith("req_")]
    assert request[2:] == ["m", "settled", "$0.0000123", "$0.0001", "36"]
    assert ran.code == 0
    (shown,) = await gateway.rows()
    assert shown.id == request[1]


@pytest.mark.usefixtures("gateway")
async def test_on_a_terminal_it_is_a_page(secret: str) -> None:
    """Headings between tables."""
    ran = await run("me", "--key", secret, terminal=True)
    assert ran.err.split() == ["Budgets", "Limits,", "right", "now", "Last", "30", "days", "Newest", "requests"]
    for word in ("alice", "whose", "$44.9999", "60 requests/min", "model_not_allowed", "resets_at"):
        assert word in ran.out


async def test_a_new_key_without_limits_has_a_page_too(gateway: GatewayUnderTest, directory: Path) -> None:
    """It says that nothing limits it, and that there is nothing yet."""
    made = await gateway.create_key("new")
    ran = await run("me", "--key", made)
    assert "nothing limits what this key may spend" in ran.err
    assert "There are none yet." in ran.err
    assert "models\tall" in ran.out
    assert "refused\t0" in ran.out
    assert (directory / "gateway.db").exists()


async def test_it_needs_no_admin_token_and_no_ledger(gateway: GatewayUnderTest, secret: str, tmp_path: Path) -> None:
    """A process on another machine, as a holder runs it; nothing is made there."""
    elsewhere = tmp_path / "laptop"
    elsewhere.mkdir()
    ran = await irg_process(elsewhere, "me", "--json", IRG_URL=gateway.url, IRG_KEY=secret)
    assert ran.json["name"] == "alice"
    assert list(elsewhere.iterdir()) == []


async def test_a_key_that_is_refused_is_told(gateway: GatewayUnderTest, secret: str) -> None:
    """The same sentence for each, as the gateway says no more; never the key itself."""
    keyring = gateway.services.keyring
    await keyring.disable("alice")
    errors = set()
    for key in (secret, new_secret().text):
        ran = await run("me", "--key", key)
        assert (ran.code, ran.out) == (1, "")
        assert key not in ran.err
        errors.add(ran.err)
    assert len(errors) == 1
    assert "refused the key" in errors.pop()
    await keyring.enable("alice")
    assert (await run("me", "--key", secret)).code == 0


@pytest.mark.parametrize("key", ["irg_short", "irg_" + "0" * 69, "irg_" + "0" * 68, ADMIN_TOKEN])
def test_what_is_no_key_is_told_before_anybody_is_asked(directory: Path, key: str) -> None:
    """A letter is missing: exit code 2."""
    ran = irg("me", "--key", key, "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (2, "")
    assert "is no team key" in ran.err
    assert list(directory.iterdir()) == []


def test_without_a_key_it_says_where_one_goes(directory: Path) -> None:
    """Exit code 78, as for every setting that is missing."""
    ran = irg("me", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (78, "")
    assert "IRG_KEY" in ran.err
    assert "--key" in ran.err
    assert list(directory.iterdir()) == []


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("http://127.0.0.1:9", 1, "http://127.0.0.1:9 cannot be reached"),
        ("ftp://x", 78, "must be a URL"),
        ("http://127.0.0.1:9/v1/openai", 78, "must not have a path"),
    ],
)
def test_a_wrong_address_is_told(url: str, code: int, says: str) -> None:
    """A sentence each, never a traceback."""
    ran = irg("me", "--key", new_secret().text, "--url", url)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err


NOT_FOUND = b'{"error": {"message": "There is nothing at /v1/me.", "type": "x", "param": null, "code": "not_found"}}'


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (json_answer(b"<html>"), "not as a gateway does"),
        (json_answer(b"<html>", status=404), "answered with status 404, not as a gateway does"),
        (json_answer(NOT_FOUND, status=404), "it is no gateway, or one of an older version"),
    ],
)
async def test_an_address_of_something_else_is_told(upstream: ScriptedUpstream, answer: bytes, says: str) -> None:
    """Whatever it answers."""
    upstream.answer(answer)
    ran = await run("me", "--key", new_secret().text, "--url", upstream.url)
    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err
    (asked,) = upstream.requests
    assert (asked.method, asked.target) == (b"GET", b"/v1/me")
    assert asked.header(b"x-irg-actor") is None  # who sits there is nobody's business


def test_without_a_gateway_here_it_says_so(directory: Path) -> None:
    """It opens no ledger: the page is a gateway's. A command that holds the ledger is no gateway."""
    ran = irg("me", "--key", new_secret().text)
    assert (ran.code, ran.out) == (1, "")
    assert f"No gateway is running on {directory}/gateway.db" in ran.err
    assert "--url" in ran.err
    held = DatabaseLock(directory / "gateway.db")
    assert "No gateway is running" in irg("me", "--key", new_secret().text).err
    held.release()


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("http://[::]:8000", "http://[::1]:8000"),
        ("https://10.0.0.7:8443", "https://10.0.0.7:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_a_gateway_that_listens_everywhere_is_found_here(listens: str, asked: str) -> None:
    """Its own address is none that can be called."""
    assert address_of(listens) == asked
