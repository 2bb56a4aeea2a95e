"""A ledger on a disk, opened and closed around each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.store import stretches
from app.store.engine import open_store
from app.store.port import Store
from tests.store.limited import LimitedLedger
from tests.store.turns import Seen, watch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "gateway.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = await open_store(path)
    yield opened
    await opened.aclose()


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[LimitedLedger]:
    """With limits, and a clock that stands: on a Monday."""
    opened = LimitedLedger(path, "2026-11-02T12:00")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    return watch(path, monkeypatch)


@pytest.fixture
def by_loop(seen: Seen) -> list[bool]:
    return seen.by_loop


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of four requests."""
    with monkeypatch.context() as patch:
        patch.setattr(stretches, "STRETCH_BITS", 2)
        patch.setattr(stretches, "STRETCH", 4)
        patch.setattr(stretches, "UNSORTED_MAX", 8)
        yield
