"""The admin token that makes itself: at the first start, into a file that only its owner may read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from app.settings.checks import ADMIN_TOKEN_CHARACTERS_MIN
from app.settings.faults import SettingsError
from app.settings.model import Settings


def token_path(settings: Settings) -> Path:
    return settings.state_dir / "admin-token"


def ensure_admin_token(settings: Settings) -> tuple[str, Path | None]:
    """The admin token, and the path of the file if it was made now.

    Raises: `OSError`; `SettingsError` if the file holds something else than a token.
    """
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value(), None
    path = token_path(settings)
    made = not path.exists() and _put_first(_new_file(path), path)
    return _read(path), path if made else None


def write_admin_token(path: Path) -> str:
    """Makes a new token and puts it in place of the old one, all at once. Raises: `OSError`."""
    _new_file(path).replace(path)
    return _read(path)


def _new_file(path: Path) -> Path:
    """A new token in a file of its own beside `path`, complete on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(secrets.token_urlsafe(32) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return made


def _put_first(made: Path, path: Path) -> bool:
    """Whether `made` became `path`: of two processes that start at once, one wins and both use its token."""
    try:
        os.link(made, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: the last one wins
        made.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
    return True


def _read(path: Path) -> str:
    try:
        token = path.read_text("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < ADMIN_TOKEN_CHARACTERS_MIN or not token.isprintable() or " " in token:
        raise SettingsError([f"{path}: this is not an admin token. Delete the file, and one is made."])
    return token
