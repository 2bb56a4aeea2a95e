"""Settings: every setting through every door, and every fault at once, each as a sentence that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.settings import Loaded, Settings, SettingsError, load_settings, variable_of
from app.settings.reference import gateway_toml

CERTIFICATE = Path(__file__).parent / "certificates" / "server.pem"
KEY_FILE = Path(__file__).parent / "certificates" / "server.key"

# Another usable value of every setting, as text and as TOML holds it.
OTHERS: dict[str, tuple[str, Any]] = {
    "imagerouter_api_key": ("sk-other-key-0123456789", "sk-other-key-0123456789"),
    "upstream_url": ("https://other.example", "https://other.example"),
    "upstream_transport": ("httpx", "httpx"),
    "upstream_proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "upstream_ca_file": (str(CERTIFICATE), str(CERTIFICATE)),
    "allow_plain_upstream": ("true", True),
    "connect_timeout_seconds": ("1.5", 1.5),
    "upstream_timeout_seconds": ("11", 11),
    "upstream_idle_seconds": ("12", 12),
    "upstream_keepalive_seconds": ("13", 13),
    "forward_headers": ("x-one, X-Two", ["x-one", "X-Two"]),
    "host": ("::1", "::1"),
    "port": ("8123", 8123),
    "public_url": ("https://gateway.example", "https://gateway.example"),
    "tls_cert_file": (str(CERTIFICATE), str(CERTIFICATE)),
    "tls_key_file": (str(KEY_FILE), str(KEY_FILE)),
    "admin_token": ("Zq8wL2vN5xC7bM1aS4dF6gH9jK3pR0tY", "Zq8wL2vN5xC7bM1aS4dF6gH9jK3pR0tY"),
    "request_bytes_max": ("2048", 2048),
    "bodies_bytes_max": ("1000000000", 1_000_000_000),
    "concurrency_max": ("7", 7),
    "on_client_disconnect": ("cancel", "cancel"),
    "client_gone_seconds": ("14", 14),
    "client_stall_seconds": ("15", 15),
    "stream_error_event": ("false", False),
    "allow_conversations": ("true", True),
    "shutdown_delay_seconds": ("16", 16),
    "shutdown_grace_seconds": ("17", 17),
    "database_url": ("sqlite:////elsewhere/other.db", "sqlite:////elsewhere/other.db"),
    "durability": ("power", "power"),
    "settle_wait_seconds": ("18", 18),
    "timezone": ("Europe/Berlin", "Europe/Berlin"),
    "log_level": ("WARNING", "warning"),
    "front": ("off", "off"),
    "url": ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    "key": ("irg_0000", "irg_0000"),
}
JUDGED_TOGETHER = {
    *("tls_cert_file", "tls_key_file", "request_bytes_max", "bodies_bytes_max", "upstream_url", "allow_plain_upstream")
}
NAMES = sorted(Settings.model_fields)
# Alone, one of these two is a fault of its own.
BESIDE = {"tls_cert_file": {"tls_key_file": str(KEY_FILE)}, "tls_key_file": {"tls_cert_file": str(CERTIFICATE)}}

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file below the working directory of the loader."""

    def at(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return at


def load(directory: Path, /, flags: dict[str, Any] | None = None, **environ: str) -> Loaded:
    return load_settings(flags, environ=environ, directory=directory)


def faults(directory: Path, /, flags: dict[str, Any] | None = None, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as told:
        load(directory, flags, **environ)
    for fault in told.value.faults:
        assert fault[-1] in ".?", fault
    return told.value.faults


def only_fault(directory: Path, /, flags: dict[str, Any] | None = None, **environ: str) -> str:
    (fault,) = faults(directory, flags, **environ)
    return fault


def plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def expected(name: str) -> Any:
    """What the other value becomes."""
    values: dict[str, Any] = {name: OTHERS[name][0], **BESIDE.get(name, {})}
    return plain(getattr(Settings(**values), name))


def beside(name: str) -> dict[str, str]:
    return {variable_of(other): value for other, value in BESIDE.get(name, {}).items()}


def through(door: str, name: str, text: str, value: Any, write: Write) -> tuple[dict[str, Any], dict[str, str]]:
    """Sets a setting through one door; returns flags and environment."""
    variable = variable_of(name)
    if door == "flag":
        return {name: value}, {}
    if door == "environment":
        return {}, {variable: text}
    if door == "file":
        write("secret", text + "\n")
        return {}, {f"{variable}_FILE": "secret"}
    if door == ".env":
        write(".env", f"# a comment\n{variable}={json.dumps(text)}\n")
    else:
        write("config/gateway.toml", f"# a comment\n{name} = {json.dumps(value)}\n")
    return {}, {}


DOORS = ["flag", "environment", "file", ".env", "toml"]


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


# --- faults ---------------------------------------------------------------------------------

BAD: list[tuple[str, str, str]] = [
    ("imagerouter_api_key", "two words", "printable ASCII"),
    ("imagerouter_api_key", "line\nbreak", "printable ASCII"),
    ("imagerouter_api_key", "clé", "printable ASCII"),
    ("upstream_url", "ftp://x.example", "must be a URL"),
    ("upstream_url", "api.imagerouter.io", "must be a URL"),
    ("upstream_url", "https://", "must be a URL"),
    ("upstream_url", "https://x.example:port", "must be a URL"),
    ("upstream_url", "https://x.example/a b", "must be a URL"),
    ("upstream_url", "https://user:sesame@x.example", "must not hold credentials"),
    ("upstream_url", "https://x.example/?a=1", "query or a fragment"),
    ("upstream_url", "https://x.example/#a", "query or a fragment"),
    ("upstream_url", "https://api.imagerouter.io/v1/openai", "end before /v1"),
    ("upstream_url", "https://api.imagerouter.io/v1/", "end before /v1"),
    ("upstream_url", "http://x.example", "unencrypted"),
    ("upstream_transport", "direct", "must be httpx"),
    ("upstream_proxy", "socks5://x.example", "must be a URL"),
    ("upstream_proxy", "http://x.example/path", "must not have a path"),
    ("upstream_ca_file", "/nowhere/ca.pem", "cannot be read (No such file"),
    ("upstream_ca_file", __file__, "not a PEM file"),
    ("tls_cert_file", str(CERTIFICATE), "set IRG_TLS_KEY_FILE as well"),
    ("tls_key_file", str(KEY_FILE), "set IRG_TLS_CERT_FILE as well"),
    ("allow_plain_upstream", "maybe", "must be true or false"),
    ("database_url", "postgresql://user:sesame@db/irg", "this version keeps its ledger in SQLite"),
    ("database_url", "sqlite://", "must be sqlite:///"),
    ("database_url", "sqlite:///", "must be sqlite:///"),
    ("database_url", "sqlite:///:memory:", "must be sqlite:///"),
    ("database_url", "gateway.db", "must be sqlite:///"),
    ("host", "http://x", "address or a name alone"),
    ("port", "abc", "a whole number from 0 to 65535, such as 8000"),
    ("port", "65536", "from 0 to 65535"),
    ("port", "-1", "from 0 to 65535"),
    ("port", "tcp://10.0.0.1:8000", "enableServiceLinks: false"),
    ("public_url", "https://x.example/path", "must not have a path"),
    ("admin_token", "short", "at least 32"),
    ("admin_token", "with a space in the middle of its many characters", "at least 32"),
    ("admin_token", "irg_" + "x8" * 30, "is a team key"),
    ("admin_token", "a" * 40, "easily guessed"),
    ("admin_token", "change-me-change-me-change-me-change-me", "easily guessed"),
    ("admin_token", "replace-this-with-a-long-secret-admin-token", "easily guessed"),
    ("admin_token", "0123456789abcdef0123456789abcdef", "easily guessed"),
    ("admin_token", "password1234567890password1234567890", "easily guessed"),
    ("connect_timeout_seconds", "10s", "a number of seconds above 0, at most 86400, such as 10"),
    ("connect_timeout_seconds", "0", "above 0"),
    ("upstream_timeout_seconds", "inf", "at most 86400"),
    ("upstream_idle_seconds", "nan", "at most 86400"),
    ("client_gone_seconds", "-1", "above 0"),
    ("client_stall_seconds", "1e9", "at most 86400"),
    ("settle_wait_seconds", "", "above 0"),
    ("shutdown_grace_seconds", "-1", "from 0 to 86400"),
    ("upstream_keepalive_seconds", "soon", "from 0 to 86400"),
    ("request_bytes_max", "64MB", "a whole number of bytes from 1024"),
    ("request_bytes_max", "1000000000", "IRG_REQUEST_BYTES_MAX"),
    ("bodies_bytes_max", "2048", "less than IRG_REQUEST_BYTES_MAX"),
    ("concurrency_max", "0", "from 1 to 1000000"),
    ("on_client_disconnect", "stay", "must be drain or cancel"),
    ("durability", "none", "must be process or power"),
    ("log_level", "loud", "must be debug or info or warning or error"),
    ("timezone", "Europe/Berln", "did you mean Europe/Berlin?"),
    ("timezone", "../etc/passwd", "is not a time zone"),
    ("timezone", "Nowhere", "write an IANA name"),
    ("forward_headers", "x-fine, Authorization", "'authorization', which never goes to the upstream"),
    ("forward_headers", "cookie", "take it off the list"),
    ("forward_headers", "Transfer-Encoding", "take it off the list"),
    ("forward_headers", "not a name", "take it off the list"),
    ("front", "sideways", "must be on or off"),
    ("url", "gateway", "must be a URL"),
    ("key", "two words", "team key alone"),
]


@pytest.mark.parametrize(("name", "value", "says"), [case for case in BAD if case[1]])
def test_a_bad_value_is_told_with_its_place_and_its_mend(name: str, value: str, says: str, tmp_path: Path) -> None:
    """One sentence; what was written is not repeated, for it may be a secret."""
    fault = only_fault(tmp_path, None, **{variable_of(name): value})
    assert fault.split(": ")[0].split(" ")[-1 if "(default)" not in fault else -2].startswith(("IRG_", "IMAGEROUTER_"))
    assert says in fault
    assert "sesame" not in fault
    if name in ("imagerouter_api_key", "admin_token", "key"):
        assert value not in fault


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("port = true", "a whole number"),
        ('connect_timeout_seconds = "soon"', "a number of seconds"),
        ("host = 5", "must be text in quotes"),
        ("imagerouter_api_key = 5", "must be text in quotes"),
        ("forward_headers = 5", "a list of names"),
        ("allow_plain_upstream = 7", "must be true or false"),
        ("port = 2026-11-22", "a whole number"),
        ("ports = 5", "there is no such setting. Did you mean port?"),
        ("IRG_PORT = 5", "there is no such setting."),
        ("config = 'x'", "there is no such setting."),
        ("[port]\nx = 1", "a whole number"),
        ("[[budgets]]\nx = 1", "there is no such setting."),
    ],
)
def test_a_bad_line_of_the_settings_file_is_told_with_its_number(
    line: str, says: str, tmp_path: Path, write: Write
) -> None:
    """The key and the line, so that an editor can go there."""
    path = write("config/gateway.toml", f"\n{line}\n")
    fault = only_fault(tmp_path)
    assert fault.startswith(f"{path}:2, ")
    assert says in fault


