"""The admin token that makes itself: at the first start, into a file that only its owner may read.

Lives here: making it, replacing it, and the one that counts now. A running gateway asks for the latter
at every admin request, so that a replaced token is refused at once.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from app.settings.checks import ADMIN_TOKEN_CHARACTERS_MIN
from app.settings.faults import SettingsError
from app.settings.model import Settings
from app.settings.secret_file import new_file, put_first


def token_path(settings: Settings) -> Path:
    return settings.state_dir / "admin-token"


def ensure_admin_token(settings: Settings) -> tuple[str, Path | None]:
    """The admin token, and the path of the file if it was made now.

    Raises: `OSError`; `SettingsError` if the file holds something else than a token.
    """
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value(), None
    path = token_path(settings)
    made = not path.exists() and put_first(new_file(path, _new_token()), path)
    return _read(path), path if made else None


class AdminToken:
    """The admin token of a running process: fixed, or what its file holds now."""

    def __init__(self, token: str, path: Path | None = None) -> None:
        if not token:
            raise ValueError("an empty admin token would open every route")
        self._token = token
        self._path = path
        self._seen: tuple[int, int, int] | None = None  # which file was read last

    def __repr__(self) -> str:
        return "AdminToken(…)"

    def current(self) -> str:
        """The token that counts. A file that is gone or holds none changes nothing: its last token stays."""
        if self._path is not None:
            with contextlib.suppress(OSError, SettingsError):
                self._read_if_new(self._path)
        return self._token

    def _read_if_new(self, path: Path) -> None:
        stat = path.stat()
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._seen = seen
            self._token = _read(path)


def running_admin_token(settings: Settings) -> tuple[AdminToken, Path | None]:
    """`ensure_admin_token` for a process that goes on: what a later change of the file makes of it counts too."""
    token, made = ensure_admin_token(settings)
    return AdminToken(token, token_path(settings) if settings.admin_token is None else None), made


def write_admin_token(path: Path) -> str:
    """Makes a new token and puts it in place of the old one, all at once. Raises: `OSError`."""
    new_file(path, _new_token()).replace(path)
    return _read(path)


def _new_token() -> str:
    return secrets.token_urlsafe(32)


def _read(path: Path) -> str:
    try:
        token = path.read_text("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < ADMIN_TOKEN_CHARACTERS_MIN or not token.isprintable() or " " in token:
        raise SettingsError([f"{path}: this is not an admin token. Delete the file, and one is made."])
    return token
