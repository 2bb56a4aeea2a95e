"""`irg audit`: who did what, as a table, in a pipe and as JSON; and whom a command says it is run by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli.audit import changed
from app.cli.person import user_name
from tests.cli.irg import irg, irg_process
from tests.harness import ADMIN_TOKEN, GatewayUnderTest


@pytest.fixture
def _as_ann(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del directory
    monkeypatch.setenv("LOGNAME", "ann")


@pytest.mark.usefixtures("_as_ann")
def test_who_did_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest first; what changed as one reads it."""
    irg("keys", "create", "bot", "--rpm", "60", "--tag", "prod")
    monkeypatch.setenv("LOGNAME", "ben")
    irg("keys", "set", "bot", "--rpm", "30", "--no-tags")
    irg("keys", "revoke", "bot", "--yes")
    rows = irg("audit").cells
    assert [row[1:5] for row in rows] == [
        ["ben", "process", "key.revoked", "bot"],
        ["ben", "process", "key.changed", "bot"],
        ["ann", "process", "key.created", "bot"],
    ]
    assert [row[5] for row in rows[:2]] == ["state: active → revoked", "tags: prod → -; rpm: 60 → 30"]
    assert rows[2][5].startswith("name: bot; prefix: irg_")
    assert rows[2][5].endswith("…; tags: prod; state: active; rpm: 60")
    table = irg("audit", terminal=True).out
    assert [word in table for word in ("at", "actor", "via", "changed", "rpm: 60 → 30")] == [True] * 5
    found = irg("audit", "--json").json
    assert found["next"] is None
    assert [entry["after"] for entry in found["items"][:2]] == [{"state": "revoked"}, {"tags": [], "rpm": 30}]


@pytest.mark.usefixtures("_as_ann")
def test_conditions_and_pages() -> None:
    """Those of the API; the hint is the flag to add."""
    for name in ("a", "b", "c"):
        irg("keys", "create", name)
    irg("teams", "create", "blue")
    assert len(irg("audit", "--action", "key").cells) == 3
    assert len(irg("audit", "--target", "b", "--actor", "ann", "--last", "1h").cells) == 1
    none = irg("audit", "--actor", "nobody")
    assert (none.code, none.out, none.err) == (0, "", "Nothing was changed.\n")
    first = irg("audit", "--limit", "3")
    cursor = irg("audit", "--limit", "3", "--json").json["next"]
    assert f"--after {cursor!r}" in first.err
    rest = irg("audit", "--limit", "3", "--after", cursor)
    assert [row[4] for row in first.cells + rest.cells] == ["blue", "c", "b", "a"]
    assert irg("audit", "--action", "key.made").code == 2


@pytest.mark.parametrize("front", ["on"], indirect=True)
async def test_a_command_says_who_runs_it(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    """Beside the gateway, and over the network; a name in any script, or one that no header could hold."""
    database = {"IRG_DATABASE_URL": gateway.services.settings.database_url}
    remote = {"IRG_URL": gateway.url, "IRG_ADMIN_TOKEN": ADMIN_TOKEN}
    for name, way, user in (("a", database, "käthe 李"), ("b", remote, "ann\nx-evil: 1\x1b[0m")):
        made = await irg_process(tmp_path, "keys", "create", name, **way, LOGNAME=user)
        assert made.code == 0, made.err
    found = (await irg_process(tmp_path, "audit", "--action", "key", "--json", **database)).json["items"]
    assert [(entry["actor"], entry["via"]) for entry in found] == [
        ("annx-evil: 1[0m", "network"),
        ("käthe 李", "socket"),
    ]


def test_a_user_without_a_name_is_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs with a number of its own."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert user_name() == "admin"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"rpm": 60}, {"rpm": 30}, "rpm: 60 → 30"),
        ({"rpm": None, "tags": []}, {"rpm": 30, "tags": ["a", "b"]}, "rpm: - → 30; tags: - → a, b"),
        (None, {"name": "a", "rpm": 5}, "name: a; rpm: 5"),
        ({"kind": "webhook"}, None, "kind: webhook"),
        ({"prefix": "a"}, {"prefix": "b", "old_secret_ends_at": "t"}, "prefix: a → b; old_secret_ends_at: t"),
        ({"IRG_FRONT": True}, {"IRG_FRONT": False}, "IRG_FRONT: true → false"),
        ({}, {"reason": "told"}, "reason: told"),
    ],
)
def test_what_changed_in_words(before: Any, after: Any, text: str) -> None:
    """Absent is a dash."""
    assert changed({"before": before, "after": after}) == text
