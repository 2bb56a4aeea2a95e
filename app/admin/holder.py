"""The way through a key holder's routes: the team key first, which is also whose books are opened.

The same 401 for every key that is refused, as on the data plane; an admin token is no team key. What is
answered is one holder's: no cache keeps it. One at a time for each key (`turns`). Called by `me.build_me`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response

from app.accounts.keyring import Keyring
from app.admin.route import GuardedRoute
from app.admin.turns import Turns
from app.core.errors import invalid_api_key


class HolderRoute(GuardedRoute):
    """One route of key holders; `holder_routes` binds it to the keys there are."""

    keyring: ClassVar[Keyring]
    turns: ClassVar[Turns]

    async def admit(self, request: Request) -> None:
        """Remembers whose key it is, for `key_id_of`."""
        credentials = [value for name, value in request.scope["headers"] if name == b"authorization"]
        # Two Authorization headers are no credential.
        key = await self.keyring.holder(credentials[0]) if len(credentials) == 1 else None
        if key is None:
            raise invalid_api_key()
        request.state.key_id = key.id

    def turn(self, request: Request) -> contextlib.AbstractAsyncContextManager[None]:
        return self.turns.of(key_id_of(request))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def unkept(request: Request) -> Response:
            response = await answer(request)
            response.headers["cache-control"] = "no-store"
            return response

        return unkept


def holder_routes(keyring: Keyring) -> type[HolderRoute]:
    return type("BoundHolderRoute", (HolderRoute,), {"keyring": keyring, "turns": Turns()})


def key_id_of(request: Request) -> str:
    """The key that opened the route."""
    key_id: str = request.state.key_id
    return key_id
