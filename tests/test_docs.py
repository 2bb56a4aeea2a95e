"""What the README tells is what the code does."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest

from app.cli import COMMANDS
from app.cli.demo import Demo
from app.cli.demo_history import HABITS
from app.core.records import LimitHit, RefusalReason, Refused, Scope
from app.core.refusals import limit_error
from app.settings.reference import settings_table
from app.simulator.bill import BillLine
from app.simulator.models import GROUPS
from app.simulator.registry import behaviour_of
from app.simulator.request import SIMULATE_HEADER
from tests.cli.irg import irg
from tests.readme_tables import README, table_of

ROOT = Path(__file__).parent.parent

LIMITS = sorted(
    set(RefusalReason) - {RefusalReason.KEY_REFUSED, RefusalReason.MODEL_NOT_ALLOWED, RefusalReason.RESPONSE_NOT_FOUND}
)

LOGGED = r'\b(?:log|_requests)\.(?:warning|error|exception|critical)\(\s*"([a-z_]+)"'


def test_every_setting_stands_in_the_readme() -> None:
    """The table of settings is the one that the code gives."""
    assert settings_table().strip() in README


def error_codes() -> list[str]:
    """Every code that `core.errors` and `core.refusals` can answer with."""
    tree = ast.parse((ROOT / "app/core/errors.py").read_text("utf-8"))
    hit = LimitHit(Scope.KEY, "alice")
    codes = {limit_error(Refused(reason, hit=hit), "req_1").code for reason in RefusalReason}
    for call in ast.walk(tree):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in ("ApiError", "_overloaded")
        ):
            texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            codes.update(text for text in texts if re.fullmatch(r"[a-z_]+", text))
    return sorted(codes)


@pytest.mark.parametrize("code", error_codes())
def test_every_error_code_stands_in_the_readme(code: str) -> None:
    """A code that a client may meet is explained."""
    assert f"`{code}`" in README


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"simulate", "health", "teams"}))
def test_every_main_command_stands_in_the_readme(command: str) -> None:
    """A command that nobody can find is none."""
    assert f"irg {command}" in README


def test_the_error_codes_are_found() -> None:
    """The search above sees the whole table."""
    assert len(error_codes()) >= 15


def test_the_tables_of_errors_agree() -> None:
    """Which errors the SDKs try again is told in a word, and in numbers, which are measured."""
    in_a_word = {row["code"]: row["retried by the SDKs"] for row in table_of("status")}
    for row in table_of("told"):
        (code, *reasons) = re.findall("`[a-z_]+`", row["told"])
        numbers = {again for client, again in row.items() if client.startswith(("Python", "Node"))}
        assert numbers == ({"2"} if in_a_word[code] == "yes" else {"0"}), row["told"]
        assert reasons or code not in ("`insufficient_quota`", "`rate_limit_exceeded`")


@pytest.mark.parametrize("reason", LIMITS)
def test_every_limit_is_measured(reason: RefusalReason) -> None:
    """How often clients ask again is told for each of them."""
    assert sum(f"(`{reason}`)" in row["told"] for row in table_of("told")) == 1


def log_events() -> list[str]:
    """Every event that is logged at `warning` or above."""
    found = (re.findall(LOGGED, path.read_text("utf-8")) for path in sorted((ROOT / "app").rglob("*.py")))
    return sorted({event for events in found for event in events})


def test_the_log_events_are_found() -> None:
    """The search sees them where they are logged."""
    assert {"gateway_fault", "ledger_not_writable", "spool_torn", "upstream_key_reflected"} <= set(log_events())


@pytest.mark.parametrize("event", log_events())
def test_every_warning_stands_in_the_readme(event: str) -> None:
    """Whoever reads it in a log at night finds what to do."""
    section = README.split("## When something is wrong")[1].split("\n## ")[0]
    assert f"`{event}`" in section


def readme_commands() -> list[str]:
    """Every `irg …` of the code blocks and of the prose, without what stands around it."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL)
    lines = [line.split(" #")[0] for block in blocks for line in block.splitlines()]
    words = [part.strip() for line in lines for part in re.split(r";|\s{3,}|&& ", line)]
    words += re.findall(r"`(irg [^`]*)`", README)
    found = (re.search(r"(?:^|run |gateway )irg (.*)", word) for word in words)
    return sorted({command[1] for command in found if command is not None})


@pytest.mark.parametrize("command", readme_commands())
def test_every_command_in_the_readme_is_understood(command: str) -> None:
    """Its verb and all its flags exist: with --help it parses them, and runs nothing."""
    ran = irg(*shlex.split(command), "--help")
    assert ran.code == 0, ran.err


def test_the_demo_prints_what_the_readme_shows() -> None:
    """The first lines of its page, with the secrets left out."""
    shown = README.split("uv run irg demo\n")[1].split("```")[0]
    page = Demo("http://127.0.0.1:8000", "", "", dict.fromkeys((habit.name for habit in HABITS), "irg_…"), ROOT).page()
    assert page.startswith(shown)


def clients_under_test() -> list[str]:
    """Major and minor release of every client that `tests/scenarios` runs."""
    directory = ROOT / "tests/scenarios/clients"
    packages = json.loads((directory / "package.json").read_text("utf-8"))["dependencies"]
    parts = ("@ai-sdk/openai", "@langchain/core", "zod")  # of others that are named
    clients = [pin for name, pin in packages.items() if name not in parts]
    lines = (directory / "python.txt").read_text("utf-8").splitlines()
    clients += [line for line in lines if not line.startswith("#")] + [version("openai")]
    return sorted(set(re.findall(r"\d+\.\d+(?=\.)", "\n".join(clients))))


@pytest.mark.parametrize("release", clients_under_test())
def test_every_tested_client_stands_in_the_readme(release: str) -> None:
    """Whoever uses one of them sees that it is tested, and in which release."""
    section = README.split("## Clients")[1].split("\n## ")[0]
    assert release in re.findall(r"\d+\.\d+", section)


def test_the_simulator_is_told_as_it_is() -> None:
    """Every `sim/…` name exists, each group has its row, and the header and the bill's fields are called so."""
    section = README.split("## The simulator")[1].split("\n## ")[0]
    names = re.findall(r"`(sim/[a-z0-9-]+(?::[0-9]+)?)`", section)
    assert len(names) > 30
    for name in names:
        behaviour_of(name)
    rows = [
        cell.strip() for about in re.findall(r"^\| ([a-z ,]+) \|", section, re.MULTILINE) for cell in about.split(",")
    ]
    assert rows[1:] == list(GROUPS)
    assert f"`{SIMULATE_HEADER}: " in section
    fields = {field.name for field in dataclasses.fields(BillLine)}
    bill = section.split("The **bill**")[1]
    assert {*re.findall(r"`([a-z_0-9]+)`", bill)} - {"free"} <= fields
