"""Every fault at once, each as a sentence that mends it and tells no secret; what is unwise is a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.settings import Settings, SettingsError, load_settings, variable_of
from tests.settings.values import CERTIFICATE, JUDGED_TOGETHER, KEY_FILE, Write, faults, load, only_fault

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
    ("upstream_transport", "quick", "must be direct or httpx"),
    ("upstream_proxy", "http://proxy.example:3128", "set IRG_UPSTREAM_TRANSPORT=httpx as well"),
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
    ("trusted_proxies", "10.0.0.1/8", "without bits behind their prefix: write them as 10.0.0.0/8"),
    ("trusted_proxies", "caddy", "must be addresses or networks"),
    ("connections_max", "0", "a whole number from 1 to"),
    ("billing", "both", "must be charged or true_cost"),
    ("unknown_counts", "0", "must be hold or nothing"),
    ("hold_default_usd", "five cents", "write digits with at most 12 decimals, such as 0.05"),
    ("hold_default_usd", "-0.05", "must be an amount in USD"),
    ("hold_default_usd", "5e-2", "must be an amount in USD"),
    ("hold_default_usd", "0,05", "must be an amount in USD"),
    ("hold_default_usd", "0.0000000000001", "must be an amount in USD"),
    ("hold_default_usd", "1000001", "must be an amount in USD, at most 1000000:"),
    ("hold_ceilings", "0.50", "must be models, or globs of them, and amounts in USD"),
    ("hold_ceilings", "sesame", "must be models, or globs of them, and amounts in USD"),
    ("hold_ceilings", "two words=1", "must be models, or globs of them, and amounts in USD"),
    ("hold_ceilings", "openai/gpt-5=sesame", "gives openai/gpt-5 no amount in USD"),
    ("hold_ceilings", "openai/gpt-5=1000001", "at most 1000000 and"),
    ("hold_ceilings", "openai/gpt-5=", "gives openai/gpt-5 no amount in USD"),
    ("hold_ceilings", "*=2, openai/gpt-5=0.5", "names openai/gpt-5 behind *, which matches it first"),
    ("hold_ceilings", "openai/*=2, openai/o?=0.5", "names openai/o? behind openai/*"),
    ("hold_ceilings", "a?=1, a?=1", "names a? behind a?"),
    ("hold_ceilings", "port=80", "names port, which is a setting"),
    ("credits_low_usd", "a few", "an amount in USD above 0"),
    ("credits_low_usd", "0", "above 0"),
    ("credits_low_usd", "-1", "above 0"),
    ("credits_low_usd", "1000001", "above 0, at most 1000000:"),
    ("credits_low_usd", "1e3", "digits with at most 12 decimals"),
    ("allow_plain_alerts", "maybe", "must be true or false"),
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
        ("hold_default_usd = 5e-2", "must be an amount in USD"),
        ("hold_default_usd = inf", "must be an amount in USD"),
        ("hold_default_usd = true", "must be an amount in USD"),
        ("hold_ceilings = 5", "must be models, or globs of them, and amounts in USD"),
        ("hold_ceilings = ['openai/*', '2']", "must be models, or globs of them, and amounts in USD"),
        ("hold_ceilings = {'openai/*' = true}", "gives openai/* no amount in USD"),
        ("hold_ceilings.openai = {'gpt-5' = '1'}", "gives openai no amount in USD"),
        ("[hold_ceilings]\n'*' = 2\nport = 80", "names port, which is a setting: a table takes all lines below it"),
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
        ("IRG_HOLD_CEILING", "Did you mean IRG_HOLD_CEILINGS?"),
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


# --- secrets stay secret, warnings ------------------------------------------------------------


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=12))
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
    assert "s3cr3t" not in repr(
        Settings(key=SecretStr("irg_s3cr3t"), upstream_transport="httpx", upstream_proxy="http://a:s3cr3t@x:1")
    )


def test_what_is_unwise_is_a_warning(tmp_path: Path, write: Write) -> None:
    """A short key, a plain public address, a secret that others may read."""
    config = write("config/gateway.toml", 'key = "irg_0"\n')
    config.chmod(0o644)
    dotenv = write(".env", "IRG_ADMIN_TOKEN=\n")  # it holds no secret yet
    dotenv.chmod(0o644)
    token = write("data/admin-token", "x")
    token.chmod(0o640)
    loaded = load(tmp_path, None, IMAGEROUTER_API_KEY="short", IRG_PUBLIC_URL="http://gateway.example")
    assert [warning.split(" ")[0] for warning in loaded.warnings] == [
        "IMAGEROUTER_API_KEY",
        "IRG_PUBLIC_URL",
        str(config),
        str(token),
    ]
    dotenv.write_text("IMAGEROUTER_API_KEY=0123456789abcdefghij\n")
    assert any(warning.startswith(f"{dotenv} holds a secret") for warning in load(tmp_path).warnings)
    for path in (config, dotenv, token):
        path.chmod(0o600)
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