@given(st.lists(st.sampled_from([case for case in BAD if case[1]]), unique_by=lambda case: case[0], min_size=2))
def test_all_faults_are_told_at_once(cases: list[tuple[str, str, str]]) -> None:
    """However many: nobody mends one to meet the next."""
    environ = {variable_of(name): value for name, value, _ in cases}
    with pytest.raises(SettingsError) as told:
        load_settings(environ={**environ, "IRG_PROT": "1"}, directory=Path("/nonexistent"))
    listed = "\n".join(told.value.faults)
    assert "IRG_PROT: there is no such setting. Did you mean IRG_PORT?" in listed
    for name, _, says in cases:
        # Of two that are judged together, nothing is said while the other one is at fault itself.
        if name not in JUDGED_TOGETHER:
            assert says in listed, name


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("IRG_PROT", "Did you mean IRG_PORT?"),
        ("IRG_UPSTREAM", "Did you mean IRG_UPSTREAM_URL?"),
        ("IRG_BILLING", "there is no such setting."),
        ("IRG_METRICS_TOKEN_FILE", "there is no such setting."),
        ("IRG_ZZZZZZZZZ", "irg config show lists all there are."),
        ("irg_port", "Write IRG_PORT."),
        ("Imagerouter_Api_Key", "Write IMAGEROUTER_API_KEY."),
    ],
)
def test_a_variable_nobody_knows_is_a_fault(variable: str, says: str, tmp_path: Path, write: Write) -> None:
    """In the environment and in .env: a misspelt limit must not be no limit."""
    fault = only_fault(tmp_path, None, **{variable: "1"})
    assert fault.startswith(f"environment variable {variable}: ")
    assert says in fault
    write(".env", f"\n\n# comment\nOTHER=1\n\n{variable}=1\n")
    fault = only_fault(tmp_path)
    assert fault.startswith(f"{tmp_path}/.env:6, {variable}: ")
    assert says in fault


