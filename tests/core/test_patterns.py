"""A key's model patterns are case-sensitive globs."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.patterns import model_allowed

_NAMES = st.text("abAB/-.*?[]!1", max_size=12)


@pytest.mark.parametrize(
    ("model", "patterns", "allowed"),
    [
        ("openai/gpt-4o-mini", [], True),
        ("openai/gpt-4o-mini", ["openai/*"], True),
        ("openai/gpt-4o-mini", ["openai/gpt-4o"], False),
        ("openai/gpt-4o-mini", ["anthropic/*", "openai/gpt-4o-mini"], True),
        ("openai/gpt-4o-mini", ["OpenAI/*"], False),
        ("OPENAI/GPT-4o-mini", ["openai/*"], False),
        ("openai/a/b", ["openai/*"], True),
        ("xopenai/a", ["openai/*"], False),
        ("openai/a\nb", ["openai/*"], True),
        ("openai/a\n", ["openai/a"], False),
        ("gpt-5", ["gpt-?"], True),
        ("gpt-55", ["gpt-?"], False),
        ("gpt-4", ["gpt-[45]"], True),
        ("gpt-6", ["gpt-[!45]"], True),
        ("", ["*"], True),
        ("", [""], True),
        ("a", [""], False),
        ("a.b", ["a?b"], True),
        ("axb", ["a.b"], False),
        ("gpt-[4", ["gpt-[4"], True),
    ],
)
def test_a_model_is_allowed_when_a_pattern_matches_all_of_its_name(
    model: str, patterns: list[str], allowed: bool
) -> None:
    """No pattern allows all; case counts; only `*`, `?` and brackets are special."""
    assert model_allowed(model, patterns) is allowed


@given(_NAMES, st.lists(_NAMES, min_size=1, max_size=4))
def test_the_meaning_of_a_pattern_is_fnmatchs(model: str, patterns: list[str]) -> None:
    """Several patterns allow what one of them allows."""
    assert model_allowed(model, patterns) == any(fnmatch.fnmatchcase(model, pattern) for pattern in patterns)


@given(_NAMES)
def test_patterns_may_come_from_any_iterable(model: str) -> None:
    """An empty generator is an empty list, not a refusal."""
    assert model_allowed(model, iter(()))
    assert model_allowed(model, iter(["*"]))


def test_a_hostile_name_costs_no_time() -> None:
    """The client writes the name: matching many stars against it must not take exponential time (minutes)."""
    begun = time.perf_counter()
    assert not model_allowed("a" * 100_000, ["*a" * 30 + "*b"])
    assert time.perf_counter() - begun < 2
