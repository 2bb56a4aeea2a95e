"""The audit log read from the file itself, and played again from its first entry on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

# Told of a rotation beside what the record shows.
BESIDE = ("old_secret_ends_at",)


def entries(path: Path) -> list[dict[str, Any]]:
    """Every entry, oldest first."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        rows = [dict(row) for row in connection.execute("SELECT * FROM audit ORDER BY id")]
    finally:
        connection.close()
    for row in rows:
        for side in ("before", "after"):
            row[side] = None if row[side] is None else json.loads(row[side])
    return rows


def replayed(path: Path) -> dict[str, dict[str, Any]]:
    """What everything is by the log alone, by id. Each entry must go on where the one before it ended."""
    standing: dict[str, dict[str, Any]] = {}
    for entry in entries(path):
        if entry["before"] is None:
            assert entry["target_id"] not in standing
            standing[entry["target_id"]] = dict(entry["after"])
            continue
        facts = standing.setdefault(entry["target_id"], {})
        for name, value in entry["before"].items():
            assert facts.get(name, _nothing(value)) == value, entry
        if entry["action"] == "team.changed" and "name" in entry["before"]:  # its keys follow
            for key in standing.values():
                if key.get("team") == entry["before"]["name"]:
                    key["team"] = entry["after"]["name"]
        facts.update({name: value for name, value in entry["after"].items() if name not in BESIDE})
    return {
        ident: {name: value for name, value in facts.items() if value not in (None, [])}
        for ident, facts in standing.items()
    }


def _nothing(value: Any) -> Any:
    """What a field that was never told is."""
    return [] if isinstance(value, list) else None
