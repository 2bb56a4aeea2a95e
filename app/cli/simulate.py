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
    models_shape: Annotated[
        str, typer.Option(help="How /v3/models answers: array, list, keyed, … or error, html, broken.")
    ] = "array",
    list_models: Annotated[bool, typer.Option("--list", help="List the models that misbehave on request.")] = False,
    json: Json = False,
) -> None:
    """Run a simulated upstream: ImageRouter's API on this machine, free of cost, with a bill of its own."""
    if list_models:
        _list(json=json)
        return
    from app.simulator.listing import SHAPES
    from app.simulator.serve import sentence, serve

    if models_shape not in SHAPES:
        raise typer.BadParameter(f"choose one of {', '.join(SHAPES)}", param_hint="--models-shape")
    with contextlib.ExitStack() as stack:
        directory = None if bill else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="irg-simulate-")))
        try:
            serve(
                port=port,
                bill=bill or (directory or Path()) / "bill.jsonl",
                models_shape=models_shape,
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
    from app.simulator.models import GROUPS
    from app.simulator.request import SIMULATE_HEADER

    rows = [(name, group, it) for group, behaviours in GROUPS.items() for name, it in behaviours.items()]
    if json:
        items = [
            {"model": name, "group": group, "summary": it.summary, "number": it.parameter.meaning or None}
            for name, group, it in rows
        ]
        print_json({"items": items, "next": None})
        return
    print_table(["model", "about", "what it does"], [[name, group, it.summary] for name, group, it in rows], empty="")
    typer.echo(f"For any model: the header {SIMULATE_HEADER}: NAME (without sim/). Through the gateway, too.", err=True)
