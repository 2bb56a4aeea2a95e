"""How commands reach a gateway: over the network, through its Unix socket, or, if none runs, in this process.

Whichever way, a command speaks to the same admin API, so that every figure comes from the same
code. The authority is the admin token over the network, the socket's file permission beside a
running gateway, and the database's own without one. httpx is imported where it is used: it
takes as long as all the rest of `irg --help`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from app.cli.frame import Code, Failure, settings
from app.cli.person import user_name

if TYPE_CHECKING:
    import httpx

    from app.settings import Settings
    from app.store.lock import Holder
    from app.wiring import Services

Url = Annotated[
    str | None, typer.Option("--url", help="A gateway elsewhere (needs IRG_ADMIN_TOKEN); else the one on this machine.")
]

API = "/admin/v1/"

# A verification reads the whole ledger before it answers; the live feed pings every 15 s.
TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 10.0, 600.0

# Another command, or a gateway that starts, holds the database without a socket for a moment.
BUSY_WAIT_SECONDS = 5.0

EXIT_CODES = {400: Code.USAGE, 404: Code.NOT_FOUND, 409: Code.CONFLICT}


@dataclass(frozen=True, slots=True)
class Reached:
    """An open way to an API, how to say where it is, and what to say when it stays shut."""

    client: httpx.AsyncClient
    where: str
    running: bool  # False: this process opened the ledger, no gateway runs
    close: contextlib.AsyncExitStack
    api: str = API  # what every path begins with
    refused: str = "{where} refused IRG_ADMIN_TOKEN. {message}"


class Gateway:
    """The admin API, or a key holder's, called one request at a time.

    Every failure is a `Failure` with its sentence and exit code.
    """

    def __init__(self, runner: asyncio.Runner, reached: Reached) -> None:
        self._runner = runner
        self._reached = reached
        self.running = reached.running

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._call("POST", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PATCH", path, body=body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PUT", path, body=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def stream(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """An answer's body in pieces, as they come."""
        return self.download(path, query, {})

    def download(self, path: str, query: Mapping[str, Any] | None, head: dict[str, str]) -> Iterator[bytes]:
        """The same; before the first piece comes, `head` is filled with the answer's headers."""
        request = self._reached.client.build_request("GET", self._reached.api + path, params=_given(query))
        with self._failures():
            response = self._runner.run(self._send(request, stream=True))
            try:
                head.update(response.headers)
                pieces = response.aiter_bytes()
                while (piece := self._runner.run(_next(pieces))) is not None:
                    yield piece
            finally:
                self._runner.run(response.aclose())

    def _call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        url = self._reached.api + path
        request = self._reached.client.build_request(method, url, params=_given(query), json=body)
        with self._failures():
            return self._runner.run(self._send(request)).json()

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        response = await self._reached.client.send(request, stream=stream)
        if response.is_success:
            return response
        await response.aread()
        await response.aclose()
        raise _refusal(response, self._reached)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise Failure(f"{self._reached.where} did not answer in time.") from None
        except httpx.TransportError as error:
            raise Failure(f"{self._reached.where} cannot be reached: {error}.") from None
        except ValueError:
            raise Failure(f"{self._reached.where} answered, but not as a gateway does.") from None


@contextlib.contextmanager
def connect(url: str | None, *, makes: bool = False) -> Iterator[Gateway]:
    """A gateway's admin API. `makes`: without any ledger yet, begin one. Raises: `Failure`."""
    loaded = settings({"url": url})
    with asyncio.Runner() as runner:
        reached = runner.run(_reach(loaded.settings, makes=makes))
        try:
            yield Gateway(runner, reached)
        finally:
            runner.run(reached.close.aclose())


def ref(name: str) -> str:
    """A name or id as one step of a path."""
    if not name:
        raise Failure("The name is empty.", Code.USAGE)
    return quote(name, safe="")


