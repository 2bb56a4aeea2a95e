"""So many in every 60 seconds, whatever the order of requests and whatever becomes of the clock."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.rates import MINUTE_MS, Rate, format_reset, rate_from, rate_of

START_MS = 1_790_000_000_123

# How far time goes on between two requests: often not at all, often to an edge of the minute.
_PASSING = st.sampled_from([0, 0, 0, 1, 500, 999, 1000, 59_000, 59_999, 60_000, 60_001]) | st.integers(0, 90_000)
# How far a clock is set: by nothing mostly, by a leap or a year.
_BACK = st.sampled_from([0, 0, 0, 0, 0, -1, -999, -1000, -30_000, -60_000, -3_600_000, -31_536_000_000])
_EITHER = _BACK | st.sampled_from([1, 1000, 60_000, 3_600_000])


def _limited(limit: int, moments: list[int]) -> list[bool]:
    """Which of requests at these times of the clock, one after the other, a limit lets through."""
    rate, passed = Rate(), []
    for now_ms in moments:
        rate.advance(now_ms)
        passed.append(rate.requests < limit)
        if passed[-1]:
            rate.add(now_ms, requests=1)
    return passed


def _most_in_a_minute(times: list[int]) -> int:
    """The most of these that lie within any 60 seconds, half-open."""
    return max((sum(start <= at < start + MINUTE_MS for at in times) for start in times), default=0)


# --- never too many ------------------------------------------------------------------------


@given(st.integers(1, 6), st.lists(_PASSING, max_size=60))
def test_never_more_than_the_limit_in_any_minute(limit: int, passing: list[int]) -> None:
    """With a clock that goes on, however unevenly; half-open: the same millisecond a minute later is another minute."""
    moments = [START_MS + sum(passing[: number + 1]) for number in range(len(passing))]
    passed = _limited(limit, moments)
    assert _most_in_a_minute([at for at, one in zip(moments, passed, strict=True) if one]) <= limit


@given(st.integers(1, 6), st.lists(st.tuples(_PASSING, _BACK), max_size=60))
def test_a_clock_that_is_set_back_lets_nobody_through_twice(limit: int, moves: list[tuple[int, int]]) -> None:
    """In true time, which the gateway cannot see, there are never more than the limit in a minute either."""
    true_ms, offset_ms, moments, truly = 0, START_MS, [], []
    for passing, back in moves:
        true_ms, offset_ms = true_ms + passing, offset_ms + back
        moments.append(true_ms + offset_ms)
        truly.append(true_ms)
    passed = _limited(limit, moments)
    assert _most_in_a_minute([at for at, one in zip(truly, passed, strict=True) if one]) <= limit


@given(st.integers(1, 6), st.lists(st.tuples(_PASSING, _EITHER), max_size=60))
def test_nobody_waits_longer_than_a_minute_and_a_second(limit: int, moves: list[tuple[int, int]]) -> None:
    """Whatever the clock did before: who was refused, and comes back 61 s later, finds nothing in the way."""
    now_ms, rate = START_MS, Rate()
    for passing, jump in moves:
        now_ms += passing + jump
        rate.advance(now_ms)
        if rate.requests < limit:
            rate.add(now_ms, requests=1)
        else:
            later = rate_from(rate.steps)
            later.advance(now_ms + MINUTE_MS + 999)
            assert later.requests == 0


@given(st.lists(st.tuples(_PASSING, _EITHER, st.integers(0, 3), st.integers(0, 500)), max_size=60))
def test_it_counts_what_a_plain_list_would_and_errs_by_a_second_at_most(moves: list[tuple[int, int, int, int]]) -> None:
    """Every event of the last 60 s counts, none that is 61 s old; what lies in the future counts as of now."""
    now_ms, rate = START_MS, Rate()
    least, most = _Plain(MINUTE_MS), _Plain(MINUTE_MS + 999)
    for passing, jump, requests, tokens in moves:
        now_ms += passing + jump
        rate.advance(now_ms)
        for lower, counted, upper in zip(least.at(now_ms), (rate.requests, rate.tokens), most.at(now_ms), strict=True):
            assert lower <= counted <= upper
        rate.add(now_ms, requests=requests, tokens=tokens)
        least.events.append((now_ms, requests, tokens))
        most.events.append((now_ms, requests, tokens))


class _Plain:
    """A list of (when, requests, tokens) that forgets what is so old."""

    def __init__(self, kept_ms: int) -> None:
        self.kept_ms = kept_ms
        self.events: list[tuple[int, int, int]] = []

    def at(self, now_ms: int) -> tuple[int, int]:
        clamped = [(min(at_ms, now_ms), requests, tokens) for at_ms, requests, tokens in self.events]
        self.events = [event for event in clamped if event[0] + self.kept_ms > now_ms]
        return sum(requests for _, requests, _ in self.events), sum(tokens for *_, tokens in self.events)


@given(st.lists(st.sampled_from([0, 1, 400, 999, 1000, 1001, 1500]), max_size=40))
def test_a_rate_stays_small(passing: list[int]) -> None:
    """A step for each second of the minute, however many requests there are."""
    now_ms, rate = START_MS, Rate()
    for more in passing * 10:
        now_ms += more
        rate.advance(now_ms)
        rate.add(now_ms, requests=1)
        assert len(rate.steps) <= 61


@given(st.lists(st.tuples(_PASSING, _EITHER, st.booleans()), max_size=60))
def test_whoever_follows_their_version_knows_the_older_steps(moves: list[tuple[int, int, bool]]) -> None:
    """While it is the same, all steps but the newest are as they were; and from them the same rate is made."""
    now_ms, rate = START_MS, Rate()
    version, older = rate.older_version, list[list[int]]()
    for passing, jump, come in moves:
        now_ms += passing + jump
        rate.advance(now_ms)
        if come:
            rate.add(now_ms, requests=1, tokens=7)
        if rate.older_version != version:
            version, older = rate.older_version, [list(step) for step in rate.steps[:-1]]
        assert rate.steps[:-1] == older
        assert rate_from([*older, rate.newest]) == rate


@given(st.integers(0, 999), st.integers(0, 999))
def test_what_comes_within_a_second_changes_no_older_step(first: int, second: int) -> None:
    """So that the older steps are written once a second, however much there is to do."""
    second_ms = START_MS // 1000 * 1000
    rate = rate_of([(second_ms - 5000, 1, 0), (second_ms + min(first, second), 1, 0)])
    version = rate.older_version
    rate.advance(second_ms + max(first, second))
    rate.add(second_ms + max(first, second), requests=1, tokens=7)
    assert rate.older_version == version


# --- and not too few -----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 60, 1000])
def test_a_burst_may_be_repeated_exactly_a_minute_later(limit: int) -> None:
    """Not a millisecond earlier, and then all of it at once."""
    burst = [START_MS] * (limit + 1)
    passed = _limited(limit, [*burst, START_MS + 59_999, *(at + MINUTE_MS for at in burst)])
    assert passed == [True] * limit + [False, False] + [True] * limit + [False]


@given(st.integers(1, 60), st.lists(st.integers(0, 59_999), min_size=60, max_size=60))
def test_a_full_minute_in_any_order_is_over_when_its_seconds_are(limit: int, offsets: list[int]) -> None:
    """Each second's requests leave together, a minute after the last of them."""
    moments = sorted(START_MS // 1000 * 1000 + offset for offset in offsets)
    rate = rate_of((at_ms, 1, 0) for at_ms in moments)
    for at_ms in moments:
        last = max(other for other in moments if other // 1000 == at_ms // 1000)
        for now_ms, there in ((last + MINUTE_MS - 1, True), (last + MINUTE_MS, False)):
            later = rate_from(rate.steps)
            later.advance(now_ms)
            earlier = sum(other // 1000 < at_ms // 1000 for other in moments)
            same = sum(other // 1000 == at_ms // 1000 for other in moments)
            assert later.requests == len(moments) - earlier - (0 if there else same)


# --- how long to wait ----------------------------------------------------------------------

_HISTORIES = st.lists(
    st.tuples(st.integers(0, 59_999), st.integers(0, 4), st.integers(0, 500)), min_size=1, max_size=40
)


@given(_HISTORIES, st.integers(1, 50), st.booleans())
def test_who_waits_as_told_finds_room_and_no_earlier(
    history: list[tuple[int, int, int]], excess: int, tokens: bool
) -> None:
    """After `wait_ms` so many have left; a millisecond before, not so many."""
    now_ms = START_MS + 59_999
    rate = rate_of((START_MS + offset, requests, count) for offset, requests, count in history)

    def left(wait_ms: int) -> int:
        later = rate_from(rate.steps)
        later.advance(now_ms + wait_ms)
        return rate.tokens - later.tokens if tokens else rate.requests - later.requests

    there = rate.tokens if tokens else rate.requests
    wait_ms = rate.wait_ms(now_ms, excess, tokens=tokens)
    assert 0 <= wait_ms <= MINUTE_MS
    assert left(wait_ms) >= min(excess, there)
    assert wait_ms == 0 or left(wait_ms - 1) < min(excess, there)


@given(_HISTORIES, st.booleans())
def test_the_reset_is_when_nothing_counts_any_more(history: list[tuple[int, int, int]], tokens: bool) -> None:
    """It is what waiting for all of them takes; 0 when nothing is there."""
    now_ms = START_MS + 59_999
    rate = rate_of((START_MS + offset, requests, count) for offset, requests, count in history)
    there = rate.tokens if tokens else rate.requests
    assert rate.empty_in_ms(now_ms, tokens=tokens) == rate.wait_ms(now_ms, there, tokens=tokens)
    assert (rate.empty_in_ms(now_ms, tokens=tokens) > 0) == (there > 0)


def test_nothing_waits_for_nothing() -> None:
    """An empty minute."""
    assert (Rate().wait_ms(START_MS, 1), Rate().empty_in_ms(START_MS)) == (0, 0)


# --- from rows -----------------------------------------------------------------------------


@given(_HISTORIES, st.randoms(use_true_random=False))
def test_rows_in_any_order_make_the_same_rate_as_the_requests_did(
    history: list[tuple[int, int, int]], shuffle: object
) -> None:
    """What is found in the ledger is what was counted while it happened."""
    events = sorted((START_MS + offset, requests, tokens) for offset, requests, tokens in history)
    lived = Rate()
    for at_ms, requests, tokens in events:
        lived.advance(at_ms)
        lived.add(at_ms, requests=requests, tokens=tokens)
    mixed = list(events)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert rate_of(mixed).steps == lived.steps


# --- as headers say it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait_ms", "text"),
    [
        (-5, "0ms"),
        (0, "0ms"),
        (7, "7ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (61_010, "1m1.01s"),
        (3_600_000, "60m0s"),
    ],
)
def test_a_reset_is_written_as_openai_writes_it(wait_ms: int, text: str) -> None:
    """Milliseconds below a second; no zeros behind the point."""
    assert format_reset(wait_ms) == text


@given(st.integers(0, 10**8))
def test_a_reset_can_be_read_back(wait_ms: int) -> None:
    """By the common parsers of such spans: minutes, seconds with a fraction, or milliseconds."""
    found = re.fullmatch(r"(?:(\d+)m)?(\d+(?:\.\d{1,3})?)s|(\d+)ms", format_reset(wait_ms))
    assert found is not None
    minutes, seconds, milliseconds = found.groups()
    whole, _, fraction = (seconds or "0").partition(".")
    read = int(minutes or 0) * MINUTE_MS + int(whole) * 1000 + int(fraction.ljust(3, "0"))
    assert read + int(milliseconds or 0) == wait_ms
