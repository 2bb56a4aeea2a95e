"""`irg connect`: snippets with this gateway's address and a key, and none that cannot work."""

from __future__ import annotations

import ast
import shlex
import subprocess
import tomllib

import pytest

from app.cli.snippets import SNIPPETS, Access
from tests.cli.irg import irg

pytestmark = pytest.mark.usefixtures("directory")

BASE_URL = "http://127.0.0.1:8000/v1/openai"


def secret_of(name: str, *flags: str) -> str:
    return irg("keys", "create", name, *flags).out.strip()


@pytest.mark.parametrize("client", SNIPPETS)
def test_a_snippet_holds_address_and_key(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone on stdout, so that it can be written to a file."""
    monkeypatch.setenv("IRG_KEY", secret := secret_of("alice"))
    ran = irg("connect", "alice", "--for", client)
    assert (ran.code, secret in ran.out, BASE_URL in ran.out) == (0, True, True)
    assert "<" not in ran.out
    assert secret not in ran.err
    assert SNIPPETS[client].summary in ran.err


def test_without_the_secret_its_place_is_named() -> None:
    """Nobody but its holder knows it."""
    secret_of("alice")
    prefix = irg("keys", "show", "alice", "--json").json["prefix"]
    ran = irg("connect", "alice")
    assert f'api_key="{prefix}"' in ran.out
    assert prefix in ran.err
    assert "irg keys rotate alice" in ran.err
    assert irg("connect", "alice", "--json").json["key"] is None


def test_as_json_the_parts_are_told_too() -> None:
    """For programs that write configurations."""
    secret = secret_of("alice")
    told = irg("connect", "alice", "--for", "env", "--key", secret, "--json").json
    assert told.pop("snippet") == f"export OPENAI_BASE_URL={BASE_URL}\nexport OPENAI_API_KEY={secret}\n"
    assert told == {"for": "env", "base_url": BASE_URL, "key": secret, "model": "openai/gpt-4o-mini"}


def test_the_address_is_the_one_that_people_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """IRG_PUBLIC_URL, where one is set."""
    monkeypatch.setenv("IRG_PUBLIC_URL", "https://ai.example.com")
    secret_of("alice")
    assert '"https://ai.example.com/v1/openai"' in irg("connect", "alice").out


@pytest.mark.parametrize(
    ("patterns", "wanted", "model"),
    [
        ([], None, "openai/gpt-4o-mini"),
        (["openai/*"], None, "openai/gpt-4o-mini"),
        (["google/*", "x/one"], None, "x/one"),
        (["google/*"], "google/gemini", "google/gemini"),
    ],
)
def test_the_model_is_one_that_the_key_may_use(patterns: list[str], wanted: str | None, model: str) -> None:
    """The usual one, else one that its patterns name, else the one that is asked for."""
    secret_of("alice", *(part for pattern in patterns for part in ("--model", pattern)))
    flags = ["--model", wanted] if wanted else []
    assert irg("connect", "alice", *flags, "--json").json["model"] == model


def test_what_cannot_work_is_not_printed() -> None:
    """Each refusal says what to write instead."""
    secret = secret_of("alice", "--model", "openai/*")
    for arguments, code, words in (
        (["bob"], 3, "no key 'bob'"),
        (["alice", "--for", "emacs"], 2, "python, node, curl"),
        (["alice", "--model", "google/gemini"], 2, "Allowed: openai/*"),
        (["alice", "--key", "irg_half"], 2, "no team key"),
        (["alice", "--key", secret_of("carol")], 2, "secret of another key"),
    ):
        ran = irg("connect", *arguments)
        assert (ran.code, ran.out) == (code, ""), arguments
        assert words in ran.err
    irg("keys", "disable", "alice")
    ran = irg("connect", "alice", "--key", secret)
    assert (ran.code, ran.out) == (4, "")
    assert "disabled" in ran.err


def test_only_a_pattern_left_is_said() -> None:
    """A glob is no model."""
    secret_of("alice", "--model", "google/*")
    assert "--model" in irg("connect", "alice").err


NASTY = Access('http://h/"$(touch x)`\\', "irg_'\"$HOME", "a/'b\" `c` $(d) \\ é")


def test_values_stand_safely_in_each_language() -> None:
    """Model names come from elsewhere: they are data in every language."""
    values = {
        node.value for node in ast.walk(ast.parse(SNIPPETS["python"].fill(NASTY))) if isinstance(node, ast.Constant)
    }
    assert {NASTY.base_url, NASTY.key, NASTY.model} <= values
    configured = tomllib.loads(SNIPPETS["codex"].fill(NASTY))
    assert configured["model"] == NASTY.model
    assert configured["model_providers"]["imagerouter-gateway"]["base_url"] == NASTY.base_url
    printed = subprocess.run(
        ["sh", "-c", SNIPPETS["env"].fill(NASTY) + 'printf %s "$OPENAI_BASE_URL $OPENAI_API_KEY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == f"{NASTY.base_url} {NASTY.key}"
    assert f"Authorization: Bearer {NASTY.key}" in shlex.split(SNIPPETS["curl"].fill(NASTY))
