"""`irg verify`, `irg export`: does it add up, and take it all away."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from app.cli.client import Url, connect
from app.cli.frame import Code, Failure, Json, print_json, print_table, say
from app.cli.usage import From, Last, Month, To


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


def verify(json: Json = False, url: Url = None) -> None:
    """Recompute every total from the rows and compare; exit code 1 on a difference."""
    with connect(url) as gateway:
        found = gateway.post("verify")
    if json:
        print_json(found)
    else:
        _tell(found)
    if not found["ok"]:
        raise typer.Exit(Code.FAILED)


def export(
    format: Annotated[Format, typer.Option("--format", help="csv (safe for spreadsheets), or one JSON object a line.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is stdout.")] = "-",
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    url: Url = None,
) -> None:
    """Every request of a period (without one: all), oldest first."""
    query = {"format": format.value, "last": last, "month": month, "from": from_, "to": to}
    with connect(url) as gateway, _sink(output) as sink:
        for piece in gateway.stream("export", query):
            sink.write(piece)


@contextlib.contextmanager
def _sink(output: str) -> Iterator[BinaryIO]:
    """stdout, or a file that is there only once it is complete."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
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
    say(f"{found['rows']} rows; " + ("every total is their sum." if found["ok"] else "these do not add up:"))
    rows = [
        [difference["what"], _pairs(difference["where"]), _pairs(difference["expected"]), _pairs(difference["found"])]
        for difference in found["differences"]
    ]
    if rows:
        print_table(["what", "where", "expected", "found"], rows, empty="")


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "-"
