"""Files that a secret makes for itself: complete or not there, for their owner alone, one winner.

Called by the secrets that live beside the database.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def new_file(path: Path, text: str) -> Path:
    """A secret, as one line, in a file of its own beside `path` (0600), complete on disk. Raises: `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return made


def put_first(made: Path, path: Path) -> bool:
    """Whether `made` became `path`: of two processes that start at once, one wins and both use its secret."""
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
