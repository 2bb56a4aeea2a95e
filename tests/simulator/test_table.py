"""The table of behaviours: names, the header, and what the bill says of each."""

from __future__ import annotations

import pytest

from app.simulator.behaviours import At, By, Parameter
from app.simulator.models import GROUPS
from app.simulator.registry import REGISTRY, behaviour_by_header, behaviour_of
from app.simulator.telling import told


def test_no_name_stands_in_two_groups() -> None:
    """And every name begins alike, with a sentence that says what it does."""
    assert len(REGISTRY) == sum(len(rows) for rows in GROUPS.values())
    for name, behaviour in REGISTRY.items():
        assert name.startswith("sim/")
        assert behaviour.summary
        assert not behaviour.summary.endswith(".")


@pytest.mark.parametrize("name", REGISTRY)
def test_a_header_finds_what_a_model_finds(name: str) -> None:
    """With the prefix or without."""
    assert behaviour_by_header(name) is behaviour_by_header(name.removeprefix("sim/")) is behaviour_of(name)


@pytest.mark.parametrize("name", [name for name, it in REGISTRY.items() if it.parameter is not Parameter.NONE])
def test_a_number_sets_something(name: str) -> None:
    """Within its bound; one more is refused in plain words, and the summary tells of it."""
    parameter = REGISTRY[name].parameter
    assert behaviour_of(f"{name}:7") != REGISTRY[name]
    with pytest.raises(LookupError, match=f"at most {parameter.most} {parameter.meaning}"):
        behaviour_of(f"{name}:{parameter.most + 1}")
    assert "sets it" in REGISTRY[name].summary


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("sim/429s", "sim/429"),
        ("sim/cut_midstream", "sim/cut-midstream"),
        ("sim/nocost", "sim/no-cost"),
        ("sim/" + "x" * 5000, "sim/"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(wrong: str, nearest: str) -> None:
    """As a model and as a header; however long it is, the sentence stays short."""
    for find in (behaviour_of, behaviour_by_header):
        with pytest.raises(LookupError, match=f"the nearest is {nearest}") as refused:
            find(wrong)
        assert len(str(refused.value)) < 300


def test_what_breaks_off_tells_nothing() -> None:
    """A stream that lacks its terminal event or a byte of it; what stands whole tells, however it ends."""
    for name, behaviour in REGISTRY.items():
        if behaviour.ending.at is not At.WHOLE:
            assert told(behaviour, stream=True) == (), name
    for name in ("sim/cut-after-terminal", "sim/open-after-terminal"):
        assert REGISTRY[name].ending.by is not By.FRAMING
        assert told(REGISTRY[name], stream=True) == ("true_cost",)


@pytest.mark.parametrize("name", [name for name in REGISTRY if name.startswith("sim/cost-")])
def test_a_token_that_is_no_cost_tells_nothing(name: str) -> None:
    """Only true numbers that are not negative do."""
    usable = {"sim/cost-minus-zero", "sim/cost-tiny", "sim/cost-huge"}
    assert told(REGISTRY[name], stream=False) == (("true_cost", "charged") if name in usable else ())
