"""Who may open an admin route: the admin token's holder, or who may open the gateway's own Unix socket.

Lives here: that one decision, on plain ASGI scopes. Called by `route.AdminRoute` before
anything of a request is read. A team key never opens an admin route.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from app.core.errors import ApiError

# Set by the gateway's guard: an object whose `local` is True for the gateway's own Unix socket.
CONNECTION_EXTENSION = "irg.connection"

TEAM_KEY_PREFIX = b"irg_"


def authorize(scope: Mapping[str, Any], admin_token: str) -> None:
    """Lets the admin through. A header that is there decides, also on the local socket: what is sent must be right.

    Raises: `ApiError` 401 (no credential, or a wrong one), 403 (a team key).
    """
    credentials = [value for name, value in scope["headers"] if name == b"authorization"]
    if not credentials and came_through_local_socket(scope):
        return
    token = _bearer(credentials)
    if token is not None and secrets.compare_digest(token, admin_token.encode()):
        return
    raise _team_key_refused() if token is not None and token.startswith(TEAM_KEY_PREFIX) else _admin_token_wanted()


def came_through_local_socket(scope: Mapping[str, Any]) -> bool:
    """True for the Unix socket beside the database: whoever may open that file (0600) is the admin."""
    connection = (scope.get("extensions") or {}).get(CONNECTION_EXTENSION)
    return getattr(connection, "local", False) is True


def _bearer(credentials: list[bytes]) -> bytes | None:
    """The one bearer token, or None: two Authorization headers are no credential."""
    if len(credentials) != 1:
        return None
    scheme, _, token = credentials[0].partition(b" ")
    token = token.strip(b" ")
    return token if scheme.lower() == b"bearer" and token else None


def _admin_token_wanted() -> ApiError:
    return ApiError(
        401,
        "invalid_admin_token",
        "Admin routes take the admin token: 'Authorization: Bearer <IRG_ADMIN_TOKEN>'. On the gateway's machine: "
        "irg admin-token show.",
        type="authentication_error",
        headers=(("www-authenticate", "Bearer"),),
    )


def _team_key_refused() -> ApiError:
    return ApiError(
        403,
        "admin_token_required",
        "A team key never opens an admin route; give the admin token instead.",
        type="permission_error",
    )
