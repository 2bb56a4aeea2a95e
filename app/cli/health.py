"""`irg health`: is a gateway running, and does it take requests? Docker asks every few seconds.

So it makes its one request with the standard library: importing httpx takes longer than all the rest.
"""

from __future__ import annotations

import json as json_module
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from app.cli.beside import UnixConnection
from app.cli.frame import Code, Failure, Json, print_fields, print_json, settings
from app.cli.nouns import text

if TYPE_CHECKING:
    from app.settings import Settings

TIMEOUT_SECONDS = 5.0
ANSWER_BYTES_MAX = 65_536


def health(
    json: Json = False,
    url: Annotated[str | None, typer.Option("--url", help="A gateway elsewhere; else the one on this machine.")] = None,
) -> None:
    """Is a gateway running, and does it take requests? Exit code 1 if not."""
    values = settings({"url": url}).settings
    where = values.url or f"The gateway on {values.database_path}"
    try:
        told = _ask(_connection(values))
    except (OSError, HTTPException):
        raise Failure(f"{where} does not answer.") from None
    except ValueError:
        raise Failure(f"{where} answered, but not as a gateway does.") from None
    if json:
        print_json(told)
    else:
        print_fields({name: text(value) for name, value in told.items()})
    if told.get("ready") is not True:
        raise typer.Exit(Code.FAILED)


def _ask(connection: HTTPConnection) -> dict[str, Any]:
    """What `/readyz` says, which needs no authority. Raises: `OSError`, `HTTPException`, `ValueError`."""
    try:
        connection.request("GET", "/readyz")
        told = json_module.loads(connection.getresponse().read(ANSWER_BYTES_MAX))
    finally:
        connection.close()
    if not isinstance(told, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what came is wrong, not its type here
    return told


def _connection(values: Settings) -> HTTPConnection:
    if values.url is None:
        return UnixConnection(_socket_of(values), TIMEOUT_SECONDS, TIMEOUT_SECONDS)
    parts = urlsplit(values.url)
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    import ssl

    import truststore

    trusted = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS, context=trusted)


def _socket_of(values: Settings) -> Path:
    """Where the gateway on this database listens for commands. Raises: `Failure` if none does."""
    from app.store.lock import running_holder

    try:
        holder = running_holder(values.database_path)
    except PermissionError as error:
        raise Failure(
            f"{error.filename} cannot be opened ({error.strerror}): run this as the user who runs the gateway."
        ) from None
    if holder is None or holder.socket is None:
        raise Failure(f"No gateway is running on {values.database_path}.")
    return holder.socket
