"""Times are aware UTC, milliseconds in the database, RFC 3339 in shapes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import format_time, from_ms, now, parse_time, to_ms

_ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_ZONES)  # noqa: DTZ001 - hypothesis adds the zone
MILLISECOND = timedelta(milliseconds=1)


def test_a_time_is_shown_in_utc_with_milliseconds() -> None:
    """Rounded down, never up into a second that has not begun."""
    at = datetime(2026, 11, 23, 0, 53, 3, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(at) == "2026-11-22T23:53:03.123Z"
    assert format_time(datetime(2026, 11, 22, 23, 53, 3, tzinfo=UTC)) == "2026-11-22T23:53:03.000Z"


@given(_TIMES)
def test_what_is_shown_can_be_read_again(at: datetime) -> None:
    """To the millisecond, and a second time without any loss."""
    again = parse_time(format_time(at))
    assert again <= at < again + MILLISECOND
    assert again.tzinfo is UTC
    assert format_time(again) == format_time(at)


@given(_TIMES)
def test_milliseconds_round_down(at: datetime) -> None:
    """Before 1970 too: every instant belongs to the millisecond that began last."""
    assert from_ms(to_ms(at)) <= at < from_ms(to_ms(at) + 1)
    assert format_time(from_ms(to_ms(at))) == format_time(at)


@given(st.integers(-(10**13), 2 * 10**14))
def test_milliseconds_survive_both_ways(milliseconds: int) -> None:
    """The database's integer and the aware time are the same thing."""
    assert to_ms(from_ms(milliseconds)) == milliseconds
    assert from_ms(milliseconds).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T23:53:03Z", "2026-11-22T23:53:03.000Z"),
        ("2026-11-22t23:53:03.5z", "2026-11-22T23:53:03.500Z"),
        ("2026-11-22 23:53:03+00:00", "2026-11-22T23:53:03.000Z"),
        ("2026-11-23T05:38:03.123456789+05:45", "2026-11-22T23:53:03.123Z"),
        ("2026-11-22T12:53:03-11:00", "2026-11-22T23:53:03.000Z"),
    ],
)
def test_every_way_rfc_3339_allows_is_read(text: str, expected: str) -> None:
    """Upper or lower case, any offset, any number of decimals up to nanoseconds."""
    assert format_time(parse_time(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "20261122T235303Z",
        "2026-W47-7T23:53:03Z",
        "2026-11-22T23:53Z",
        "2026-11-22T23:53:03,5Z",
        "2026-11-22x23:53:03Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T25:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T23:59:60Z",
        "2026-11-22T23:53:03+25:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "2026-11-22T23:53:03Z\n",
        " 2026-11-22T23:53:03Z",
        "٢٠٢٦-11-22T23:53:03Z",
        pytest.param("9" * 100000, id="100,000 nines"),
    ],
)
def test_what_is_no_time_is_refused_with_a_sentence(text: str) -> None:
    """One kind of error, also beyond the calendar, and never a page of the client's own text."""
    with pytest.raises(ValueError, match="is not a time") as caught:
        parse_time(text)
    assert len(str(caught.value)) < 200


def test_a_time_without_its_zone_is_refused() -> None:
    """Nobody guesses whether it was meant in UTC."""
    with pytest.raises(ValueError, match="end it with Z or an offset"):
        parse_time("2026-11-22T23:53:03")


def test_a_naive_time_is_never_taken_for_local_or_utc() -> None:
    """A fault of ours shows at once, not as a shift of some hours in the ledger."""
    naive = datetime(2026, 11, 22)  # noqa: DTZ001 - what is to be refused
    with pytest.raises(ValueError, match="without its zone"):
        format_time(naive)
    with pytest.raises(TypeError):
        to_ms(naive)


def test_the_clock_tells_aware_utc() -> None:
    """What every other floor relies on."""
    assert now().tzinfo is UTC
