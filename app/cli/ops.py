"""`irg verify`, `irg export`: does it add up, and take it all away."""

from __future__ import annotations

import contextlib
import hashlib
import json as json_module
import os
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from app.cli.client import Gateway, Url, connect
from app.cli.frame import Code, Failure, Json, print_json, print_table, say
from app.cli.usage import From, Last, Month, To


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


EXPORT_ID_HEADER = "x-irg-export-id"

SUMMARY_SUFFIX = ".summary.json"


def verify(json: Json = False, url: Url = None) -> None:
    """Recompute every total from the rows and compare; prove what searches find; exit code 1 on a difference."""
    with connect(url) as gateway:
        found = gateway.post("verify")
    if json:
        print_json(found)
    else:
        _tell(found)
    if not found["ok"]:
        raise typer.Exit(Code.FAILED)


def export(
    format: Annotated[
        Format, typer.Option("--format", help="csv (safe for spreadsheets), one JSON object a line, or parquet.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is stdout.")] = "-",
    key: Annotated[str | None, typer.Option(help="Only of this key.")] = None,
    team: Annotated[str | None, typer.Option(help="Only of this team.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model, or of a glob: 'openai/*'.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only of keys that had this tag.")] = None,
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    url: Url = None,
) -> None:
    """What counts in a period (without one: all whose rows are there), oldest first; with a summary beside the file."""
    query = {"format": format.value, "key": key, "team": team, "model": model, "tag": tag}
    query |= {"last": last, "month": month, "from": from_, "to": to}
    with connect(url) as gateway:
        if output == "-":
            summary = _written(gateway, query, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            with _sink(output) as sink:
                summary = _written(gateway, query, sink)
    if output == "-" or _is_device(Path(output)):
        say(json_module.dumps(summary, ensure_ascii=False))
        return
    with _sink(output + SUMMARY_SUFFIX) as sink:
        sink.write(json_module.dumps(summary, ensure_ascii=False, indent=2).encode() + b"\n")


def _written(gateway: Gateway, query: Mapping[str, Any], sink: BinaryIO) -> dict[str, Any]:
    """Writes an export as it comes; its summary. Raises: `Failure` when it is not what was sent."""
    head: dict[str, str] = {}
    seen = hashlib.sha256()
    for piece in gateway.download("export", query, head):
        seen.update(piece)
        sink.write(piece)
    if EXPORT_ID_HEADER not in head:
        raise Failure("The gateway gave no summary: it is an older version than this command.")
    summary: dict[str, Any] = gateway.get(f"exports/{head[EXPORT_ID_HEADER]}")
    if summary["sha256"] != seen.hexdigest():
        raise Failure("What arrived is not what was sent: try again.")
    return summary


def _is_device(path: Path) -> bool:
    """Or a pipe: it is written to, never replaced, and nothing is put beside it."""
    return path.exists() and not path.is_file()


@contextlib.contextmanager
def _sink(output: str) -> Iterator[BinaryIO]:
    """A file that is there only once it is complete."""
    path = Path(output)
    try:
        if _is_device(path):
            with path.open("wb") as sink:
                yield sink
        else:
            with _replacing(path.resolve()) as sink:
                yield sink
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror}.") from None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as sink:
            yield sink
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _tell(found: dict[str, Any]) -> None:
    read = "1 row" if found["rows"] == 1 else f"{found['rows']} rows"
    if found.get("sealed"):  # an older gateway knows nothing of it
        read += f" and {found['sealed']} that were let go of, by their seals"
    say(f"{read}; " + ("every total is their sum, and searches find them." if found["ok"] else "this does not hold:"))
    rows = [
        [difference["what"], _pairs(difference["where"]), _pairs(difference["expected"]), _pairs(difference["found"])]
        for difference in found["differences"]
    ]
    if rows:
        print_table(["what", "where", "expected", "found"], rows, empty="")


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "-"
