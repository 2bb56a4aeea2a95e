"""Who asks, for the audit log: the way a request came, and the name that the admin gives.

The name is not proved: whoever may open an admin route may write any. Called by the routes that
change something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request

from app.admin.auth import came_through_local_socket
from app.core.audit import Actor, Via, actor_name

ACTOR_HEADER = b"x-irg-actor"

# Set by a command that opened the ledger itself; nobody can send it.
PROCESS_EXTENSION = "irg.process"


def actor_of(scope: Mapping[str, Any]) -> Actor:
    """The first name given, as UTF-8; `admin` without one."""
    names = [value for name, value in scope["headers"] if name == ACTOR_HEADER]
    return Actor(actor_name(names[0].decode("utf-8", "replace") if names else None), _via(scope))


def _via(scope: Mapping[str, Any]) -> Via:
    if PROCESS_EXTENSION in (scope.get("extensions") or {}):
        return Via.PROCESS
    return Via.SOCKET if came_through_local_socket(scope) else Via.NETWORK


async def _who(request: Request) -> Actor:
    return actor_of(request.scope)


Who = Annotated[Actor, Depends(_who)]
