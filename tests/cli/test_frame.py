"""What every command shares: the page, the list of commands, exit codes, data and talk, and no traceback."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from app import __version__
from app.cli import COMMANDS, frame
from app.cli.frame import Code, Failure, guarded
from app.cli.lazy import Lazy, lazy_group, load
from app.settings import SettingsError
from tests.cli.irg import irg, irg_process

ROOT = Path(__file__).parents[2]


def test_without_arguments_it_is_a_helpful_page() -> None:
    """On stdout, exit code 0: what to do first, and every command."""
    page = irg()
    assert (page.code, page.err) == (0, "")
    assert "irg demo" in page.out
    assert "IMAGEROUTER_API_KEY" in page.out
    assert all(f"  {name} " in page.out for name in COMMANDS)
    assert irg("--help").out == page.out


def test_the_version_is_the_packages() -> None:
    """And nothing else, for scripts."""
    assert irg("--version").out == f"{__version__}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_be_imported_and_tells_of_itself(name: str) -> None:
    """Commands are imported when they run: here they all are. Help is plain text, the same everywhere."""
    command = load(name, COMMANDS[name])
    assert command.name == name
    told = irg(name, "--help")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"Usage: irg {name}")
    assert "--install-completion" not in told.out
    for sub in getattr(command, "commands", {}):
        assert irg(name, sub, "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kees"], "Did you mean 'keys'"),
        (["keys", "creat", "alice"], "No such command 'creat'"),
        (["serve", "--prot", "5"], "--prot"),
        (["serve", "--port", "abc"], "--port"),
        (["serve", "--budget", "5"], "--budget"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: list[str], says: str) -> None:
    """Exit code 2 on stderr; a flag of a later version is never accepted silently."""
    ran = irg(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


def test_module_and_script_are_the_same() -> None:
    """`python -m app` is `irg`."""
    ran = subprocess.run(
        [sys.executable, "-m", "app", "--version"], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout.decode()) == (0, f"{__version__}\n")


def test_a_command_that_cannot_be_imported_spoils_no_other() -> None:
    """A group of lazy commands imports the one that is called."""
    sound = Lazy("app.cli.config:app", "Sound.")
    broken = Lazy("app.cli.nowhere:app", "Broken.")
    app = typer.Typer(cls=lazy_group({"sound": sound, "broken": broken}), rich_markup_mode=None)
    app.callback(invoke_without_command=True)(lambda: None)
    with pytest.raises(SystemExit) as ended:
        app(args=["sound", "--help"], prog_name="x")
    assert ended.value.code == 0
    with pytest.raises(ModuleNotFoundError, match=r"app\.cli\.nowhere"):
        app(args=["broken"], prog_name="x")


# --- ends -----------------------------------------------------------------------------------


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str, str]:
    """How `irg` ends when a command raises this: exit code, stdout, stderr."""

    def run() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        guarded(run)
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Failure("A sentence."), 1, "A sentence.\n"),
        (Failure("No such key.", Code.NOT_FOUND), 3, "No such key.\n"),
        (SettingsError(["One.", "Two."]), 78, "The settings cannot be used:\n- One.\n- Two.\n"),
        (FileNotFoundError(2, "No such file or directory", "x.db"), 1, "x.db: No such file or directory.\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_goes_wrong_is_a_sentence_and_a_code(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr; nothing of it on stdout, where data belongs."""
    assert ended(error, capsys) == (code, "", says)


def test_a_fault_of_ours_shows_neither_traceback_nor_its_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception's words may hold a secret; where it happened is enough for a report, and debug shows all."""
    error = RuntimeError("sk-a-secret")
    code, out, err = ended(error, capsys)
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"irg failed unexpectedly \(RuntimeError in test_frame\.py, line \d+\)\. "
        r"With IRG_LOG_LEVEL=debug it says more\.\n",
        err,
    )
    monkeypatch.setenv("IRG_LOG_LEVEL", "debug")
    assert "Traceback" in ended(error, capsys)[2]


async def test_settings_that_cannot_be_used_end_every_command_with_78(tmp_path: Path) -> None:
    """All faults at once, and what was written into a secret is not shown."""
    ran = await irg_process(tmp_path, "keys", IRG_PORT="abc", IRG_PROT="1", IRG_ADMIN_TOKEN="too-short")
    assert (ran.code, ran.out) == (78, "")
    assert len(ran.err.splitlines()) == 4
    assert "IRG_PROT: there is no such setting. Did you mean IRG_PORT?" in ran.err
    assert "too-short" not in ran.err
    assert "Traceback" not in ran.err


async def test_a_reader_who_has_enough_is_no_error(tmp_path: Path) -> None:
    """`irg … | head -1`: no complaint about a broken pipe."""
    ran = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m app config show | true"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


# --- data and talk -----------------------------------------------------------------------------


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_tab_separated_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a header; a cell can break neither line nor column, nor move a cursor."""
    frame.print_table(["a", "b"], [["x", "1\t2\n3\x1b[2J"], ["[bold]y", "ü"]], empty="none")
    assert capsys.readouterr().out.splitlines() == ["x\t1�2�3�[2J", "[bold]y\tü"]


def test_a_table_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a header; markup in a name is a name."""
    monkeypatch.setattr(sys, "stdout", terminal := _Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    frame.print_table(["name", "state"], [["[bold]y", "active"]], empty="none")
    assert re.search(r"name\s+state", terminal.getvalue())
    assert re.search(r"\[bold\]y\s+active", terminal.getvalue())


def test_no_cell_is_shortened_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id or a cost of which half is missing is of no use; the terminal breaks the lines."""
    monkeypatch.setattr(sys, "stdout", terminal := _Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    row = ["2026-11-23T09:15:11.955Z", "req_01M83V076K6Z75TVR3KGAY8YWM", "$0.00003605", "a name with spaces"]
    frame.print_table(["created_at", "id", "true_cost", "key"], [row], empty="none")
    lines = terminal.getvalue().splitlines()
    assert any(re.fullmatch(r"\s+".join(map(re.escape, ["", *row, ""])), line) for line in lines)


def test_an_empty_table_is_talk(capsys: pytest.CaptureFixture[str]) -> None:
    """A script gets nothing, a person a sentence."""
    frame.print_table(["a"], [], empty="There is nothing.")
    assert capsys.readouterr() == ("", "There is nothing.\n")


def test_json_is_one_line_in_a_pipe_and_indented_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same value either way."""
    value = {"cost": "0.0000123", "name": "ü", "none": None}
    frame.print_json(value)
    line = capsys.readouterr().out
    assert line == '{"cost": "0.0000123", "name": "ü", "none": null}\n'
    monkeypatch.setattr(sys, "stdout", terminal := _Terminal())
    frame.print_json(value)
    assert len(terminal.getvalue().splitlines()) == 5
    assert json.loads(terminal.getvalue()) == json.loads(line)


def test_fields_are_lined_up_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And tab-separated in a pipe."""
    frame.print_fields({"a": "1", "long": "2\n"})
    assert capsys.readouterr().out == "a\t1\nlong\t2�\n"
    monkeypatch.setattr(sys, "stdout", terminal := _Terminal())
    frame.print_fields({"a": "1", "long": "2"})
    assert terminal.getvalue() == "a     1\nlong  2\n"
