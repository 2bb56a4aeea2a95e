"""The way through every route: authority first, then the verb, and each failure in OpenAI's shape.

Lives here: what an exception becomes on the wire. The credential is checked before anything
of the request is read or validated. Called by `api.build_admin`, which binds the admin token, and by
`me.build_me`, which binds the team keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, ClassVar, get_args, get_type_hints

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.accounts.errors import AccountsError, Conflict, NotFound
from app.admin.auth import authorize
from app.admin.bodies import WRITE
from app.core.errors import ApiError, bad_request, ledger_unavailable
from app.core.ids import new_id
from app.settings import AdminToken
from app.store.port import LedgerUnavailable


class LateRoute(APIRoute):
    """One route whose validators are made when it is first asked for, or described.

    To make those of all takes half of the time in which a gateway starts, and longer than what a command without a
    gateway asks of a single one. Until then a route knows what it is found by.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: Collection[str], **told: Any) -> None:
        self._told = {"path": path, "endpoint": endpoint, "methods": methods, **told}
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.path, self.endpoint, self.methods = path, endpoint, set(methods)

    def __getattr__(self, name: str) -> Any:
        """Asked for nothing but what is not there yet."""
        told = self.__dict__.pop("_told", None)
        if told is None:
            raise AttributeError(name)
        for shape in _shapes(self.endpoint):
            shape.model_config["defer_build"] = False  # or FastAPI's validator of it is made amid the first request
        super().__init__(**told)
        return getattr(self, name)


def _shapes(endpoint: Callable[..., Any]) -> Iterator[type[BaseModel]]:
    """The models that an endpoint takes and answers with."""
    for hint in get_type_hints(endpoint).values():
        for one in get_args(hint) or (hint,):
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield one


class GuardedRoute(LateRoute):
    """One route that somebody must have the authority for."""

    async def admit(self, request: Request) -> None:
        """Lets a request with the right credential through. Raises: `ApiError`, `LedgerUnavailable`."""
        raise NotImplementedError

    def turn(self, request: Request) -> contextlib.AbstractAsyncContextManager[None]:
        """What a request that was let through waits for until it is answered. Raises: `ApiError`."""
        return contextlib.nullcontext()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                await self.admit(request)
                async with self.turn(request):
                    return await answer(request)
            except ApiError as error:
                return error_response(error)
            except AccountsError as error:
                return error_response(refusal(error))
            except RequestValidationError as error:
                return error_response(bad_input(error))
            except HTTPException as error:
                return error_response(unreadable(error))
            except LedgerUnavailable:
                return error_response(ledger_unavailable())

        return guarded


class AdminRoute(GuardedRoute):
    """One route of the control plane; `admin_routes` binds it to its token."""

    admin_token: ClassVar[AdminToken]

    async def admit(self, request: Request) -> None:
        authorize(request.scope, self.admin_token.current())


def admin_routes(admin_token: AdminToken) -> type[AdminRoute]:
    return type("BoundAdminRoute", (AdminRoute,), {"admin_token": admin_token})


def error_response(error: ApiError) -> Response:
    request_id = new_id("req")
    headers = {"x-request-id": request_id, "x-irg-request-id": request_id, "x-error-source": "gateway"}
    return Response(error.body(), error.status, headers=headers | dict(error.headers), media_type="application/json")


def refusal(error: AccountsError) -> ApiError:
    """404, 409 or 400, with the sentence of the verb that refused."""
    if isinstance(error, NotFound):
        return ApiError(404, "not_found", error.message, param=error.param)
    if isinstance(error, Conflict):
        return ApiError(409, "conflict", error.message, param=error.param)
    return bad_request(error.message, error.param)


def unreadable(error: HTTPException) -> ApiError:
    """What the framework says of a body that its JSON parser gave up on, in our words."""
    if error.status_code != 400:
        raise error
    return bad_request(
        "The body cannot be read: it nests too deep, holds a number of thousands of digits, or is not UTF-8. "
        "Send a JSON object."
    )


def bad_input(error: RequestValidationError) -> ApiError:
    """400 about the first field at fault: which, what is wrong, what to write."""
    fault = error.errors()[0]
    place: tuple[str | int, ...] = fault["loc"]
    kind, where = fault["type"], place[1:]
    if kind == "json_invalid":
        return bad_request(f"The body is not JSON: {fault['ctx']['error']} at character {place[-1]}.")
    if kind == "unknown_field":
        return bad_request(fault["msg"], fault["ctx"]["field"])
    if not where:
        return bad_request("Send a JSON object, with Content-Type: application/json.")
    param = _path(where)
    hint = WRITE.get(str(where[0]), "")
    if kind == "missing":
        return bad_request(f"{param} is missing. {hint}".rstrip(), param)
    return bad_request(f"{param}: {fault['msg'][:1].lower()}{fault['msg'][1:]}. {hint}".rstrip(), param)


def _path(where: tuple[str | int, ...]) -> str:
    """`models[0]`, as OpenAI's errors name places."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).lstrip(".")
