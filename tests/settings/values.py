"""What the tests of settings share: another value of every setting, every door, and how faults are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.settings import Loaded, Settings, SettingsError, load_settings, variable_of
from app.settings.reference import toml

CERTIFICATE = Path(__file__).parents[1] / "certificates" / "server.pem"
KEY_FILE = Path(__file__).parents[1] / "certificates" / "server.key"

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
    "trusted_proxies": ("10.0.0.0/8, 192.0.2.7", ["10.0.0.0/8", "192.0.2.7"]),
    "tls_cert_file": (str(CERTIFICATE), str(CERTIFICATE)),
    "tls_key_file": (str(KEY_FILE), str(KEY_FILE)),
    "admin_token": ("Zq8wL2vN5xC7bM1aS4dF6gH9jK3pR0tY", "Zq8wL2vN5xC7bM1aS4dF6gH9jK3pR0tY"),
    "request_bytes_max": ("2048", 2048),
    "bodies_bytes_max": ("1000000000", 1_000_000_000),
    "answers_bytes_max": ("2000000", 2_000_000),
    "concurrency_max": ("7", 7),
    "connections_max": ("9", 9),
    "connections_per_address_max": ("19", 19),
    "on_client_disconnect": ("cancel", "cancel"),
    "client_gone_seconds": ("14", 14),
    "client_stall_seconds": ("15", 15),
    "stream_error_event": ("false", False),
    "references_scope": ("team", "team"),
    "unknown_references": ("allow", "allow"),
    "references_days": ("30", 30),
    "allow_conversations": ("true", True),
    "allow_background": ("true", True),
    "shutdown_delay_seconds": ("16", 16),
    "shutdown_grace_seconds": ("17", 17),
    "database_url": ("sqlite:////elsewhere/other.db", "sqlite:////elsewhere/other.db"),
    "durability": ("power", "power"),
    "settle_wait_seconds": ("18", 18),
    "retention_days": ("400", 400),
    "timezone": ("Europe/Berlin", "Europe/Berlin"),
    "billing": ("TRUE_COST", "true_cost"),
    "unknown_counts": ("nothing", "nothing"),
    "hold_default_usd": ("0.125", "0.125"),
    "hold_ceilings": ("openai/gpt-5=0.50, openai/*=1, *=2", {"openai/gpt-5": "0.50", "openai/*": "1", "*": "2"}),
    "credits_low_usd": ("12.50", "12.50"),
    "allow_plain_alerts": ("true", True),
    "log_level": ("WARNING", "warning"),
    "front": ("off", "off"),
    "url": ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    "key": ("irg_0000", "irg_0000"),
}
JUDGED_TOGETHER = {
    *("upstream_proxy", "upstream_transport"),
    *("tls_cert_file", "tls_key_file", "request_bytes_max", "bodies_bytes_max", "upstream_url", "allow_plain_upstream"),
}
NAMES = sorted(Settings.model_fields)
# Alone, one of these is a fault of its own.
BESIDE = {
    "upstream_proxy": {"upstream_transport": "httpx"},
    "tls_cert_file": {"tls_key_file": str(KEY_FILE)},
    "tls_key_file": {"tls_cert_file": str(CERTIFICATE)},
}

Write = Callable[[str, str], Path]


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
        write("config/gateway.toml", f"# a comment\n{name} = {toml(value)}\n")
    return {}, {}


DOORS = ["flag", "environment", "file", ".env", "toml"]