async def _reach(values: Settings, *, makes: bool) -> Reached:
    import httpx

    if values.url is not None:
        return await _over_the_network(values, values.url)
    deadline = time.monotonic() + BUSY_WAIT_SECONDS
    while True:
        holder = holder_of(values)
        if holder is not None and holder.socket is not None:
            where = f"The gateway on {values.database_path} (process {holder.pid})"
            return await opened(httpx.AsyncHTTPTransport(uds=str(holder.socket)), where)
        if holder is None and (reached := await _in_process(values, makes=makes)) is not None:
            return reached
        if time.monotonic() > deadline:
            who = f"process {holder.pid}" if holder is not None and holder.pid else "another process"
            raise Failure(
                f"{values.database_path} is in use by {who}, which takes no commands. "
                "If a gateway is just starting, try again."
            )
        await asyncio.sleep(0.05)


async def _over_the_network(values: Settings, url: str) -> Reached:
    import httpx

    if values.admin_token is None:
        raise Failure(
            f"IRG_ADMIN_TOKEN is not set: it opens the admin API of {url}. "
            "On the gateway's machine: irg admin-token show.",
            Code.SETTINGS,
        )
    transport = httpx.AsyncHTTPTransport(verify=trusted())
    return await opened(transport, url, token=values.admin_token.get_secret_value(), base_url=url)


def trusted() -> ssl.SSLContext:
    """Certificates as the operating system trusts them."""
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def holder_of(values: Settings) -> Holder | None:
    from app.store.lock import running_holder

    try:
        return running_holder(values.database_path)
    except OSError as error:
        raise Failure(
            f"{error.filename} cannot be opened ({error.strerror}): run this as the user who runs the gateway."
        ) from None


async def _in_process(values: Settings, *, makes: bool) -> Reached | None:
    """Opens the ledger here; None if another process was quicker."""
    from secrets import token_urlsafe

    from fastapi import FastAPI

    from app.admin import build_admin
    from app.cli.in_process import InProcessTransport
    from app.settings import AdminToken
    from app.store.port import StoreError, StoreLocked
    from app.telemetry import configure
    from app.wiring import open_services

    if not makes and not values.database_path.exists():
        raise Failure(
            f"There is no ledger at {values.database_path} yet. Begin with irg serve or irg keys create NAME, "
            "or say where it is: IRG_DATABASE_URL."
        )
    configure("warning", stream=sys.stderr)  # what the ledger has to say is talk here
    token = token_urlsafe(32)
    try:
        services = await open_services(values, admin_token=AdminToken(token))
    except StoreLocked:
        return None
    except StoreError as error:
        text = str(error).rstrip(".")
        raise Failure(f"{text[:1].upper()}{text[1:]}.") from None
    app = FastAPI(openapi_url=None)
    app.include_router(build_admin(services))
    where = f"The ledger at {values.database_path}"
    return await opened(InProcessTransport(app), where, token=token, services=services)


async def opened(
    transport: httpx.AsyncBaseTransport,
    where: str,
    *,
    token: str | None = None,
    base_url: str = "http://gateway",
    services: Services | None = None,
) -> Reached:
    import httpx

    close = contextlib.AsyncExitStack()
    timeout = httpx.Timeout(TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
    if services is not None:
        close.push_async_callback(services.aclose)
    headers = [(b"x-irg-actor", user_name().encode())]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    client = httpx.AsyncClient(
        transport=transport, base_url=base_url, headers=headers, timeout=timeout, trust_env=False
    )
    await close.enter_async_context(client)
    return Reached(client, where, services is None, close)


def _refusal(response: httpx.Response, reached: Reached) -> Failure:
    where = reached.where
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return Failure(f"{where} answered with status {response.status_code}, not as a gateway does.")
    if response.status_code in (401, 403):
        return Failure(reached.refused.format(where=where, message=message))
    return Failure(message, EXIT_CODES.get(response.status_code, Code.FAILED))


def _given(query: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (query or {}).items() if value is not None}


async def _next(pieces: Any) -> bytes | None:
    piece: bytes | None = await anext(pieces, None)
    return piece
