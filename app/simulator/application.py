"""The simulator as an ASGI application: routes, the bearer, and nothing else.

Plain ASGI, so that an answer can be cut, stalled or sent byte by byte, and so that it goes on
when its client has left, as the upstream does.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from app.simulator.amounts import EXACT
from app.simulator.bill import Bill, BillFile
from app.simulator.credit import credits_body
from app.simulator.envelope import Priced
from app.simulator.errors import RefusedError, not_found, unauthorized, wrong_method
from app.simulator.jsontext import write
from app.simulator.listing import made_models, models_answer
from app.simulator.memory import Memory, Stored
from app.simulator.request import understand
from app.simulator.respond import Responder, send_error
from app.simulator.wire import Receive, Scope, Send, Wire

RESPONSES_PATH = "/v1/openai/responses"

Route = Callable[[Scope, Wire], Awaitable[None]]

# What is shown of a stored response, by the path below it.
_SHOWN: dict[str, Callable[[Stored], object]] = {
    "": lambda stored: stored.response,
    "input_items": lambda stored: stored.input_list(),
}


class Simulator:
    """One simulated upstream account.

    `expected_key`: None = every key that is not empty is right; `models_shape`: see `listing.SHAPES`.
    """

    def __init__(self, bill: BillFile, *, expected_key: str | None = None, models_shape: str = "array") -> None:
        self._expected_key = expected_key
        self._models_shape = models_shape
        self._memory = Memory()
        billed = Bill.read(bill.path)
        self._charged, self._requests = billed.charged, len(billed.lines)
        self._responder = Responder(bill, self._memory, self._count)
        self._routes: dict[str, tuple[str, Route]] = {
            RESPONSES_PATH: ("POST", self._create),
            "/v1/models": ("GET", self._made_models),
            "/v2/models": ("GET", self._made_models),
            "/v3/models": ("GET", self._models),
            "/v1/credits": ("GET", self._credits),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire = Wire(scope, receive, send)
        try:
            await self._route(scope, wire)
        except RefusedError as refusal:
            await send_error(refusal.answer, wire)
        except ConnectionError:
            return  # nobody is left to be told

    async def _route(self, scope: Scope, wire: Wire) -> None:
        path, method = scope["path"], scope["method"]
        if path.startswith(f"{RESPONSES_PATH}/"):
            await self._stored(scope, wire)
            return
        if path not in self._routes:
            raise RefusedError(not_found(path))
        allowed, route = self._routes[path]
        if method != allowed:
            raise RefusedError(wrong_method(allowed))
        await route(scope, wire)

    async def _create(self, scope: Scope, wire: Wire) -> None:
        headers = _headers(scope)
        self._check_key(headers)
        await self._responder.answer(understand(await wire.body(), headers), wire)

    async def _stored(self, scope: Scope, wire: Wire) -> None:
        """`GET` and `DELETE` of one stored response, and its input, as OpenAI has them."""
        account = self._check_key(_headers(scope))
        path, method = scope["path"], scope["method"]
        response_id, _, below = path.removeprefix(f"{RESPONSES_PATH}/").partition("/")
        stored = self._memory.find(account, response_id)
        if method == "GET" and stored is not None and below in _SHOWN:
            await _send_json(wire, write(_SHOWN[below](stored)))
        elif method == "DELETE" and not below and self._memory.forget(account, response_id):
            await _send_json(wire, write({"id": response_id, "object": "response", "deleted": True}))
        else:
            raise RefusedError(not_found(path))

    async def _models(self, scope: Scope, wire: Wire) -> None:
        await send_error(models_answer(_query(scope), self._models_shape), wire)

    async def _made_models(self, scope: Scope, wire: Wire) -> None:
        await _send_json(wire, made_models(keyed=scope["path"] == "/v1/models"))

    async def _credits(self, scope: Scope, wire: Wire) -> None:
        self._check_key(_headers(scope))
        by_api_key = _query(scope).get("by_api_key") == "true"
        await _send_json(wire, credits_body(self._charged, self._requests, by_api_key=by_api_key))

    def _check_key(self, headers: dict[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        expected = self._expected_key if self._expected_key is not None else key
        if scheme.lower() != "bearer" or not key or not hmac.compare_digest(key.encode(), expected.encode()):
            raise RefusedError(unauthorized())
        return key

    def _count(self, priced: Priced) -> None:
        self._charged = EXACT.add(self._charged, priced.charged)
        self._requests += 1


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1")))


async def _send_json(wire: Wire, content: bytes) -> None:
    await wire.head(200, "application/json", length=len(content))
    await wire.last(content)
