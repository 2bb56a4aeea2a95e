"""The settings written down for people: the settings file, and the names in the README (its table: `test_docs`)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from app.settings import Settings, load_settings
from app.settings.reference import gateway_toml, settings_table

ROOT = Path(__file__).parents[2]


def test_the_readme_names_no_setting_that_is_none() -> None:
    """A variable that was renamed or taken away must not live on there."""
    named = set(re.findall(r"\b(?:IRG_[A-Z_]+|IMAGEROUTER_[A-Z_]+)\b", (ROOT / "README.md").read_text("utf-8")))
    known = set(re.findall(r"`((?:IRG|IMAGEROUTER)_[A-Z_]+)`", settings_table()))
    assert {name.removesuffix("_FILE") if name not in known else name for name in named} <= known


def test_the_settings_file_is_written_from_the_code() -> None:
    """If this fails: `uv run python -m app.settings.reference > config/gateway.toml`."""
    assert (ROOT / "config" / "gateway.toml").read_text("utf-8") == gateway_toml()


def test_every_line_of_the_settings_file_may_be_uncommented() -> None:
    """Each is TOML; and each with a default holds just that default."""
    lines = re.findall(r"(?m)^# (([a-z_]+) = .*)$", gateway_toml())
    assert [name for _, name in lines] == list(Settings.model_fields)
    values = tomllib.loads("\n".join(line for line, _ in lines))
    for name, field in Settings.model_fields.items():
        if field.default not in (None, ()):
            assert values[name] == field.default, name


@pytest.mark.parametrize("name", ["port", "upstream_url", "settle_wait_seconds", "forward_headers", "durability"])
def test_an_uncommented_line_is_read(name: str, tmp_path: Path) -> None:
    """The file works as it says."""
    (line,) = re.findall(rf"(?m)^# ({name} = .*)$", gateway_toml())
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gateway.toml").write_text(gateway_toml().replace(f"# {line}", line))
    assert load_settings(environ={}, directory=tmp_path).origins[name].endswith(f", {name}")
