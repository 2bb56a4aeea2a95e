"""Files below the working directory of a loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.values import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file below the working directory of the loader."""

    def at(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return at
