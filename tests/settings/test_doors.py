"""Settings: every setting through every door, the earlier door first, and the place where it was set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.settings import Settings, load_settings, variable_of
from app.settings.reference import gateway_toml
from tests.settings.values import (
    CERTIFICATE,
    DOORS,
    NAMES,
    OTHERS,
    Write,
    beside,
    expected,
    load,
    only_fault,
    plain,
    through,
)


def test_every_setting_has_another_value_here() -> None:
    """A new setting joins these tests."""
    assert sorted(OTHERS) == NAMES


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_comes_through_every_door(name: str, door: str, tmp_path: Path, write: Write) -> None:
    """With its value, and with the place where it was set."""
    text, value = OTHERS[name]
    flags, environ = through(door, name, text, value, write)
    loaded = load(tmp_path, flags, **environ, **beside(name))
    assert plain(getattr(loaded.settings, name)) == expected(name)
    variable = variable_of(name)
    assert (
        loaded.origins[name]
        == {
            "flag": f"--{name.replace('_', '-')}",
            "environment": f"environment variable {variable}",
            "file": f"environment variable {variable}_FILE ({tmp_path}/secret)",
            ".env": f"{tmp_path}/.env:2, {variable}",
            "toml": f"{tmp_path}/config/gateway.toml:2, {name}",
        }[door]
    )


@pytest.mark.parametrize("first", range(len(DOORS)))
def test_an_earlier_door_wins(first: int, tmp_path: Path, write: Write) -> None:
    """Flag, environment, secret file, .env, settings file: whichever holds a value first."""
    flags: dict[str, Any] = {}
    environ: dict[str, str] = {}
    for number, door in enumerate(DOORS[first:], first):
        if door == "file" and "environment" in DOORS[first:number]:
            continue  # X beside X_FILE is a fault
        more_flags, more_environ = through(door, "port", f"{1000 + number}", 1000 + number, write)
        flags |= more_flags
        environ |= more_environ
    assert load(tmp_path, flags, **environ).settings.port == 1000 + first


def test_without_any_door_the_defaults_hold(tmp_path: Path) -> None:
    """An empty directory and an empty environment are enough."""
    loaded = load(tmp_path)
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.settings.port == 8000
    assert loaded.settings.imagerouter_api_key is None
    assert loaded.settings.database_path == tmp_path / "data" / "gateway.db"
    assert loaded.settings.state_dir == tmp_path / "data"
    assert loaded.config_path is None
    assert loaded.warnings == ()


def test_the_commented_file_changes_nothing(tmp_path: Path, write: Write) -> None:
    """config/gateway.toml as it is delivered."""
    write("config/gateway.toml", gateway_toml())
    assert load(tmp_path).settings == load_settings(environ={}, directory=tmp_path / "config").settings.model_copy(
        update={"database_url": f"sqlite:///{tmp_path}/data/gateway.db"}
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_is_not_set(name: str, tmp_path: Path) -> None:
    """Compose passes `${X:-}` so; the default holds."""
    loaded = load(tmp_path, None, **{variable_of(name): "", f"{variable_of(name)}_FILE": ""})
    assert loaded.origins[name] == "default"


def test_paths_are_relative_to_the_working_directory(tmp_path: Path, write: Write) -> None:
    """And stay what they are when it changes."""
    write("ca.pem", CERTIFICATE.read_text())
    loaded = load(tmp_path, None, IRG_UPSTREAM_CA_FILE="ca.pem", IRG_DATABASE_URL="sqlite:///state/ledger.db")
    assert loaded.settings.upstream_ca_file == tmp_path / "ca.pem"
    assert loaded.settings.database_path == tmp_path / "state" / "ledger.db"


def test_settings_do_not_change_once_made(tmp_path: Path) -> None:
    """Who holds settings can rely on them."""
    with pytest.raises(ValidationError):
        load(tmp_path).settings.port = 1  # type: ignore[misc]


def test_settings_made_of_values_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load_settings` opens doors."""
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("IRG_PORT", "1")
    assert Settings().port == 8000


# --- amounts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "picodollars"),
    [
        ('hold_default_usd = "0.1"', 100_000_000_000),
        ("hold_default_usd = 0.1", 100_000_000_000),
        ("hold_default_usd = 0.000000000001", 1),
        ("hold_default_usd = 2", 2_000_000_000_000),
        ("hold_default_usd = 0", 0),
    ],
)
def test_an_amount_is_what_was_written(line: str, picodollars: int, tmp_path: Path, write: Write) -> None:
    """In quotes or not: to the last digit, and never by way of a float."""
    write("config/gateway.toml", f"connect_timeout_seconds = 1.5\n{line}\n")
    settings = load(tmp_path).settings
    assert settings.hold_default_picodollars == picodollars
    assert settings.connect_timeout_seconds == 1.5


def test_ceilings_keep_their_order(tmp_path: Path, write: Write) -> None:
    """The first that matches counts; in a table, in a line, in a variable with whatever spaces."""
    ordered = (("openai/gpt-5", 500_000_000_000), ("*/*-mini", 1), ("*", 2_000_000_000_000))
    amounts = '"openai/gpt-5" = 0.50\n"*/*-mini" = "0.000000000001"\n"*" = 2\n'
    write("config/gateway.toml", f"port = 81\n\n[hold_ceilings]\n{amounts}")
    assert load(tmp_path).settings.hold_ceilings_picodollars == ordered
    write("config/gateway.toml", "hold_ceilings = {" + ",".join(amounts.splitlines()) + "}\n")
    assert load(tmp_path).settings.hold_ceilings_picodollars == ordered
    variable = " openai/gpt-5 = 0.50,*/*-mini=0.000000000001 ,, *=2,"
    assert load(tmp_path, None, IRG_HOLD_CEILINGS=variable).settings.hold_ceilings_picodollars == ordered
    assert load(tmp_path, None, IRG_HOLD_CEILINGS="a?=1, a*=2, [ab]=3").settings.hold_ceilings[2] == ("[ab]", "3")


