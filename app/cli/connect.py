"""`irg connect`: what a client needs to work with a team key, ready to paste."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, ref
from app.cli.client import connect as reach
from app.cli.frame import Code, Failure, Json, print_json, say, settings
from app.cli.snippets import SNIPPETS, Access
from app.core.keys import is_secret
from app.core.patterns import model_allowed

# Asked for unless the key may not use it.
USUAL_MODEL = "openai/gpt-4o-mini"

_FOR = f"The client: {', '.join(SNIPPETS)}."
_KEY = "The key's secret, to stand in the snippet (better in IRG_KEY: it then stays out of the shell's history)."


def connect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name or id.")],
    for_: Annotated[str, typer.Option("--for", help=_FOR)] = "python",
    model: Annotated[str | None, typer.Option(help="The model to ask for.")] = None,
    key: Annotated[str | None, typer.Option(help=_KEY)] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Print a snippet that makes a client use this gateway with one key."""
    snippet = SNIPPETS.get(for_)
    if snippet is None:
        raise Failure(f"There is no snippet for {for_!r}. Write --for with one of: {', '.join(SNIPPETS)}.", Code.USAGE)
    values = settings({"url": url, "key": key}).settings
    secret = values.key.get_secret_value() if values.key is not None else None
    with reach(url) as gateway:
        found = gateway.get(f"keys/{ref(name)}")
    _check(found, secret)
    access = Access(
        base_url=(values.url or values.base_url).rstrip("/") + "/v1/openai",
        key=secret or found["prefix"],
        model=_model(found, model),
    )
    text = snippet.fill(access)
    if json:
        shown = {"for": for_, "base_url": access.base_url, "key": secret, "model": access.model, "snippet": text}
        print_json(shown)
        return
    say(f"For {snippet.summary}:")
    if secret is None:
        say(
            f"Put the secret of {found['name']} in place of {found['prefix']} (or set IRG_KEY to it): it was shown "
            f"once, when the key was made. A new one: irg keys rotate {found['name']}."
        )
    typer.echo(text, nl=False)


def _check(key: dict[str, Any], secret: str | None) -> None:
    """A snippet that cannot work is not printed."""
    if key["state"] != "active":
        raise Failure(f"The key {key['name']} is {key['state']}: nobody can connect with it.", Code.CONFLICT)
    if secret is None:
        return
    if not is_secret(secret):
        raise Failure("IRG_KEY (or --key) is no team key: a letter is wrong, or it was cut.", Code.USAGE)
    if not secret.startswith(key["prefix"].rstrip("…")):
        raise Failure(
            f"IRG_KEY (or --key) is the secret of another key: that of {key['name']} starts with {key['prefix']}",
            Code.USAGE,
        )


def _model(key: dict[str, Any], wanted: str | None) -> str:
    """A model that the key may use, as far as its patterns tell one."""
    allowed: list[str] = key["models"]
    if wanted is not None:
        if not model_allowed(wanted, allowed):
            listed = ", ".join(allowed)
            raise Failure(f"The key {key['name']} may not use {wanted}. Allowed: {listed}.", Code.USAGE)
        return wanted
    if model_allowed(USUAL_MODEL, allowed):
        return USUAL_MODEL
    named = [pattern for pattern in allowed if model_allowed(pattern, [pattern]) and not set(pattern) & set("*?[")]
    if named:
        return named[0]
    say(f"Choose a model for it (--model): {key['name']} may use {', '.join(allowed)}.")
    return allowed[0]
