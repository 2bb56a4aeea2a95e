"""Wrong keys: a few are answered at once, then each waits, up to a bound; and it is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.core.failures import ADDRESSES_MAX, DELAY_SECONDS_MAX, FREE_FAILURES, FailureDelays


def test_a_few_failures_are_free_and_many_wait_longer_and_longer() -> None:
    """A client that starts with an old key notices nothing."""
    delays = FailureDelays()
    waits = [delays.failed("192.0.2.1", 0.0) for _ in range(200)]
    assert waits[:FREE_FAILURES] == [0.0] * FREE_FAILURES
    assert all(wait > 0 for wait in waits[FREE_FAILURES:])
    assert waits == sorted(waits)
    assert waits[-1] == DELAY_SECONDS_MAX


def test_who_stops_is_forgiven() -> None:
    """After two minutes nothing is left, however many failures there were."""
    delays = FailureDelays()
    for _ in range(100_000):
        delays.failed("192.0.2.1", 0.0)
    assert delays.failed("192.0.2.1", 120.0) == 0.0


def test_another_address_is_not_concerned() -> None:
    """Each has its own account."""
    delays = FailureDelays()
    for _ in range(100):
        delays.failed("192.0.2.1", 0.0)
    assert delays.failed("192.0.2.2", 0.0) == 0.0


def test_so_many_addresses_are_remembered() -> None:
    """The memory is bounded."""
    delays = FailureDelays()
    for number in range(ADDRESSES_MAX + 10):
        delays.failed(str(number), 0.0)
    assert len(delays) == ADDRESSES_MAX


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=200))
def test_no_answer_waits_longer_than_told(failures: list[tuple[str, float]]) -> None:
    """Whatever comes when, in a clock that does not go back."""
    delays, now = FailureDelays(), 0.0
    for address, later in failures:
        now += later
        assert 0.0 <= delays.failed(address, now) <= DELAY_SECONDS_MAX
