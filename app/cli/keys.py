"""`irg keys`: team keys, made, changed and ended; effective at once everywhere."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from app.cli.client import Gateway, Url, connect, ref
from app.cli.frame import Code, Failure, Json, Yes, confirm_name, print_fields, print_json, print_table, say
from app.cli.limits import (
    Budgets,
    Concurrency,
    NoBudgets,
    NoConcurrency,
    NoRpm,
    NoTpm,
    Rpm,
    Tpm,
    cell,
    changes,
)
from app.cli.nouns import noun

app = noun("Team keys: make, change and end them.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name or id.")]
Team = Annotated[str | None, typer.Option(help="The team it belongs to.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model it may use, as a name or a glob; repeat it. None: all.")
]
Expires = Annotated[str | None, typer.Option(help="When it ends: 2027-01-01, or 2027-01-01T12:00:00Z.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A word to group usage by; repeat it.")]

SecretStdin = Annotated[
    bool, typer.Option("--secret-stdin", help="Read the secret from standard input: that of another gateway's key.")
]

COLUMNS = ("name", "state", "team", "prefix", "tags", "models", "expires_at", "last_used_at")
WITH_LIMITS = (*COLUMNS[:-2], "budgets", "limits", *COLUMNS[-2:])


@app.command("list")
def list_keys(
    team: Annotated[str | None, typer.Option(help="Only of this team.")] = None,
    state: Annotated[str | None, typer.Option(help="Only active, disabled, revoked or expired ones.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 100,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """All keys, by name."""
    with connect(url) as gateway:
        page = gateway.get("keys", {"team": team, "state": state, "limit": limit, "after": after})
    if json:
        print_json(page)
        return
    rows = [[cell(key, column) for column in WITH_LIMITS] for key in page["items"]]
    print_table(WITH_LIMITS, rows, empty="There are no keys. Make one: irg keys create NAME.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as support-bot.")],
    *,
    team: Team = None,
    budget: Budgets = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    model: Models = None,
    expires: Expires = None,
    tag: Tags = None,
    secret_stdin: SecretStdin = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Make a key. Its secret goes to stdout, alone and only this once."""
    body: dict[str, Any] = {"name": name, "team": team, "models": model or [], "expires_at": expires, "tags": tag or []}
    body |= {"budgets": budget or [], "rpm": rpm, "tpm": tpm, "concurrency": concurrency} | _given(secret_stdin)
    with connect(url, makes=True) as gateway:
        key = gateway.post("keys", body)
    _print_secret(key, json, "This is its secret; it is not shown again:")


@app.command("show")
def show(name: Name, json: Json = False, url: Url = None) -> None:
    """One key."""
    with connect(url) as gateway:
        _print_key(gateway.get(f"keys/{ref(name)}"), json)


@app.command("set")
def change(
    name: Name,
    *,
    team: Team = None,
    no_team: Annotated[bool, typer.Option("--no-team", help="Take it out of its team.")] = False,
    budget: Budgets = None,
    no_budgets: NoBudgets = False,
    rpm: Rpm = None,
    no_rpm: NoRpm = False,
    tpm: Tpm = None,
    no_tpm: NoTpm = False,
    concurrency: Concurrency = None,
    no_concurrency: NoConcurrency = False,
    model: Models = None,
    any_model: Annotated[bool, typer.Option("--any-model", help="Let it use every model.")] = False,
    expires: Expires = None,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="It never ends by itself.")] = False,
    tag: Tags = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all its tags away.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Change a key; what is not named stays as it is. --budget, --model and --tag replace the whole list."""
    body = changes(
        ("team", team, no_team, None, "--team"),
        ("budgets", budget, no_budgets, [], "--budget"),
        ("rpm", rpm, no_rpm, None, "--rpm"),
        ("tpm", tpm, no_tpm, None, "--tpm"),
        ("concurrency", concurrency, no_concurrency, None, "--concurrency"),
        ("models", model, any_model, [], "--model"),
        ("expires_at", expires, no_expiry, None, "--expires"),
        ("tags", tag, no_tags, [], "--tag"),
    )
    if not body:
        raise Failure(f"Nothing to change: see irg keys set --help. To rename: irg keys rename {name} NEW.", Code.USAGE)
    with connect(url) as gateway:
        _print_key(gateway.patch(f"keys/{ref(name)}", body), json)


@app.command("rename")
def rename(
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    json: Json = False,
    url: Url = None,
) -> None:
    """Give a key another name; its history follows."""
    with connect(url) as gateway:
        _print_key(gateway.patch(f"keys/{ref(name)}", {"name": new}), json)


@app.command("rotate")
def rotate(
    name: Name,
    grace: Annotated[str, typer.Option(help="How long the old secret stays valid: 30m, 24h, 7d.")] = "0",
    secret_stdin: SecretStdin = False,
    yes: Yes = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Give a key a new secret. Without --grace the old one ends at once."""
    given = _given(secret_stdin)
    at_once = not grace.rstrip("mhdw").strip("0")  # 0, but also 0h
    with connect(url) as gateway:
        key = _found(gateway, name)
        if at_once:
            confirm_name(
                key["name"], f"The present secret of {key['name']} ends at once (--grace 24h keeps it).", yes=yes
            )
        rotated = gateway.post(f"keys/{key['id']}/rotate", {"grace": grace} | given)
    ends = "ended" if at_once else f"ends in {grace}"
    _print_secret(rotated, json, f"The old secret {ends}. This is the new one; it is not shown again:")


@app.command("disable")
def disable(name: Name, json: Json = False, url: Url = None) -> None:
    """Refuse a key's requests until it is enabled again."""
    with connect(url) as gateway:
        _print_key(gateway.post(f"keys/{ref(name)}/disable"), json)


@app.command("enable")
def enable(name: Name, json: Json = False, url: Url = None) -> None:
    """Let a disabled key work again."""
    with connect(url) as gateway:
        _print_key(gateway.post(f"keys/{ref(name)}/enable"), json)


@app.command("revoke")
def revoke(name: Name, yes: Yes = False, json: Json = False, url: Url = None) -> None:
    """End a key for ever. Its history stays."""
    with connect(url) as gateway:
        key = _found(gateway, name)
        confirm_name(key["name"], f"Revoking {key['name']} is final: it never works again.", yes=yes)
        _print_key(gateway.post(f"keys/{key['id']}/revoke"), json)


def _given(secret_stdin: bool) -> dict[str, str]:
    """The secret that was piped in, if one was asked for; it is never an argument, since others can see those."""
    if not secret_stdin:
        return {}
    secret = sys.stdin.readline().strip()
    if not secret:
        raise Failure("--secret-stdin: there is no secret on standard input. Pipe one in, or leave it out.", Code.USAGE)
    return {"secret": secret}


def _found(gateway: Gateway, name: str) -> dict[str, Any]:
    key: dict[str, Any] = gateway.get(f"keys/{ref(name)}")
    return key


def _print_key(key: dict[str, Any], json: bool) -> None:
    if json:
        print_json(key)
    else:
        print_fields({field: cell(key, field) for field in ("id", *WITH_LIMITS, "created_at")})


def _print_secret(key: dict[str, Any], json: bool, sentence: str) -> None:
    if json:
        print_json(key)
        return
    say(f"{key['name']} ({key['id']}). {sentence}")
    typer.echo(key["secret"])
