"""What signs alerts: made once, for its owner alone, and never made anew by itself."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings
from app.settings.alerts_secret import AlertsSecret, alerts_secret


@pytest.fixture
def secret(tmp_path: Path) -> AlertsSecret:
    return alerts_secret(Settings(database_url=f"sqlite:///{tmp_path}/state/gateway.db"))


def test_it_is_made_once_for_its_owner_alone(secret: AlertsSecret, tmp_path: Path) -> None:
    """32 random bytes beside the database, 0600."""
    secret.ensure()
    path = tmp_path / "state" / "alerts-secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    before = secret.of("dst_1")
    secret.ensure()
    assert AlertsSecret(path).of("dst_1") == before
    assert [entry.name for entry in path.parent.iterdir()] == ["alerts-secret"]
    other = AlertsSecret(tmp_path / "other")
    other.ensure()
    assert other.of("dst_1") != before


def test_one_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    """As with the admin token."""
    path = tmp_path / "data" / "alerts-secret"
    AlertsSecret(path).ensure()
    assert load_settings(environ={}, directory=tmp_path).warnings == ()
    path.chmod(0o644)
    assert load_settings(environ={}, directory=tmp_path).warnings == (
        f"{path} holds a secret, and others may read it: chmod 600 {path}",
    )


@pytest.mark.parametrize("content", [None, "", "short", "é" * 44, base64.b64encode(bytes(31)).decode()])
def test_a_file_that_is_away_or_spoilt_is_a_fault(content: str | None, secret: AlertsSecret, tmp_path: Path) -> None:
    """It says what to do, and nothing is put in its place."""
    path = tmp_path / "state" / "alerts-secret"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content, encoding="utf-8")
        with pytest.raises(SettingsError, match="Put it back from a copy"):
            secret.ensure()
    with pytest.raises(SettingsError, match="alerts-secret does not hold the secret") as told:
        secret.of("dst_1")
    assert str(told.value).endswith("add these again.")
    assert path.exists() == (content is not None)
    assert "b'" not in repr(secret)
