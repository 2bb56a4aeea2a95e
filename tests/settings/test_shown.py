"""Settings as they may be shown: every one of a gateway, none of its secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.settings import Settings, load_settings, variable_of
from app.settings.shown import plain_value, secret_of, setting_in_force, settings_in_force

SECRETS = {
    "imagerouter_api_key": "canary-upstream-key-0123456789",
    "admin_token": "canary-admin-token-0123456789-0123456789",
}
PROXY = "http://user:canary-password@proxy.example.com:3128"


def test_every_setting_of_a_gateway_is_in_force() -> None:
    """By its variable; what commands alone use is none. By default each is its default."""
    found = settings_in_force(Settings())
    assert found.keys() == {variable_of(name) for name in Settings.model_fields} - {"IRG_URL", "IRG_KEY"}
    assert all(setting.value == setting.default and setting.secret is None for setting in found.values())
    json.dumps({name: setting.value for name, setting in found.items()})


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default ledger too, so that the same words in another place are told as what they are."""
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(environ={}).settings
    database = settings_in_force(loaded)["IRG_DATABASE_URL"]
    assert database.value == database.default == f"sqlite:///{tmp_path}/data/gateway.db"


def test_values_are_told_as_they_were_set() -> None:
    """Numbers without a needless fraction, lists as lists."""
    values: dict[str, Any] = {
        "port": 9000,
        "connect_timeout_seconds": "2.0",
        "forward_headers": ["x-a"],
        "timezone": "UTC",
    }
    found = settings_in_force(Settings(**values))
    told = {name: setting.value for name, setting in found.items() if setting.value != setting.default}
    assert told == {"IRG_PORT": 9000, "IRG_CONNECT_TIMEOUT_SECONDS": 2, "IRG_FORWARD_HEADERS": ["x-a"]}
    assert isinstance(told["IRG_CONNECT_TIMEOUT_SECONDS"], int)


def test_a_secret_is_only_set() -> None:
    """So is a URL with credentials; what may be shown or printed of them has no word of it."""
    found = settings_in_force(Settings(**SECRETS, upstream_transport="httpx", upstream_proxy=PROXY))  # type: ignore[arg-type]
    secret = {name: setting for name, setting in found.items() if setting.secret is not None}
    assert {name: setting.secret for name, setting in secret.items()} == {
        "IMAGEROUTER_API_KEY": SECRETS["imagerouter_api_key"],
        "IRG_ADMIN_TOKEN": SECRETS["admin_token"],
        "IRG_UPSTREAM_PROXY": PROXY,
    }
    assert "canary" not in json.dumps([[setting.value, setting.default] for setting in found.values()])
    assert "canary" not in repr(found)
    without = setting_in_force("upstream_proxy", "http://proxy.example.com:3128")
    assert (without.value, without.secret) == ("http://proxy.example.com:3128", None)
    assert setting_in_force("imagerouter_api_key", None).value == "unset"


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        (SecretStr("hush"), "hush"),
        ("https://a:b@example.com/x", "https://a:b@example.com/x"),
        ("https://token@example.com", "https://token@example.com"),
        ("https://example.com/@path", None),
        ("sqlite:////data/a@b.db", None),
        ("me@example.com", None),
        (None, None),
        (5, None),
    ],
)
def test_what_is_a_secret(value: object, secret: str | None) -> None:
    """By its type, or as the credentials of a URL."""
    assert secret_of(value) == secret


@pytest.mark.parametrize(
    ("value", "plain"),
    [(2.0, 2), (2.5, 2.5), (Path("/a"), "/a"), (("a",), ["a"]), ((("m", "0.5"),), ["m=0.5"]), (True, True)],
)
def test_a_plain_value_is_json(value: object, plain: object) -> None:
    assert plain_value(value) == plain
    assert json.loads(json.dumps(plain_value(value))) == plain
