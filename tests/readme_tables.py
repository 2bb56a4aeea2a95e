"""Tables of the README, as tests compare them with what they measure."""

from __future__ import annotations

from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def table_of(first_heading: str) -> list[dict[str, str]]:
    """The rows of the table whose first column is called so, by column."""
    _, found, behind = README.partition(f"\n| {first_heading} |")
    assert found, f"no table begins with {first_heading}"
    lines = (found + behind).lstrip("\n").split("\n\n")[0].splitlines()
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(heading, row, strict=True)) for row in rows]


def times_asked_again(client: str) -> dict[str, int]:
    """How often a client asks again, by what it is told; without what it cannot be told."""
    rows = table_of("told")
    assert client in rows[0], f"{client} is none of {list(rows[0])}"
    return {row["told"]: int(row[client]) for row in rows if row[client].isdigit()}
