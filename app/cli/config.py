"""`irg config`: what every setting is, where it was set, and whether all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

from app.cli.frame import Json, print_json, print_table, say, settings
from app.cli.serve import Config
from app.settings import Settings, variable_of

app = typer.Typer(help="Show and check the settings.", no_args_is_help=True)

MASK = "********"


@app.command("show")
def show(json: Json = False, config: Config = None) -> None:
    """Every setting with its value and where it was set; secrets are masked, paths absolute."""
    loaded = settings(config=config)
    rows = [
        {"name": variable_of(name), "value": _shown(loaded.settings, name), "origin": loaded.origins[name]}
        for name in Settings.model_fields
    ]
    if json:
        print_json({"items": rows})
    else:
        print_table(
            ["setting", "value", "set by"],
            [[row["name"], _text(row["value"]), row["origin"]] for row in rows],
            empty="There are no settings.",
        )


@app.command("check")
def check(json: Json = False, config: Config = None) -> None:
    """Nothing, if the settings can be used; else every fault, and exit code 78."""
    loaded = settings(config=config)
    for warning in loaded.warnings:
        say(f"Warning: {warning}")
    if json:
        print_json({"ok": True, "warnings": list(loaded.warnings)})
    else:
        say("The settings are fine.")


def _shown(values: Settings, name: str) -> Any:
    value = getattr(values, name)
    if isinstance(value, SecretStr) or (name == "upstream_proxy" and value is not None and "@" in value):
        return MASK
    if name == "database_url":
        return f"sqlite:///{values.database_path}"
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) or "-" if isinstance(value, list) else str(value)
