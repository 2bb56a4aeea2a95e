"""The settings written down for people: the README's table and `config/gateway.toml`, both from `model`.

A test compares them with the files. To write the second one anew:
`uv run python -m app.settings.reference > config/gateway.toml`
"""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

from app.settings.faults import expected, unit
from app.settings.model import Settings, variable_of

_HEAD = """\
# Settings of ImageRouter Gateway. Every setting is here, commented out, with its default.
#
# A value is taken from the first of: command line flag, environment variable, file named by the
# variable with _FILE added (a Docker secret), .env, this file, default. The variable of a setting
# is its name in capitals after IRG_ (imagerouter_api_key: IMAGEROUTER_API_KEY).
# Found as --config or IRG_CONFIG, else ./config/gateway.toml. Relative paths are relative to the
# working directory. `irg config show` tells what holds and why, `irg config check` what is wrong.
"""

# The first setting of each part, in the model's order.
_PARTS = {
    "imagerouter_api_key": "The upstream",
    "host": "Listening",
    "request_bytes_max": "Requests and streams",
    "shutdown_delay_seconds": "Shutting down",
    "database_url": "The ledger",
    "billing": "Budgets",
    "credits_low_usd": "Alerts",
    "log_level": "Logs and tests",
    "url": "Client commands",
}


def settings_table() -> str:
    """The README's rows, one a setting: variable, default, unit or choices, description."""
    rows = ["| setting | default | values | |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = f"`{plain(field.default)}`" if field.default not in (None, ()) else "none"
        rows.append(f"| `{variable_of(name)}` | {default} | {_values(name)} | {field.description} |")
    rows.append("| `IRG_CONFIG` | `config/gateway.toml` | path | The settings file. |")
    return "\n".join(rows)


def gateway_toml() -> str:
    """The whole text of `config/gateway.toml`."""
    parts = [_HEAD]
    for name, field in Settings.model_fields.items():
        if name in _PARTS:
            parts.append(f"\n# --- {_PARTS[name]} ---\n")
        no_default = field.default in (None, ())
        shown = (field.examples or [None])[0] if no_default else field.default
        about = (field.description or "").replace("`", "")
        parts.append(f"\n{textwrap.fill(about, 98, initial_indent='# ', subsequent_indent='# ')}\n")
        parts.append(f"# Values: {_values(name)}. Default: {_told(field.default)}.\n")
        parts.append(f"# {name} = {toml(shown)}\n")
    return "".join(parts)


def plain(value: Any) -> str:
    """A default as a variable would hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(name: str) -> str:
    """What a value is: choices, or its unit, or its kind."""
    annotation = str(Settings.model_fields[name].annotation)
    kinds = {"Path": "path", "SecretStr": "secret", "tuple[tuple": "USD by model", "tuple": "list of names"}
    kinds |= {"int": "number", "str": "text"}
    if "Literal" in annotation or annotation == "<class 'bool'>":
        return expected(name)
    kind = next((text for word, text in kinds.items() if word in annotation), "number")
    if name.endswith("url") or name == "upstream_proxy":
        kind = "URL"
    return unit(name).removeprefix(" of ") or kind


def _told(default: Any) -> str:
    return "none" if default in (None, ()) else plain(default)


def toml(value: Any) -> str:
    """A value as TOML writes it on one line; but for tables, as JSON does."""
    if isinstance(value, dict):
        members = ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items())
        return f"{{ {members} }}"
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(gateway_toml())
