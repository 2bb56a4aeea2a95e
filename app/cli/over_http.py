"""The ways to an API that httpx takes: over the network, and to a ledger that this process opens itself.

Called by `client` and `holder`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.cli.client import API, READ_TIMEOUT_SECONDS, TIMEOUT_SECONDS, Gateway, given
from app.cli.frame import Code, Failure, without_consoles
from app.cli.person import user_name

with without_consoles():
    import httpx

if TYPE_CHECKING:
    from app.settings import Settings
    from app.wiring import Services


class HttpGateway(Gateway):
    """Through an httpx client; `services`: what this process has opened, and closes."""

    def __init__(
        self, runner: asyncio.Runner, client: httpx.AsyncClient, where: str, services: Services | None = None
    ) -> None:
        self._runner = runner
        self._client = client
        self._services = services
        self.where = where
        self.running = services is None
        self.api = API  # what every path begins with

    def download(self, path: str, query: Mapping[str, Any] | None, head: dict[str, str]) -> Iterator[bytes]:
        request = self._client.build_request("GET", self.api + path, params=given(query))
        with self._failures():
            response = self._runner.run(self._client.send(request, stream=True))
        with self._failures(begun=True):
            try:
                self._runner.run(self._judged(response))
                head.update(response.headers)
                pieces = response.aiter_bytes()
                while (piece := self._runner.run(_next(pieces))) is not None:
                    yield piece
            finally:
                self._runner.run(response.aclose())

    def close(self) -> None:
        self._runner.run(self._aclose())

    async def _aclose(self) -> None:
        async with contextlib.AsyncExitStack() as close:
            if self._services is not None:
                close.push_async_callback(self._services.aclose)
            close.push_async_callback(self._client.aclose)

    def _call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        request = self._client.build_request(method, self.api + path, params=given(query), json=body)
        with self._failures():
            response = self._runner.run(self._client.send(request, stream=True))
        with self._failures(begun=True):
            self._runner.run(self._read_whole(response))
            return response.json()

    async def _read_whole(self, response: httpx.Response) -> None:
        try:
            await response.aread()
            await self._judged(response)
        finally:
            await response.aclose()

    async def _judged(self, response: httpx.Response) -> None:
        """Raises: `Failure` for an answer that is none of success, httpx's errors."""
        if not response.is_success:
            raise self._refusal(response.status_code, await response.aread())

    @contextlib.contextmanager
    def _failures(self, *, begun: bool = False) -> Iterator[None]:
        """`begun`: the head of the answer has come."""
        try:
            yield
        except httpx.TimeoutException:
            raise self._not_in_time() from None
        except httpx.TransportError as error:
            raise (self._broke_off() if begun else self._not_reached(error)) from None
        except ValueError:
            raise self._no_gateway() from None


def over_the_network(runner: asyncio.Runner, values: Settings, url: str) -> HttpGateway:
    """Raises: `Failure` without an admin token."""
    if values.admin_token is None:
        raise Failure(
            f"IRG_ADMIN_TOKEN is not set: it opens the admin API of {url}. "
            "On the gateway's machine: irg admin-token show.",
            Code.SETTINGS,
        )
    return HttpGateway(runner, client_of(url, values.admin_token.get_secret_value()), url)


def client_of(url: str, token: str) -> httpx.AsyncClient:
    """A client of a gateway elsewhere; certificates as the operating system trusts them."""
    import truststore

    trusted = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _client(httpx.AsyncHTTPTransport(verify=trusted), token, url)


def in_process(runner: asyncio.Runner, values: Settings) -> HttpGateway | None:
    """Opens the ledger here; None if another process was quicker. Raises: `Failure`."""
    from secrets import token_urlsafe

    from fastapi import FastAPI

    from app.admin import build_admin
    from app.cli.in_process import InProcessTransport
    from app.settings import AdminToken
    from app.store.port import StoreError, StoreLocked
    from app.telemetry import configure
    from app.wiring import open_services

    configure("warning", stream=sys.stderr, mostly_silent=True)  # what the ledger has to say is talk here
    token = token_urlsafe(32)
    try:
        services = runner.run(open_services(values, admin_token=AdminToken(token)))
    except StoreLocked:
        return None
    except StoreError as error:
        text = str(error).rstrip(".")
        raise Failure(f"{text[:1].upper()}{text[1:]}.") from None
    app = FastAPI(openapi_url=None)
    app.router.routes += build_admin(services).routes
    client = _client(InProcessTransport(app), token)
    return HttpGateway(runner, client, f"The ledger at {values.database_path}", services)


def _client(transport: httpx.AsyncBaseTransport, token: str, base_url: str = "http://gateway") -> httpx.AsyncClient:
    headers = [(b"x-irg-actor", user_name().encode()), (b"authorization", f"Bearer {token}".encode())]
    timeout = httpx.Timeout(TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
    return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers, timeout=timeout, trust_env=False)


async def _next(pieces: Any) -> bytes | None:
    piece: bytes | None = await anext(pieces, None)
    return piece
