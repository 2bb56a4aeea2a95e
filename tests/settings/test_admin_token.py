"""The admin token that makes itself: once, for its owner alone, whoever starts first."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from app.settings import AdminToken, Settings, SettingsError, ensure_admin_token, running_admin_token
from app.settings.admin_token import token_path, write_admin_token


def settings(directory: Path, **values: str) -> Settings:
    return Settings.model_validate({"database_url": f"sqlite:///{directory}/state/gateway.db", **values})


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The first start makes it in a new directory, 0600; later ones read it."""
    token, made = ensure_admin_token(settings(tmp_path))
    path = tmp_path / "state" / "admin-token"
    assert made == path == token_path(settings(tmp_path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == f"{token}\n"
    assert len(token) >= 32
    assert ensure_admin_token(settings(tmp_path)) == (token, None)
    assert [entry.name for entry in path.parent.iterdir()] == ["admin-token"]
    assert ensure_admin_token(settings(tmp_path / "other"))[0] != token


def test_a_token_that_was_made_is_one_that_may_be_set(tmp_path: Path) -> None:
    """It can be copied into IRG_ADMIN_TOKEN; then no file is needed nor made."""
    token, _ = ensure_admin_token(settings(tmp_path))
    assert ensure_admin_token(settings(tmp_path / "other", admin_token=token)) == (token, None)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("content", ["", "\n", "short\n", "x" * 40 + " y", "é" * 40])
def test_a_file_that_holds_no_token_is_a_fault(content: str, tmp_path: Path) -> None:
    """An empty file must not become an empty password."""
    path = token_path(settings(tmp_path))
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as told:
        ensure_admin_token(settings(tmp_path))
    assert str(told.value) == f"{path}: this is not an admin token. Delete the file, and one is made."


def test_two_that_start_at_once_share_one_token(tmp_path: Path) -> None:
    """Whoever is first makes it; nobody goes on with a token that the file does not hold."""
    start = threading.Barrier(8)
    found: list[tuple[str, Path | None]] = []

    def begin() -> None:
        start.wait(10)
        found.append(ensure_admin_token(settings(tmp_path)))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({token for token, _ in found}) == 1
    assert len([made for _, made in found if made]) == 1
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_a_file_system_without_links_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some volumes have none."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    token, made = ensure_admin_token(settings(tmp_path))
    assert made is not None
    assert made.read_text() == f"{token}\n"
    assert len(list(made.parent.iterdir())) == 1


def test_a_new_one_takes_its_place_at_once(tmp_path: Path) -> None:
    """`irg admin-token rotate`: never half a token, never one that others may read."""
    old, made = ensure_admin_token(settings(tmp_path))
    assert made is not None
    made.chmod(0o644)
    new = write_admin_token(made)
    assert new != old
    assert ensure_admin_token(settings(tmp_path)) == (new, None)
    assert made.stat().st_mode & 0o777 == 0o600


def test_a_running_gateway_takes_the_new_one_at_once(tmp_path: Path) -> None:
    """Whoever writes the file; a file that is gone or spoilt locks nobody out."""
    token, path = running_admin_token(settings(tmp_path))
    assert path is not None
    first = token.current()
    assert first == path.read_text().strip()
    second = write_admin_token(path)
    assert token.current() == second != first
    path.write_text("spoilt")
    assert token.current() == second
    path.unlink()
    assert token.current() == second
    third = write_admin_token(path)
    assert token.current() == third
    assert third not in repr(token)


def test_a_token_that_was_set_stays_whatever_the_file_holds(tmp_path: Path) -> None:
    """What is set counts."""
    write_admin_token(token_path(settings(tmp_path)))
    chosen = "a-token-of-the-operators-own-7f3d91c2"
    token, made = running_admin_token(settings(tmp_path, admin_token=chosen))
    assert (token.current(), made) == (chosen, None)


def test_an_empty_token_is_never_one() -> None:
    """It would open every route."""
    with pytest.raises(ValueError, match="empty"):
        AdminToken("")


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the error that names it."""
    (tmp_path / "state").write_text("a file where the directory should be")
    with pytest.raises(OSError, match="state"):
        ensure_admin_token(settings(tmp_path))
