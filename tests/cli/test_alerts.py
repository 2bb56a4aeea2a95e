"""`irg alerts`: who is told, and what was; with and without a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.admin.books import Books
from tests.cli.conftest import Seed
from tests.cli.irg import irg, irg_process
from tests.scripted_upstream import ScriptedUpstream, json_answer

ADDRESS = "https://hooks.example.com/SECRET"


def test_a_webhook_is_added_listed_and_removed(directory: Path) -> None:
    """The secret alone goes to stdout, so that it pipes; the address is shown without its path."""
    made = irg("alerts", "add", "ops", ADDRESS)
    assert made.code == 0, made.err
    assert made.out.startswith("whsec_")
    assert len(made.out.splitlines()) == 1
    assert "irg alerts test ops" in made.err
    (row,) = irg("alerts").cells
    assert row[:4] == ["ops", "webhook", "https://hooks.example.com", "0"]
    shown = irg("alerts", "list", "--json")
    assert shown.json["items"][0]["address"] == "https://hooks.example.com"
    assert shown.json["next"] is None
    assert "SECRET" not in made.out + made.err + shown.out
    assert irg("alerts", "remove", "ops").code == 2
    assert irg("alerts", "remove", "ops", typed="other\n").code == 1
    removed = irg("alerts", "remove", "ops", "--yes", "--json")
    assert removed.json["name"] == "ops"
    empty = irg("alerts", "list")
    assert (empty.code, empty.out) == (0, "")
    assert "irg alerts add NAME ADDRESS" in empty.err


def test_json_has_the_secret(directory: Path) -> None:
    made = irg("alerts", "add", "ops", ADDRESS, "--json")
    assert made.json["secret"].startswith("whsec_")
    assert made.json["kind"] == "webhook"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("add", "ops", "slack://SECRET"), 2, "give file:/PATH"),
        (("add", "ops", "http://hooks.example.com/SECRET"), 2, "IRG_ALLOW_PLAIN_ALERTS"),
        (("add", "two words", ADDRESS), 2, "such as on-call"),
        (("add", "first", ADDRESS), 4, "already a destination named first"),
        (("test", "nobody"), 3, "irg alerts list"),
        (("remove", "nobody", "--yes"), 3, "irg alerts list"),
        (("history", "--after", "req_1"), 2, "no cursor"),
    ],
)
def test_what_cannot_be_ends_with_its_code(directory: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    """A sentence on stderr, nothing on stdout."""
    assert irg("alerts", "add", "first", ADDRESS).code == 0
    ran = irg("alerts", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "SECRET" not in ran.err


def test_a_test_that_does_not_arrive_ends_with_1(directory: Path) -> None:
    """The reason is told; with --json as data too."""
    irg("alerts", "add", "ops", "http://127.0.0.1:9/hook")
    ran = irg("alerts", "test", "ops")
    assert (ran.code, ran.out) == (1, "")
    assert "It did not arrive: refuses connections." in ran.err
    ran = irg("alerts", "test", "ops", "--json")
    assert ran.code == 1
    assert '"delivered": false' in ran.out


async def test_a_test_arrives_without_a_gateway(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The command sends it itself."""
    here = {"IRG_DATABASE_URL": f"sqlite:///{tmp_path}/gateway.db"}
    made = await irg_process(tmp_path, "alerts", "add", "ops", upstream.url + "/hook", **here)
    assert made.code == 0, made.err
    upstream.answer(json_answer({}, 202))
    tried = await irg_process(tmp_path, "alerts", "test", "ops", **here)
    assert tried.cells == [["delivered", "true"], ["status", "202"]]
    assert (await upstream.seen()).header(b"webhook-signature") is not None


def test_the_history_tells_how_each_fared(directory: Path, seed: Seed) -> None:
    """Newest first, page by page."""
    irg("alerts", "add", "ops", "http://127.0.0.1:9/hook")

    async def fill(books: Books) -> None:
        await books.services.alerts.upstream_refuses(401)
        await books.services.delivery.look_once()
        await books.services.delivery.idle()
        await books.services.alerts.upstream_refuses(402)
        await books.services.delivery.look_once()
        await books.services.delivery.idle()

    assert irg("alerts", "history").err.startswith("There were no alerts.")
    seed(fill)
    newest, oldest = irg("alerts", "history").cells
    assert (newest[1], oldest[1]) == ("upstream_credits_used_up", "upstream_key_refused")
    assert oldest[2].startswith("ops: refuses connections, again at 20")
    assert "IMAGEROUTER_API_KEY" in oldest[3]
    first = irg("alerts", "history", "--limit", "1")
    assert "add --after 'alr_" in first.err
    page = irg("alerts", "history", "--limit", "1", "--json").json
    rest = irg("alerts", "history", "--after", page["next"], "--json").json
    assert [item["kind"] for item in rest["items"]] == ["upstream_key_refused"]
    assert set(rest) == {"items", "next"}
