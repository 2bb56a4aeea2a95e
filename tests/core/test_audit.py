"""What somebody says of themselves, as it may stand in a log."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.audit import ACTOR_CHARACTERS_MAX, NOUNS, Action, actor_name


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (None, "admin"),
        ("", "admin"),
        (" \t\n", "admin"),
        ("\u202e\u200b", "admin"),
        ("alice", "alice"),
        ("  Alice Liddell ", "Alice Liddell"),
        ("ka\u0308the", "k\u00e4the"),
        ("al\x1b[31mice\r\nforged: line", "al[31miceforged: line"),
        ("a" * 100, "a" * 64),
        ("a" * 63 + " b", "a" * 63),
    ],
)
def test_a_name_is_cleaned(told: str | None, name: str) -> None:
    """Nothing that cannot be seen, nothing that moves a cursor or begins a line; admin if nothing is left."""
    assert actor_name(told) == name


@given(st.text(max_size=200))
def test_any_text_becomes_a_name(told: str) -> None:
    """One to 64 visible characters; cleaning twice changes nothing."""
    name = actor_name(told)
    assert 1 <= len(name) <= ACTOR_CHARACTERS_MAX
    assert name.isprintable()
    assert name == name.strip()
    assert actor_name(name) == name
    assert name.encode()
    assert unicodedata.is_normalized("NFC", name)


def test_every_action_has_a_noun() -> None:
    """What is filtered by; and only making and removing have one side."""
    assert set(NOUNS) == {"key", "team", "budget", "requests", "alert", "settings", "month"}
    assert [action for action in Action if action.makes] == ["key.created", "team.created", "alert.added"]
    assert [action for action in Action if action.ends] == ["alert.removed"]
