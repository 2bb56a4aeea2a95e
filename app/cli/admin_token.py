"""`irg admin-token`: the secret that opens the admin API."""

from __future__ import annotations

import typer

from app.cli.frame import Code, Failure, Json, Yes, confirm_name, print_json, say, settings

app = typer.Typer(help="Show or replace the admin token.", no_args_is_help=True)


@app.command("show")
def show(json: Json = False) -> None:
    """Print the admin token (it is made now if there is none)."""
    from app.settings import ensure_admin_token

    loaded = settings()
    try:
        token, made = ensure_admin_token(loaded.settings)
    except OSError as error:
        raise Failure(f"The admin token cannot be read: {error.strerror}: {error.filename}.") from None
    if made is not None:
        say(f"Made now, in {made}.")
    if json:
        print_json({"admin_token": token})
    else:
        typer.echo(token)


@app.command("rotate")
def rotate(yes: Yes = False, json: Json = False) -> None:
    """Replace the admin token; a running gateway refuses the old one at once."""
    from app.settings.admin_token import token_path, write_admin_token

    loaded = settings()
    if loaded.settings.admin_token is not None:
        raise Failure(f"The admin token is set by {loaded.origins['admin_token']}: change it there.", Code.CONFLICT)
    confirm_name("rotate", "Whoever uses the present admin token loses access.", yes=yes)
    path = token_path(loaded.settings)
    try:
        token = write_admin_token(path)
    except OSError as error:
        raise Failure(f"The admin token cannot be written: {error.strerror}: {path}.") from None
    say(f"Written to {path}.")
    if json:
        print_json({"admin_token": token})
    else:
        typer.echo(token)
