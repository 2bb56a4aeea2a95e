"""`irg simulate`: the upstream simulator alone, for whoever wants to point something at it."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.frame import Failure, Json, print_json, print_table

if TYPE_CHECKING:
    from app.simulator.serve import Running


def simulate(
    port: Annotated[int, typer.Option(help="The port to listen on; 0 = any free one.", min=0, max=65_535)] = 8100,
    bill: Annotated[
        Path | None, typer.Option(help="Where to keep the bill (JSON lines, appended to). Unset: a temporary file.")
    ] = None,
    list_models: Annotated[bool, typer.Option("--list", help="List the models that misbehave on request.")] = False,
    json: Json = False,
) -> None:
    """Run a simulated upstream: ImageRouter's API on this machine, free of cost, with a bill of its own."""
    if list_models:
        _list(json=json)
        return
    from app.simulator.serve import sentence, serve

    with contextlib.ExitStack() as stack:
        directory = None if bill else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="irg-simulate-")))
        try:
            serve(
                port=port,
                bill=bill or (directory or Path()) / "bill.jsonl",
                on_ready=lambda running: _tell(running, json=json),
            )
        except (OSError, ValueError) as error:
            raise Failure(f"The simulator cannot start: {sentence(error)}.") from None


def _tell(running: Running, *, json: bool) -> None:
    if json:
        typer.echo(running.line())
        return
    typer.echo(f"Simulated upstream: {running.url} (any key, no cost)")
    typer.echo(f"Its bill:           {running.bill}")
    typer.echo(f"In front of it:     IMAGEROUTER_API_KEY=any IRG_UPSTREAM_URL={running.url} irg serve")
    typer.echo("Its models:         irg simulate --list. Ctrl-C ends it.")


def _list(*, json: bool) -> None:
    from app.simulator.registry import REGISTRY

    if json:
        print_json({"items": [{"model": name, "summary": it.summary} for name, it in REGISTRY.items()], "next": None})
        return
    print_table(["model", "what it does"], [[name, it.summary] for name, it in REGISTRY.items()], empty="")
