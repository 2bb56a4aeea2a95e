"""`irg config`: what every setting is, where it was set, and whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from app.cli.frame import Code, Config, Json, print_json, print_table, refused, say, settings
from app.cli.nouns import text

if TYPE_CHECKING:
    from app.settings import Loaded, Settings

app = typer.Typer(help="Show and check the settings.", no_args_is_help=True)

MASK = "********"


@app.command("show")
def show(json: Json = False, config: Config = None) -> None:
    """Every setting with its value and where it was set; secrets are masked, paths absolute."""
    rows = _rows(settings(config=config))
    if json:
        print_json({"items": rows, "next": None})
        return
    print_table(
        ["setting", "value", "set by"],
        [[row["name"], text(row["value"]), row["origin"]] for row in rows],
        empty="There are no settings.",
    )


@app.command("check")
def check(json: Json = False, config: Config = None) -> None:
    """Say that the settings can be used, or every fault (exit code 78)."""
    from app.settings import SettingsError

    try:
        warnings = list(settings(config=config).warnings)
    except SettingsError as error:
        if not json:
            raise refused(error.faults) from None
        print_json({"ok": False, "faults": error.faults, "warnings": []})
        raise typer.Exit(Code.SETTINGS) from None
    if json:
        print_json({"ok": True, "faults": [], "warnings": warnings})
        return
    for warning in warnings:
        say(f"Warning: {warning}")
    say("The settings are fine.")


def _rows(loaded: Loaded) -> list[dict[str, Any]]:
    from app.settings import variable_of

    rows = [
        {"name": variable_of(name), "value": _shown(loaded.settings, name), "origin": loaded.origins[name]}
        for name in type(loaded.settings).model_fields
    ]
    read = str(loaded.config_path) if loaded.config_path is not None else None
    return [*rows, {"name": "IRG_CONFIG", "value": read, "origin": loaded.origins["config"]}]


def _shown(values: Settings, name: str) -> Any:
    from app.settings.shown import plain_value, secret_of

    value = getattr(values, name)
    return MASK if secret_of(value) else plain_value(value)
