"""Every fuzz target under atheris for a minute (`uv run --group fuzz pytest tests/fuzz/test_atheris.py`)."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SECONDS = 60
ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris comes with `--group fuzz`")
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided_bytes_find_nothing(name: str, tmp_path: Path) -> None:
    """No exception, no disagreement with the plain reading, nothing slower than 20 s."""
    command = [sys.executable, "-m", "tests.fuzz.harness", name, "--seconds", str(SECONDS), "--found", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS * 5, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = re.search(r"stat::number_of_executed_units: +(\d+)", done.stderr)
    assert runs is not None
    assert int(runs[1]) > 1000
    print(f"{name}: {runs[1]} inputs")
