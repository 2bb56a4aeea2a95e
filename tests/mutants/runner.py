"""Runs mutants: each in a copy of the repository of its own, against the tests that must notice it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]

# Nothing of these is needed, and some of it is large.
LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "data", "secrets.env", "uv.lock")

RUN_SECONDS_MAX = 300
ALL_TESTS_SECONDS_MAX = 1800

_FIRST = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Fate(StrEnum):
    CAUGHT = "caught"
    SURVIVED = "survived"
    BROKEN = "broken"  # the tests did not run: the code cannot even be imported, or there is no such test


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    fate: Fate
    by: str  # the first test that failed, or what went wrong

    @property
    def line(self) -> str:
        return f"{self.fate:<9} {self.mutant.name:<52} {self.by}"


@contextlib.contextmanager
def copied(root: Path = ROOT) -> Iterator[Path]:
    """A copy of the repository that may be spoilt."""
    with tempfile.TemporaryDirectory(prefix="irg-mutant-") as directory:
        copy = Path(directory) / "repository"
        shutil.copytree(root, copy, ignore=LEFT_BEHIND)
        yield copy


def run_tests(copy: Path, tests: Sequence[str], seconds_max: float = RUN_SECONDS_MAX) -> tuple[int, str]:
    """pytest's exit code and what it said. Nothing is compiled and kept: a file changes within its second."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-rfE", "--tb=no", "--no-cov", "--timeout=240"]
    command += ["-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", *tests]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IRG_", "PYTEST_"))}
    environment = kept | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=seconds_max, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end after {seconds_max} s"
    return done.returncode, done.stdout + done.stderr


def try_mutant(mutant: Mutant) -> Result:
    """Whether its tests notice it. Raises: `DoesNotFit`."""
    with copied() as copy:
        mutant.put_into(copy)
        code, said = run_tests(copy, mutant.tests)
    if code == 0:
        return Result(mutant, Fate.SURVIVED, "no test of " + ", ".join(mutant.tests))
    first = _FIRST.search(said)
    if code != 1 or first is None:
        return Result(mutant, Fate.BROKEN, said.strip()[-300:])
    return Result(mutant, Fate.CAUGHT, first[1])


def tests_hold(mutants: Sequence[Mutant]) -> tuple[bool, str]:
    """Without any mutant all of their tests pass; otherwise a failure would prove nothing."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with copied() as copy:
        code, said = run_tests(copy, tests, ALL_TESTS_SECONDS_MAX)
    return code == 0, said
