"""Where values come from, and every fault at once, a sentence each: where it was set, what is wrong, what to write.

Precedence: flag, environment, `*_FILE` (a Docker secret), `.env`, settings file, default.
A name that nobody knows is a fault: a misspelt limit must not be no limit.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import DotEnvSettingsSource

from app.settings.model import Settings, variable_of

DEFAULT_FILE = Path("config/gateway.toml")

_FIELDS = {variable_of(name): name for name in Settings.model_fields}
_SECRETS = frozenset({"imagerouter_api_key", "admin_token", "key", "upstream_proxy"})

# Variables of ours that are no settings of the gateway.
_OTHER_VARIABLES = frozenset({"IRG_CONFIG"})

# A shorter upstream key would match by chance inside ordinary answers.
SHORT_KEY_CHARACTERS = 20


class SettingsError(Exception):
    """The settings cannot be used; `faults` are whole sentences."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Loaded:
    settings: Settings
    origins: Mapping[str, str]  # field → where its value was set; "default" otherwise
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Collected:
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def put(self, name: str, value: Any, origin: str) -> None:
        """The first door that holds a value wins."""
        if name not in self.values:
            self.values[name] = value
            self.origins[name] = origin


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
    directory = Path.cwd() if directory is None else directory
    found = _Collected()
    for name, value in (flags or {}).items():
        if value is not None:
            found.put(name, value, f"--{name.replace('_', '-')}")
    _read_variables(found, environ, "environment variable {}")
    dotenv = _dotenv(directory / ".env")
    _read_variables(found, dotenv, ".env, {}")
    _read_file(found, config or _named_config(environ, dotenv), directory)
    settings = _validated(found)
    origins = {name: found.origins.get(name, "default") for name in Settings.model_fields}
    return Loaded(settings, origins, _warnings(settings))


def _read_variables(found: _Collected, variables: Mapping[str, str], where: str) -> None:
    for variable, value in variables.items():
        base = variable.removesuffix("_FILE")
        if variable in _FIELDS:
            found.put(_FIELDS[variable], value, where.format(variable))
        elif base in _FIELDS and variable.endswith("_FILE"):
            _read_secret_file(found, variables, base, where)
        elif variable.startswith("IRG_") and variable not in _OTHER_VARIABLES:
            found.faults.append(f"{where.format(variable)}: there is no such setting.{_nearest(variable, _FIELDS)}")


def _read_secret_file(found: _Collected, variables: Mapping[str, str], variable: str, where: str) -> None:
    origin = where.format(f"{variable}_FILE")
    if variable in variables:
        found.faults.append(f"{origin}: {variable} is set as well. Set one of the two.")
        return
    path = variables[f"{variable}_FILE"]
    try:
        found.put(_FIELDS[variable], Path(path).read_text("utf-8").rstrip("\r\n"), f"{origin} ({path})")
    except OSError as error:
        found.faults.append(
            f"{origin}: the file {path} cannot be read ({error.strerror}). Check that it exists and that "
            f"user {os.getuid()} may read it (mode 0444 for a Docker secret)."
        )
    except UnicodeDecodeError:
        found.faults.append(f"{origin}: the file {path} is not text.")


def _dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file in upper case; none if there is no such file."""
    if not path.is_file():
        return {}
    source = DotEnvSettingsSource(Settings, env_file=path, env_file_encoding="utf-8", case_sensitive=True)
    return {name: value for name, value in source.env_vars.items() if value is not None}


def _named_config(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Path | None:
    named = environ.get("IRG_CONFIG") or dotenv.get("IRG_CONFIG")
    return Path(named) if named else None


def _read_file(found: _Collected, named: Path | None, directory: Path) -> None:
    path = directory / (named or DEFAULT_FILE)
    if named is None and not path.is_file():
        return
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        found.faults.append(f"{path}: the settings file cannot be read ({error.strerror}).")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        found.faults.append(f"{path}: the settings file is not valid TOML: {error}.")
        return
    for name, value in content.items():
        if name in Settings.model_fields:
            found.put(name, value, f"{path}, {name}")
        else:
            found.faults.append(f"{path}, {name}: there is no such setting.{_nearest(name, Settings.model_fields)}")


def _validated(found: _Collected) -> Settings:
    try:
        settings = Settings(**found.values)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            found.faults.append(_sentence(found, fault))
    if found.faults:
        raise SettingsError(found.faults)
    return settings


def _sentence(found: _Collected, fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    if not fault["loc"]:
        return f"{message}."
    name = str(fault["loc"][0])
    value = found.values.get(name)
    shown = "" if name in _SECRETS or isinstance(value, SecretStr) else f" {value!r}"
    told = message[0].lower() + message[1:]
    return f"{found.origins.get(name, name)}:{shown} {told}.".replace(":  ", ": ")


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else " irg config show lists all there are."


def _warnings(settings: Settings) -> tuple[str, ...]:
    warnings = []
    key = settings.imagerouter_api_key
    if key is not None and len(key.get_secret_value()) < SHORT_KEY_CHARACTERS:
        warnings.append(
            "IMAGEROUTER_API_KEY is shorter than 20 characters: answers are not searched for a reflection of it."
        )
    if settings.public_url is not None and settings.public_url.startswith("http://"):
        warnings.append("IRG_PUBLIC_URL is http://: team keys cross the network unencrypted. Put TLS in front.")
    return tuple(warnings)
