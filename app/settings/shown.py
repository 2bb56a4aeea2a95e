"""Settings as they may be shown: values as JSON has them, secrets never.

Called by `irg config show`, and at the start for the audit log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.core.audit import Setting
from app.settings.doors import absolute
from app.settings.model import Settings, variable_of

# What commands alone use says nothing about a gateway.
_OF_COMMANDS = ("url", "key")

UNSET = "unset"


def secret_of(value: Any) -> str | None:
    """The text that must not be shown, if a value holds one: a secret, or a URL with credentials in it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    holds = isinstance(value, str) and "://" in value and "@" in urlsplit(value).netloc
    return str(value) if holds else None


def plain_value(value: Any) -> Any:
    """A value that holds no secret, as JSON has it."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):  # pairs as a variable holds them
        return ["=".join(item) if isinstance(item, tuple) else item for item in value]
    return value


def settings_in_force(settings: Settings) -> dict[str, Setting]:
    """What a gateway runs with, by variable."""
    directory = Path.cwd()
    return {
        variable_of(name): _in_force(name, getattr(settings, name), directory)
        for name in type(settings).model_fields
        if name not in _OF_COMMANDS
    }


def setting_in_force(name: str, value: Any) -> Setting:
    """Paths are absolute: those of another working directory are others."""
    return _in_force(name, value, Path.cwd())


def _in_force(name: str, value: Any, directory: Path) -> Setting:
    field = Settings.model_fields[name]
    secret = secret_of(value)
    if "SecretStr" in str(field.annotation):
        return Setting("set" if secret else UNSET, UNSET, secret)
    told, default = (plain_value(absolute(name, one, directory)) for one in (value, field.default))
    return Setting(None if secret else told, default, secret)
