"""FAULTS.md is complete: every fault of the code stands in it, and every test that it or ATTACKS.md names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from app.proxy.exchange import BREAK_REASONS
from app.proxy.upstream.port import Fault

TESTS = Path(__file__).parents[1]
APP = TESTS.parent / "app"
TABLE = (TESTS / "scenarios/FAULTS.md").read_text("utf-8")
ATTACKS = (TESTS / "scenarios/ATTACKS.md").read_text("utf-8")


def rows_of(table: str) -> list[list[str]]:
    """Cell by cell, without the headings."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if row[-1] != "tests"]


ROWS = rows_of(TABLE)
# Whose tests must all stand in the table.
OWN = [
    "test_fault_rows.py",
    "test_fault_storm.py",
    "test_machine_faults.py",
    "test_machine_limits.py",
    "test_overload.py",
]
# Refusals that are no faults, and the models list.
NO_FAULTS = {"bad_request", "models_unknown"}

_REASON = re.compile(r'unknown_reason(?: = |=)"([a-z_]+)"')


def functions_of(path: Path) -> set[str]:
    """Names of tests; of a state machine, that of its case."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_")}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return names | {one.id for one in targets if isinstance(one, ast.Name) and one.id.startswith("Test")}


def named(cell: str) -> list[tuple[Path, str]]:
    """The tests that a cell names; a file directly in tests is written with its folder."""
    found = []
    for text in cell.split(", "):
        file, _, name = text.partition("::")
        found.append((TESTS.parent / file if file.startswith("tests/") else TESTS / file, name))
    return found


@pytest.mark.parametrize(
    ("row", "cells"),
    [*((row, 4) for row in ROWS), *((row, 3) for row in rows_of(ATTACKS))],
    ids=lambda one: str(one[0][:60] if isinstance(one, list) else ""),
)
def test_every_row_is_whole_and_has_its_tests(row: list[str], cells: int) -> None:
    """Each test named is one that is collected, `*` = all of a file."""
    assert len(row) == cells
    assert all(row)
    for path, name in named(row[-1]):
        assert path.exists(), path
        there = functions_of(path)
        assert there if name == "*" else name in there, f"{path.name} has no {name}"


def test_every_test_of_the_faults_stands_in_the_table() -> None:
    """What nobody finds is as good as not there."""
    listed = {(path.name, name) for row in ROWS for path, name in named(row[-1])}
    there = {(file, name) for file in OWN for name in functions_of(TESTS / "scenarios" / file)}
    assert there - listed == set()


def test_every_fault_of_a_transport_stands_in_the_table() -> None:
    """By the text that is logged, and by the ledger's word for it."""
    faults = [fault.value for fault in Fault]
    assert [fault for fault in faults if fault not in TABLE] == []
    reasons = {reason for fault, reason in BREAK_REASONS.items() if fault is not Fault.ABORTED}
    assert [reason for reason in reasons if f"`{reason}`" not in TABLE] == []


def test_every_reason_for_an_unknown_cost_stands_in_the_table() -> None:
    """As far as the code writes it out."""
    found = {reason for path in APP.rglob("*.py") for reason in _REASON.findall(path.read_text("utf-8"))}
    assert len(found) > 5
    assert [reason for reason in sorted(found) if f"`{reason}`" not in TABLE] == []


def test_every_error_after_admission_stands_in_the_table() -> None:
    """All codes that `core.errors` answers with below the line where the caller's side ends."""
    text = (APP / "core/errors.py").read_text("utf-8")
    tree = ast.parse(text)
    begins = text[: text.index("# --- the gateway's side")].count("\n")
    codes = set()
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.lineno > begins and function.name not in NO_FAULTS:
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            texts = [arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)]
            codes |= {text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z_]+", text)}
    assert len(codes) >= 10
    assert [code for code in sorted(codes) if f"`{code}`" not in TABLE] == []
