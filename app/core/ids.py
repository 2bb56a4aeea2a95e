"""Identifiers: a prefix and a ULID (48 bits of milliseconds, 80 random bits, Crockford base32).

They sort by time. Within a process they are strictly increasing, also in one millisecond.
Source: the ULID specification (github.com/ulid/spec).
"""

from __future__ import annotations

import itertools
import secrets
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RANDOM_BITS = 80
_LENGTH = 26

# The random part begins with a count, so that ids of one millisecond increase. `next` on a count is
# one step of the interpreter: threads need no lock.
_RANDOM_TAIL_BITS = 48
_COUNT_BITS = _RANDOM_BITS - _RANDOM_TAIL_BITS
_count = itertools.count(secrets.randbits(_COUNT_BITS - 1))


def new_id(prefix: str, at: datetime | None = None) -> str:
    """A new identifier such as `req_01JD…`; its time is `at` (aware), now if None."""
    milliseconds = (datetime.now(UTC) if at is None else at) - _EPOCH
    stamp = milliseconds // _MILLISECOND
    count = next(_count) % (1 << _COUNT_BITS)
    tail = (count << _RANDOM_TAIL_BITS) | secrets.randbits(_RANDOM_TAIL_BITS)
    return f"{prefix}_{_encode((stamp << _RANDOM_BITS) | tail)}"


def id_time(identifier: str) -> datetime:
    """When an identifier was made, to the millisecond. Raises: `ValueError` if it is none."""
    text = identifier.rpartition("_")[2]
    if len(text) != _LENGTH:
        raise ValueError(f"{identifier!r} is not an id")
    value = 0
    for character in text[:10]:
        if character not in _DIGITS:
            raise ValueError(f"{identifier!r} is not an id")
        value = value * 32 + _DIGITS[character]
    return _EPOCH + value * _MILLISECOND


def _encode(value: int) -> str:
    pairs = []
    for _ in range(_LENGTH // 2):
        value, pair = divmod(value, 1024)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))


def id_floor(prefix: str, at: datetime) -> str:
    """The least identifier of an instant: every id made then or later sorts at or behind it."""
    stamp = max(0, (at - _EPOCH) // _MILLISECOND)
    return f"{prefix}_{_encode(stamp << _RANDOM_BITS)}"
