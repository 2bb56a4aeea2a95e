"""A ledger of its own for every test of the control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin.books import Books, opened_books


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with opened_books(tmp_path) as opened:
        yield opened
