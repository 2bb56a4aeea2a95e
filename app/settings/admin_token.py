"""The admin token that makes itself: at the first start, into a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from app.settings.model import Settings


def token_path(settings: Settings) -> Path:
    return settings.state_dir / "admin-token"


def ensure_admin_token(settings: Settings) -> tuple[str, Path | None]:
    """The admin token, and the path of the file if it was made now. Raises: `OSError`."""
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value(), None
    path = token_path(settings)
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        return write_admin_token(path), path
    return token, None


def write_admin_token(path: Path) -> str:
    """Makes a new token and puts it in place of the old one, all at once."""
    token = secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    made.replace(path)
    return token
