"""From the doors to settings: precedence, and every fault at once.

Precedence: flag, environment, `*_FILE` (a Docker secret), `.env`, settings file, default. A name
that nobody knows is a fault: a misspelt limit must not be no limit. An empty variable counts as
not set (Compose passes `${X:-}` so).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from app.core.value import Value
from app.settings import doors
from app.settings.admin_token import token_path
from app.settings.alerts_secret import secret_path
from app.settings.checks import is_loopback
from app.settings.conflicts import ConflictsError
from app.settings.faults import SettingsError, conflict_fault, value_fault
from app.settings.model import Settings, variable_of

# A shorter upstream key would match by chance inside ordinary answers.
SHORT_KEY_CHARACTERS = 20

_SECRETS = ("imagerouter_api_key", "admin_token", "key")


class Loaded(Value, frozen=True):
    settings: Settings
    origins: Mapping[str, str]  # field (and "config") → where its value was set; "default" otherwise
    warnings: tuple[str, ...] = ()
    config_path: Path | None = None  # the settings file that was read


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    config: Path | None = None,
) -> Loaded:
    """Reads every door. `flags`: field → value as given on the command line (None = not given).

    Raises: `SettingsError` with all faults.
    """
    environ = os.environ if environ is None else environ
    found = doors.Found(Path.cwd() if directory is None else directory.absolute())
    for name, value in {**(flags or {}), doors.CONFIG: config}.items():
        if value is not None:
            found.put(name, value, f"--{name.replace('_', '-')}")
    doors.read_variables(found, environ, lambda variable: f"environment variable {variable}")
    dotenv = found.directory / ".env"
    doors.read_dotenv(found, dotenv)
    config_path = doors.read_config(found)
    if "database_url" not in found.origins:
        found.default("database_url", Settings.model_fields["database_url"].default)
    settings = _checked(found)
    origins = {name: found.origins.get(name, "default") for name in (*Settings.model_fields, doors.CONFIG)}
    return Loaded(settings, origins, _warnings(settings, origins, (config_path, dotenv)), config_path)


def _checked(found: doors.Found) -> Settings:
    """The settings, after every value and what only the values together show. Raises: `SettingsError`."""
    settings, conflicts = _try(found)
    if settings is None and conflicts is None:  # values are at fault: judge the rest without them
        settings, conflicts = _try(found)
    for conflict in conflicts.found if conflicts else ():
        if found.broken.isdisjoint(conflict.fields):
            found.faults.append(conflict_fault(conflict, found.origins))
    if found.faults or settings is None:
        raise SettingsError(found.faults)
    return settings


def _try(found: doors.Found) -> tuple[Settings | None, ConflictsError | None]:
    """Settings, or conflicts, or neither: then the values at fault were told and taken out."""
    try:
        return Settings(**found.values), None
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            told = fault.get("ctx", {}).get("error")
            if isinstance(told, ConflictsError):
                return None, told
            name = str(fault["loc"][0])
            if name not in found.broken:
                found.spoil(name, value_fault(name, fault, found.origins.get(name, variable_of(name))))
                found.values.pop(name, None)
    return None, None


def _warnings(settings: Settings, origins: Mapping[str, str], files: Sequence[Path | None]) -> tuple[str, ...]:
    warnings = []
    key = settings.imagerouter_api_key
    if key is not None and len(key.get_secret_value()) < SHORT_KEY_CHARACTERS:
        warnings.append(
            "IMAGEROUTER_API_KEY is shorter than 20 characters: answers are not searched for a reflection of it."
        )
    if settings.public_url is not None and settings.public_url.startswith("http://") and not _stays_here(settings):
        warnings.append("IRG_PUBLIC_URL is http://: team keys cross the network unencrypted. Put TLS in front.")
    held_in = tuple(origins[name] for name in _SECRETS)
    exposed = [path for path in files if path and any(where.startswith((f"{path}:", f"{path},")) for where in held_in)]
    exposed += [token_path(settings)] if settings.admin_token is None else []
    exposed.append(secret_path(settings))
    warnings += [
        f"{path} holds a secret, and others may read it: chmod 600 {path}" for path in exposed if _is_open(path)
    ]
    return tuple(warnings)


def _stays_here(settings: Settings) -> bool:
    return is_loopback(urlsplit(settings.public_url or "").hostname or "")


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False
