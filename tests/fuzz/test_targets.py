"""The fuzz targets over what hypothesis makes of their seeds: a little in every run, much by the profiles.

uv run pytest -n 0 --hypothesis-profile=long tests/fuzz/test_targets.py               # 2,000 each
uv run pytest -n 0 --timeout=0 --hypothesis-profile=night tests/fuzz/test_targets.py  # 13,000 each, four minutes
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@st.composite
def bent(draw: st.DrawFn, name: str) -> bytes:
    """A seed of the target, with pieces taken out, doubled, put in, or changed; or any bytes at all."""
    target = TARGETS[name]
    data = draw(st.sampled_from(target.seeds) | st.binary(max_size=200))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 30))
        put = draw(st.sampled_from((*target.words, b"")) | st.binary(max_size=3))
        data = data[:at] + put * draw(st.sampled_from((1, 1, 2))) + data[at + length * draw(st.booleans()) :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


@given(bent("sse"))
def test_the_splitter_reads_as_the_standard_does(data: bytes) -> None:
    TARGETS["sse"].check(data)


@given(bent("tap"))
def test_the_tap_reads_as_a_plain_parser_does(data: bytes) -> None:
    TARGETS["tap"].check(data)


@given(bent("policy"))
def test_policy_is_read_as_a_strict_parser_does(data: bytes) -> None:
    TARGETS["policy"].check(data)


@given(bent("keys"))
def test_a_secret_is_found_as_by_hand(data: bytes) -> None:
    TARGETS["keys"].check(data)
