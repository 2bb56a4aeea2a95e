"""Where the command line's socket lies, however long the paths are."""

from __future__ import annotations

import socket
import stat
import tempfile
from pathlib import Path

import pytest

from app.sockets import SOCKET_PATH_BYTES_MAX, bind_tcp, socket_path_for, unix_socket


def test_a_short_path_has_its_socket_beside_the_database(tmp_path: Path) -> None:
    """And only its owner may open it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        database = Path(short) / "gateway.db"
        with unix_socket(database) as (_, path):
            assert path == Path(short) / "gateway.db.sock"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()


def test_who_comes_before_the_server_serves_waits_for_it(tmp_path: Path) -> None:
    """`docker compose up -d` is followed at once by the first command; what it asks is there when it is taken."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as short,
        unix_socket(Path(short) / "gateway.db") as (listening, path),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early,
    ):
        early.connect(str(path))
        early.sendall(b"keys?")
        taken, _ = listening.accept()
        with taken:
            taken.setblocking(True)
            assert taken.recv(5) == b"keys?"


@pytest.mark.parametrize("long_temporary", [False, True])
def test_a_long_path_has_its_socket_in_a_private_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_temporary: bool
) -> None:
    """Also where the temporary directory is too long itself; nothing is left behind."""
    deep = tmp_path / ("d" * SOCKET_PATH_BYTES_MAX)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep) if long_temporary else "/tmp")
    with unix_socket(deep / "gateway.db") as (_, path):
        assert len(str(path)) <= SOCKET_PATH_BYTES_MAX
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.parent.exists()


def test_a_directory_that_is_not_private_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else might have laid it there."""
    database = tmp_path / ("d" * SOCKET_PATH_BYTES_MAX) / "gateway.db"
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    directory = socket_path_for(database).parent
    try:
        directory.chmod(0o755)
        with pytest.raises(PermissionError, match="not private"):
            socket_path_for(database)
    finally:
        directory.rmdir()


@pytest.mark.parametrize(("host", "reason"), [("nowhere.invalid", "[Nn]ame|[Tt]emporary"), ("192.0.2.1", "assign")])
def test_an_address_that_cannot_be_listened_on_is_told_with_its_reason(host: str, reason: str) -> None:
    """In words, and with the settings that choose another."""
    with pytest.raises(OSError, match=reason) as told:
        bind_tcp(host, 0)
    assert "IRG_PORT" in (told.value.strerror or "")
    assert "Unknown error" not in (told.value.strerror or "")
