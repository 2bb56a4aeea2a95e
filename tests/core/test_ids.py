"""Identifiers sort by time, carry it, and never come twice."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import from_ms, to_ms
from app.core.ids import id_floor, id_time, looks_like_id, new_id

_TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
NOON = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)


def test_an_id_is_its_prefix_and_a_ulid() -> None:
    """26 characters of upper-case Crockford base32, the first at most 7."""
    assert re.fullmatch(r"req_[0-7][0-9A-HJKMNP-TV-Z]{25}", new_id("req", NOON))


def test_an_id_encodes_its_time_as_the_specification_says() -> None:
    """The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41."""
    assert new_id("req", from_ms(1469918176385))[4:14] == "01ARYZ6S41"


@given(_TIMES)
def test_the_time_of_an_id_is_the_millisecond_it_was_made_for(at: datetime) -> None:
    """`created_at` and the id never disagree, whatever the zone the time was told in."""
    assert id_time(new_id("req", at)) == from_ms(to_ms(at))
    assert id_time(new_id("req", at.astimezone(timezone(timedelta(hours=-11))))) == from_ms(to_ms(at))


@given(st.lists(_TIMES, max_size=20))
def test_ids_sort_by_time(times: list[datetime]) -> None:
    """Made in the order of their times, they are in order as text, also within one millisecond."""
    made = [new_id("req", at) for at in sorted(times)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_one_millisecond_increase() -> None:
    """A page of the ledger keeps the order in which requests came, even in a burst."""
    made = [new_id("req", NOON) for _ in range(2000)]
    assert made == sorted(set(made))


def test_threads_never_make_the_same_id() -> None:
    """Each thread's ids of one millisecond increase, and no two threads share one."""
    made: list[list[str]] = [[] for _ in range(4)]

    def fill(ids: list[str]) -> None:
        ids.extend(new_id("req", NOON) for _ in range(500))

    threads = [threading.Thread(target=fill, args=(ids,)) for ids in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({name for ids in made for name in ids}) == 2000


def test_an_id_without_a_time_is_made_now() -> None:
    """The machine's clock, to the millisecond."""
    before = from_ms(to_ms(datetime.now(UTC)))
    assert before <= id_time(new_id("key")) <= datetime.now(UTC)


@given(_TIMES, _TIMES)
def test_the_floor_of_an_instant_separates_ids(made_at: datetime, edge: datetime) -> None:
    """An id sorts at or behind the floor exactly when its millisecond is at or behind the edge's."""
    assert (new_id("req", made_at) >= id_floor("req", edge)) == (to_ms(made_at) >= to_ms(edge))


def test_before_1970_the_floor_is_the_least_id() -> None:
    """A period without a beginning holds every id."""
    assert id_floor("req", datetime(1900, 1, 1, tzinfo=UTC)) == "req_" + "0" * 26


@pytest.mark.parametrize(
    "text",
    [
        "",
        "req",
        "req_",
        "req_01ARYZ6S41",
        "REQ_" + "0" * 26,
        "req_" + "0" * 27,
        "req_" + "0" * 25 + "U",
        "0" * 26,
        "req_8" + "0" * 25,
        "req_7" + "Z" * 25,
        "req_" + "0" * 25 + "a",
        "req_" + "0" * 26 + "\n",
        "resp_" + "\u0660" * 26,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """Also a well-formed one whose time lies beyond the calendar: always the same kind of error."""
    with pytest.raises(ValueError, match="is not an id"):
        id_time(text)


def test_no_id_is_made_for_a_time_before_1970() -> None:
    """A clock that is so wrong shows at once, not as an id that sorts anywhere."""
    with pytest.raises(ValueError, match="ids begin in 1970"):
        new_id("req", datetime(1969, 12, 31, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize("text", ["resp_1", "file-AbC", "pmpt_0f", "a", "x" * 128])
def test_what_others_call_an_id_looks_like_one(text: str) -> None:
    """OpenAI's and ImageRouter's, and our own."""
    assert looks_like_id(text)
    assert looks_like_id(new_id("resp"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " resp_1",
        "resp_1\n",
        "resp_1\0",
        "a b",
        "a/../b",
        "résp_1",
        "resp_\uff11",
        "a.b",
        "a:b",
        "x" * 129,
        "\ud800",
    ],
)
def test_what_an_upstream_may_trim_fold_or_normalise_does_not(text: str) -> None:
    """Nor does a sentence."""
    assert not looks_like_id(text)