# --- where the settings file is -------------------------------------------------------------


def test_the_settings_file_is_named_by_flag_then_variable(tmp_path: Path, write: Write) -> None:
    """`--config`, `IRG_CONFIG`, `IRG_CONFIG_FILE`, `.env`; the default place is not read then."""
    write("config/gateway.toml", "port = 1\n")
    write("one.toml", "port = 11\n")
    write("two.toml", "port = 12\n")
    write("three.toml", "port = 13\n")
    write(".env", "IRG_CONFIG=three.toml\n")
    write("named", "two.toml\n")
    flagged = load_settings(environ={"IRG_CONFIG": "two.toml"}, directory=tmp_path, config=Path("one.toml"))
    assert (flagged.settings.port, flagged.config_path) == (11, tmp_path / "one.toml")
    assert load(tmp_path, None, IRG_CONFIG="two.toml").settings.port == 12
    assert load(tmp_path, None, IRG_CONFIG_FILE="named").settings.port == 12
    assert load(tmp_path).settings.port == 13


def test_a_named_settings_file_must_be_there(tmp_path: Path) -> None:
    """Absent is fine only for the default one."""
    fault = only_fault(tmp_path, None, IRG_CONFIG="mistyped.toml")
    assert fault.startswith(f"environment variable IRG_CONFIG: the file {tmp_path}/mistyped.toml cannot be read")


def test_a_settings_file_that_is_not_toml_is_told_with_its_line(tmp_path: Path, write: Write) -> None:
    """So is one that is not text."""
    path = write("config/gateway.toml", "port = 1\nhost = nonsense\n")
    assert "line 2" in only_fault(tmp_path)
    path.write_bytes(b"\xff\xfe")
    assert "UTF-8" in only_fault(tmp_path)


# --- secret files ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_beside_its_file_is_a_fault(name: str, tmp_path: Path, write: Write) -> None:
    """Nobody can tell which one was meant."""
    write("secret", OTHERS[name][0])
    variable = variable_of(name)
    environ = {variable: OTHERS[name][0], f"{variable}_FILE": "secret", **beside(name)}
    assert only_fault(tmp_path, None, **environ).endswith(f"{variable} is set as well. Set one of the two.")
    assert only_fault(tmp_path, None, **dict(reversed(environ.items()))).endswith("Set one of the two.")


def test_a_secret_file_that_cannot_be_read_is_told_exactly(tmp_path: Path, write: Write) -> None:
    """Its path, and what stands in the way."""
    fault = only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE="/run/secrets/key")
    assert fault == (
        "environment variable IMAGEROUTER_API_KEY_FILE: the file /run/secrets/key cannot be read "
        "(No such file or directory; check the path)."
    )
    assert "Is a directory" in only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE=str(tmp_path))
    write("empty", "\n")
    assert "is empty" in only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE="empty")
    write("huge", "x" * 70_000)
    assert "too large" in only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE="huge")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is not text" in only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE="binary")


def test_a_forbidden_secret_file_is_told_with_its_mode(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mode, owner, and who asks. (Opening is refused by hand, for tests may run as root.)"""
    path = write("secret", "x")
    path.chmod(0o600)
    plain_open = Path.open

    def refuse(self: Path, *arguments: Any, **named: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return plain_open(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    fault = only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE="secret")
    assert "chmod 0444 suits a Docker secret" in fault
    assert f"(Permission denied: its mode is 0600 and its owner user {os.geteuid()}, this is user" in fault


def test_a_secret_keeps_all_but_its_line_break(tmp_path: Path, write: Write) -> None:
    """An editor's line break is no part of a key; anything else is what was written."""
    (tmp_path / "secret").write_bytes(b"sk-0123456789-0123456789\r\n")
    loaded = load(tmp_path, None, IMAGEROUTER_API_KEY_FILE="secret")
    assert plain(loaded.settings.imagerouter_api_key) == "sk-0123456789-0123456789"
    write("secret", " sk-0123456789\n")
    assert "without spaces" in only_fault(tmp_path, None, IMAGEROUTER_API_KEY_FILE="secret")


# --- .env -----------------------------------------------------------------------------------


def test_dotenv_is_read_as_written(tmp_path: Path, write: Write) -> None:
    """Quotes and `export` as shells know them; nothing is expanded; a directory of that name is no settings file."""
    write(".env", "export IRG_KEY='a$HOME'\nIRG_PORT=\"81\" # comment\nIRG_HOST=\n")
    loaded = load(tmp_path)
    assert plain(loaded.settings.key) == "a$HOME"
    assert loaded.settings.port == 81
    assert loaded.settings.host == "127.0.0.1"
    assert load(tmp_path, None, IRG_PORT="82").settings.port == 82
    (tmp_path / "elsewhere" / ".env").mkdir(parents=True)
    assert load(tmp_path / "elsewhere").settings.port == 8000


def test_a_line_of_dotenv_that_is_none_is_told(tmp_path: Path, write: Write) -> None:
    """With its number."""
    path = write(".env", "IRG_PORT=81\n=5\n")
    assert only_fault(tmp_path).startswith(f"{path}:2: this is not a line such as NAME=value")
    path.write_bytes(b"IRG_PORT=\xff\n")
    assert "UTF-8" in only_fault(tmp_path)
