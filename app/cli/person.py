"""Who runs a command: what the gateway's audit log is told, and who settles an unknown cost."""

from __future__ import annotations

import getpass

from app.core.audit import ADMIN, actor_name


def user_name() -> str:
    """The operating system's user, or `admin` if it has no name (a container's may have none)."""
    try:
        return actor_name(getpass.getuser())
    except (OSError, KeyError):
        return ADMIN
