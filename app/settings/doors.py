"""The doors: flags, environment, `*_FILE`, `.env`, settings file. What each holds, and where exactly it was set.

Nothing is judged here but what cannot be read and names that nobody knows. Called by `loading`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.settings.checks import TomlFloat
from app.settings.faults import unknown_fault
from app.settings.model import Settings, variable_of

DEFAULT_FILE = Path("config/gateway.toml")

# The one setting that is no field: it says where to find the others.
CONFIG = "config"

VALUE_FILE_BYTES_MAX = 65_536

_FIELDS = {variable_of(name): name for name in Settings.model_fields} | {"IRG_CONFIG": CONFIG}
_PATHS = frozenset({"upstream_ca_file", "tls_cert_file", "tls_key_file"})

_RELATIVE_DATABASE = re.compile(r"sqlite:///([^/:?](?:.*[^/])?)")

# What Kubernetes sets for a Service named irg, beside IRG_PORT.
_SERVICE_LINK = re.compile(r"IRG_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")


@dataclass(slots=True)
class Found:
    directory: Path
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)  # fields whose value could not even be read

    def put(self, name: str, value: Any, origin: str) -> None:
        """The first door that holds a value wins."""
        if name not in self.origins:
            self.values[name] = absolute(name, value, self.directory)
            self.origins[name] = origin

    def default(self, name: str, value: Any) -> None:
        """A default that depends on the working directory."""
        self.values[name] = absolute(name, value, self.directory)

    def spoil(self, name: str, fault: str) -> None:
        """A value was meant here and cannot be had: no later door may stand in for it."""
        self.origins.setdefault(name, "fault")
        self.broken.add(name)
        self.faults.append(fault)


def read_variables(found: Found, variables: Mapping[str, str], where: Callable[[str], str]) -> None:
    """The environment's variables, or those of a `.env` file. `where` says where one of them was set."""
    links = []
    for variable, value in variables.items():
        capitals = variable.upper()
        if capitals in _FIELDS or capitals.removesuffix("_FILE") in _FIELDS:
            if capitals != variable:
                found.faults.append(f"{where(variable)}: variables are written in capitals. Write {capitals}.")
            elif value:
                _take(found, variables, variable, where(variable))
        elif _SERVICE_LINK.fullmatch(variable):
            links.append(variable)
        elif variable.startswith("IRG_"):
            found.faults.append(unknown_fault(variable, where(variable), _FIELDS))
    if links:
        found.faults.append(
            f"{where(', '.join(sorted(links)))}: Kubernetes sets such variables for a Service named irg. "
            "Write enableServiceLinks: false into the pod's specification."
        )


def _take(found: Found, variables: Mapping[str, str], variable: str, origin: str) -> None:
    """A known variable's value, or that of the file which it names."""
    if variable in _FIELDS:
        found.put(_FIELDS[variable], variables[variable], origin)
        return
    base = variable.removesuffix("_FILE")
    name, path = _FIELDS[base], found.directory / variables[variable]
    if variables.get(base):
        found.spoil(name, f"{origin}: {base} is set as well. Set one of the two.")
    elif name not in found.origins:
        _read_value_file(found, name, path, origin)


def _read_value_file(found: Found, name: str, path: Path, origin: str) -> None:
    """The value of `X_FILE`: a file's content, without the line break at its end."""
    try:
        with path.open("rb") as file:
            content = file.read(VALUE_FILE_BYTES_MAX + 1)
        text = content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        found.spoil(name, f"{origin}: the file {path} cannot be read ({_reason(path, error)}).")
        return
    except UnicodeDecodeError:
        found.spoil(name, f"{origin}: the file {path} is not text. Write the value alone into it.")
        return
    if not text or len(content) > VALUE_FILE_BYTES_MAX:
        size = "too large" if text else "empty"
        found.spoil(name, f"{origin}: the file {path} is {size}. Write the value alone into it.")
        return
    found.put(name, text, f"{origin} ({path})")


def _reason(path: Path, error: OSError) -> str:
    """Why a file cannot be read, exactly enough to mend it."""
    reason = error.strerror or type(error).__name__
    if not isinstance(error, PermissionError):
        return f"{reason}; check the path"
    try:
        status = path.stat()
    except OSError:
        return f"{reason}; user {os.geteuid()} may not enter its directory"
    return (
        f"{reason}: its mode is {status.st_mode & 0o7777:04o} and its owner user {status.st_uid}, "
        f"this is user {os.geteuid()}; chmod 0444 suits a Docker secret"
    )


def read_dotenv(found: Found, path: Path) -> None:
    """A `.env` file in the working directory, as written: nothing is expanded in it."""
    if not path.exists() or path.is_dir():  # some keep a virtual environment in a directory of this name
        return
    from dotenv.parser import parse_stream

    variables, lines = {}, {}
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        found.faults.append(f"{path}: the file cannot be read ({_reason(path, error)}).")
        return
    except UnicodeDecodeError:
        found.faults.append(f"{path}: the file is not UTF-8 text.")
        return
    for binding in bindings:
        if binding.error:
            found.faults.append(f"{path}:{binding.original.line}: this is not a line such as NAME=value.")
        elif binding.key is not None:
            text = binding.original.string
            variables[binding.key] = binding.value or ""
            lines[binding.key] = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
    read_variables(found, variables, lambda variable: _line_of(path, lines.get(variable), variable))


def read_config(found: Found) -> Path | None:
    """The settings file; absent is fine unless somebody named it."""
    named = found.values.pop(CONFIG, None)
    path = found.directory / (named or DEFAULT_FILE)
    if CONFIG in found.broken or (named is None and not path.is_file()):
        return None
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text, parse_float=TomlFloat)
    except OSError as error:
        found.faults.append(
            f"{found.origins.get(CONFIG, path)}: the file {path} cannot be read ({_reason(path, error)})."
        )
        return None
    except UnicodeDecodeError:
        found.faults.append(f"{path}: the settings file is not UTF-8 text.")
        return None
    except tomllib.TOMLDecodeError as error:
        found.faults.append(f"{path}: the settings file is not valid TOML: {error}.")
        return None
    for name, value in content.items():
        origin = _line_of(path, _line_in_toml(text, name), name)
        if name in Settings.model_fields:
            found.put(name, value, origin)
        else:
            found.faults.append(unknown_fault(name, origin, Settings.model_fields))
    return path


def _line_of(path: Path, line: int | None, name: str) -> str:
    return f"{path}:{line}, {name}" if line is not None else f"{path}, {name}"


def _line_in_toml(text: str, name: str) -> int | None:
    key = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if key.match(line)), None)


def absolute(name: str, value: Any, directory: Path) -> Any:
    """Relative paths are relative to the working directory, whatever it is later."""
    if name in _PATHS and isinstance(value, (str, Path)):
        return directory / value
    if name == "database_url" and isinstance(value, str) and (relative := _RELATIVE_DATABASE.fullmatch(value)):
        return f"sqlite:///{directory / relative[1]}"
    return value
