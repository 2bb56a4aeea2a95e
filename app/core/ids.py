"""Identifiers: a prefix and a ULID (48 bits of milliseconds, 80 random bits, Crockford base32).

They sort by time. Within a process they are strictly increasing, also in one millisecond.
Called by whatever makes a row or answers a request; what an id points at is not known here.
Source: the ULID specification (github.com/ulid/spec).
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import secrets
import struct
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_PYTHON = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")  # the digits that `int` reads
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_STAMP_MAX = (1 << 48) - 1
_CALENDAR_END = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND  # 48 bits reach beyond the year 9999
_IDENTIFIER = re.compile(rf"[a-z]+_[0-7][{_ALPHABET}]{{25}}")

# The random part begins with a count, so that ids of one millisecond increase. `next` on a count is
# one step of the interpreter: threads need no lock.
_RANDOM_TAIL_BITS = 48
_RANDOM_TAIL_MASK = (1 << _RANDOM_TAIL_BITS) - 1
_COUNT_MASK = (1 << (80 - _RANDOM_TAIL_BITS)) - 1
_count = itertools.count(secrets.randbits(31))

# The system's random bytes, fetched for many ids at once: each call gives up the interpreter, and under load waits to
# have it back. `next` on it is one step, too.
_POOL = struct.Struct(">Q")
_POOL_IDS = 256
_tails = _POOL.iter_unpack(b"")

_OF_SOMEBODY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def looks_like_id(text: str) -> bool:
    """Whether somebody else's id may look so: OpenAI's and ImageRouter's do."""
    return _OF_SOMEBODY.fullmatch(text) is not None


def new_id(prefix: str, at: datetime | None = None) -> str:
    """A new identifier such as `req_01JD…`; its time is `at` (aware, from 1970 on), now if None."""
    tail = (next(_count) & _COUNT_MASK) << _RANDOM_TAIL_BITS | _random_tail()
    return f"{prefix}_{_encode(_stamp(datetime.now(UTC) if at is None else at), tail)}"


def id_time(identifier: str) -> datetime:
    """When an identifier was made, to the millisecond. Raises: `ValueError` if it is none."""
    return _EPOCH + id_ms(identifier) * _MILLISECOND


def id_ms(identifier: str) -> int:
    """The same in milliseconds since 1970. Raises: `ValueError` if it is none."""
    if _IDENTIFIER.fullmatch(identifier) is None:
        raise ValueError(f"{identifier[:60]!r} is not an id")
    stamp = int(identifier[-26:-16].translate(_TO_PYTHON), 32)
    if stamp > _CALENDAR_END:
        raise ValueError(f"{identifier!r} is not an id")
    return stamp


def id_floor(prefix: str, at: datetime) -> str:
    """The least identifier of an instant: every id made then or later sorts at or behind it."""
    return f"{prefix}_{_encode(_stamp(max(at, _EPOCH)), 0)}"


def _stamp(at: datetime) -> int:
    stamp = (at - _EPOCH) // _MILLISECOND
    if not 0 <= stamp <= _STAMP_MAX:
        raise ValueError(f"no id for {at.isoformat()}: ids begin in 1970")
    return stamp


def _random_tail() -> int:
    global _tails  # noqa: PLW0603 - two threads may both fetch; no bytes are used twice
    while True:
        for (number,) in _tails:
            return int(number) & _RANDOM_TAIL_MASK
        _tails = _POOL.iter_unpack(os.urandom(_POOL_IDS * _POOL.size))


def _encode(stamp: int, tail: int) -> str:
    """10 characters of time, 16 of tail; two at a time, written out because each request needs one."""
    pairs = _PAIRS
    return (
        f"{_time_text(stamp)}{pairs[tail >> 70]}{pairs[tail >> 60 & 1023]}{pairs[tail >> 50 & 1023]}"
        f"{pairs[tail >> 40 & 1023]}{pairs[tail >> 30 & 1023]}{pairs[tail >> 20 & 1023]}{pairs[tail >> 10 & 1023]}"
        f"{pairs[tail & 1023]}"
    )


@functools.lru_cache(maxsize=4)  # ids of one millisecond are made one after another
def _time_text(stamp: int) -> str:
    pairs = _PAIRS
    return (
        f"{pairs[stamp >> 40]}{pairs[stamp >> 30 & 1023]}{pairs[stamp >> 20 & 1023]}"
        f"{pairs[stamp >> 10 & 1023]}{pairs[stamp & 1023]}"
    )
