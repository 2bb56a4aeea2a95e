"""The mutants themselves: each fits the code as it is, names tests that exist, and the runner tells the truth.

All of them against their tests take minutes: `uv run python -m tests.mutants`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.mutants.catalog import MUTANTS
from tests.mutants.mutant import DoesNotFit, Mutant
from tests.mutants.runner import ROOT, Fate, try_mutant

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_fits_the_code(mutant: Mutant) -> None:
    """Its text stands where it says, exactly once, and what it makes of the file is other Python."""
    text = (ROOT / mutant.path).read_text("utf-8")
    assert mutant.applied(text) != text


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_it_names_exist(mutant: Mutant) -> None:
    for named in mutant.tests:
        path, _, function = named.partition("::")
        text = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {function or 'test_'}", text, re.MULTILINE) or "TestCase" in text


def test_names_are_unique_and_there_are_enough() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 25


def test_a_text_that_is_gone_is_told() -> None:
    with pytest.raises(DoesNotFit, match="0 times"):
        replace(MUTANTS[0], before="not in the file").applied("x = 1\n")
    with pytest.raises(DoesNotFit, match="2 times"):
        replace(MUTANTS[0], before="1").applied("x = 11\n")
    with pytest.raises(DoesNotFit, match="no Python"):
        replace(MUTANTS[0], before="x", after="(").applied("x = 1\n")


@pytest.mark.scenario
@pytest.mark.parametrize(
    ("mutant", "fate"),
    [
        (BY_NAME["float money"], Fate.CAUGHT),
        (replace(BY_NAME["float money"], tests=("tests/core/test_ids.py",)), Fate.SURVIVED),
        (replace(BY_NAME["float money"], before="import re\n", after="import nothing_of_that_name\n"), Fate.BROKEN),
    ],
    ids=["caught", "survived", "broken"],
)
def test_the_runner_tells_what_became_of_it(mutant: Mutant, fate: Fate) -> None:
    """A failing test is a catch; passing ones are a survivor; tests that could not run prove nothing."""
    assert try_mutant(mutant).fate is fate
