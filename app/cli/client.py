"""How commands reach a gateway: over the network, through its Unix socket, or, if none runs, in this process.

Whichever way, a command speaks to the same admin API, so that every figure comes from the same
code. The authority is the admin token over the network, the socket's file permission beside a
running gateway, and the database's own without one. What a way takes to import is imported when
it is taken: `beside` has the socket, `over_http` the two others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as json_module
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from app.cli.frame import Code, Failure, settings

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.lock import Holder

Url = Annotated[
    str | None, typer.Option("--url", help="A gateway elsewhere (needs IRG_ADMIN_TOKEN); else the one on this machine.")
]

API = "/admin/v1/"

# A verification reads the whole ledger before it answers; the live feed pings every 15 s.
TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 10.0, 600.0

# Another command, or a gateway that starts, holds the database without a socket for a moment.
BUSY_WAIT_SECONDS = 5.0

EXIT_CODES = {400: Code.USAGE, 404: Code.NOT_FOUND, 409: Code.CONFLICT}


class Gateway:
    """The admin API, or a key holder's, called one request at a time.

    Every failure is a `Failure` with its sentence and exit code. `where`: how to say where it is; `refused`: what to
    say when it stays shut; `running`: False if this process opened the ledger, since no gateway runs.
    """

    where: str
    refused = "{where} refused IRG_ADMIN_TOKEN. {message}"
    running = True

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._call("POST", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PATCH", path, body=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def stream(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """An answer's body in pieces, as they come."""
        return self.download(path, query, {})

    def download(self, path: str, query: Mapping[str, Any] | None, head: dict[str, str]) -> Iterator[bytes]:
        """The same; before the first piece comes, `head` is filled with the answer's headers, in lower case."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of everything. Nothing is asked afterwards."""

    def _call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        raise NotImplementedError

    def _refusal(self, status: int, content: bytes) -> Failure:
        """What an answer of failure means to the person at the keyboard."""
        try:
            message = str(json_module.loads(content)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            return Failure(f"{self.where} answered with status {status}, not as a gateway does.")
        if status in (401, 403):
            return Failure(self.refused.format(where=self.where, message=message))
        return Failure(message, EXIT_CODES.get(status, Code.FAILED))

    def _not_in_time(self) -> Failure:
        return Failure(f"{self.where} did not answer in time.")

    def _not_reached(self, error: Exception) -> Failure:
        return Failure(f"{self.where} cannot be reached: {error}.")

    def _broke_off(self) -> Failure:
        return Failure(f"{self.where} broke off its answer.")

    def _no_gateway(self) -> Failure:
        return Failure(f"{self.where} answered, but not as a gateway does.")


@contextlib.contextmanager
def connect(url: str | None, *, makes: bool = False) -> Iterator[Gateway]:
    """A gateway's admin API. `makes`: without any ledger yet, begin one. Raises: `Failure`."""
    values = settings({"url": url}).settings
    with asyncio.Runner() as runner:
        gateway = _reach(runner, values, makes=makes)
        try:
            yield gateway
        finally:
            gateway.close()


def _reach(runner: asyncio.Runner, values: Settings, *, makes: bool) -> Gateway:
    if values.url is not None:
        from app.cli.over_http import over_the_network

        return over_the_network(runner, values, values.url)
    deadline = time.monotonic() + BUSY_WAIT_SECONDS
    while True:
        holder = holder_of(values)
        if holder is not None and holder.socket is not None:
            from app.cli.beside import Beside

            return Beside(holder.socket, f"The gateway on {values.database_path} (process {holder.pid})")
        if holder is None and (gateway := _in_process(runner, values, makes=makes)) is not None:
            return gateway
        if time.monotonic() > deadline:
            who = f"process {holder.pid}" if holder is not None and holder.pid else "another process"
            raise Failure(
                f"{values.database_path} is in use by {who}, which takes no commands. "
                "If a gateway is just starting, try again."
            )
        time.sleep(0.05)


def _in_process(runner: asyncio.Runner, values: Settings, *, makes: bool) -> Gateway | None:
    """Opens the ledger here; None if another process was quicker."""
    if not makes and not values.database_path.exists():
        raise Failure(
            f"There is no ledger at {values.database_path} yet. Begin with irg serve or irg keys create NAME, "
            "or say where it is: IRG_DATABASE_URL."
        )
    from app.cli.over_http import in_process

    return in_process(runner, values)


def ref(name: str) -> str:
    """A name or id as one step of a path."""
    if not name:
        raise Failure("The name is empty.", Code.USAGE)
    return quote(name, safe="")


def holder_of(values: Settings) -> Holder | None:
    from app.store.lock import running_holder

    try:
        return running_holder(values.database_path)
    except OSError as error:
        raise Failure(
            f"{error.filename} cannot be opened ({error.strerror}): run this as the user who runs the gateway."
        ) from None


def given(query: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was said of a query."""
    return {name: value for name, value in (query or {}).items() if value is not None}