def test_variables_of_others_are_left_alone(tmp_path: Path, write: Write) -> None:
    """The environment is full of them."""
    write(".env", "PATH=/x\nDATABASE_URL=postgresql://x\n")
    assert load(tmp_path, None, PORT="5", HOST="x", IRGENDWAS="1").settings.port == 8000


def test_kubernetes_service_links_are_told_in_one_sentence(tmp_path: Path) -> None:
    """A Service named irg makes seven variables; the mend is one line."""
    links = {
        "IRG_SERVICE_HOST": "10.0.0.1",
        "IRG_SERVICE_PORT": "8000",
        "IRG_SERVICE_PORT_HTTP": "8000",
        "IRG_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "IRG_PORT_8000_TCP_PROTO": "tcp",
        "IRG_PORT_8000_TCP_PORT": "8000",
        "IRG_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    told = faults(tmp_path, None, **links, IRG_PORT="tcp://10.0.0.1:8000")
    assert len(told) == 2
    assert all("enableServiceLinks: false" in fault for fault in told)


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


# --- secrets stay secret, warnings ------------------------------------------------------------


@given(st.text(st.characters(codec="ascii"), min_size=12).filter(str.isprintable))
def test_no_secret_is_in_a_fault_or_in_what_settings_look_like(secret: str) -> None:
    """Whether it can be used or not."""
    secret = f"s3cr3t-{secret}"
    environ = {"IMAGEROUTER_API_KEY": secret, "IRG_ADMIN_TOKEN": secret, "IRG_KEY": secret, "IRG_PORT": secret}
    with pytest.raises(SettingsError) as told:
        load_settings(environ=environ, directory=Path("/nonexistent"))
    assert secret not in str(told.value)
    assert "s3cr3t" not in str(told.value)
    with pytest.raises(ValidationError) as refused:
        Settings(imagerouter_api_key=SecretStr(f"{secret} "), admin_token=SecretStr(f"{secret} "))
    assert "s3cr3t" not in str(refused.value)
    assert "s3cr3t" not in repr(Settings(key=SecretStr("irg_s3cr3t"), upstream_proxy="http://a:s3cr3t@x:1"))


def test_what_is_unwise_is_a_warning(tmp_path: Path, write: Write) -> None:
    """A short key, a plain public address, a secret that others may read."""
    config = write("config/gateway.toml", 'key = "irg_0"\n')
    config.chmod(0o644)
    token = write("data/admin-token", "x")
    token.chmod(0o640)
    loaded = load(tmp_path, None, IMAGEROUTER_API_KEY="short", IRG_PUBLIC_URL="http://gateway.example")
    assert [warning.split(" ")[0] for warning in loaded.warnings] == [
        "IMAGEROUTER_API_KEY",
        "IRG_PUBLIC_URL",
        str(config),
        str(token),
    ]
    config.chmod(0o600)
    token.chmod(0o600)
    fine = load(tmp_path, None, IMAGEROUTER_API_KEY="x" * 20, IRG_PUBLIC_URL="http://localhost:8000")
    assert fine.warnings == ()


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:9", "http://localhost", "http://[::1]:9", "http://127.9.9.9"])
def test_plain_http_is_fine_on_this_machine(upstream: str, tmp_path: Path) -> None:
    """The simulator and other local servers need no switch."""
    assert load(tmp_path, None, IRG_UPSTREAM_URL=upstream + "/").settings.upstream_url == upstream


def test_plain_http_elsewhere_needs_the_switch(tmp_path: Path) -> None:
    """Said aloud, it is allowed; a name that only looks local is elsewhere."""
    loaded = load(tmp_path, None, IRG_UPSTREAM_URL="http://10.0.0.5", IRG_ALLOW_PLAIN_UPSTREAM="true")
    assert loaded.settings.upstream_url == "http://10.0.0.5"
    assert "unencrypted" in only_fault(tmp_path, None, IRG_UPSTREAM_URL="http://localhost.example")
    assert "unencrypted" in only_fault(tmp_path, None, IRG_UPSTREAM_URL="http://127.0.0.1.example")


@pytest.mark.parametrize(
    ("values", "base_url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://localhost:80"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"tls_cert_file": CERTIFICATE, "tls_key_file": KEY_FILE}, "https://127.0.0.1:8000"),
        ({"public_url": "https://gateway.example/"}, "https://gateway.example"),
    ],
)
def test_the_base_url_is_where_clients_reach_the_gateway(values: dict[str, Any], base_url: str) -> None:
    """For snippets and messages."""
    assert Settings(**values).base_url == base_url
