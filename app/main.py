"""The application: routes, the short cut in front of them, health, and what happens at the end.

`Gateway.app` is the ASGI application over opened services; `app.server` runs it. No request
logic lives here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app import __version__
from app.accounts.catalog import Catalog
from app.accounts.credits import CreditsWatch
from app.accounts.pricing import Pricing
from app.admin import build_admin, build_me
from app.admin.route import error_response
from app.core.errors import ApiError, gateway_fault, wrong_method, wrong_path
from app.core.records import ReferenceRules
from app.openapi import describe
from app.outgoing.questions import fetch_credits, fetch_models
from app.proxy.allowed import Allowed
from app.proxy.endpoint import PATHS, ProxySettings, ResponsesEndpoint
from app.proxy.exchange import ClientGone
from app.proxy.failures import FailureLimiter
from app.proxy.head import UpstreamCredential
from app.proxy.inflight import Inflight
from app.proxy.models import models_router
from app.proxy.notices import Notices
from app.proxy.upstream.port import Upstream
from app.settings import Settings, variable_of
from app.settings.shown import setting_in_force
from app.wiring import Services

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[..., Awaitable[Any]], Callable[..., Awaitable[Any]]], Awaitable[None]]

# What remains after uvicorn's grace: abandoned answers are read on, since their cost is wanted.
DRAIN_SECONDS = 10.0


class Gateway:
    """The running whole: services, upstream, and the ASGI application over them."""

    def __init__(self, services: Services, upstream: Upstream) -> None:
        settings = services.settings
        self.services = services
        self.upstream = upstream
        self.inflight = Inflight(
            concurrency_max=settings.concurrency_max,
            request_bytes_max=settings.request_bytes_max,
            bodies_bytes_max=settings.bodies_bytes_max,
            answers_bytes_max=settings.answers_bytes_max,
        )
        self.failures = FailureLimiter()
        self.catalog = Catalog(services.store, partial(fetch_models, settings))
        self.endpoint = ResponsesEndpoint(
            proxy_settings(settings),
            UpstreamCredential(upstream_key(settings)),
            services.keyring,
            services.ledger,
            upstream,
            self.inflight,
            pricing(settings, self.catalog),
            Notices(services.alerts.upstream_refuses),
            self.failures,
        )
        self.drain_seconds = DRAIN_SECONDS
        self._notes: set[asyncio.Task[None]] = set()
        self._key = upstream_key(settings)
        self._credits = self._credits_watch()
        self.fastapi = self._fastapi()
        limited = self.failures.around(self.fastapi, own=PATHS)
        self.app: AsgiApp = limited if settings.front == "off" else Front(self.endpoint, limited)

    def renew_key(self, key: bytes) -> None:
        """Requests that begin from now on go up with this upstream key; running ones end with theirs."""
        self._key = key
        self.endpoint.credential = UpstreamCredential(key)
        field = "imagerouter_api_key"
        setting = setting_in_force(field, SecretStr(key.decode()))
        noting = asyncio.create_task(self.services.audit.note_settings({variable_of(field): setting}))
        self._notes.add(noting)  # nobody else holds it
        noting.add_done_callback(self._notes.discard)

    def begin(self) -> None:
        """What goes on beside the requests: alerts, credits, letting go of old rows. Ended by `end`."""
        self.services.delivery.start()
        if self.services.retention is not None:
            self.services.retention.start()
        if self._credits is not None:
            self._credits.start()

    def begin_drain(self) -> None:
        """A signal came: red for load balancers, live feeds end, answers ask for a new connection."""
        self.inflight.draining = True
        self.services.closing.set()

    def hurry(self) -> None:
        """A second signal: what is open ends now, settled as far as it is known."""
        self.drain_seconds = 0.0
        self.inflight.abort_all()

    async def end(self) -> None:
        """Ends what is left, then closes upstream and ledger, in this order."""
        self.begin_drain()
        await self.inflight.drain(self.drain_seconds)
        if self._credits is not None:
            await self._credits.aclose()
        if self.services.retention is not None:
            await self.services.retention.aclose()
        await self.services.delivery.aclose()
        await self.catalog.aclose()
        await self.upstream.aclose()
        await asyncio.gather(*self._notes, return_exceptions=True)  # whatever became of them, the ledger is closed
        await self.services.aclose()

    def _credits_watch(self) -> CreditsWatch | None:
        settings = self.services.settings
        if settings.credits_low_usd is None:
            return None
        low_usd = Decimal(settings.credits_low_usd)
        return CreditsWatch(self.services.alerts, lambda: fetch_credits(settings, self._key), low_usd)

    def _fastapi(self) -> FastAPI:
        app = FastAPI(
            title="ImageRouter Gateway",
            version=__version__,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,  # served by `describe`
            redirect_slashes=False,
        )
        for path in sorted(PATHS):
            app.router.routes.append(Route(path.decode(), endpoint=self.endpoint, methods=None))
        for router in (
            build_admin(self.services),
            build_me(self.services),
            models_router(self.services.keyring, self.catalog),
        ):
            app.router.routes += router.routes  # they are whole; `include_router` would make each a second time
        app.add_api_route("/healthz", healthz, tags=["health"])
        app.add_api_route("/readyz", self._readyz, tags=["health"])
        _answer_errors_in_openai_shape(app, proxy_settings(self.services.settings).base_url)
        describe(app)
        return app

    async def _readyz(self) -> Response:
        """Ready to take requests: the ledger can be written and no shutdown has begun."""
        draining, ledger = self.inflight.draining, self.services.ledger.healthy
        ready = ledger and not draining
        content = {"ready": ready, "ledger": "writable" if ledger else "not writable", "draining": draining}
        return JSONResponse(content, status_code=200 if ready else 503)


class Front:
    """Hands the one hot route to its endpoint and everything else to FastAPI, with no coroutine around them."""

    def __init__(self, endpoint: ResponsesEndpoint, app: AsgiApp) -> None:
        self._endpoint = endpoint
        self._app = app

    def __call__(
        self, scope: Scope, receive: Callable[..., Awaitable[Any]], send: Callable[..., Awaitable[Any]]
    ) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] == "POST" and scope.get("raw_path") in PATHS:
            return self._endpoint(scope, receive, send)
        return self._app(scope, receive, send)


async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok", "version": __version__}


def upstream_key(settings: Settings) -> bytes:
    """The shared key's bytes; empty when none is set (then every answer is the upstream's 401)."""
    secret = settings.imagerouter_api_key
    return secret.get_secret_value().encode() if secret is not None else b""


def pricing(settings: Settings, catalog: Catalog) -> Pricing:
    return Pricing(
        catalog,
        ceilings=settings.hold_ceilings_picodollars,
        default_picodollars=settings.hold_default_picodollars,
    )


def proxy_settings(settings: Settings) -> ProxySettings:
    return ProxySettings(
        base_url=settings.base_url,
        upstream_host=urlsplit(settings.upstream_url).netloc.encode(),
        request_bytes_max=settings.request_bytes_max,
        client_gone=ClientGone(settings.on_client_disconnect == "drain", settings.client_gone_seconds),
        client_stall_seconds=settings.client_stall_seconds,
        stream_error_event=settings.stream_error_event,
        allowed=Allowed(
            conversations=settings.allow_conversations or settings.unknown_references == "allow",
            background=settings.allow_background,
        ),
        reference_rules=ReferenceRules(
            of_team=settings.references_scope == "team", unknown=settings.unknown_references == "allow"
        ),
        forward_headers=frozenset(name.lower().encode() for name in settings.forward_headers),
    )


def _answer_errors_in_openai_shape(app: FastAPI, base_url: str) -> None:
    """Unknown paths, wrong methods and refusals of the control plane speak as the data plane does."""

    async def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):  # registered for HTTPException only
            raise error
        if error.status_code == 404:
            return error_response(wrong_path(request.url.path, base_url))
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return error_response(wrong_method(request.method, allowed))
        return error_response(ApiError(error.status_code, "error", str(error.detail)))

    async def refusal(request: Request, error: Exception) -> Response:
        if not isinstance(error, ApiError):
            raise error
        return error_response(error)

    async def fault(request: Request, error: Exception) -> Response:
        """What nobody foresaw; the server logs it."""
        return error_response(gateway_fault())

    app.add_exception_handler(Exception, fault)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ApiError, refusal)
