"""A directory of its own for every test of the command line, with a ledger named by the environment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.admin.books import Books, opened_books

Seed = Callable[[Callable[[Books], Awaitable[None]]], None]


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command sets logging up for its process, which is the tests' own here."""
    chosen, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    yield
    structlog.configure(**chosen)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; no gateway runs on its ledger, and there is none yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IRG_DATABASE_URL", f"sqlite:///{tmp_path}/gateway.db")
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


@pytest.fixture
def seed(directory: Path) -> Seed:
    """Writes into the ledger and lets go of it."""

    def write(fill: Callable[[Books], Awaitable[None]]) -> None:
        async def run() -> None:
            async with opened_books(directory) as books:
                await fill(books)

        asyncio.run(run())

    return write
