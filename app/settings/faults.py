"""Faults of settings as sentences: where it was set, what is wrong, what to write. Never the value.

Called by `doors`, `loading`, `reference`, and for the secrets beside the database.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from app.settings.conflicts import Conflict
from app.settings.model import Settings, variable_of


class SettingsError(Exception):
    """The settings cannot be used; `faults` are whole sentences."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def value_fault(name: str, fault: Mapping[str, Any], origin: str) -> str:
    """One fault of one value, from pydantic's words or from `checks`'."""
    told = fault.get("ctx", {}).get("error")
    sentence = str(told) if told is not None else f"must be {expected(name)}"
    return f"{origin}: {sentence}" + ("" if sentence.endswith("?") else ".")


def conflict_fault(conflict: Conflict, origins: Mapping[str, str]) -> str:
    first = conflict.fields[0]
    return f"{origins.get(first, f'{variable_of(first)} (default)')}: {conflict.sentence}."


def unknown_fault(name: str, origin: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else "irg config show lists all there are."
    return f"{origin}: there is no such setting. {hint}"


def expected(name: str) -> str:
    """What may be written for a setting whose type is all there is to say."""
    field = Settings.model_fields.get(name)
    if field is None:
        return "left out: there is no such setting"
    if get_origin(field.annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(field.annotation))
    if field.annotation is bool:
        return "true or false"
    if field.annotation in (int, float):
        kind = "a whole number" if field.annotation is int else "a number"
        return f"{kind}{unit(name)}{_range(field.metadata)}, such as {field.default}"
    return 'a list of names such as ["x-my-header"]' if field.default == () else "text in quotes"


def unit(name: str) -> str:
    """` of seconds`, ` of days`, ` of bytes`, ` of USD`, or nothing: units are in the names."""
    words = {"seconds": " of seconds", "days": " of days", "bytes": " of bytes", "usd": " of USD"}
    return next((text for word, text in words.items() if word in name.split("_")), "")


def _range(metadata: list[Any]) -> str:
    bounds = {rule: getattr(limit, rule) for limit in metadata for rule in ("gt", "ge", "le") if hasattr(limit, rule)}
    low = f" above {bounds['gt']}, at most" if "gt" in bounds else f" from {bounds['ge']} to"
    return f"{low} {bounds['le']}"
