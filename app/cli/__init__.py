"""The command line: one file per noun. stdout = what was asked for, stderr = talk about it.

A command's file is imported when the command runs, so that `irg --help` is quick and a command
pays only for itself. `COMMANDS` is the list of all there are.
"""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from app.cli.frame import Config, guarded, name_config
from app.cli.lazy import Lazy, lazy_group

PAGE = """\
ImageRouter Gateway: one upstream key for a team, exact costs for everyone.

\b
First steps:
  irg demo                everything at once; needs no upstream key
  irg serve               the gateway (IMAGEROUTER_API_KEY=... in the environment)
  irg keys create alice   a team key; its secret is printed once
  irg usage --last 7d     who spent what
"""

COMMANDS = {
    "serve": Lazy("app.cli.serve:serve", "Run the gateway."),
    "demo": Lazy("app.cli.demo:demo", "Try everything at once, without an upstream key."),
    "simulate": Lazy("app.cli.simulate:simulate", "Run a simulated upstream, free of cost."),
    "health": Lazy("app.cli.health:health", "Is a gateway running, and does it take requests?"),
    "keys": Lazy("app.cli.keys:app", "Team keys: make, change and end them."),
    "teams": Lazy("app.cli.teams:app", "Teams: group keys and their usage."),
    "budget": Lazy("app.cli.budget:app", "Budgets of the whole gateway."),
    "usage": Lazy("app.cli.usage:usage", "Requests, costs and tokens of a period."),
    "requests": Lazy("app.cli.requests:app", "Requests, one by one, with their costs."),
    "export": Lazy("app.cli.ops:export", "Every request of a period, as CSV, JSON lines or Parquet."),
    "alerts": Lazy("app.cli.alerts:app", "Alerts: who is told, and what was."),
    "verify": Lazy("app.cli.ops:verify", "Recompute every total from the rows and compare; prove what searches find."),
    "audit": Lazy("app.cli.audit:audit", "Who changed what, and when."),
    "me": Lazy("app.cli.me:me", "What a team key may do, has spent and has left."),
    "connect": Lazy("app.cli.connect:connect", "Print what a client needs to use a key."),
    "config": Lazy("app.cli.config:app", "Show and check the settings."),
    "admin-token": Lazy("app.cli.admin_token:app", "Show or replace the admin token."),
}

# What is made while modules are loaded stays: to look through it for garbage every 700 objects is 5 % of a start.
STARTING = 50_000

app = typer.Typer(
    name="irg",
    cls=lazy_group(COMMANDS),
    help=PAGE,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    epilog="irg COMMAND --help says more. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 78 settings.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from app import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version
    name_config(config)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The console script. Ends with the exit codes of `frame.Code`."""
    gc.set_threshold(STARTING)
    # FastAPI asks of every model whether it is one of pydantic 1, and loads that to find out: 1.6 MB and 55 ms.
    sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]  # as Python has it: not to be found
    guarded(lambda: app(prog_name="irg"))
