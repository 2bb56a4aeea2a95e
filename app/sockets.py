"""Where the gateway listens: a TCP socket for clients, and a Unix socket beside the database for the command line.

Called by `server`. The Unix socket's file permission is its authority (0600), so its
directory must be nobody else's.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# A Unix socket's path may be this long on every system (sun_path on macOS, less the NUL).
SOCKET_PATH_BYTES_MAX = 103

# About this much of an answer waits unsent in the system, which else gives some megabytes to a client that takes none.
UNSENT_BYTES_MAX = 64 * 1024

# TCP_NOTSENT_LOWAT, which Python names since 3.12. Linux gives a listener's to its connections; other systems may not,
# and go without.
UNSENT_OPTION: int | None = 25 if sys.platform == "linux" else None


def bind_tcp(host: str, port: int) -> socket.socket:
    """A bound, not yet listening socket. Raises: `OSError` with a sentence that names the mend."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if UNSENT_OPTION is not None:
        sock.setsockopt(socket.IPPROTO_TCP, UNSENT_OPTION, UNSENT_BYTES_MAX)  # its connections inherit it
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno,
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port or IRG_PORT",
        ) from None
    sock.setblocking(False)
    return sock


def waiting_connections(listening: socket.socket, count_max: int | None = None) -> list[socket.socket]:
    """Those that the system has made already and nobody has taken yet: closing the listener would reset them."""
    taken: list[socket.socket] = []
    with contextlib.suppress(OSError):  # none is left, or no descriptor, or the listener is closed
        while count_max is None or len(taken) < count_max:
            sock, _ = listening.accept()
            sock.setblocking(False)
            taken.append(sock)
    return taken


@contextlib.contextmanager
def unix_socket(database_path: Path) -> Iterator[tuple[socket.socket, Path]]:
    """The command line's door: a socket beside the database whose file permission is the authority.

    It listens: a command that comes before the server serves waits for it, and is not refused.
    """
    path = socket_path_for(database_path)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen()
    finally:
        os.umask(before)
    sock.setblocking(False)
    try:
        yield sock, path
    finally:
        sock.close()
        path.unlink(missing_ok=True)
        if path.parent != database_path.parent:
            path.parent.rmdir()


def socket_path_for(database_path: Path) -> Path:
    """`<database>.sock`, or, where that is too long for a socket, a private directory named after it.

    Raises: `PermissionError` when that directory is another's, or open to others.
    """
    beside = database_path.with_name(database_path.name + ".sock")
    if _fits(beside):
        return beside
    digest = hashlib.sha256(os.fsencode(database_path)).hexdigest()[:16]
    roots = (tempfile.gettempdir(), "/tmp")  # noqa: S108 - the directory made there is private
    paths = [Path(root) / f"irg-{os.getuid()}-{digest}" / "gateway.sock" for root in roots]
    path = next(path for path in paths if _fits(path))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    found = path.parent.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise PermissionError(
            errno.EPERM, f"{path.parent} is not private: remove it, or use a shorter path in IRG_DATABASE_URL"
        )
    return path


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
