"""What every command shares: exit codes, talk and data, tables, and errors as sentences instead of tracebacks."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Loaded

# Of young objects so many before they are looked through; at every thousandth look, all that is not frozen: hardly
# anything here is garbage by a cycle. (Python's own 700 and 10 took 5 % of the time and, with everything that was
# imported looked through in between, a tenth of a second at once: p99 at 64 connections was 140 ms, and is 54.)
GARBAGE_THRESHOLDS = (10_000, 20, 50)


class Code(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    SETTINGS = 78


class Failure(Exception):
    """Ends a command with a sentence on stderr."""

    def __init__(self, message: str, code: Code = Code.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


Json = Annotated[bool, typer.Option("--json", help="Print JSON, the shapes of the admin API.")]
Config = Annotated[Path | None, typer.Option("--config", help="The settings file (default: ./config/gateway.toml).")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def guarded(run: Callable[[], object]) -> NoReturn:
    """Runs the command line; whatever goes wrong becomes a sentence and an exit code."""
    try:
        run()
    except Failure as failure:
        say(failure.message)
        sys.exit(failure.code)
    except BrokenPipeError:  # `irg … | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes at its end
        sys.exit(Code.OK)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        ended = _failure(error)
        say(ended.message)
        sys.exit(ended.code)
    sys.exit(Code.OK)


def _failure(error: Exception) -> Failure:
    """How a command ends that did not see an error coming."""
    from app.settings import SettingsError

    return refused(error.faults) if isinstance(error, SettingsError) else Failure(_unexpected(error))


def _unexpected(error: Exception) -> str:
    """A fault of ours or of the machine: a sentence without the exception's own words, which may hold a secret."""
    if os.environ.get("IRG_LOG_LEVEL", "").lower() == "debug":
        return "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}."
    at = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"irg failed unexpectedly ({type(error).__name__} in {Path(at.filename).name}, line {at.lineno}). "
        "With IRG_LOG_LEVEL=debug it says more."
    )


@contextlib.contextmanager
def without_consoles() -> Iterator[None]:
    """For imports, while there is one thread: httpx and structlog load what colours consoles if they find it.

    Neither needs that here, and it is 60 ms of every start and 4 MB of a gateway.
    """
    hidden = [name for name in ("rich", "pygments") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be found, as Python has it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def at_work() -> None:
    """For a process that is a gateway from now on: what its start has made stays, and is not looked through again.

    Not the server's to do, which may run in a process that is somebody else's. A collection before would take 100 ms,
    for 0.2 MB.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def say(text: str) -> None:
    """Talk: to stderr, so that stdout holds data alone."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """JSON as it came from the API: indented on a terminal, one line in a pipe."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table on a terminal, tab-separated lines (without a header) in a pipe. `empty` is said if there is no row."""
    rows = [[_plain(cell) for cell in row] for row in rows]
    if not rows:
        say(empty)
        return
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    # A cell is never shortened, or no id could be copied: a terminal that is too narrow breaks the lines itself.
    console.height = console.height  # or a dumb terminal counts as 80 columns whatever it is told
    console.width = max(console.width, console.measure(table, options=console.options.update(max_width=10_000)).maximum)
    console.print(table, soft_wrap=True)


def print_fields(fields: Mapping[str, str]) -> None:
    """One thing's fields, a line each."""
    width = max(map(len, fields)) if sys.stdout.isatty() else 0
    for name, value in fields.items():
        typer.echo(f"{name:<{width}}  {_plain(value)}" if width else f"{name}\t{_plain(value)}")


def confirm_name(name: str, what: str, *, yes: bool) -> None:
    """Asks a person to type a name before something is lost. Raises: `Failure`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{what} To do this in a script, add --yes.", Code.USAGE)
    # Not typer.prompt: it puts a space on stdout, before the data that may follow.
    typer.echo(f"{what}\nType {name} to go on: ", err=True, nl=False)
    if sys.stdin.readline().strip() != name:
        raise Failure("Not the name: nothing was changed.")


_named_config: ContextVar[Path | None] = ContextVar("named_config", default=None)


def name_config(path: Path | None) -> None:
    """Remembers `irg --config FILE …` for the command that follows."""
    _named_config.set(path)


def settings(flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Loaded:
    """The settings of a command. `config`: its own --config, if it has one. Raises: `SettingsError`, which ends it."""
    from app.settings import load_settings

    return load_settings(flags, config=config or _named_config.get())


def refused(faults: Sequence[str]) -> Failure:
    """Settings that cannot be used, as a command says it."""
    listed = "\n".join(f"- {fault}" for fault in faults)
    return Failure(f"The settings cannot be used:\n{listed}", Code.SETTINGS)


def _plain(text: str) -> str:
    """A cell never breaks its line nor moves the cursor."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
