"""The rules of the house: size, names, imports, types. Each can fail, and says what to mend."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "app").rglob("*.py"))
TOP_LEVEL = {
    "pyproject.toml",
    "requirements.lock",
    "Dockerfile",
    "docker-compose.yml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "app",
    "tests",
    "config",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    """At most 300 lines a file and 40 a function."""
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    if "migrations" in path.parts:  # written once, read never
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 40, f"{node.name} has {length} lines"


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Python matches that wrongly before 3.11.5, and takes it without a word. (A class may be repeated so.)"""
    possessive = re.compile(r"(?<!\\)\)(?:[*+?]|\{[%d\d,]*\})\+")
    assert possessive.search(r"(?:a|b)*+")
    assert possessive.search(r"(a){0,3}+")
    assert possessive.search(r"(a){0,%d}+")
    found = {
        str(path.relative_to(ROOT)): node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and possessive.search(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    }
    assert found == {}


def test_what_nobody_changes_is_a_value() -> None:
    """A frozen dataclass takes eight times as long to make, and 400 µs of each start; it is for who hides a field.

    (The simulator is no part of a gateway's start.)
    """
    found = set[str]()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and any("frozen=True" in ast.unparse(one) for one in node.decorator_list):
                hides = re.search(r"(repr|init)=False", ast.unparse(node))
                found |= set() if hides or "simulator" in path.parts else {f"{path.relative_to(ROOT)}: {node.name}"}
    assert found == set()


def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("not a git checkout")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_the_top_level_holds_what_it_should() -> None:
    """Nothing beside the agreed files and folders (and dotfiles)."""
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_nothing_tracked_is_a_secret_or_an_address_of_a_registry() -> None:
    """No lock with addresses, no environment file, no database."""
    stray = [name for name in tracked() if re.search(r"(^|/)(uv\.lock|\.env|.*\.db)$", name)]
    assert stray == []


@pytest.mark.scenario
@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["ruff", "format", "mypy", "floors"],
)
def test_the_checkers_are_content(command: list[str]) -> None:
    """The tools of the `full` group find nothing."""
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
