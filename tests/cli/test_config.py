"""`irg config`, `irg admin-token`, `irg health`: what holds, why, and who may know."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings, variable_of
from tests.cli.irg import Ran, irg

SECRETS = {
    "IMAGEROUTER_API_KEY": "sk-sesame-0123456789-0123456789",
    "IRG_ADMIN_TOKEN": "Zq8wL2vN5xC7bM1aS4dF6gH9jK3pR0tYsesame",
    "IRG_KEY": "irg_sesame",
    "IRG_UPSTREAM_PROXY": "http://user:sesame@proxy.example:3128",
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IRG_UPSTREAM_TRANSPORT", "httpx")  # the one that takes a proxy
    return tmp_path


@contextlib.contextmanager
def _server(answer: bytes) -> Iterator[str]:
    """Answers the first connection so, whatever it asks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(30)


def shown(*arguments: str) -> dict[str, tuple[Any, str]]:
    """Name → value and origin."""
    return {item["name"]: (item["value"], item["origin"]) for item in irg(*arguments, "--json").json["items"]}


def test_show_tells_every_value_and_where_it_was_set(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the model's order, paths absolute, types as they are."""
    (workplace / "config").mkdir()
    (workplace / "config" / "gateway.toml").write_text("\nport = 81\nforward_headers = ['x-one']\n")
    (workplace / ".env").write_text("IRG_SETTLE_WAIT_SECONDS=1.5\n")
    monkeypatch.setenv("IRG_DATABASE_URL", "sqlite:///state/g.db")
    monkeypatch.setenv("IRG_HOLD_CEILINGS", "openai/*=0.50, *=2")
    told = shown("config", "show")
    assert list(told) == [*map(variable_of, Settings.model_fields), "IRG_CONFIG"]
    assert told["IRG_PORT"] == (81, f"{workplace}/config/gateway.toml:2, port")
    assert told["IRG_FORWARD_HEADERS"][0] == ["x-one"]
    assert told["IRG_SETTLE_WAIT_SECONDS"] == (1.5, f"{workplace}/.env:1, IRG_SETTLE_WAIT_SECONDS")
    assert told["IRG_DATABASE_URL"] == (f"sqlite:///{workplace}/state/g.db", "environment variable IRG_DATABASE_URL")
    assert told["IRG_HOLD_CEILINGS"][0] == ["openai/*=0.50", "*=2"]
    assert told["IRG_HOST"] == ("127.0.0.1", "default")
    assert told["IRG_CLIENT_GONE_SECONDS"] == (900, "default")
    assert told["IRG_PUBLIC_URL"] == (None, "default")
    assert told["IRG_CONFIG"] == (f"{workplace}/config/gateway.toml", "default")
    lines = irg("config", "show").cells
    assert ["IRG_PORT", "81", f"{workplace}/config/gateway.toml:2, port"] in lines
    assert ["IRG_PUBLIC_URL", "-", "default"] in lines
    assert ["IRG_STREAM_ERROR_EVENT", "true", "default"] in lines


@pytest.mark.parametrize("arguments", [["--json"], []])
@pytest.mark.usefixtures("workplace")
def test_secrets_are_masked(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """That they are set, and where, may be seen; a proxy's password is one of them."""
    for variable, value in SECRETS.items():
        monkeypatch.setenv(variable, value)
    ran = irg("config", "show", *arguments)
    assert ran.code == 0
    assert ran.out.count("********") == len(SECRETS)
    assert "sesame" not in ran.out + ran.err
    assert "environment variable IMAGEROUTER_API_KEY" in ran.out


def test_the_settings_file_can_be_named_before_and_after_the_command(workplace: Path) -> None:
    """`irg --config FILE …` holds for every command; one run does not remember it for the next."""
    (workplace / "a.toml").write_text("port = 91\n")
    (workplace / "b.toml").write_text("port = 92\n")
    assert shown("--config", "a.toml", "config", "show")["IRG_PORT"][0] == 91
    assert shown("--config", "a.toml", "config", "show")["IRG_CONFIG"] == (f"{workplace}/a.toml", "--config")
    assert shown("--config", "a.toml", "config", "show", "--config", "b.toml")["IRG_PORT"][0] == 92
    assert shown("config", "show")["IRG_PORT"][0] == 8000
    missing = irg("--config", "c.toml", "config", "show")
    assert missing.code == 78
    assert f"{workplace}/c.toml cannot be read" in missing.err


@pytest.mark.usefixtures("workplace")
def test_check_says_nothing_on_stdout_when_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence on stderr; warnings before it."""
    assert irg("config", "check") == Ran(0, "", "The settings are fine.\n")
    assert irg("config", "check", "--json").json == {"ok": True, "faults": [], "warnings": []}
    monkeypatch.setenv("IMAGEROUTER_API_KEY", "short")
    ran = irg("config", "check")
    assert ran.code == 0
    assert ran.err.startswith("Warning: IMAGEROUTER_API_KEY is shorter than 20 characters")
    assert len(irg("config", "check", "--json").json["warnings"]) == 1


@pytest.mark.usefixtures("workplace")
def test_check_lists_every_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 78; as JSON on stdout for scripts."""
    monkeypatch.setenv("IRG_PORT", "abc")
    monkeypatch.setenv("IRG_PROT", "1")
    ran = irg("config", "check")
    assert (ran.code, ran.out) == (78, "")
    assert len(ran.err.splitlines()) == 3
    ran = irg("config", "check", "--json")
    assert (ran.code, ran.err) == (78, "")
    assert '"ok": false' in ran.out
    assert ran.out.count("IRG_P") == 3  # two faults, and the nearest name of one of them


# --- the admin token ------------------------------------------------------------------------


def test_the_admin_token_is_shown_and_made_if_there_is_none(workplace: Path) -> None:
    """stdout holds the token alone."""
    first = irg("admin-token", "show")
    path = workplace / "data" / "admin-token"
    assert first.out == path.read_text()
    assert str(path) in first.err
    again = irg("admin-token", "show")
    assert (again.out, again.err) == (first.out, "")
    assert irg("admin-token", "show", "--json").json == {"admin_token": first.out.strip()}


@pytest.mark.usefixtures("workplace")
def test_the_admin_token_is_replaced_only_when_meant() -> None:
    """A script says --yes, a person types the word; otherwise nothing changes."""
    old = irg("admin-token", "show").out
    assert irg("admin-token", "rotate").code == 2
    assert irg("admin-token", "rotate", typed="no\n").code == 1
    assert irg("admin-token", "show").out == old
    new = irg("admin-token", "rotate", "--yes")
    assert new.code == 0
    assert new.out != old
    assert irg("admin-token", "show").out == new.out


@pytest.mark.usefixtures("workplace")
def test_a_token_that_was_set_is_changed_where_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a file that nobody reads would look like a rotation."""
    monkeypatch.setenv("IRG_ADMIN_TOKEN", SECRETS["IRG_ADMIN_TOKEN"])
    ran = irg("admin-token", "rotate", "--yes")
    assert (ran.code, ran.out) == (4, "")
    assert "environment variable IRG_ADMIN_TOKEN" in ran.err


def test_an_empty_token_file_is_a_fault(workplace: Path) -> None:
    """Exit code 78, and what to do."""
    (workplace / "data").mkdir()
    (workplace / "data" / "admin-token").touch()
    ran = irg("admin-token", "show")
    assert (ran.code, ran.out) == (78, "")
    assert "Delete the file" in ran.err


# --- health ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("workplace")
def test_health_without_a_gateway_fails_with_a_sentence() -> None:
    """No ledger, nobody at the address, or no gateway there."""
    ran = irg("health")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("No gateway is running on ")
    ran = irg("health", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.err) == (1, "http://127.0.0.1:9 does not answer.\n")
    assert irg("health", "--url", "nonsense").code == 78


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 200 OK\r\n\r\n[]", b"SSH-2.0\r\n\r\n", b""]
)
@pytest.mark.usefixtures("workplace")
def test_health_knows_a_gateway_from_another_server(answer: bytes) -> None:
    """Whatever listens there: a sentence and exit code 1."""
    with _server(answer) as url:
        ran = irg("health", "--url", url)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"{url} ")
